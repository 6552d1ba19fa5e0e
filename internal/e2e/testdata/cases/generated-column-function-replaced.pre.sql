-- stored generated columns whose function, or text search configuration, changed after the rows were written
CREATE SCHEMA c22;
CREATE FUNCTION c22.slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT lower(replace(t, ' ', '-'))$$;
CREATE TABLE c22.base_page (id int PRIMARY KEY, title text, slug text GENERATED ALWAYS AS (c22.slug(title)) STORED, note text);
INSERT INTO c22.base_page (id, title) VALUES (1, 'Hello World'), (2, 'A b c');
CREATE OR REPLACE FUNCTION c22.slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT lower(regexp_replace(t, '\W+', '_', 'g'))$$;
