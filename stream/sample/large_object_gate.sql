-- Text that differs if large objects changed, and their size.
SELECT concat_ws(' ', current_setting('track_counts'),
    (SELECT string_agg(concat_ws(',', relname, n_tup_ins, n_tup_upd, n_tup_del), ' ' ORDER BY relname) FROM pg_stat_sys_tables
      WHERE relid IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass)),
    (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())),
  pg_relation_size('pg_largeobject')
