CREATE TABLE a (i int PRIMARY KEY, t text); -- a comment goes
