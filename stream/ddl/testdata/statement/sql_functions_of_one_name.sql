CREATE FUNCTION f(int) RETURNS void LANGUAGE sql AS 'CREATE TABLE a (i int)'; CREATE FUNCTION f(text) RETURNS void LANGUAGE sql AS 'CREATE TABLE b (j int)'
-- record
SELECT f('x')
