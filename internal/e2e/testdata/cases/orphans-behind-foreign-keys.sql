-- more of them; then a key that is made over them as NOT VALID
CREATE TABLE c28_second (id int PRIMARY KEY, parent int);
INSERT INTO c28_second VALUES (1, 1), (2, 777);
ALTER TABLE c28_second ADD FOREIGN KEY (parent) REFERENCES c28_parent NOT VALID;
SET session_replication_role = replica;
INSERT INTO c28_child VALUES (11, 998, 'orphan of the stream');
DELETE FROM c28_parent WHERE id = 4;
RESET session_replication_role;
UPDATE c28_child SET v = 'touched' WHERE id = 10;
