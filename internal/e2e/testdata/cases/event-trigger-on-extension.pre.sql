-- before init: an event trigger of the application that reacts to CREATE EXTENSION (name sorts before scribe_)
CREATE ROLE c05_api NOLOGIN;
CREATE SCHEMA c05;
CREATE SCHEMA c05_ext;
CREATE TABLE c05.log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ext text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION c05.after_extension() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT e.extname, n.nspname FROM pg_event_trigger_ddl_commands() c
      JOIN pg_extension e ON c.classid = 'pg_extension'::regclass AND e.oid = c.objid JOIN pg_namespace n ON n.oid = e.extnamespace LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO c05_api', r.nspname);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %I TO c05_api', r.nspname);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO c05_api', r.nspname);
    IF r.extname = 'hstore' THEN
      CREATE OR REPLACE FUNCTION c05.hstore_is_ready() RETURNS boolean LANGUAGE sql AS 'SELECT true';
      CREATE TABLE IF NOT EXISTS c05.installed (ext text PRIMARY KEY);
      CREATE VIEW c05.installed_view AS SELECT ext FROM c05.installed;
    END IF;
    INSERT INTO c05.log (ext) VALUES (r.extname);
  END LOOP;
END $$;
CREATE EVENT TRIGGER issue_extension_access ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION c05.after_extension();
