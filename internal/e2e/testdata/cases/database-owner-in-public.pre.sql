-- before init: the application's role owns the database, as every guide since version 15 says
CREATE ROLE c03_owner NOLOGIN;
CREATE ROLE c03_reader NOLOGIN;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO c03_owner', current_database()); END $$;
SET SESSION AUTHORIZATION c03_owner;
CREATE TABLE public.c03_base (id int PRIMARY KEY, v text);
INSERT INTO public.c03_base VALUES (1, 'in the base');
RESET SESSION AUTHORIZATION;
