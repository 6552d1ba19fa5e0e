-- words such as 'now' as mere text beside literals that the server prints in another spelling
-- correct: everything is captured, no mark: no command here holds such a word as a date
CREATE SCHEMA c02;
CREATE TABLE c02.job (id int PRIMARY KEY, run text NOT NULL DEFAULT 'now' CHECK (run IN ('now', 'later')), timeout interval NOT NULL DEFAULT '5 minutes');
CREATE TABLE c02.slot (id int PRIMARY KEY, label text DEFAULT 'open today', opens time DEFAULT '8:30');
CREATE TABLE c02.promo (id int PRIMARY KEY, headline text DEFAULT 'Buy now!', starts timestamptz DEFAULT '2025-01-01');
CREATE TABLE c02.mixed (id int PRIMARY KEY, when_ text DEFAULT 'tomorrow', CHECK (when_ <> '' OR now() > TIMESTAMP '2020-1-1'));
CREATE VIEW c02.due AS SELECT id, 'due today' AS label FROM c02.job WHERE timeout > '90 minutes';
CREATE TABLE c02.plain (id int PRIMARY KEY, v text);
ALTER TABLE c02.plain ADD COLUMN hint text DEFAULT 'call us now', ADD COLUMN wait interval DEFAULT '1 hour 5 min';
ALTER TABLE c02.plain ADD CONSTRAINT w CHECK (v <> 'yesterday' AND wait < '2 days 00:30');
CREATE INDEX plain_now ON c02.plain (id) WHERE hint = 'call us now' AND wait > '00:10';
CREATE DOMAIN c02.span AS interval DEFAULT '45 s' CHECK (VALUE::text <> 'now');
ALTER TABLE c02.plain ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON c02.plain USING (hint <> 'today' AND wait > '3 min');
INSERT INTO c02.job (id) VALUES (1); INSERT INTO c02.slot (id) VALUES (1); INSERT INTO c02.promo (id) VALUES (1); INSERT INTO c02.plain (id, v) VALUES (1, 'x');
