-- CREATE UNIQUE INDEX CONCURRENTLY fails on duplicates; the retry with IF NOT EXISTS "succeeds" over the invalid index
-- correct: no index in the restored database (pg_dump leaves invalid ones out), no stop; LIMITS: "so are commands about it [left out]"
CREATE TABLE c14_user (id int PRIMARY KEY, email text, login text);
INSERT INTO c14_user VALUES (1, 'a@x', 'a'), (2, 'a@x', 'b'), (3, 'c@x', 'b');
CREATE UNIQUE INDEX CONCURRENTLY c14_user_email ON c14_user (email);
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS c14_user_email ON c14_user (email);
-- the same without CONCURRENTLY
CREATE UNIQUE INDEX IF NOT EXISTS c14_user_email ON c14_user (email);
-- and in a transaction, a DO block, a string of several
BEGIN; CREATE UNIQUE INDEX IF NOT EXISTS c14_user_email ON c14_user (email); INSERT INTO c14_user VALUES (4, 'd@x', 'd'); COMMIT;
DO $$ BEGIN CREATE UNIQUE INDEX IF NOT EXISTS c14_user_email ON c14_user (email); END $$;
CREATE UNIQUE INDEX CONCURRENTLY "c14 Login" ON c14_user (login);
CREATE UNIQUE INDEX IF NOT EXISTS "c14 Login" ON c14_user (login) \; INSERT INTO c14_user VALUES (5, 'e@x', 'e');
-- the duplicates go, one index is built again, the other one dropped
DELETE FROM c14_user WHERE id = 2;
REINDEX INDEX CONCURRENTLY c14_user_email;
DROP INDEX CONCURRENTLY "c14 Login";
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "c14 Login" ON c14_user (login);
INSERT INTO c14_user VALUES (6, 'f@x', 'f');
