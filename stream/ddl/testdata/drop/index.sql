CREATE TABLE a (i int); CREATE INDEX ai ON a (i)
-- record
DROP INDEX ai
