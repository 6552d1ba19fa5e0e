CREATE TABLE a (i int, j int); CREATE INDEX i ON a (i)
-- record
CREATE INDEX IF NOT EXISTS i ON a (j)
-- then
CREATE TABLE IF NOT EXISTS a (q text)
-- then
CREATE SCHEMA IF NOT EXISTS g
-- then
CREATE TABLE IF NOT EXISTS b (q text)
-- clean
DROP TABLE a, b
