CREATE TABLE a (t text DEFAULT 'today is now')
