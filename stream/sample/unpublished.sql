-- The tables that a list of published ones lacks, with what the statistics say of them.
SELECT c.oid, format('%I.%I', n.nspname, c.relname), scribe.changes(c.oid),
  coalesce((scribe.kept_note('unlisted', c.oid) ->> 'changes')::bigint, 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'information_schema')
  AND NOT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = c.oid AND p.pubname = $1)
ORDER BY 2
