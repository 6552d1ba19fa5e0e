-- commands that read tables with row security as a role to which it applies (replay has row_security = off)
-- correct: contents as on the source (filtered); LIMITS says row security is not checked on replay
CREATE ROLE c11_app NOLOGIN; CREATE ROLE c11_report NOLOGIN;
CREATE SCHEMA c11 AUTHORIZATION c11_app; CREATE SCHEMA c11r AUTHORIZATION c11_report;
GRANT USAGE ON SCHEMA c11 TO c11_report;
SET ROLE c11_app;
CREATE TABLE c11.doc (id int PRIMARY KEY, tenant text NOT NULL, body text);
INSERT INTO c11.doc VALUES (1, 'a', 'one'), (2, 'b', 'two'), (3, 'a', 'three');
CREATE TABLE c11.ref (id int PRIMARY KEY, doc text);
INSERT INTO c11.ref VALUES (1, 'one'), (2, 'two'), (3, 'three');
GRANT SELECT ON c11.doc TO c11_report;
ALTER TABLE c11.doc ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY only_a ON c11.doc USING (tenant = 'a');
-- a: the owner is subject to it
CREATE MATERIALIZED VIEW c11.mine AS SELECT id, body FROM c11.doc;
RESET ROLE;
INSERT INTO c11.doc VALUES (4, 'a', 'four'), (5, 'b', 'five');
-- b: refreshed by a superuser, runs as the owner
REFRESH MATERIALIZED VIEW c11.mine;
-- c: another role
SET ROLE c11_report;
CREATE MATERIALIZED VIEW c11r.report AS SELECT count(*) AS n FROM c11.doc;
RESET ROLE;
-- d: a function that reads the table, in a conversion
SET ROLE c11_app;
CREATE FUNCTION c11.doc_id(b text) RETURNS int LANGUAGE sql STABLE AS $$SELECT id FROM c11.doc WHERE body = b$$;
ALTER TABLE c11.ref ALTER COLUMN doc TYPE int USING c11.doc_id(doc);
ALTER TABLE c11.ref ADD COLUMN visible bigint DEFAULT (c11.doc_id('four'));
-- e: foreign key to it
CREATE TABLE c11.child (id int PRIMARY KEY, doc int REFERENCES c11.doc);
INSERT INTO c11.child VALUES (1, 1);
ALTER TABLE c11.child ADD COLUMN d2 int DEFAULT 3 REFERENCES c11.doc;
RESET ROLE;
