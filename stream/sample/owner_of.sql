SELECT 'pg_class'::regclass::oid AS class, indrelid AS oid FROM pg_index WHERE x.class = 'pg_class'::regclass AND indexrelid = x.oid
      UNION ALL SELECT 'pg_class'::regclass, conrelid FROM pg_constraint p WHERE x.class = 'pg_constraint'::regclass AND p.oid = x.oid AND conrelid <> 0
      UNION ALL SELECT 'pg_type'::regclass, contypid FROM pg_constraint p WHERE x.class = 'pg_constraint'::regclass AND p.oid = x.oid AND contypid <> 0
      UNION ALL SELECT 'pg_class'::regclass, tgrelid FROM pg_trigger p WHERE x.class = 'pg_trigger'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_class'::regclass, polrelid FROM pg_policy p WHERE x.class = 'pg_policy'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_class'::regclass, ev_class FROM pg_rewrite p WHERE x.class = 'pg_rewrite'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_class'::regclass, adrelid FROM pg_attrdef p WHERE x.class = 'pg_attrdef'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_opfamily'::regclass, amopfamily FROM pg_amop p WHERE x.class = 'pg_amop'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_opfamily'::regclass, amprocfamily FROM pg_amproc p WHERE x.class = 'pg_amproc'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_publication'::regclass, prpubid FROM pg_publication_rel p WHERE x.class = 'pg_publication_rel'::regclass AND p.oid = x.oid
      UNION ALL SELECT 'pg_class'::regclass, typrelid FROM pg_type p WHERE x.class = 'pg_type'::regclass AND p.oid = x.oid AND typrelid <> 0
      UNION ALL SELECT 'pg_type'::regclass, typelem FROM pg_type p WHERE x.class = 'pg_type'::regclass AND p.oid = x.oid AND typelem <> 0
