CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 7'; CREATE TABLE a (i int)
-- record
ALTER TABLE a ALTER i SET DEFAULT pg_temp.f()
-- clean
DROP FUNCTION pg_temp.f CASCADE
