-- The values of sequences. The key has the file too, which is another one after RESTART;
-- the sequence may have been altered when its value is set.
SELECT concat_ws(' ', oid, pg_relation_filenode(oid)),
  format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NOT NULL THEN PERFORM pg_catalog.setval(%L, %s, %s); END IF; EXCEPTION WHEN numeric_value_out_of_range THEN RAISE WARNING ''%%'', SQLERRM; END',
  format('%I.%I', schema, name), format('%I.%I', schema, name), last_value, is_called::text)) FROM scribe.sequence_values()
