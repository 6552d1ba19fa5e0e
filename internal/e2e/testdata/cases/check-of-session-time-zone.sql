-- CHECK constraints that hold under the session's TimeZone, role or clock, and not under those of the replay (UTC, superuser, later)
-- correct: rows come back; LIMITS names only functions that look names up without a schema
SET TimeZone = 'Pacific/Auckland';
CREATE SCHEMA c20;
-- a: the local day of a moment
CREATE TABLE c20.visit (id int PRIMARY KEY, at timestamptz NOT NULL, day date NOT NULL, CHECK (day = at::date));
INSERT INTO c20.visit VALUES (1, '2024-03-01 08:00', '2024-03-01'), (2, '2024-03-01 20:00', '2024-03-01');
UPDATE c20.visit SET at = at + interval '1 hour';
-- b: a number that holds the local month
CREATE TABLE c20.invoice (no text PRIMARY KEY, issued timestamptz NOT NULL, CHECK (no LIKE 'INV-' || to_char(issued, 'YYYYMM') || '-%'));
INSERT INTO c20.invoice VALUES ('INV-202401-1', '2024-01-01 01:30');
-- c: a block of rows
INSERT INTO c20.visit SELECT g, t, t::date FROM generate_series(10, 40) g, LATERAL (SELECT timestamptz '2024-05-05 00:30' + g * interval '7 hours') x(t);
-- d: who writes
CREATE ROLE c20_clerk NOLOGIN; GRANT USAGE ON SCHEMA c20 TO c20_clerk;
CREATE TABLE c20.entry (id int PRIMARY KEY, by_ name NOT NULL DEFAULT current_user CHECK (by_ = current_user), v text);
GRANT INSERT, SELECT, UPDATE ON c20.entry TO c20_clerk;
SET ROLE c20_clerk; INSERT INTO c20.entry (id, v) VALUES (1, 'mine'); RESET ROLE;
-- e: the clock
CREATE TABLE c20.offer (id int PRIMARY KEY, until timestamptz CHECK (until > now()), v text);
INSERT INTO c20.offer VALUES (1, now() + interval '2 seconds', 'short');
-- f: other settings
SET DateStyle = 'SQL, DMY';
CREATE TABLE c20.text_date (id int PRIMARY KEY, d date, t text CHECK (t = d::text));
INSERT INTO c20.text_date VALUES (1, '2024-12-31', '31/12/2024');
RESET DateStyle;
-- g: a domain
CREATE DOMAIN c20.night AS timestamptz CHECK (VALUE::time < '06:00');
CREATE TABLE c20.watch (id int PRIMARY KEY, at c20.night); INSERT INTO c20.watch VALUES (1, '2024-06-01 03:00');
RESET TimeZone;
SELECT pg_sleep(3);
