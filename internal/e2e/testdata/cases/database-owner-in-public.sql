-- migrations by a database owner that is no superuser, in schema public (which belongs to pg_database_owner since 15)
-- correct: restored into a new database by restore -C; owners and privileges equal
SET SESSION AUTHORIZATION c03_owner;
ALTER TABLE public.c03_base ADD COLUMN n int DEFAULT 7;
CREATE TABLE public.c03_order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, base int REFERENCES public.c03_base, note text);
CREATE INDEX c03_order_base ON public.c03_order (base);
INSERT INTO public.c03_order (base, note) SELECT 1, 'n' || g FROM generate_series(1, 20) g;
CREATE TYPE public.c03_state AS ENUM ('new', 'paid');
ALTER TABLE public.c03_order ADD COLUMN state public.c03_state DEFAULT 'new';
CREATE VIEW public.c03_paid AS SELECT id FROM public.c03_order WHERE state = 'paid';
CREATE FUNCTION public.c03_pay(i bigint) RETURNS void LANGUAGE sql AS $$UPDATE public.c03_order SET state = 'paid' WHERE id = i$$;
SELECT public.c03_pay(3);
CREATE SEQUENCE public.c03_seq;
CREATE TABLE c03_unqualified AS SELECT id, note FROM c03_order WHERE id < 5;
CREATE MATERIALIZED VIEW public.c03_sum AS SELECT state, count(*) FROM public.c03_order GROUP BY state;
CREATE EXTENSION citext;
CREATE SCHEMA c03_app;
CREATE TABLE c03_app.t (k citext PRIMARY KEY);
INSERT INTO c03_app.t VALUES ('Abc');
COMMENT ON SCHEMA public IS 'kept by c03_owner';
GRANT USAGE ON SCHEMA public TO c03_reader;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO c03_reader;
CREATE TABLE public.c03_after (id int PRIMARY KEY);
ALTER SCHEMA public OWNER TO c03_owner;
CREATE TABLE public.c03_last (id int);
INSERT INTO public.c03_last VALUES (1), (1);
UPDATE public.c03_last SET id = 2;
RESET SESSION AUTHORIZATION;
-- a schema of the predefined role, used by the database's owner
CREATE SCHEMA c03s; ALTER SCHEMA c03s OWNER TO pg_database_owner;
SET SESSION AUTHORIZATION c03_owner;
CREATE TABLE c03s.t (id int PRIMARY KEY); INSERT INTO c03s.t VALUES (1);
GRANT USAGE ON SCHEMA c03s TO c03_reader;
RESET SESSION AUTHORIZATION;
