--
-- PostgreSQL database dump
--

\restrict mvYPTJwwvvS9cUe6ORkpm2EfvzESKE5N3oFeeq5AVdkbaO0HVhEyOlQHEi2W8Ps

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: a "b" (c) d;; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA "a ""b"" (c) d;";


ALTER SCHEMA "a ""b"" (c) d;" OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: empty; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.empty (
    a integer
);


ALTER TABLE public.empty OWNER TO postgres;

--
-- Name: atomic(integer); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.atomic(a integer) RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 INSERT INTO public.empty (a)
   VALUES (atomic.a);
 SELECT
         CASE
             WHEN (a > 1) THEN 1
             ELSE 2
         END AS "case";
END;


ALTER FUNCTION public.atomic(a integer) OWNER TO postgres;

--
-- Name: dollar(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.dollar() RETURNS text
    LANGUAGE plpgsql
    AS $_$
BEGIN
-- pg_scribe end
  RETURN $x$ ; ' " -- /* $x$;
END;
$_$;


ALTER FUNCTION public.dollar() OWNER TO postgres;

--
-- Name: on_ddl(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.on_ddl() RETURNS event_trigger
    LANGUAGE plpgsql
    AS $$ BEGIN END $$;


ALTER FUNCTION public.on_ddl() OWNER TO postgres;

--
-- Name: two lines;; Type: TABLE; Schema: a "b" (c) d;; Owner: postgres
--

CREATE TABLE "a ""b"" (c) d;"."two
lines;" (
    "x;""
y" integer,
    "FROM stdin" text DEFAULT 'semi;colon'::text
);


ALTER TABLE "a ""b"" (c) d;"."two
lines;" OWNER TO postgres;

--
-- Name: lines; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.lines (
    line text
);


ALTER TABLE public.lines OWNER TO postgres;

--
-- Name: nothing; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.nothing (
);


ALTER TABLE public.nothing OWNER TO postgres;

--
-- Name: plain; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.plain (
    id integer NOT NULL,
    v text,
    b bytea
);


ALTER TABLE public.plain OWNER TO postgres;

--
-- Name: TABLE plain; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON TABLE public.plain IS 'a comment; with ''quotes''
-- pg_scribe end
BEGIN; -- xid 1
\. and \\';


--
-- Name: v; Type: VIEW; Schema: public; Owner: postgres
--

CREATE VIEW public.v AS
 SELECT plain.id,
    'semi;colon'::text AS "end;"
   FROM public.plain
  WHERE (plain.v ~ '^\d+;$'::text);


ALTER TABLE public.v OWNER TO postgres;

--
-- Name: 4711; Type: BLOB; Schema: -; Owner: postgres
--

SELECT pg_catalog.lo_create('4711');


ALTER LARGE OBJECT 4711 OWNER TO postgres;

--
-- Data for Name: two lines;; Type: TABLE DATA; Schema: a "b" (c) d;; Owner: postgres
--

COPY "a ""b"" (c) d;"."two
lines;" ("x;""
y", "FROM stdin") FROM stdin;
1	a
2	b
\.


--
-- Data for Name: empty; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.empty (a) FROM stdin;
\.


--
-- Data for Name: lines; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.lines (line) FROM stdin;
-- pg_scribe end
\\.

\N
BEGIN; -- xid 1 commit 0/1 at 2026-01-01T00:00:00Z
COMMIT; -- 0/1
DROP TABLE public.plain;
-- pg_scribe base
--
SELECT 'open
COPY x FROM stdin;
\.


--
-- Data for Name: nothing; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.nothing  FROM stdin;


\.


--
-- Data for Name: plain; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.plain (id, v, b) FROM stdin;
1	one	\\x00ff
2	\N	\N
3	tab\tline\nback\\slash\r	\\x
4		\N
5	-- pg_scribe end	\N
6	\\.	\N
7	COPY public.plain (id, v, b) FROM stdin;	\N
\.


--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('4711', 131072);
SELECT pg_catalog.lowrite(0, '\x6c617267653b206f626a656374');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: plain plain_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.plain
    ADD CONSTRAINT plain_pkey PRIMARY KEY (id);


--
-- Name: empty r; Type: RULE; Schema: public; Owner: postgres
--

CREATE RULE r AS
    ON INSERT TO public.empty DO ( DELETE FROM public.plain
  WHERE (plain.id = 99);
 INSERT INTO public.lines (line)
  VALUES (';'::text);
);


--
-- Name: mine; Type: EVENT TRIGGER; Schema: -; Owner: postgres
--

CREATE EVENT TRIGGER mine ON ddl_command_end
   EXECUTE FUNCTION public.on_ddl();


ALTER EVENT TRIGGER mine OWNER TO postgres;

--
-- Name: scribe_a; Type: EVENT TRIGGER; Schema: -; Owner: postgres
--

CREATE EVENT TRIGGER scribe_a ON ddl_command_start
   EXECUTE FUNCTION public.on_ddl();

ALTER EVENT TRIGGER scribe_a ENABLE ALWAYS;


ALTER EVENT TRIGGER scribe_a OWNER TO postgres;

--
-- Name: EVENT TRIGGER scribe_a; Type: COMMENT; Schema: -; Owner: postgres
--

COMMENT ON EVENT TRIGGER scribe_a IS 'not the application''s';


--
-- Name: scribe_z; Type: EVENT TRIGGER; Schema: -; Owner: postgres
--

CREATE EVENT TRIGGER scribe_z ON ddl_command_end
   EXECUTE FUNCTION public.on_ddl();


ALTER EVENT TRIGGER scribe_z OWNER TO postgres;

--
-- PostgreSQL database dump complete
--

\unrestrict mvYPTJwwvvS9cUe6ORkpm2EfvzESKE5N3oFeeq5AVdkbaO0HVhEyOlQHEi2W8Ps

