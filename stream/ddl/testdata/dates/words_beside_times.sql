CREATE TABLE a (i int)
-- record
ALTER TABLE a ADD run text DEFAULT 'now', ADD wait interval DEFAULT '1 hour 5 min', ADD CHECK (run IN ('now', 'later') AND wait < '2 days 00:30')
-- then
CREATE VIEW v AS SELECT 'due today' AS label, 'yesterday' AS y FROM a WHERE wait > '90 minutes'
-- then
ALTER TABLE a ADD day date DEFAULT 'today', ADD said text DEFAULT 'tomorrow'
-- then
CREATE FUNCTION f() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RETURN now(); /* not today */ END'
-- clean
DROP FUNCTION f(); DROP TABLE a CASCADE
