CREATE TABLE a (i int)
-- record
DROP TABLE a
