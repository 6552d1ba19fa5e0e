CREATE TABLE a (i int); CREATE TABLE b (i int); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)
-- record
ALTER TABLE a ADD x text DEFAULT concat('X', 1), ADD y int DEFAULT length(concat('abc')); ALTER TABLE b ADD x text DEFAULT concat('it''s', 2)
