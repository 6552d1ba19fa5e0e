CREATE TYPE pg_temp.t AS (i int); CREATE TABLE a (i int)
-- record
ALTER TABLE a ADD j pg_temp.t
-- clean
DROP TYPE pg_temp.t CASCADE
