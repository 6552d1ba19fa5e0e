-- The names of objects, by their keys. A relation that another transaction has
-- dropped since is in the snapshot still, and nothing else is known of it.
SELECT k, name FROM (SELECT k, coalesce(
  (SELECT i.type || ' ' || i.identity FROM pg_identify_object(split_part(k, ' ', 1)::oid, split_part(k, ' ', 2)::oid, 0) i),
  (SELECT CASE relkind WHEN 'i' THEN 'index ' ELSE 'relation ' END || relname FROM pg_class
    WHERE split_part(k, ' ', 1)::oid = 'pg_class'::regclass AND oid = split_part(k, ' ', 2)::oid)) AS name
FROM unnest($1::text[]) k) x WHERE name IS NOT NULL
