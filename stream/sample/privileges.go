package sample

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pg_scribe/stream/ddl"
)

// Default privileges count when an object is made, and the stream has
// transactions in the order in which they committed: one that made an object
// before another one changed the defaults may come behind that. The privileges
// of such an object are sampled.

// privilegeCommands give objects the privileges that they have now.
func privilegeCommands(ctx context.Context, tx pgx.Tx, keys []string) (map[string]string, error) {
	return readTexts(ctx, tx, `SELECT k, format('DO %L', format('DECLARE g record; BEGIN %s`+ddl.OrGone+` END',
	      scribe.acl_sql(x.word || ' ' || i.identity, coalesce(x.acl, acldefault(x.kind::"char", x.owner)), x.owner,
	        format('(SELECT coalesce(%1$sacl, acldefault(%2$L, %1$sowner)) FROM %3$s WHERE oid = to_reg%4$s(%5$L))', x.prefix, x.kind, x.class, x.lookup, i.identity))))
	  FROM (SELECT k, split_part(k, ' ', 1)::oid AS class, split_part(k, ' ', 2)::oid AS oid FROM unnest($1::text[]) k) o,
	    LATERAL (SELECT 'pg_class'::regclass AS class, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS word, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END AS kind, relacl AS acl, relowner AS owner, 'rel' AS prefix, 'class' AS lookup
	        FROM pg_class c WHERE c.oid = o.oid AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
	      UNION ALL SELECT 'pg_proc'::regclass, 'ROUTINE', 'f', proacl, proowner, 'pro', 'procedure' FROM pg_proc p WHERE p.oid = o.oid
	      UNION ALL SELECT 'pg_type'::regclass, 'TYPE', 'T', typacl, typowner, 'typ', 'type' FROM pg_type t WHERE t.oid = o.oid
	      UNION ALL SELECT 'pg_namespace'::regclass, 'SCHEMA', 'n', nspacl, nspowner, 'nsp', 'namespace' FROM pg_namespace n WHERE n.oid = o.oid) x,
	    LATERAL pg_identify_object(o.class, o.oid, 0) i
	  WHERE x.class = o.class AND i.identity IS NOT NULL`, keys)
}
