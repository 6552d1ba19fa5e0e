CREATE TABLE a (d date CHECK (d > 'yesterday'::date AND d < '2999-01-01'))
