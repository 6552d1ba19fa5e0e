CREATE TABLE t (i int, v text)
-- then
INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i
-- record
CREATE MATERIALIZED VIEW mv AS SELECT i, v, (SELECT max(i) FROM t) AS m FROM t WITH DATA
-- then
REFRESH MATERIALIZED VIEW mv
-- then
CREATE MATERIALIZED VIEW luck AS SELECT i, v, random() FROM t
