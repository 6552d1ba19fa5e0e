CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE TABLE a (i int); CREATE TABLE b (j int)'
-- record
SELECT f()
