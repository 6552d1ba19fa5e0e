-- Tables whose replica identity does not say which row was updated or deleted,
-- in the order of their names: scribe.unguarded, for a source without it. full
-- says whether REPLICA IDENTITY FULL would help; since version 18 a published
-- table with generated columns cannot have that. listed are the publications
-- that name the table.
SELECT format('%I.%I', n.nspname, c.relname) AS name,
  NOT (current_setting('server_version_num')::int >= 180000
    AND EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attgenerated <> '' AND NOT g.attisdropped)) AS "full",
  ARRAY (SELECT p.pubname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = c.oid) AS listed
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'information_schema')
  AND (c.relreplident = 'n'
    OR c.relreplident = 'f' AND current_setting('server_version_num')::int >= 180000
      AND EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attgenerated <> '' AND NOT g.attisdropped)
    OR c.relreplident IN ('d', 'i') AND NOT EXISTS (SELECT FROM pg_index i
      WHERE i.indrelid = c.oid AND i.indisvalid
        AND (c.relreplident = 'd' AND i.indisprimary AND i.indimmediate OR c.relreplident = 'i' AND i.indisreplident)
        AND NOT EXISTS (SELECT FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND a.attgenerated <> '')))
ORDER BY 1
