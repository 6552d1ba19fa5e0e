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
	return readTexts(ctx, tx, query("owner_commands.sql",
		"wrapper", strings.ReplaceAll(ddl.WrapperOwner, "ALTER", "ALTER %1$s OWNER TO %2$I;"), "or_gone", ddl.OrGone,
		"alterable", ddl.Alterable("o.class", "o.oid"), "givable", ddl.Givable("o.class", "o.oid")), keys)
}
