-- The OIDs of what has to be described again: the objects with OIDs $2 of the catalogs $1, the relations named $5, types
-- named $6 and publications named $7, whatever has privileges and was changed since transaction $3, and what depends on
-- those objects whose OIDs are in $4.
WITH RECURSIVE touched (class, oid) AS (
    SELECT * FROM unnest($1::oid[], $2::oid[])
  UNION SELECT 'pg_class'::regclass, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE cardinality($5::text[]) > 0 AND format('%I.%I', nspname, relname) = ANY ($5)
  UNION SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
    WHERE cardinality($6::text[]) > 0 AND format('%I.%I', nspname, typname) = ANY ($6)
  UNION SELECT 'pg_publication'::regclass, oid FROM pg_publication WHERE quote_ident(pubname) = ANY ($7)
  UNION SELECT tableoid, oid FROM (
      SELECT tableoid, oid, xmin AS x FROM pg_class
      UNION ALL SELECT tableoid, oid, xmin FROM pg_proc
      UNION ALL SELECT tableoid, oid, xmin FROM pg_type
      UNION ALL SELECT tableoid, oid, xmin FROM pg_namespace
      UNION ALL SELECT tableoid, oid, xmin FROM pg_language
      UNION ALL SELECT tableoid, oid, xmin FROM pg_foreign_data_wrapper
      UNION ALL SELECT tableoid, oid, xmin FROM pg_foreign_server
      UNION ALL SELECT tableoid, oid, xmin FROM pg_default_acl
      UNION ALL SELECT 'pg_class'::regclass, attrelid, xmin FROM pg_attribute WHERE attacl IS NOT NULL) c
    WHERE $3 <> '0' AND age(x) <= age($3::xid)
), own (class, oid) AS (
    SELECT class, oid FROM touched UNION SELECT w.* FROM touched x, LATERAL ({{owner}}) w
), family (class, oid) AS ( -- partitions change with their table
    SELECT class, oid FROM own
  UNION SELECT f.class, i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid WHERE f.class = 'pg_class'::regclass
), root (class, oid) AS (
    SELECT class, oid FROM own WHERE oid = ANY ($4::oid[])
  UNION SELECT o.* FROM touched x, LATERAL ({{owner}}) o WHERE x.oid = ANY ($4::oid[])
), named (class, oid) AS ( -- row types and array types are named with what they are of
    SELECT class, oid FROM root
  UNION SELECT 'pg_type'::regclass, t FROM root JOIN pg_class c ON c.oid = root.oid JOIN pg_type y ON y.oid = c.reltype,
    LATERAL (VALUES (y.oid), (y.typarray)) v (t) WHERE root.class = 'pg_class'::regclass
  UNION SELECT class, y.typarray FROM root JOIN pg_type y ON y.oid = root.oid WHERE class = 'pg_type'::regclass
), dependent (class, oid) AS (
    SELECT d.classid, d.objid FROM named JOIN pg_depend d ON d.refclassid = named.class AND d.refobjid = named.oid
)
SELECT oid FROM family
UNION SELECT oid FROM dependent
UNION SELECT w.oid FROM dependent x, LATERAL ({{owner}}) w
