-- A slot as the server has it. Columns that not every version has are read by name.
SELECT plugin, database, active, active_pid, restart_lsn::text, confirmed_flush_lsn::text, wal_status, safe_wal_size,
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
  age(catalog_xmin)::bigint, to_jsonb(s) ->> 'invalidation_reason', coalesce((to_jsonb(s) ->> 'failover')::boolean, false),
  CASE WHEN pg_is_in_recovery() THEN 0
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END, -- as in server.sql
  split_part(current_setting('server_version'), ' ', 1)
FROM pg_replication_slots s WHERE slot_name = $1
