-- migration files that a driver sends as one string (psql: \;), with forms that have another tag than their words, or tables named like keywords
-- correct: all captured, no mark
CREATE ROLE c25_reader NOLOGIN;
CREATE SCHEMA c25; SET search_path = c25;
-- a: tables named event, role, parameter, database, tablespace; GRANT without the word TABLE
CREATE TABLE event (id int PRIMARY KEY) \; CREATE TABLE role (id int PRIMARY KEY) \; CREATE TABLE plain (id int PRIMARY KEY) \; GRANT SELECT ON event TO c25_reader \; GRANT INSERT ON plain TO c25_reader \; GRANT UPDATE ON role TO c25_reader;
CREATE TABLE a2 (id int PRIMARY KEY) \; REVOKE SELECT ON event FROM c25_reader \; INSERT INTO event VALUES (1);
CREATE TABLE parameter (id int PRIMARY KEY) \; GRANT SELECT ON parameter TO c25_reader;
CREATE TABLE tablespace (id int PRIMARY KEY) \; GRANT SELECT, DELETE ON tablespace TO c25_reader;
CREATE TABLE database (id int PRIMARY KEY) \; GRANT SELECT ON database TO c25_reader \; GRANT SELECT ON c25.event, c25.role TO c25_reader;
-- b: a language that is an extension for the parser
CREATE TABLE lang_a (id int) \; CREATE OR REPLACE LANGUAGE plpgsql \; CREATE TABLE lang_b (id int) \; INSERT INTO lang_b VALUES (1);
-- c: unquoted names that are not ASCII, beside the same in quotes
CREATE TABLE Ölstand (id int) \; ALTER TABLE "Ölstand" ADD COLUMN a int \; ALTER TABLE Ölstand ADD COLUMN b int \; CREATE INDEX ON Ölstand (b) \; INSERT INTO Ölstand VALUES (1, 2, 3);
-- d: names that are cut at 63 bytes
CREATE TABLE n (id int, v int) \; CREATE INDEX a_very_long_name_of_an_index_that_somebody_made_by_a_generator_of_names_1 ON n (id) \; CREATE INDEX other_very_long_name_of_an_index_that_somebody_made_by_a_generator_of_names ON n (v) \; COMMENT ON TABLE n IS 'x';
-- e: the same table under two schemas in one string
CREATE SCHEMA c25b \; CREATE TABLE c25b.n (id int) \; ALTER TABLE n ADD COLUMN w int \; ALTER TABLE c25b.n ADD COLUMN x int \; ALTER TABLE n RENAME TO n2 \; ALTER TABLE c25b.n SET SCHEMA c25 \; ALTER TABLE n ADD COLUMN y int;
-- f: triggers, rules and policies of one name on several tables
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$ \; CREATE TRIGGER t BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION tf() \; CREATE TRIGGER t BEFORE UPDATE ON role FOR EACH ROW EXECUTE FUNCTION tf() \; CREATE POLICY p ON event USING (true) \; CREATE POLICY p ON c25.role USING (id > 0) \; CREATE RULE r AS ON DELETE TO plain DO INSTEAD NOTHING \; DROP TRIGGER t ON event;
-- g: statements that begin like others
WITH x AS (SELECT 5 AS id) INSERT INTO event SELECT id FROM x \; SELECT 7 AS id INTO made \; CREATE TABLE made2 AS TABLE made \; CREATE TABLE made3 (LIKE made) \; (SELECT 8 AS id) UNION SELECT 9 \; CREATE RECURSIVE VIEW nums (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM nums WHERE n < 3 \; CREATE UNIQUE INDEX made_id ON made (id);
-- h: IF NOT EXISTS that does nothing, IF EXISTS that finds nothing, in between
CREATE TABLE IF NOT EXISTS made (q text) \; DROP TABLE IF EXISTS nope \; ALTER TABLE IF EXISTS nope ADD COLUMN z int \; CREATE SCHEMA IF NOT EXISTS c25 \; CREATE EXTENSION IF NOT EXISTS plpgsql \; ALTER TABLE made ADD COLUMN last int \; COMMENT ON EXTENSION plpgsql IS 'kept';
RESET search_path;
