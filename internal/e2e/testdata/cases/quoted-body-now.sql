-- routine bodies in plain quotes that hold now(), today, ... outside of any inner literal
-- correct: prosrc of every routine is the same, byte for byte
CREATE SCHEMA c01;
CREATE TABLE c01.item (id int PRIMARY KEY, v text, updated_at timestamptz, seen date);
CREATE TABLE c01.today (id int PRIMARY KEY, v text);
INSERT INTO c01.item VALUES (1, 'a', '2024-01-01', '2024-01-01'), (2, 'b', NULL, NULL);
INSERT INTO c01.today VALUES (1, 'x');

-- a: the classic
CREATE FUNCTION c01.touch() RETURNS trigger AS '
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END;
' LANGUAGE plpgsql;
CREATE TRIGGER item_touch BEFORE UPDATE ON c01.item FOR EACH ROW EXECUTE FUNCTION c01.touch();
-- b: upper case, a space before the parentheses, the language quoted
CREATE OR REPLACE FUNCTION c01.touch_upper() RETURNS trigger LANGUAGE 'plpgsql' AS 'BEGIN NEW.updated_at := NOW (); RETURN NEW; END';
-- c: language SQL
CREATE FUNCTION c01.clock() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()';
-- d: the word in a comment of the body only
CREATE FUNCTION c01.later() RETURNS int LANGUAGE plpgsql AS 'BEGIN
  -- do it now, not tomorrow
  RETURN 1; /* yesterday it was 2 */
END';
-- e: the word as a name
CREATE FUNCTION c01.count_today() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM c01.today';
CREATE FUNCTION c01.labels() RETURNS TABLE (yesterday int, tomorrow int) LANGUAGE sql AS 'SELECT 1 AS yesterday, 2 AS tomorrow';
-- f: inner literals behind the word, and before it
CREATE FUNCTION c01.behind() RETURNS text LANGUAGE sql AS 'SELECT to_char(now(), ''YYYY-MM'')';
CREATE FUNCTION c01.before() RETURNS text LANGUAGE sql AS 'SELECT ''at '' || now()';
-- g: escape string
CREATE FUNCTION c01.escaped() RETURNS text LANGUAGE sql AS E'SELECT to_char(now(),\n\t\'YYYY\')';
-- h: a procedure
CREATE PROCEDURE c01.stamp(INOUT n int) LANGUAGE plpgsql AS 'BEGIN UPDATE c01.item SET seen = now()::date WHERE id = n; n := n + 1; END';
CALL c01.stamp(1);
-- i: within a DO block, as static SQL and by EXECUTE
DO $do$ BEGIN
  CREATE OR REPLACE FUNCTION c01.in_do() RETURNS trigger AS '
    BEGIN
        NEW.updated_at = NOW();
        RETURN NEW;
    END;
    ' LANGUAGE plpgsql;
  EXECUTE 'CREATE FUNCTION c01.in_execute() RETURNS date LANGUAGE sql AS ''SELECT now()::date''';
END $do$;
-- j: contrast: in dollar quotes nothing may change either
CREATE FUNCTION c01.dollars() RETURNS timestamptz LANGUAGE sql AS $$SELECT now() /* today */$$;
-- k: several in one string
CREATE FUNCTION c01.one() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()' \; CREATE FUNCTION c01.two() RETURNS date LANGUAGE sql AS 'SELECT now()::date + 1';
-- l: replaced later, and altered
CREATE OR REPLACE FUNCTION c01.clock() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now() - interval ''1 day''';
ALTER FUNCTION c01.clock() SET work_mem = '5MB';
-- m: default argument beside the body
CREATE FUNCTION c01.arg(t0 timestamptz DEFAULT now()) RETURNS interval LANGUAGE sql AS 'SELECT now() - t0';
UPDATE c01.item SET v = v || '!';
