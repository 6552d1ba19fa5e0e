-- The command that gives a table back the replica identity that it had, unless
-- somebody has given it another one since.
SELECT format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', i.relid::regclass,
  CASE i.original WHEN 'n' THEN 'NOTHING' WHEN 'd' THEN 'DEFAULT' WHEN 'f' THEN 'FULL'
    ELSE coalesce('USING INDEX ' || (SELECT quote_ident(relname) FROM pg_class WHERE oid = i.index), 'NOTHING') END)
FROM scribe.identity i JOIN pg_class c ON c.oid = i.relid
WHERE i.relid = $1 AND (c.relreplident = 'f' OR c.relreplident = 'i' AND 'FULL' <> scribe.identity_for(c.oid))
