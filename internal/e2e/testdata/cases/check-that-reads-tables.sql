-- the parents close later, children that were right stay
INSERT INTO c27.a_child VALUES (100, 1);
UPDATE c27.b_parent SET open = false WHERE id = 1;
INSERT INTO c27.c_chain VALUES (0, 1);
INSERT INTO c27.a_child SELECT g, 2 FROM generate_series(200, 220) g;
ALTER TABLE c27.a_child ADD COLUMN v text;
DELETE FROM c27.a_child WHERE parent = 1;
