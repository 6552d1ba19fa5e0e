package sample

import (
	"context"
	"strings"

	"pg_scribe/stream/ddl"

	"github.com/jackc/pgx/v5"
)

// ownerStates are the owners that REASSIGN OWNED may change silently. Their
// names come from pg_roles, which shows them as of the sample's snapshot.
var ownerStates = `SELECT s.classid || ' ' || s.objid, (SELECT rolname FROM pg_roles r WHERE r.oid = s.refobjid)` + ddl.OwnedObjects

// ownerCommands give objects to the owners that they have now. One that is no
// longer in pg_shdepend is gone, or belongs to a role that is always there.
func ownerCommands(ctx context.Context, tx pgx.Tx, keys []string) (map[string]string, error) {
	return readTexts(ctx, tx, `SELECT k, format('DO %L', format('BEGIN '
	      || CASE class WHEN 'pg_foreign_data_wrapper'::regclass THEN '`+strings.ReplaceAll(ddl.WrapperOwner, "ALTER", "ALTER %1$s OWNER TO %2$I;")+`' ELSE 'ALTER %1$s OWNER TO %2$I;' END || '`+ddl.OrGone+` END', what,
	      r.rolname, identity))
	  FROM (SELECT k, split_part(k, ' ', 1)::oid AS class, split_part(k, ' ', 2)::oid AS oid FROM unnest($1::text[]) k) o,
	    LATERAL `+ddl.Alterable("o.class", "o.oid")+` a, pg_roles r
	  WHERE r.oid = scribe.owner_of(o.class, o.oid) AND schema IS DISTINCT FROM 'scribe' AND identity <> 'scribe'
	    AND NOT EXISTS (SELECT FROM scribe.config WHERE o.class = 'pg_publication'::regclass AND key = 'publication ' || (SELECT pubname FROM pg_publication p WHERE p.oid = o.oid))
	    AND `+ddl.Givable("o.class", "o.oid"), keys)
}
