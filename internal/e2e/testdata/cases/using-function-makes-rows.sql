-- ALTER TABLE ... USING f() / DEFAULT f() where f writes to other tables (look-up rows, gapless counters)
-- correct: look-up tables and counters as on the source; the rows that f wrote come once
CREATE SCHEMA c07;
CREATE TABLE c07.tag (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL);
CREATE TABLE c07.post (id int PRIMARY KEY, tag text, body text);
INSERT INTO c07.post SELECT g, (ARRAY['red', 'green', 'blue'])[1 + g % 3], 'b' || g FROM generate_series(1, 30) g;
CREATE FUNCTION c07.tag_id(n text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE i int;
BEGIN
  SELECT id INTO i FROM c07.tag WHERE name = n;
  IF i IS NULL THEN INSERT INTO c07.tag (name) VALUES (n) RETURNING id INTO i; END IF;
  RETURN i;
END $$;
-- a: text becomes a reference
BEGIN;
ALTER TABLE c07.post ALTER COLUMN tag TYPE int USING c07.tag_id(tag);
ALTER TABLE c07.post ADD FOREIGN KEY (tag) REFERENCES c07.tag;
COMMIT;
-- b: a counter without key is counted by the default of a new column
CREATE TABLE c07.counter (n int NOT NULL); INSERT INTO c07.counter VALUES (100);
CREATE FUNCTION c07.next_no() RETURNS int LANGUAGE sql VOLATILE AS $$UPDATE c07.counter SET n = n + 1 RETURNING n$$;
ALTER TABLE c07.post ADD COLUMN no int NOT NULL DEFAULT c07.next_no();
-- c: the same with a keyed counter, within a procedure
CREATE TABLE c07.keyed (name text PRIMARY KEY, n int NOT NULL); INSERT INTO c07.keyed VALUES ('x', 0);
CREATE FUNCTION c07.next_keyed() RETURNS int LANGUAGE sql VOLATILE AS $$UPDATE c07.keyed SET n = n + 1 WHERE name = 'x' RETURNING n$$;
DO $$ BEGIN EXECUTE 'ALTER TABLE c07.post ADD COLUMN no2 int DEFAULT c07.next_keyed()'; END $$;
-- d: a materialized view whose query writes
CREATE FUNCTION c07.seen(i int) RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO c07.tag (name) VALUES ('seen ' || i) ON CONFLICT DO NOTHING; RETURN i; END$$;
CREATE MATERIALIZED VIEW c07.mv AS SELECT c07.seen(id) AS id FROM c07.post WHERE id < 4;
INSERT INTO c07.tag (name) VALUES ('after');
