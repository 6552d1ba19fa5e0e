--
-- PostgreSQL database cluster dump
--

\restrict Tm3VM4uMtlx40KgQKHkkDUfWuqGjUgBO73NXamLYKailFuxr78IsfdzL0wfEvKs

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








\unrestrict Tm3VM4uMtlx40KgQKHkkDUfWuqGjUgBO73NXamLYKailFuxr78IsfdzL0wfEvKs

--
-- PostgreSQL database cluster dump complete
--

