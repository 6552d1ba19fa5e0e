CREATE TABLE a (i int, "concurrently" int)
-- record
CREATE UNIQUE INDEX CONCURRENTLY "index concurrently" ON a ("concurrently")
