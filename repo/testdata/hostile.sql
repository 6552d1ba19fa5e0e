-- The schema and rows that testdata/pg_dump-15.sql is a dump of.
CREATE TABLE public.plain (id int PRIMARY KEY, v text, b bytea);
INSERT INTO public.plain VALUES (1, 'one', '\x00ff'), (2, NULL, NULL), (3, E'tab\tline\nback\\slash\r', ''), (4, '', NULL),
  (5, '-- pg_scribe end', NULL), (6, '\.', NULL), (7, 'COPY public.plain (id, v, b) FROM stdin;', NULL);
CREATE TABLE public.lines (line text);
INSERT INTO public.lines VALUES ('-- pg_scribe end'), ('\.'), (''), (NULL), ('BEGIN; -- xid 1 commit 0/1 at 2026-01-01T00:00:00Z'),
  ('COMMIT; -- 0/1'), ('DROP TABLE public.plain;'), ('-- pg_scribe base'), ('--'), ('SELECT ''open'), ('COPY x FROM stdin;');
CREATE TABLE public.nothing ();
INSERT INTO public.nothing DEFAULT VALUES;
INSERT INTO public.nothing DEFAULT VALUES;
CREATE TABLE public.empty (a int);
CREATE SCHEMA "a ""b"" (c) d;";
CREATE TABLE "a ""b"" (c) d;"."two
lines;" ("x;""
y" int, "FROM stdin" text DEFAULT 'semi;colon');
INSERT INTO "a ""b"" (c) d;"."two
lines;" VALUES (1, 'a'), (2, 'b');
COMMENT ON TABLE public.plain IS E'a comment; with ''quotes''\n-- pg_scribe end\nBEGIN; -- xid 1\n\\. and \\\\';
CREATE FUNCTION public.dollar() RETURNS text LANGUAGE plpgsql AS $f$
BEGIN
-- pg_scribe end
  RETURN $x$ ; ' " -- /* $x$;
END;
$f$;
CREATE FUNCTION public.atomic(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO public.empty VALUES (a);
  SELECT CASE WHEN a > 1 THEN 1 ELSE 2 END;
END;
CREATE VIEW public.v AS SELECT id, 'semi;colon'::text AS "end;" FROM public.plain WHERE v ~ '^\d+;$';
CREATE RULE r AS ON INSERT TO public.empty DO ALSO (DELETE FROM public.plain WHERE id = 99; INSERT INTO public.lines VALUES (';'));
CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER scribe_a ON ddl_command_start EXECUTE FUNCTION public.on_ddl();
ALTER EVENT TRIGGER scribe_a ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER scribe_a IS 'not the application''s';
CREATE EVENT TRIGGER scribe_z ON ddl_command_end EXECUTE FUNCTION public.on_ddl();
CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION public.on_ddl();
SELECT lo_from_bytea(4711, 'large; object');
