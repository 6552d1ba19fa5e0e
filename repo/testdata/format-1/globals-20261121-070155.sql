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
-- start: 0/194C120
-- at: 2026-11-21T07:01:55.641144Z
-- created: 2026-11-21T07:01:55.646333Z
-- filters: "none"
-- pg_dump: "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
--
--
-- PostgreSQL database cluster dump
--

\restrict HiVGgOx7kpIzpY6TLufXb3VgeSyAHjzF16TsDuenlqYBYZvJTEKgoA7WekWTtcg

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








\unrestrict HiVGgOx7kpIzpY6TLufXb3VgeSyAHjzF16TsDuenlqYBYZvJTEKgoA7WekWTtcg

--
-- PostgreSQL database cluster dump complete
--

-- pg_scribe end
-- end: 0/194C120
-- transactions: 0
-- text: 961 sha256 1d4f64177b4394a13db386fa4fe504befac62c380e12e0ae8671faac08aed117
