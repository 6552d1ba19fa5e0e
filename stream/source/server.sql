-- What the source is. After a promotion pg_control_checkpoint() returns the old
-- timeline until the first checkpoint is complete, so a primary is asked for that
-- of the file that it writes. Columns that not every version has are read by name.
SELECT c.system_identifier::text,
  CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
  current_setting('server_version_num')::int, split_part(current_setting('server_version'), ' ', 1),
  d.datname, d.oid, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
  CASE to_jsonb(d) ->> 'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''),
  current_setting('max_replication_slots')::int, current_setting('wal_level'), pg_is_in_recovery(),
  r.rolname, r.rolsuper, r.rolreplication, has_table_privilege('pg_catalog.pg_authid', 'SELECT')
FROM pg_control_system() c, pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user
