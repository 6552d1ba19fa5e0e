-- foreign keys that are valid by name, and rows that violate them (loaded with triggers off)
-- correct: restored (NOT VALID, or the rows at least), or a finding of init; pg_dump | psql leaves the constraint out with an error
CREATE TABLE c28_parent (id int PRIMARY KEY);
CREATE TABLE c28_child (id int PRIMARY KEY, parent int REFERENCES c28_parent, v text);
INSERT INTO c28_parent SELECT generate_series(1, 5);
INSERT INTO c28_child SELECT g, g, 'v' || g FROM generate_series(1, 5) g;
ALTER TABLE c28_child DISABLE TRIGGER ALL;
INSERT INTO c28_child VALUES (10, 999, 'orphan');
ALTER TABLE c28_child ENABLE TRIGGER ALL;
SET session_replication_role = replica;
DELETE FROM c28_parent WHERE id = 5;
RESET session_replication_role;
