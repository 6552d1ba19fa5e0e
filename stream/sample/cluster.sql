-- The index by which CLUSTER orders a table.
SELECT format('%I.%I', n.nspname, c.relname) || chr(31) || c.oid, coalesce(
  (SELECT format('DO %L', format('BEGIN ALTER TABLE %I.%I CLUSTER ON %I;{{or_gone}} END', n.nspname, c.relname, x.relname))
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisclustered),
  format('ALTER TABLE %I.%I SET WITHOUT CLUSTER', n.nspname, c.relname))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe'
  AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisclustered)
