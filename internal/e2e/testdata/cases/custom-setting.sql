-- DDL whose expressions read a setting of the session: current_setting('app.tenant')
-- correct: restored without "unrecognized configuration parameter"; values as on the source
CREATE SCHEMA c10;
SET app.tenant = '42';
CREATE TABLE c10.orders (id int PRIMARY KEY, v text);
INSERT INTO c10.orders SELECT g, 'v' || g FROM generate_series(1, 10) g;
-- a: default of a new column (stable: no rewrite, the value is stored in the catalog)
ALTER TABLE c10.orders ADD COLUMN tenant int NOT NULL DEFAULT current_setting('app.tenant')::int;
-- b: a constraint
ALTER TABLE c10.orders ADD CONSTRAINT own CHECK (tenant = current_setting('app.tenant')::int);
INSERT INTO c10.orders (id, v) VALUES (11, 'x');
UPDATE c10.orders SET v = 'y' WHERE id = 5;
-- c: USING
ALTER TABLE c10.orders ALTER COLUMN v TYPE text USING v || '/' || current_setting('app.tenant');
-- d: materialized view, refreshed under another value
CREATE MATERIALIZED VIEW c10.mine AS SELECT id, v FROM c10.orders WHERE tenant = current_setting('app.tenant')::int;
SET app.tenant = '43';
REFRESH MATERIALIZED VIEW c10.mine;
-- e: partition bound, routine, view, policy
CREATE TABLE c10.part (tenant int, v text) PARTITION BY LIST (tenant);
CREATE TABLE c10.part_now PARTITION OF c10.part FOR VALUES IN (current_setting('app.tenant')::int);
INSERT INTO c10.part VALUES (43, 'p');
CREATE VIEW c10.own AS SELECT * FROM c10.part WHERE tenant = current_setting('app.tenant')::int;
CREATE FUNCTION c10.who() RETURNS text LANGUAGE sql SET app.tenant FROM CURRENT AS $$SELECT current_setting('app.tenant')$$;
-- f: SET LOCAL in a transaction, missing_ok elsewhere
BEGIN; SET LOCAL app.actor = 'jane'; ALTER TABLE c10.part ADD COLUMN actor text DEFAULT current_setting('app.actor'); COMMIT;
ALTER TABLE c10.part ADD COLUMN request text DEFAULT current_setting('app.request', true);
-- g: domain
CREATE DOMAIN c10.mine_only AS int CHECK (VALUE = current_setting('app.tenant')::int);
CREATE TABLE c10.d (id int PRIMARY KEY, t c10.mine_only); INSERT INTO c10.d VALUES (1, 43);
RESET app.tenant;
