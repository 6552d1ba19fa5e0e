-- CHECK constraints whose function reads other rows, all names qualified
-- correct: restored, or refused by init with the table's name; pg_dump | psql fails alike, LIMITS does not name it
CREATE SCHEMA c27;
CREATE TABLE c27.b_parent (id int PRIMARY KEY, open boolean NOT NULL);
INSERT INTO c27.b_parent SELECT g, true FROM generate_series(1, 5) g;
CREATE FUNCTION c27.is_open(i int) RETURNS boolean LANGUAGE sql STABLE AS $$SELECT EXISTS (SELECT FROM c27.b_parent WHERE id = i AND open)$$;
CREATE TABLE c27.a_child (id int PRIMARY KEY, parent int CHECK (c27.is_open(parent)));
INSERT INTO c27.a_child SELECT g, 1 + g % 5 FROM generate_series(1, 20) g;
CREATE TABLE c27.c_chain (h int PRIMARY KEY, prev int);
CREATE FUNCTION c27.follows(p int) RETURNS boolean LANGUAGE sql STABLE AS $$SELECT p IS NULL OR EXISTS (SELECT FROM c27.c_chain WHERE h = p)$$;
ALTER TABLE c27.c_chain ADD CHECK (c27.follows(prev));
INSERT INTO c27.c_chain VALUES (3, NULL); INSERT INTO c27.c_chain VALUES (2, 3); INSERT INTO c27.c_chain VALUES (1, 2);
