-- pg_scribe globals
-- format: 1
-- system: 7710516476495610318
-- timeline: 1
-- database: "cli_1"
-- server: "15.18"
-- encoding: UTF8
-- collate: "C.UTF-8"
-- ctype: "C.UTF-8"
-- provider: libc
-- start: 0/194FD30
-- at: 2026-11-21T07:01:55.970906Z
-- created: 2026-11-21T07:01:55.971897Z
-- filters: "none"
-- pg_dump: "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
--
--
-- PostgreSQL database cluster dump
--

\restrict ffUDweOgnodBDN8Pd0p2936jXiWZpqxaVGJorGAXxcOGeC4ZGcsN8DYiA8iQjiJ

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;

--
-- User Configurations
--








\unrestrict ffUDweOgnodBDN8Pd0p2936jXiWZpqxaVGJorGAXxcOGeC4ZGcsN8DYiA8iQjiJ

--
-- PostgreSQL database cluster dump complete
--

-- pg_scribe end
-- end: 0/194FD30
-- transactions: 0
-- text: 961 sha256 b5589ad5094c24b6639e51de05eff347ea247864a75617218e250c050da82cb4
