-- what the application's own event trigger does at the end of CREATE EXTENSION (grants, objects, a row in a log)
-- correct: grants, default privileges, c05.hstore_is_ready(), c05.installed, c05.installed_view and the rows of c05.log are there
CREATE EXTENSION hstore WITH SCHEMA c05_ext;
CREATE EXTENSION citext WITH SCHEMA c05_ext;
CREATE TABLE c05.kv (id int PRIMARY KEY, v c05_ext.hstore, k c05_ext.citext);
INSERT INTO c05.kv VALUES (1, 'a=>1', 'K'), (2, 'b=>2', 'l');
UPDATE c05.kv SET v = 'c=>3' WHERE id = 2;
CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA c05_ext;
CREATE TABLE c05_ext.mine (id int PRIMARY KEY);
