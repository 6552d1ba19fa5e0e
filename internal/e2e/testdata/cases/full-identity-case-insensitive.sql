-- REPLICA IDENTITY FULL and a nondeterministic collation: rows that differ in case or accent only
-- correct: exactly the rows of the source; note that internal/e2e's table cif has this form but ends equal by luck
CREATE COLLATION c16_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION c16_ai (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
-- a: no key at all; the row that changes is the second of two that are equal for the collation
CREATE TABLE c16_mail (email text COLLATE c16_ci, n int);
INSERT INTO c16_mail VALUES ('Alpha@x', 1);
INSERT INTO c16_mail VALUES ('alpha@x', 1);
INSERT INTO c16_mail VALUES ('BETA@x', 2), ('Beta@x', 2), ('beta@x', 2);
DELETE FROM c16_mail WHERE email COLLATE "C" = 'alpha@x';
UPDATE c16_mail SET n = 20 WHERE email COLLATE "C" = 'beta@x';
UPDATE c16_mail SET email = 'gamma@x' WHERE email COLLATE "C" = 'Beta@x';
-- b: accents, varchar, char(n)
CREATE TABLE c16_name (v varchar(20) COLLATE c16_ai, c char(8) COLLATE c16_ai);
INSERT INTO c16_name VALUES ('resume', 'x'), ('resumé', 'x'), ('Résumé', 'X');
DELETE FROM c16_name WHERE v COLLATE "C" = 'resumé';
UPDATE c16_name SET c = 'y' WHERE v COLLATE "C" = 'Résumé';
-- c: a domain, an array, with an index that serves the search
CREATE DOMAIN c16_ident AS text COLLATE c16_ci;
CREATE TABLE c16_tag (t c16_ident, tags text[] COLLATE c16_ci, k int);
CREATE INDEX ON c16_tag (t);
INSERT INTO c16_tag VALUES ('Red', '{A,b}', 1), ('red', '{a,B}', 1), ('RED', '{a,b}', 1);
DELETE FROM c16_tag WHERE t::text COLLATE "C" = 'red';
UPDATE c16_tag SET k = 9 WHERE t::text COLLATE "C" = 'RED';
-- d: a key of another kind and FULL by choice
CREATE TABLE c16_full (id int, name text COLLATE c16_ci); ALTER TABLE c16_full REPLICA IDENTITY FULL;
INSERT INTO c16_full VALUES (1, 'Zoe'), (1, 'ZOE'), (1, 'zoe');
UPDATE c16_full SET id = 2 WHERE name COLLATE "C" = 'zoe';
DELETE FROM c16_full WHERE name COLLATE "C" = 'ZOE';
-- e: partitioned, citext for comparison
CREATE TABLE c16_part (k int, v text COLLATE c16_ci) PARTITION BY LIST (k);
CREATE TABLE c16_part1 PARTITION OF c16_part FOR VALUES IN (1);
CREATE TABLE c16_part2 PARTITION OF c16_part FOR VALUES IN (2);
INSERT INTO c16_part VALUES (1, 'Abc'), (1, 'aBC');
UPDATE c16_part SET k = 2 WHERE v COLLATE "C" = 'aBC';
CREATE EXTENSION citext;
CREATE TABLE c16_citext (v citext); INSERT INTO c16_citext VALUES ('Q'), ('q'); DELETE FROM c16_citext WHERE v::text = 'q';
-- f: a key in that collation, and one that changes its case only
CREATE TABLE c16_key (k text COLLATE c16_ci PRIMARY KEY, v int); INSERT INTO c16_key VALUES ('One', 1), ('Two', 2);
UPDATE c16_key SET k = 'ONE' WHERE v = 1; UPDATE c16_key SET v = 3 WHERE k = 'two'; DELETE FROM c16_key WHERE k = 'one';
