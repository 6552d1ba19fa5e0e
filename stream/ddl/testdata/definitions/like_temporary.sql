CREATE TEMP TABLE tmp (i int PRIMARY KEY, t text DEFAULT 'x')
-- record
CREATE TABLE a (LIKE tmp INCLUDING ALL, j int)
-- clean
DROP TABLE tmp
