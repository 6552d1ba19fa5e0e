CREATE FUNCTION et() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF tg_tag = 'CREATE TABLE' AND to_regclass('g.log') IS NULL THEN CREATE TABLE g.log (i int); END IF; END$$; CREATE EVENT TRIGGER g_et ON ddl_command_end EXECUTE FUNCTION et()
-- record
CREATE TABLE a (i int)
-- clean
DROP EVENT TRIGGER g_et
