CREATE TABLE p (i int) PARTITION BY RANGE (i); CREATE TABLE q (i int)
-- record
ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (length('abc')) TO (length('abcd'))
