-- Whether a transaction that the snapshot counts as ended is still seen as running.
SELECT EXISTS (
  SELECT FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL
    AND a.backend_xid::text::bigint >= pg_snapshot_xmin(s)::text::bigint % 4294967296
    AND a.backend_xid::text::bigint < pg_snapshot_xmax(s)::text::bigint % 4294967296
    AND NOT EXISTS (SELECT FROM pg_snapshot_xip(s) x WHERE x::text::bigint % 4294967296 = a.backend_xid::text::bigint))
FROM pg_current_snapshot() s
