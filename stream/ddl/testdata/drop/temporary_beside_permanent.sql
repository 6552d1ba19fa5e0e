CREATE TABLE a (i int); CREATE TEMP TABLE tmp (i int)
-- record
DROP TABLE a, tmp
