SET standard_conforming_strings = off
-- then
CREATE TABLE a (i text DEFAULT 'it\'s; x'); CREATE TABLE b (i int)
-- then
RESET standard_conforming_strings
