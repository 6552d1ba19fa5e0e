CREATE TABLE a (i int, "B c" text)
-- record
/*application='Shop'*/ CREATE INDEX CONCURRENTLY a_i ON a (i)
-- then
/* don't block */ CREATE INDEX /* "online" */ CONCURRENTLY ON a ("B c")
-- then
/* costs $1 */ DROP INDEX CONCURRENTLY a_i
-- clean
DROP TABLE a
