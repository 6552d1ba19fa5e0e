package restore

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
)

// A Swap puts what is restored in the source's place: it is restored into a
// new database beside the source, and when that is complete the two change
// names in one transaction. The source is never written to, and stays under
// another name.
type Swap struct {
	Source   string // its name, which the restored database gets
	Restored string // the name of the new database until then
	Kept     string // the name of the source from then on
}

// NewSwap derives the names from the source's and a moment.
func NewSwap(source string, at time.Time) *Swap {
	stamp := at.UTC().Format("20060102_150405")
	return &Swap{source, derive(source, "_restored_"+stamp), derive(source, "_before_"+stamp)}
}

// maxName is how many bytes PostgreSQL keeps of a name.
const maxName = 63

func derive(name, suffix string) string {
	end := min(len(name), maxName-len(suffix))
	for end > 0 && end < len(name) && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + suffix
}

// Statements are the two that exchange the names. They belong in one
// transaction, so that there is a database of the source's name at any time.
func (s *Swap) Statements() []string {
	return []string{
		"ALTER DATABASE " + sqltext.Identifier(s.Source) + " RENAME TO " + sqltext.Identifier(s.Kept),
		"ALTER DATABASE " + sqltext.Identifier(s.Restored) + " RENAME TO " + sqltext.Identifier(s.Source),
	}
}

// SwapError says that the restored database is complete, and did not get the
// source's name. Both databases are there, each as it was.
type SwapError struct {
	Swap
	Others []string // who is connected to one of them
	Err    error    // what the server says; nil: it was not asked, for the sake of the others
}

func (e *SwapError) Error() string {
	text := fmt.Sprintf("the restored database is complete as %q, and %q keeps its name: ", e.Restored, e.Source)
	if len(e.Others) == 0 {
		return text + e.Err.Error()
	}
	return text + "in use by " + strings.Join(e.Others, "; ")
}

func (e *SwapError) Unwrap() error { return e.Err }

// checkSwap makes sure that the place which the restored database is to take
// is the source's.
func (x *execution) checkSwap(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := simple.Query(ctx, conn, "SELECT oid FROM pg_catalog.pg_database WHERE datname = "+sqltext.Literal(x.o.Swap.Source))
	if err != nil {
		return err
	}
	if len(rows) == 0 || !x.p.isSource(x.server.system, rows[0][0], x.o.Swap.Source) {
		return &NotSourceError{x.o.Swap.Source}
	}
	return nil
}

// isSource tells whether a database is the one that the backup was made of.
// Its name is a label; it counts where a repository of an earlier version does
// not know the OID.
func (p *Prepared) isSource(system, oid, name string) bool {
	switch {
	case p.Plan.Base.SystemID != system:
		return false
	case p.Repository.DatabaseOID != 0:
		return fmt.Sprint(p.Repository.DatabaseOID) == oid
	}
	return name == p.Repository.Database || name == p.Plan.Base.Database
}

// swap exchanges the names. No session of the restore is connected to either
// database any more.
func (x *execution) swap(ctx context.Context) error {
	s := x.o.Swap
	if err := x.compareWithSource(ctx); err != nil {
		return &SwapError{Swap: *s, Err: err}
	}
	conn, err := connect(ctx, x.o.MaintenanceConn)
	if err != nil {
		return &SwapError{Swap: *s, Err: err}
	}
	defer closeNow(conn)
	// Renaming waits for others with a lock on which each new session waits.
	others, err := connected(ctx, conn, s)
	if err == nil && len(others) == 0 {
		if err = x.exchange(ctx, conn); state(err) == stateInUse { // somebody came in between
			others, _ = connected(ctx, conn, s)
		}
	}
	if (err != nil || len(others) > 0) && !x.swapped(ctx) { // the answer may be lost, and not the commit
		return &SwapError{Swap: *s, Others: others, Err: err}
	}
	x.report.Database, x.report.Kept = s.Source, s.Kept
	return nil
}

