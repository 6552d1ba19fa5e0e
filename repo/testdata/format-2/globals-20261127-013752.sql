-- pg_scribe globals
-- format: 2
-- system: 7712659436094629009
-- timeline: 1
-- database: "frozen"
-- server: "15.20"
-- encoding: UTF8
-- collate: "C.UTF-8"
-- ctype: "C.UTF-8"
-- provider: libc
-- start: 0/19C4CF8
-- at: 2026-11-27T01:37:52.766526Z
-- created: 2026-11-27T01:37:52.767986Z
-- filters: "none"
-- pg_dump: "pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"
-- repository-created: 2026-11-27T01:37:49.837783Z
-- repository-slot: "frozen"
-- repository-publication: "pg_scribe"
-- repository-compression: "zstd"
-- repository-mode: "guarded"
-- repository-stream-start: 0/19BF068
-- database-oid: 16384
--
--
-- PostgreSQL database cluster dump
--

\restrict gtXWpf02ZdrztV9MFXwaea7YsKieMBm2KAzV7yFcdUWfW20U4bjOTMUk9UaHhkD

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








\unrestrict gtXWpf02ZdrztV9MFXwaea7YsKieMBm2KAzV7yFcdUWfW20U4bjOTMUk9UaHhkD

--
-- PostgreSQL database cluster dump complete
--

-- pg_scribe end
-- end: 0/19C4CF8
-- finished: 2026-11-27T01:37:53.259436Z
-- transactions: 0
-- text: 1247 sha256 89a7f1e7947ca91883d509c608a5438f2d555586ec584edbdff32170753fb21d
