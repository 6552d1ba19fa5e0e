CREATE TABLE a (i int); CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE AS $$SELECT current_setting('app.tenant')$$; SET app.tenant = 'it''s 42'; SET "app.odd$name" = '1'; SET app.other = 'x'
-- record
ALTER TABLE a ADD t text DEFAULT current_setting('app.tenant')
-- then
ALTER TABLE a ADD u text DEFAULT g.tenant()
-- then
ALTER TABLE a ADD v text DEFAULT current_setting('app.nobody', true)
-- then
ALTER TABLE a ADD w text DEFAULT current_setting('App.Odd$Name') || current_setting('TimeZone')
-- clean
DROP TABLE a; DROP FUNCTION tenant()
