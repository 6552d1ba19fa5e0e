-- The commands that give objects, by their keys, to the owners that they have now.
SELECT k, format('DO %L', format('BEGIN '
    || CASE class WHEN 'pg_foreign_data_wrapper'::regclass THEN '{{wrapper}}' ELSE 'ALTER %1$s OWNER TO %2$I;' END || '{{or_gone}} END', what,
    r.rolname, identity))
FROM (SELECT k, split_part(k, ' ', 1)::oid AS class, split_part(k, ' ', 2)::oid AS oid FROM unnest($1::text[]) k) o,
  LATERAL {{alterable}} a, pg_roles r
WHERE r.oid = scribe.owner_of(o.class, o.oid) AND schema IS DISTINCT FROM 'scribe' AND identity <> 'scribe'
  AND NOT EXISTS (SELECT FROM scribe.config WHERE o.class = 'pg_publication'::regclass AND key = 'publication ' || (SELECT pubname FROM pg_publication p WHERE p.oid = o.oid))
  AND {{givable}}
