CREATE TABLE a (i int); CREATE ROLE g_r1; SET search_path = g, public, pg_catalog
-- record
GRANT SELECT ON ALL TABLES IN SCHEMA g, pg_catalog TO g_r1
-- clean
DROP OWNED BY g_r1; DROP ROLE g_r1; DROP TABLE a
