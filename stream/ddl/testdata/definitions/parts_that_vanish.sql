CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 7'
-- record
CREATE TABLE a (i int DEFAULT pg_temp.f(), j int)
-- clean
DROP FUNCTION pg_temp.f CASCADE
