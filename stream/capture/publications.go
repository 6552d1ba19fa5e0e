package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/sqltext"
)

// How the capture treats tables that have no usable replica identity.
const (
	// ModeGuarded gives them REPLICA IDENTITY FULL: every change is captured.
	ModeGuarded = "guarded"
	// ModeNoHarm leaves them alone, and no command of the application fails or
	// waits for the capture's sake. Their UPDATEs and DELETEs are not captured;
	// a mark in the stream says so.
	ModeNoHarm = "no-harm"
)

// A Publication is one that the capture makes.
type Publication struct {
	Name    string
	all     bool   // FOR ALL TABLES; else it lists them
	actions string // in pg_publication's order
}

// Publications are the publications of a mode. The server publishes of a
// table what any of them does.
func Publications(name, mode string) []Publication {
	if mode != ModeNoHarm {
		return []Publication{{name, true, "insert, update, delete, truncate"}}
	}
	return []Publication{{name, true, "insert, truncate"}, {ListName(name), false, "update, delete"}}
}

// PublicationNames are the names of a mode's publications.
func PublicationNames(name, mode string) []string {
	var names []string
	for _, p := range Publications(name, mode) {
		names = append(names, p.Name)
	}
	return names
}

// ListName is the name of the no-harm mode's second publication.
func ListName(publication string) string { return publication + "_ud" }

// Ours tells an object that is the capture's own doing: a publication of a name that
// the user chose. Those of other names, and what is in schema scribe, nobody describes.
func Ours(publication string, o describe.Object) bool {
	return o.Class == "publication" && (o.Identity == sqltext.Bare(publication) || o.Identity == sqltext.Bare(ListName(publication)))
}

// MaxPublication is how many bytes a publication's name may have in a mode.
func MaxPublication(mode string) int {
	if mode == ModeNoHarm {
		return 63 - len(ListName(""))
	}
	return 63
}

func (p Publication) create() string {
	sql := "CREATE PUBLICATION " + sqltext.Identifier(p.Name)
	if p.all {
		sql += " FOR ALL TABLES"
	}
	return sql + " WITH (publish = '" + p.actions + "')"
}

// Mode is the mode of the capture on the source.
func Mode(ctx context.Context, conn *pgx.Conn) (mode string, err error) {
	err = conn.QueryRow(ctx, "SELECT value FROM scribe.config WHERE key = 'mode'").Scan(&mode)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", &Error{Reason: "scribe.config does not tell its mode"}
	}
	return mode, err
}

// InstalledPublications are those on the source that belong to the named one:
// itself, and the list of the no-harm mode. In a copy of a captured database
// they are all that came along.
func InstalledPublications(ctx context.Context, conn *pgx.Conn, name string) ([]string, error) {
	list := Publications(name, ModeNoHarm)[1]
	rows, err := conn.Query(ctx, `SELECT pubname::text FROM pg_publication WHERE pubname = $1
	    OR pubname = $2 AND NOT puballtables AND pubupdate AND pubdelete AND NOT pubinsert AND NOT pubtruncate
	  ORDER BY pubname <> $1`, name, list.Name)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	copied := RefuseCopy(ctx, conn)
	if !errors.As(copied, new(*CopyError)) {
		return names, copied
	}
	rows, err = conn.Query(ctx, `SELECT pubname::text FROM pg_publication JOIN scribe.config ON key = '`+publicationKey+`' || pubname
	  WHERE pubname <> ALL ($1) ORDER BY 1`, names)
	if err != nil {
		return nil, err
	}
	more, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return append(names, more...), err
}

// ListTables brings the list of the no-harm mode up to date. fresh: nothing
// relied on it yet. It goes on when one of the tables stays locked.
func ListTables(ctx context.Context, conn *pgx.Conn, patience time.Duration, fresh bool) error {
	rows, err := conn.Query(ctx, `SELECT list, relid, format('%I.%I', schema, "table"), safe FROM scribe.mislisted ORDER BY 3`)
	if err != nil {
		return err
	}
	type target struct {
		List, OID uint32
		Name      string
		Safe      bool
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[target])
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tables {
		what := "its UPDATEs and DELETEs are not captured"
		if !t.Safe {
			what = "its UPDATEs and DELETEs fail for want of a key"
		}
		err := withLocks(ctx, conn, patience, t.Name, what, func() error {
			_, err := conn.Exec(ctx, "SELECT scribe.list_table($1, $2, $3) FROM pg_class WHERE oid = $2", t.List, t.OID, fresh)
			return err
		})
		var busy *Error
		if err != nil && !errors.As(err, &busy) {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
