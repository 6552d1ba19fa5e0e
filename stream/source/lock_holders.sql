-- The sessions that hold locks on a relation.
SELECT DISTINCT format('process %s%s (%s, transaction since %s)', l.pid, ' of ' || a.usename, coalesce(a.state, 'prepared'),
  coalesce(date_trunc('second', a.xact_start)::text, 'unknown'))
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = to_regclass($1) AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1 LIMIT 5
