-- the old implicit casts with functions in pg_catalog, which pg_dump does not dump
-- correct: restored, or a finding of init; pg_dump | psql fails alike, LIMITS does not name it
CREATE FUNCTION pg_catalog.c29_text(integer) RETURNS text STRICT IMMUTABLE LANGUAGE sql AS 'SELECT textin(int4out($1))';
CREATE CAST (integer AS text) WITH FUNCTION pg_catalog.c29_text(integer) AS IMPLICIT;
CREATE FUNCTION pg_catalog.c29_upper(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT upper($1)';
CREATE TABLE c29_t (id int PRIMARY KEY, v text);
INSERT INTO c29_t VALUES (1, 'a');
CREATE VIEW c29_v AS SELECT id, c29_upper(v) AS u, concat('n', id) AS n FROM c29_t;
CREATE INDEX c29_i ON c29_t (c29_upper(v));
