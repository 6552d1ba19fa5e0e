CREATE TABLE a (i int); INSERT INTO a VALUES (1)
-- record
ALTER TABLE a ADD x text DEFAULT nullif(concat('x'), 'x')
