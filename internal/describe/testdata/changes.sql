-- One change a line, each of one attribute.
ALTER SCHEMA app OWNER TO CURRENT_USER
REVOKE USAGE ON SCHEMA app FROM describe_reader
COMMENT ON SCHEMA app IS 'another'
COMMENT ON SCHEMA "Odd schema" IS 'odd'
ALTER SCHEMA "Odd schema" RENAME TO odd
GRANT CREATE ON SCHEMA public TO describe_reader
COMMENT ON SCHEMA public IS 'ours'
ALTER EXTENSION hstore SET SCHEMA public
ALTER EXTENSION hstore DROP FUNCTION app.akeys(app.hstore)
ALTER EXTENSION hstore ADD FUNCTION app.touch()
COMMENT ON EXTENSION hstore IS 'pairs'
ALTER TYPE app.mood RENAME VALUE 'ok' TO 'well'
ALTER TYPE app.mood OWNER TO describe_owner
ALTER TYPE app.pair ADD ATTRIBUTE c date
ALTER TYPE app.pair DROP ATTRIBUTE b CASCADE
ALTER TYPE app.pair RENAME ATTRIBUTE a TO z
ALTER TYPE app.span SET SCHEMA public
REVOKE USAGE ON TYPE app.mood FROM PUBLIC
ALTER DOMAIN app.positive SET DEFAULT 2
ALTER DOMAIN app.positive DROP NOT NULL
ALTER DOMAIN app.positive DROP CONSTRAINT positive_check
ALTER DOMAIN app.positive ADD CONSTRAINT less CHECK (VALUE < 9) NOT VALID
COMMENT ON CONSTRAINT positive_check ON DOMAIN app.positive IS 'more'
ALTER COLLATION app.plain OWNER TO describe_owner
ALTER SEQUENCE app.numbers INCREMENT 6
ALTER SEQUENCE app.numbers MINVALUE 9
ALTER SEQUENCE app.numbers MAXVALUE 999
ALTER SEQUENCE app.numbers START 25
ALTER SEQUENCE app.numbers CACHE 4
ALTER SEQUENCE app.numbers NO CYCLE
ALTER SEQUENCE app.numbers AS bigint
ALTER SEQUENCE owned OWNED BY parent.b
ALTER SEQUENCE owned OWNED BY NONE
GRANT USAGE ON SEQUENCE app.numbers TO describe_reader
CREATE OR REPLACE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed := 'now'; RETURN NEW; END $$
CREATE OR REPLACE FUNCTION app.twice(n int, by int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 7 SET search_path = pg_catalog AS 'SELECT n * by'
CREATE OR REPLACE FUNCTION app.body(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n + 2; END
ALTER FUNCTION app.twice STABLE
ALTER FUNCTION app.twice CALLED ON NULL INPUT
ALTER FUNCTION app.twice PARALLEL RESTRICTED
ALTER FUNCTION app.twice COST 8
ALTER FUNCTION app.twice LEAKPROOF
ALTER FUNCTION app.twice SECURITY DEFINER
ALTER FUNCTION app.twice SET search_path = public
ALTER FUNCTION app.twice RESET search_path
ALTER FUNCTION app.twice OWNER TO describe_owner
ALTER FUNCTION app.twice DEPENDS ON EXTENSION hstore
ALTER FUNCTION app.twice(int, int) RENAME TO thrice
GRANT EXECUTE ON FUNCTION app.twice TO PUBLIC
REVOKE GRANT OPTION FOR EXECUTE ON FUNCTION app.twice FROM describe_reader
ALTER PROCEDURE app.nothing SECURITY INVOKER
ALTER AGGREGATE app.total(int) OWNER TO describe_owner
CREATE OR REPLACE AGGREGATE app.total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '1')
ALTER OPERATOR app.=== (app.pair, app.pair) SET (RESTRICT = eqsel)
ALTER OPERATOR FAMILY app.family USING btree ADD FUNCTION 1 (int4, int8) btint48cmp(int4, int8)
ALTER OPERATOR FAMILY app.family USING btree ADD OPERATOR 1 <(int4, int8)
COMMENT ON CAST (app.pair AS text) IS 'a cast'
UPDATE pg_catalog.pg_cast SET castcontext = 'i' WHERE oid >= 16384
ALTER TABLE orders RENAME COLUMN changed TO altered
ALTER TABLE child ALTER c TYPE bigint
ALTER TABLE orders ALTER amount SET DEFAULT 1
ALTER TABLE orders ALTER amount DROP DEFAULT
ALTER TABLE orders ALTER customer SET NOT NULL
ALTER TABLE orders ALTER id DROP IDENTITY
ALTER TABLE orders ALTER id SET GENERATED ALWAYS
ALTER TABLE customers ALTER id SET START 50
ALTER TABLE orders ALTER net DROP EXPRESSION
ALTER TABLE orders ALTER changed SET STATISTICS 51
ALTER TABLE orders ALTER changed SET STORAGE MAIN
ALTER TABLE orders ALTER changed SET COMPRESSION pglz
ALTER TABLE orders ALTER changed SET (n_distinct = 6)
ALTER TABLE orders SET (fillfactor = 81)
ALTER TABLE orders RESET (fillfactor)
ALTER TABLE orders OWNER TO CURRENT_USER
ALTER TABLE orders SET SCHEMA app
ALTER TABLE orders ADD COLUMN more int
ALTER TABLE orders DROP COLUMN tags
ALTER TABLE orders VALIDATE CONSTRAINT later
ALTER TABLE orders RENAME CONSTRAINT not_negative TO at_least_zero
ALTER TABLE orders ALTER CONSTRAINT of_customer DEFERRABLE INITIALLY DEFERRED
ALTER TABLE orders DROP CONSTRAINT orders_customer_amount_key
ALTER TABLE orders CLUSTER ON orders_pkey
ALTER TABLE child SET UNLOGGED
ALTER TABLE scratch SET LOGGED
ALTER TABLE orders FORCE ROW LEVEL SECURITY
ALTER TABLE orders DISABLE ROW LEVEL SECURITY
ALTER TABLE orders ENABLE TRIGGER orders_off
ALTER TABLE orders ENABLE ALWAYS TRIGGER orders_touch
ALTER TRIGGER orders_touch ON orders RENAME TO orders_change
REVOKE UPDATE (amount) ON orders FROM describe_reader
GRANT SELECT ON orders TO PUBLIC
REVOKE SELECT ON orders FROM describe_reader
COMMENT ON TABLE orders IS 'all orders'
COMMENT ON COLUMN orders.amount IS NULL
COMMENT ON INDEX orders_pkey IS 'the primary key'
COMMENT ON CONSTRAINT later ON orders IS 'some day'
COMMENT ON TRIGGER orders_touch ON orders IS 'touches'
ALTER INDEX orders_changed SET (fillfactor = 50)
ALTER INDEX orders_changed ALTER COLUMN 1 SET STATISTICS 20
ALTER INDEX orders_changed RENAME TO orders_altered
UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'orders_changed'::regclass
ALTER STATISTICS app.both SET STATISTICS 40
ALTER STATISTICS app.both OWNER TO describe_owner
ALTER POLICY mine ON orders TO describe_reader
ALTER POLICY mine ON orders USING (customer > 1)
ALTER POLICY mine ON orders WITH CHECK (amount < 1001)
ALTER TABLE customers DISABLE RULE no_delete
CREATE OR REPLACE RULE no_delete AS ON DELETE TO customers WHERE old.id < 6 DO INSTEAD NOTHING
CREATE OR REPLACE VIEW app.large WITH (security_barrier) AS SELECT id, amount FROM orders WHERE amount > 101 WITH LOCAL CHECK OPTION
ALTER VIEW app.large SET (security_barrier = false)
ALTER VIEW app.large ALTER amount DROP DEFAULT
REFRESH MATERIALIZED VIEW app.sums
ALTER TABLE parts DETACH PARTITION parts_1
ALTER TABLE child NO INHERIT parent
ALTER TABLE child ALTER a SET DEFAULT 7
ALTER FOREIGN DATA WRAPPER wrapper OPTIONS (SET debug 'off')
ALTER SERVER away OPTIONS (SET host 'i')
ALTER SERVER away VERSION '2'
ALTER USER MAPPING FOR describe_reader SERVER away OPTIONS (SET user 'v')
ALTER FOREIGN TABLE far OPTIONS (SET path 'q')
ALTER FOREIGN TABLE far ALTER a OPTIONS (SET name 'c')
ALTER EVENT TRIGGER describe_ddl ENABLE REPLICA
ALTER EVENT TRIGGER describe_ddl OWNER TO CURRENT_USER; COMMENT ON EVENT TRIGGER describe_ddl IS 'x'
ALTER PUBLICATION changes SET (publish = 'insert, update')
ALTER PUBLICATION changes DROP TABLE customers
ALTER PUBLICATION changes SET TABLE customers, orders (id, amount) WHERE (amount > 6)
ALTER DEFAULT PRIVILEGES FOR ROLE describe_owner IN SCHEMA app GRANT INSERT ON TABLES TO describe_reader
ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR word WITH simple
ALTER TEXT SEARCH DICTIONARY app.short (STOPWORDS = german)
ALTER CONVERSION app.conversion OWNER TO describe_owner
COMMENT ON LARGE OBJECT 424242 IS 'another picture'
ALTER LARGE OBJECT 424242 OWNER TO describe_owner
GRANT SELECT ON LARGE OBJECT 424242 TO describe_reader
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC
GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO describe_reader
GRANT SELECT ON pg_authid TO describe_reader
REVOKE USAGE ON TYPE int4 FROM PUBLIC
GRANT USAGE ON SCHEMA information_schema TO describe_reader
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''7MB''', current_database()); END $$
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 7', current_database()); END $$
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO describe_owner', current_database()); END $$
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO describe_reader', current_database()); END $$
DO $$ BEGIN EXECUTE format('ALTER ROLE describe_reader IN DATABASE %I SET work_mem = ''7MB''', current_database()); END $$
