CREATE TABLE a (d date DEFAULT 'today', t timestamptz DEFAULT 'tomorrow'::timestamptz)
