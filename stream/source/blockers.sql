-- The transactions that a new slot waits for.
SELECT format('process %s (%s, user %s, since %s)', pid, state, usename, date_trunc('second', xact_start))
  FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT format('prepared transaction %L (since %s)', gid, date_trunc('second', prepared)) FROM pg_prepared_xacts
