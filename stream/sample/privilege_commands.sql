-- The commands that give objects, by their keys, the privileges that they have now.
SELECT k, format('DO %L', format('DECLARE g record; BEGIN %s{{or_gone}} END',
    scribe.acl_sql(x.word || ' ' || i.identity, coalesce(x.acl, acldefault(x.kind::"char", x.owner)), x.owner,
      format('(SELECT coalesce(%1$sacl, acldefault(%2$L, %1$sowner)) FROM %3$s WHERE oid = to_reg%4$s(%5$L))', x.prefix, x.kind, x.class, x.lookup, i.identity))))
FROM (SELECT k, split_part(k, ' ', 1)::oid AS class, split_part(k, ' ', 2)::oid AS oid FROM unnest($1::text[]) k) o,
  LATERAL (SELECT 'pg_class'::regclass AS class, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS word, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END AS kind, relacl AS acl, relowner AS owner, 'rel' AS prefix, 'class' AS lookup
      FROM pg_class c WHERE c.oid = o.oid AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, 'ROUTINE', 'f', proacl, proowner, 'pro', 'procedure' FROM pg_proc p WHERE p.oid = o.oid
    UNION ALL SELECT 'pg_type'::regclass, 'TYPE', 'T', typacl, typowner, 'typ', 'type' FROM pg_type t WHERE t.oid = o.oid
    UNION ALL SELECT 'pg_namespace'::regclass, 'SCHEMA', 'n', nspacl, nspowner, 'nsp', 'namespace' FROM pg_namespace n WHERE n.oid = o.oid) x,
  LATERAL pg_identify_object(o.class, o.oid, 0) i
WHERE x.class = o.class AND i.identity IS NOT NULL
