-- a NULL in a column of a domain that is NOT NULL (PostgreSQL checks when a value becomes the domain's, not when it is stored)
-- correct: the rows come back (or init/LIMITS name it); no stop
CREATE DOMAIN c18_name AS text NOT NULL;
CREATE DOMAIN c18_pos AS int NOT NULL CHECK (VALUE > 0);
CREATE TABLE c18_src (id int PRIMARY KEY, v c18_name, p c18_pos);
CREATE TABLE c18_dst (id int PRIMARY KEY, v c18_name, p c18_pos, note text);
CREATE TABLE c18_nokey (id int, v c18_name);
INSERT INTO c18_src VALUES (1, 'one', 1);
-- a: outer join
INSERT INTO c18_dst (id, v, p) SELECT g.id, s.v, s.p FROM generate_series(1, 3) g(id) LEFT JOIN c18_src s ON s.id = g.id;
-- b: scalar subquery without a row
INSERT INTO c18_dst (id, v, p) VALUES (4, (SELECT v FROM c18_src WHERE false), (SELECT p FROM c18_src WHERE false));
-- c: many at once, so that they go as a COPY block
INSERT INTO c18_dst (id, v, p) SELECT g.id, s.v, s.p FROM generate_series(10, 30) g(id) LEFT JOIN c18_src s ON s.id = g.id;
-- d: json
INSERT INTO c18_nokey SELECT r.id, r.v FROM json_populate_recordset(NULL::c18_nokey, '[{"id": 1}, {"id": 2, "v": "two"}]') r;
INSERT INTO c18_nokey SELECT g.id, s.v FROM generate_series(1, 2) g(id) LEFT JOIN c18_src s ON s.id = g.id + 50;
-- e: changes of other columns, moves, deletes
UPDATE c18_dst SET note = 'touched' WHERE id = 2;
UPDATE c18_dst SET v = (SELECT v FROM c18_src WHERE false) WHERE id = 1;
DELETE FROM c18_dst WHERE id = 4;
UPDATE c18_nokey SET id = 5 WHERE id = 1;
-- f: rewrite, added column with a value of its own
ALTER TABLE c18_dst ALTER COLUMN note TYPE varchar(50) USING upper(note);
ALTER TABLE c18_dst ADD COLUMN luck float8 DEFAULT random();
-- g: array and composite of the domain
CREATE TYPE c18_pair AS (a c18_name, b int);
CREATE TABLE c18_deep (id int PRIMARY KEY, p c18_pair, arr c18_name[]);
INSERT INTO c18_deep SELECT 1, ROW(s.v, 1)::c18_pair, ARRAY['x'::c18_name, s.v] FROM (SELECT 1) x LEFT JOIN c18_src s ON s.id = 99;
