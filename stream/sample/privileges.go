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
	return readTexts(ctx, tx, query("privilege_commands.sql", "or_gone", ddl.OrGone), keys)
}
