-- What another role needs to stream.

-- Gives a role what start, mark, status and full-backup need, for a superuser
-- to call. The role can then read everything in the database, and forge the
-- capture's messages: it has to be trusted like the backup itself.
CREATE FUNCTION scribe.grant_to(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM set_config('scribe.quiet', (SELECT value FROM scribe.config WHERE key = 'secret'), true);
  EXECUTE format('ALTER ROLE %I REPLICATION BYPASSRLS', role);
  EXECUTE format('GRANT pg_read_all_data, pg_read_all_stats TO %I', role);
  -- pg_read_all_data does not cover large objects.
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET lo_compat_privileges = on', role, current_database());
  EXECUTE format('GRANT USAGE ON SCHEMA scribe TO %I', role);
  EXECUTE format('GRANT SELECT ON scribe.config, scribe.identity, scribe.unguarded, scribe.unsaved, scribe.inventory, scribe.lists, scribe.mislisted TO %I', role);
  EXECUTE format('GRANT EXECUTE ON FUNCTION scribe.here(), scribe.active(), scribe.kept_note(text, oid), scribe.tidy(), scribe.emit(text), scribe.mark(text), scribe.sequence_values(), '
    'scribe.owner_of(oid, oid), scribe.acl_text(aclitem[]), scribe.acl_sql(text, aclitem[], oid, text), scribe.guard_table(oid), scribe.list_table(oid, oid, boolean), scribe.changes(oid), scribe.identity_for(oid), scribe.type_facts(oid), scribe.loose_types(), scribe.hash_root(oid), scribe.repair_sql(oid), scribe.repair_index(oid), scribe.drop_invalid(oid), scribe.large_object_sample(jsonb), '
    'scribe.emit_large_objects(oid[], jsonb, jsonb), scribe.emit_large_object_ranges(bigint[]) TO %I', role);
  PERFORM set_config('scribe.quiet', '', true);
END $fn$;
REVOKE ALL ON FUNCTION scribe.grant_to(name) FROM PUBLIC;
