CREATE TABLE a (i int)
-- record
/* a */ CREATE INDEX ON a (i)
-- then
CREATE UNIQUE INDEX ON a (i) WHERE i > 0
