-- rows inserted one statement each in one transaction, with a CHECK that looks at the rows before (a run of 8 becomes one COPY)
-- correct: restored; on the source each INSERT saw the rows before it, a COPY block sees none of its own
CREATE SCHEMA c32;
CREATE TABLE c32.node (id int PRIMARY KEY, up int, name text);
CREATE FUNCTION c32.has(i int) RETURNS boolean LANGUAGE sql STABLE AS $$SELECT i IS NULL OR EXISTS (SELECT FROM c32.node WHERE id = i)$$;
ALTER TABLE c32.node ADD CONSTRAINT up_exists CHECK (c32.has(up));
BEGIN;
INSERT INTO c32.node VALUES (1, NULL, 'root');
INSERT INTO c32.node VALUES (2, 1, 'a');
INSERT INTO c32.node VALUES (3, 1, 'b');
INSERT INTO c32.node VALUES (4, 2, 'c');
INSERT INTO c32.node VALUES (5, 4, 'd');
INSERT INTO c32.node VALUES (6, 5, 'e');
INSERT INTO c32.node VALUES (7, 6, 'f');
INSERT INTO c32.node VALUES (8, 7, 'g');
INSERT INTO c32.node VALUES (9, 8, 'h');
INSERT INTO c32.node VALUES (10, 9, 'i');
INSERT INTO c32.node VALUES (11, 10, 'j');
COMMIT;
-- the same in a loop with a volatile PL/pgSQL function: no two bookings of a room overlap, each starts where the last one ended
CREATE TABLE c32.booking (id int PRIMARY KEY, room int, from_ int, to_ int);
CREATE FUNCTION c32.adjoins(r int, f int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RETURN f = coalesce((SELECT max(to_) FROM c32.booking WHERE room = r), 0); END$$;
ALTER TABLE c32.booking ADD CHECK (c32.adjoins(room, from_));
DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO c32.booking VALUES (i, 1, (i - 1) * 10, i * 10); END LOOP; END $$;
-- the rewrite of such a table
ALTER TABLE c32.node ALTER COLUMN name TYPE varchar(20);
ALTER TABLE c32.node ALTER COLUMN id TYPE bigint;
DELETE FROM c32.node WHERE id > 9;
