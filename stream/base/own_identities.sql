-- The statements of pg_dump for replica identities that the capture gave to tables.
SELECT format('ALTER TABLE ONLY %I.%I REPLICA IDENTITY %s;', n.nspname, c.relname,
  coalesce('USING INDEX ' || (SELECT quote_ident(x.relname) FROM pg_index r JOIN pg_class x ON x.oid = r.indexrelid
    WHERE r.indrelid = c.oid AND r.indisreplident AND c.relreplident = 'i'), 'FULL'))
FROM scribe.identity i JOIN pg_class c ON c.oid = i.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.original = 'd' AND (c.relreplident = 'f' OR scribe.identity_for(c.oid) <> 'FULL')
