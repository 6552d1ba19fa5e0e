CREATE TABLE a AS SELECT 1 AS i, 'x'::text AS t
