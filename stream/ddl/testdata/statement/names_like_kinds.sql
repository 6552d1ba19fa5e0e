CREATE TABLE event (id int); CREATE TABLE role (id int); CREATE ROLE g_r1
-- record
CREATE TABLE plain (id int); GRANT SELECT ON event TO g_r1; GRANT UPDATE ON role TO g_r1; CREATE OR REPLACE LANGUAGE plpgsql; REVOKE ALL ON role FROM g_r1
-- then
CREATE TABLE Ölstand (id int); ALTER TABLE "Ölstand" ADD a int; CREATE INDEX ON Ölstand (a)
-- then
CREATE INDEX a_very_long_name_of_an_index_that_somebody_made_by_a_generator_of_names_1 ON plain (id); CREATE INDEX other_very_long_name_of_an_index_that_somebody_made_by_a_generator_of_names ON plain (id)
-- clean
DROP TABLE event, role, plain, Ölstand; DROP OWNED BY g_r1; DROP ROLE g_r1
