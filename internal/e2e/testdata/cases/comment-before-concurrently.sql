-- query tags as a comment with quotes in front of commands with CONCURRENTLY
-- correct: indexes and detached partition as on the source; restore does not stop
CREATE TABLE c12_t (id int PRIMARY KEY, a int, "B c" text, u text);
INSERT INTO c12_t SELECT g, g % 7, 'x' || g, 'u' || g FROM generate_series(1, 50) g;
CREATE TABLE c12_p (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE c12_p1 PARTITION OF c12_p FOR VALUES FROM (0) TO (10);
CREATE TABLE "c12 P2" PARTITION OF c12_p FOR VALUES FROM (10) TO (20);
INSERT INTO c12_p VALUES (1, 'a'), (11, 'b');
/*application='Shop',db_driver='activerecord',traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/ CREATE INDEX CONCURRENTLY c12_t_a ON c12_t (a);
/* dddbs='orders',ddps='api',dde="prod" */ CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "c12 u" ON c12_t (u);
/* don't block */ CREATE INDEX CONCURRENTLY ON c12_t ("B c");
/* costs $1 */ DROP INDEX CONCURRENTLY c12_t_a;
/* "tagged" */ DROP INDEX CONCURRENTLY IF EXISTS "c12 u";
/*job='detach'*/ ALTER TABLE c12_p DETACH PARTITION c12_p1 CONCURRENTLY;
/*job='detach'*/ ALTER TABLE c12_p DETACH PARTITION "c12 P2" CONCURRENTLY;
/*job='re'*/ REINDEX INDEX CONCURRENTLY c12_t_pkey;
CREATE INDEX CONCURRENTLY c12_t_last ON c12_t (id, a) /*application='Shop'*/;
CREATE INDEX /* it's online */ CONCURRENTLY c12_t_mid ON c12_t (a, id);
INSERT INTO c12_p1 VALUES (99, 'free');
