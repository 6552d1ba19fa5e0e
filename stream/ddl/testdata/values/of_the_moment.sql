CREATE TABLE a (i int); INSERT INTO a VALUES (1)
-- record
ALTER TABLE a ADD n date DEFAULT current_date - current_date + date '2024-02-03', ADD c int DEFAULT 5, ADD x text DEFAULT lower('IT''S')
