-- the same in the stream: the source computes a generated column again only if a column that it is made of is in the UPDATE
-- correct: the stored values of the source, or a word in LIMITS. pg_dump | psql differs too: compare with the source itself
CREATE FUNCTION c22.slug2(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT lower(replace(t, ' ', '-'))$$;
CREATE TEXT SEARCH CONFIGURATION c22.cfg (COPY = simple);
CREATE TABLE c22.page (id int PRIMARY KEY, title text, slug text GENERATED ALWAYS AS (c22.slug2(title)) STORED,
  tsv tsvector GENERATED ALWAYS AS (to_tsvector('c22.cfg', title)) STORED, note text, hits int DEFAULT 0);
INSERT INTO c22.page (id, title) VALUES (1, 'Running Dogs'), (2, 'Other Pages'), (3, 'Third Things');
CREATE OR REPLACE FUNCTION c22.slug2(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'v2-' || lower(replace(t, ' ', '_'))$$;
ALTER TEXT SEARCH CONFIGURATION c22.cfg ALTER MAPPING FOR asciiword WITH english_stem;
UPDATE c22.page SET hits = hits + 1 WHERE id = 1;
UPDATE c22.page SET note = 'seen' WHERE id = 2;
UPDATE c22.base_page SET note = 'seen' WHERE id = 1;
INSERT INTO c22.page (id, title) VALUES (4, 'Fourth Runner');
-- without a key only changed columns are set again
CREATE TABLE c22.nokey (title text, slug text GENERATED ALWAYS AS (c22.slug2(title)) STORED, n int);
INSERT INTO c22.nokey (title, n) VALUES ('No Key', 1);
CREATE OR REPLACE FUNCTION c22.slug2(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'v3-' || t$$;
UPDATE c22.nokey SET n = 2;
-- a rewrite for another column keeps the stored values on the source; rows that are written again compute them anew
ALTER TABLE c22.page ALTER COLUMN hits TYPE bigint;
-- a function that reads a table
CREATE TABLE c22.rate (x numeric); INSERT INTO c22.rate VALUES (1.19);
CREATE FUNCTION c22.gross(n numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$SELECT round(n * (SELECT x FROM c22.rate), 2)$$;
CREATE TABLE c22.sale (id int PRIMARY KEY, net numeric, gross numeric GENERATED ALWAYS AS (c22.gross(net)) STORED, state text);
INSERT INTO c22.sale (id, net) VALUES (1, 100), (2, 50);
UPDATE c22.rate SET x = 1.07;
UPDATE c22.sale SET state = 'paid' WHERE id = 1;