// exchange renames both in one transaction. Whatever ends it, both have their
// new names or both have their old ones.
func (x *execution) exchange(ctx context.Context, conn *pgconn.PgConn) error {
	s := x.o.Swap
	rows, err := simple.Query(ctx, conn, `SELECT r.rolname, d.datconnlimit FROM pg_catalog.pg_database d
		JOIN pg_catalog.pg_roles r ON r.oid = d.datdba, pg_catalog.pg_database n
		WHERE d.datname = `+sqltext.Literal(s.Source)+" AND n.datname = "+sqltext.Literal(s.Restored)+
		" AND (d.datdba <> n.datdba OR d.datconnlimit <> n.datconnlimit)")
	if err != nil {
		return err
	}
	sql := []string{"BEGIN", "SET LOCAL lock_timeout = '5s'"}
	for _, row := range rows { // what no dump of a database tells
		sql = append(sql, "ALTER DATABASE "+sqltext.Identifier(s.Restored)+" OWNER TO "+sqltext.Identifier(row[0]),
			"ALTER DATABASE "+sqltext.Identifier(s.Restored)+" CONNECTION LIMIT "+row[1])
	}
	sql = append(append(sql, s.Statements()...), "COMMIT")
	_, err = simple.Query(ctx, conn, strings.Join(sql, "; "))
	if err != nil {
		// The lock that keeps new sessions out goes with the transaction.
		_, _ = simple.Query(context.WithoutCancel(ctx), conn, "ROLLBACK")
	}
	return err
}

// swapped tells whether the names were exchanged, on a connection of its own.
func (x *execution) swapped(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	conn, err := connect(ctx, x.o.MaintenanceConn)
	if err != nil {
		return false
	}
	defer closeNow(conn)
	kept, err := databaseExists(ctx, conn, x.o.Swap.Kept)
	return err == nil && kept
}

// connected lists who keeps the databases from being renamed. The server ends
// autovacuum itself, and sessions of the restore may need a moment to end.
func connected(ctx context.Context, conn *pgconn.PgConn, s *Swap) (others []string, err error) {
	names := "(" + sqltext.Literal(s.Source) + ", " + sqltext.Literal(s.Restored) + ")"
	for try := 0; try < 30; try++ {
		rows, err := simple.Query(ctx, conn, `SELECT pg_catalog.format('process %s of %s (%s, user %s)', pid, datname,
			COALESCE(NULLIF(application_name, ''), backend_type, 'unknown'), COALESCE(usename, 'none'))
			FROM pg_catalog.pg_stat_activity WHERE datname IN `+names+` AND backend_type IS DISTINCT FROM 'autovacuum worker'
			UNION ALL
			SELECT pg_catalog.format('prepared transaction %L of %s', gid, database) FROM pg_catalog.pg_prepared_xacts
			WHERE database IN `+names+` LIMIT 6`)
		if err != nil || len(rows) == 0 {
			return nil, err
		}
		others = nil
		for _, row := range rows {
			others = append(others, row[0])
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return others, ctx.Err()
		}
	}
	return others, nil
}

// relations lists what holds or shows rows in a database, beside what pg_scribe
// has there.
const relations = `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_'
	AND n.nspname NOT IN ('information_schema', 'scribe', 'scribe_restore') ORDER BY 1`

// compareWithSource notes in what the new database differs from the one whose
// place it takes. Differences are the purpose of a restore; they are for the
// user to judge.
func (x *execution) compareWithSource(ctx context.Context) error {
	s := x.o.Swap
	var found [2]map[string]bool
	var names [2][]string
	var spaces [2]string
	for i, db := range []string{s.Source, s.Restored} {
		conn, err := connectDatabase(ctx, x.o.MaintenanceConn, db)
		if err != nil {
			return err
		}
		rows, err := simple.Query(ctx, conn, relations)
		found[i] = map[string]bool{}
		for _, row := range rows {
			found[i][row[0]] = true
			names[i] = append(names[i], row[0])
		}
		if err == nil {
			rows, err = simple.Query(ctx, conn, `SELECT t.spcname FROM pg_catalog.pg_database d
				JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = pg_catalog.current_database()`)
		}
		closeNow(conn)
		if err != nil {
			return err
		}
		spaces[i] = rows[0][0]
	}
	for i, where := range []string{"the kept", "the restored"} {
		var only []string
		for _, name := range names[i] {
			if !found[1-i][name] {
				only = append(only, name)
			}
		}
		if n := len(only); n > 0 {
			x.note(fmt.Sprintf("only in %s database: %s%s", where, strings.Join(only[:min(n, 10)], ", "), more(n-10)))
		}
	}
	if spaces[0] != spaces[1] {
		x.note(fmt.Sprintf("the kept database is in tablespace %q, the restored one in %q", spaces[0], spaces[1]))
	}
	return nil
}

// more counts what a list leaves out; empty: nothing.
func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
