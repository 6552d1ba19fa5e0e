-- Large objects, which start samples too.

-- Large objects do not appear in logical decoding; `start` samples them. What
-- changed since a sample is told by the row's xmin, which outlives freezing: a
-- row was not there if its xmin is at or above the oldest transaction that ran
-- then, and is none of those that the sample saw ("seen"). Snapshots alone
-- cannot tell, because they do not list subtransactions.
CREATE FUNCTION scribe.since(x xid, low bigint, high bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $fn$
  SELECT pg_catalog.mod(x::pg_catalog.text::bigint - pg_catalog.mod(low, 4294967296) + 4294967296, 4294967296) < high - low
$fn$;
REVOKE ALL ON FUNCTION scribe.since(xid, bigint, bigint) FROM PUBLIC;

-- The sample that follows before, and the large objects that differ. Those
-- that are gone are told by range of 256 OIDs: their number and a hash of them.
CREATE FUNCTION scribe.large_object_sample(before jsonb) RETURNS TABLE (sample jsonb, touched oid[], ranges bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  oldest bigint := pg_snapshot_xmin(pg_current_snapshot())::text;
  high bigint := pg_snapshot_xmax(pg_current_snapshot())::text;
  low bigint := coalesce((before->>'xmin')::bigint, high - 4294967296);
  seen text[] := ARRAY(SELECT jsonb_array_elements_text(before->'seen'));
  now_seen jsonb;
  now_ranges jsonb;
BEGIN
  WITH recent AS (
    SELECT loid, xmin AS x FROM pg_largeobject WHERE scribe.since(xmin, low, high) GROUP BY 1, 2
    UNION SELECT oid, xmin FROM pg_largeobject_metadata WHERE scribe.since(xmin, low, high))
  SELECT array_agg(DISTINCT loid) FILTER (WHERE x::text <> ALL (seen)),
      coalesce(jsonb_agg(DISTINCT x::text) FILTER (WHERE scribe.since(x, oldest, high)), '[]')
    INTO touched, now_seen FROM recent;
  SELECT coalesce(jsonb_object_agg(range, sum), '{}') INTO now_ranges FROM (
    SELECT oid::bigint / 256 AS range, format('%s %s', count(*), sum(hashoid(oid)::bigint)) AS sum
    FROM pg_largeobject_metadata GROUP BY 1) r;
  ranges := ARRAY(SELECT coalesce(o.key, n.key)::bigint FROM jsonb_each_text(coalesce(before->'ranges', '{}')) o
    FULL JOIN jsonb_each_text(now_ranges) n ON n.key = o.key WHERE o.value IS DISTINCT FROM n.value ORDER BY 1);
  sample := jsonb_build_object('xmin', oldest::text, 'xmax', high::text, 'seen', now_seen, 'ranges', now_ranges);
  RETURN NEXT;
END $fn$;
REVOKE ALL ON FUNCTION scribe.large_object_sample(jsonb) FROM PUBLIC;

CREATE FUNCTION scribe.truncate_sql(lo oid, size bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $fn$
  SELECT format(' PERFORM pg_catalog.lo_truncate64(pg_catalog.lo_open(%s, 131072), %s);', lo, size)
$fn$;
REVOKE ALL ON FUNCTION scribe.truncate_sql(oid, bigint) FROM PUBLIC;

-- Emits large objects as they are in the sample now: the pages that are not in
-- the sample before, in pieces of 128 and filled up where a later page follows,
-- then size, owner, privileges and comment. One with a hole is sent whole.
CREATE FUNCTION scribe.emit_large_objects(list oid[], before jsonb, now jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
DECLARE
  block int := current_setting('block_size')::int / 4;
  high bigint := now->>'xmax';
  low bigint := coalesce((before->>'xmin')::bigint, high - 4294967296);
  seen text[] := ARRAY(SELECT jsonb_array_elements_text(before->'seen'));
  lo record;
  pages record;
  whole boolean;
  size bigint;
  piece int;
BEGIN
  FOR lo IN SELECT m.oid, lomowner AS owner, coalesce(lomacl, acldefault('L', lomowner)) AS acl, obj_description(m.oid, 'pg_largeobject') AS comment
      FROM pg_largeobject_metadata m WHERE m.oid = ANY (list) ORDER BY 1 LOOP
    SELECT count(*) AS number, coalesce(max(pageno), -1) AS last INTO pages FROM pg_largeobject WHERE loid = lo.oid;
    whole := before IS NULL OR pages.number <= pages.last;
    SELECT pages.last::bigint * block + octet_length(data) INTO size FROM pg_largeobject WHERE loid = lo.oid AND pageno = pages.last;
    PERFORM scribe.emit_state('LARGE OBJECT ' || lo.oid,
      format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = %s) THEN PERFORM pg_catalog.lo_create(%s); END IF;%s END',
        lo.oid, lo.oid, CASE WHEN whole THEN scribe.truncate_sql(lo.oid, 0) END));
    FOR piece IN SELECT DISTINCT pageno / 128 FROM pg_largeobject
        WHERE loid = lo.oid AND (whole OR scribe.since(xmin, low, high) AND xmin::text <> ALL (seen)) ORDER BY 1 LOOP
      PERFORM scribe.emit(jsonb_build_object('ev', 'lo', 'oid', lo.oid::bigint, 'offset', run.first::bigint * block,
          'data', translate(encode(run.bytes, 'base64'), E'\n', ''))::text)
        FROM (SELECT min(pageno) AS first, string_agg(CASE WHEN pageno = pages.last THEN data
              ELSE data || decode(repeat('00', block - octet_length(data)), 'hex') END, '' ORDER BY pageno) AS bytes
            FROM (SELECT pageno, data, pageno - row_number() OVER (ORDER BY pageno) AS island FROM pg_largeobject
              WHERE loid = lo.oid AND pageno BETWEEN piece * 128 AND piece * 128 + 127
                AND (whole OR scribe.since(xmin, low, high) AND xmin::text <> ALL (seen))) p
            GROUP BY island ORDER BY 1) run;
    END LOOP;
    PERFORM scribe.emit_state('LARGE OBJECT ' || lo.oid,
      format('DECLARE g record; BEGIN%s ALTER LARGE OBJECT %s OWNER TO %I; %s COMMENT ON LARGE OBJECT %s IS %L; END',
        scribe.truncate_sql(lo.oid, coalesce(size, 0)), lo.oid, (SELECT rolname FROM pg_roles WHERE oid = lo.owner),
        scribe.acl_sql('LARGE OBJECT ' || lo.oid, lo.acl, lo.owner,
          format('(SELECT coalesce(lomacl, acldefault(''L'', lomowner)) FROM pg_largeobject_metadata WHERE oid = %s)', lo.oid)),
        lo.oid, lo.comment));
  END LOOP;
END $fn$;
REVOKE ALL ON FUNCTION scribe.emit_large_objects(oid[], jsonb, jsonb) FROM PUBLIC;

-- Emits which large objects there are in ranges of OIDs; others are removed.
CREATE FUNCTION scribe.emit_large_object_ranges(ranges bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $fn$
  SELECT scribe.emit_state('LARGE OBJECT', format(
      'BEGIN PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid BETWEEN %s AND %s AND oid <> ALL (%L::oid[]); END',
      range * 256, range * 256 + 255, ARRAY(SELECT oid FROM pg_largeobject_metadata
        WHERE oid BETWEEN (range * 256)::text::oid AND (range * 256 + 255)::text::oid ORDER BY 1)))
  FROM unnest(ranges) range
$fn$;
REVOKE ALL ON FUNCTION scribe.emit_large_object_ranges(bigint[]) FROM PUBLIC;
