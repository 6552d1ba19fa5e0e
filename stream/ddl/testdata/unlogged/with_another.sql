CREATE TABLE a (i int)
-- record
ALTER TABLE a ADD j int, SET UNLOGGED
