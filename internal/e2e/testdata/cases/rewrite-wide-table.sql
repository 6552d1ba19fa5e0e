-- ALTER TABLE that rewrites a table of more than 100 columns
-- correct: captured without a mark, contents exact; LIMITS names rows of more than 256 MB only
DO $$ BEGIN
  EXECUTE 'CREATE TABLE c17_100 (id int PRIMARY KEY, ' || (SELECT string_agg(format('c%s int', g), ', ') FROM generate_series(1, 99) g) || ')';
  EXECUTE 'CREATE TABLE c17_101 (id int PRIMARY KEY, ' || (SELECT string_agg(format('c%s int', g), ', ') FROM generate_series(1, 100) g) || ')';
  EXECUTE 'CREATE TABLE c17_300 (id int PRIMARY KEY, ' || (SELECT string_agg(format('"Column %s" text', g), ', ') FROM generate_series(1, 299) g) || ')';
  EXECUTE 'CREATE UNLOGGED TABLE c17_log (id int PRIMARY KEY, ' || (SELECT string_agg(format('l%s numeric', g), ', ') FROM generate_series(1, 130) g) || ')';
  EXECUTE 'CREATE TABLE c17_part (id int, ' || (SELECT string_agg(format('p%s int', g), ', ') FROM generate_series(1, 120) g) || ') PARTITION BY RANGE (id)';
  EXECUTE 'CREATE TABLE c17_part1 PARTITION OF c17_part FOR VALUES FROM (0) TO (100)';
END $$;
INSERT INTO c17_100 (id, c1, c99) SELECT g, g, -g FROM generate_series(1, 20) g;
INSERT INTO c17_101 (id, c1, c100) SELECT g, g, -g FROM generate_series(1, 20) g;
INSERT INTO c17_300 (id, "Column 1", "Column 299") SELECT g, 'a' || g, '' FROM generate_series(1, 20) g;
INSERT INTO c17_log (id, l1, l130) SELECT g, g, 1.50 FROM generate_series(1, 20) g;
INSERT INTO c17_part (id, p1, p120) SELECT g, g, 7 FROM generate_series(1, 20) g;
ALTER TABLE c17_100 ALTER COLUMN c1 TYPE bigint;
ALTER TABLE c17_101 ALTER COLUMN c1 TYPE bigint;
ALTER TABLE c17_101 ADD COLUMN u uuid DEFAULT gen_random_uuid();
ALTER TABLE c17_300 ALTER COLUMN "Column 1" TYPE text USING "Column 1" || random();
ALTER TABLE c17_log SET LOGGED;
ALTER TABLE c17_part ALTER COLUMN p1 TYPE text USING 'p' || p1 || random();
UPDATE c17_101 SET c2 = 5 WHERE id = 3; UPDATE c17_part SET p2 = 5 WHERE id = 3; DELETE FROM c17_log WHERE id = 4;
