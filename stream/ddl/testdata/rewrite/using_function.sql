CREATE TABLE g.log (i int)
-- then
CREATE TABLE g.t (i int PRIMARY KEY, v text)
-- then
INSERT INTO g.t VALUES (1, 'a'), (2, 'b')
-- then
CREATE FUNCTION g.f(v text) RETURNS int LANGUAGE sql AS 'INSERT INTO g.log VALUES (1) RETURNING i'
-- record
ALTER TABLE g.t ALTER v TYPE int USING g.f(v)
-- then
ALTER TABLE g.t ADD w int DEFAULT g.f('x')
-- then
ALTER TABLE g.t ALTER v TYPE text USING 'v' || v
