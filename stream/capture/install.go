package capture

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

//go:embed [0-9]*.sql
var files embed.FS

// installSQL joins the files, one a concern, in the order of
// their numbers: what a view or a function in SQL names has to be there first.
var installSQL = sync.OnceValue(func() string {
	var sql strings.Builder
	list, err := files.ReadDir(".")
	for _, f := range list {
		var text []byte
		if text, err = files.ReadFile(f.Name()); err != nil {
			break
		}
		sql.Write(append(text, '\n'))
	}
	if err != nil {
		panic(err) // what is embedded can be read
	}
	return sql.String()
})

// wantedVersion is that of the files; another one on the source is refused.
const wantedVersion = "10"

// Schema is where the capture is.
const Schema = event.Schema

// Error says that the capture on the source cannot be used.
type Error struct {
	Reason string
	Denied bool   // this role lacks the right to it
	Locked bool   // somebody held a lock for too long
	Gone   bool   // schema scribe or a publication of it is not there
	Mode   string // it is installed in this mode, another than the repository's
}

func (e *Error) Error() string { return "DDL capture: " + e.Reason }

// withLocks runs do until it gets its locks, or patience ends, which is a
// Error. See source.WithLocks.
func withLocks(ctx context.Context, conn *pgx.Conn, patience time.Duration, relation, what string, do func() error) error {
	err := source.WithLocks(ctx, conn, patience, relation, what, do)
	var locked *source.LockError
	if errors.As(err, &locked) {
		return &Error{Reason: locked.Error(), Locked: true}
	}
	return err
}

// Install makes schema, triggers and publication, whatever of them is
// not there yet, and gives every table a usable replica identity, or lists
// those that have one. made says what Remove has to take back.
//
// The order matters: the event triggers come before the first table is
// guarded, so that no new table slips through; the publication comes last,
// so that no UPDATE finds it before its table is guarded.
func Install(ctx context.Context, conn *pgx.Conn, publication, mode string) (made Made, err error) {
	var version *string
	if err := conn.QueryRow(ctx, "SELECT to_regnamespace('scribe')::text").Scan(&version); err != nil {
		return made, err
	}
	if version != nil {
		if err := Usable(ctx, conn); err != nil {
			return made, err
		}
		if is, err := Mode(ctx, conn); err != nil {
			return made, err
		} else if is != mode {
			return made, &Error{Reason: fmt.Sprintf("it is installed in %s mode, for another repository", is), Mode: is}
		}
	} else {
		if err := create(ctx, conn, mode); err != nil {
			return made, err
		}
		made.Schema = true
	}
	if mode == ModeGuarded {
		if made.guarded, err = GuardTables(ctx, conn, source.LongPatience); err != nil {
			return made, err
		}
	}
	for _, p := range Publications(publication, mode) {
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", p.Name).Scan(&exists); err != nil {
			return made, err
		}
		if !exists {
			if err := execUncaptured(ctx, conn, p.create()); err != nil {
				return made, err
			}
			made.publications = append(made.publications, p.Name)
		}
	}
	if err := notePublications(ctx, conn, Publications(publication, mode)); err != nil {
		return made, err
	}
	if mode == ModeNoHarm {
		return made, ListTables(ctx, conn, source.LongPatience, true)
	}
	return made, nil
}

// Made is what one Install made.
type Made struct {
	Schema       bool
	guarded      []uint32 // tables whose replica identity it changed
	publications []string // without those that were there
}

func create(ctx context.Context, conn *pgx.Conn, mode string) error {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", source.QueueLimit.Milliseconds())); err != nil {
		return err
	}
	if err := withoutTriggers(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, installSQL()).ReadAll(); err != nil {
		return err
	}
	config := config{"version": wantedVersion, "mode": mode, secretKey: hex.EncodeToString(secret)}
	if config[systemKey], config[databaseKey], err = whereabouts(ctx, tx); err != nil {
		return err
	}
	if err := config.write(ctx, tx); err != nil {
		return err
	}
	for _, t := range eventTriggers {
		if err := t.create(ctx, tx); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}

// Usable makes sure that an installed capture is one this program knows,
// and that it was installed in this database.
func Usable(ctx context.Context, conn *pgx.Conn) error {
	var version string
	err := conn.QueryRow(ctx, "SELECT value FROM scribe.config WHERE key = 'version'").Scan(&version)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42501":
		return &Error{Reason: "this role may not read scribe.config; connect as the role that ran init", Denied: true}
	case errors.Is(err, pgx.ErrNoRows),
		errors.As(err, &pg) && slices.Contains([]string{"42P01", "3F000", "55000"}, pg.Code): // 55000: a view that is not populated
		return &Error{Reason: "it is not installed, or schema scribe is not pg_scribe's", Gone: true}
	case err != nil:
		return err
	case version != wantedVersion:
		return &Error{Reason: fmt.Sprintf("the source has version %s of it, this program needs %s", version, wantedVersion)}
	}
	return RefuseCopy(ctx, conn)
}

// Secret reads what signs the capture's messages.
func Secret(ctx context.Context, conn *pgx.Conn) ([]byte, error) {
	if err := Usable(ctx, conn); err != nil {
		return nil, err
	}
	var secret string
	if err := conn.QueryRow(ctx, "SELECT value FROM scribe.config WHERE key = 'secret'").Scan(&secret); err != nil {
		return nil, err
	}
	return hex.DecodeString(secret)
}

// withoutTriggers keeps event triggers of others from firing for our own commands,
// where this role may: one that fails would make them fail.
func withoutTriggers(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "SELECT set_config('session_replication_role', 'replica', true) FROM pg_roles WHERE rolname = current_user AND rolsuper")
	return err
}

// execUncaptured runs DDL of our own, which the capture then leaves out.
func execUncaptured(ctx context.Context, conn *pgx.Conn, sql string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := leaveOut(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sql); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// leaveOut keeps the capture from taking what a transaction does, and other
// event triggers from firing.
func leaveOut(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SELECT set_config('scribe.quiet', (SELECT value FROM scribe.config WHERE key = 'secret'), true)"); err != nil {
		return err
	}
	return withoutTriggers(ctx, tx)
}

// GuardTables gives every unguarded table a replica identity, if it can have
// one. It returns those that it changed, also when one of them stays locked.
func GuardTables(ctx context.Context, conn *pgx.Conn, patience time.Duration) (guarded []uint32, err error) {
	rows, err := conn.Query(ctx, `SELECT relid, format('%I.%I', schema, "table") FROM scribe.unguarded WHERE remedy IS NOT NULL ORDER BY 2`)
	if err != nil {
		return nil, err
	}
	type target struct {
		OID  uint32
		Name string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[target])
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, t := range list {
		err := withLocks(ctx, conn, patience, t.Name, "its replica identity was not set", func() error {
			_, err := conn.Exec(ctx, "SELECT scribe.guard_table($1) FROM scribe.unguarded WHERE relid = $1", t.OID)
			return err
		})
		var busy *Error
		switch {
		case err == nil:
			guarded = append(guarded, t.OID)
		case errors.As(err, &busy):
			errs = append(errs, err)
		default:
			return guarded, err
		}
	}
	return guarded, errors.Join(errs...)
}

// NoteUnsaved notes the tables whose rows are in no base and no segment.
func NoteUnsaved(ctx context.Context, conn *pgx.Conn, notice func(string)) error {
	rows, err := conn.Query(ctx, `SELECT extension::text, array_to_string((array_agg(relid::regclass::text ORDER BY relid))[:5], ', ')
	      || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END
	  FROM scribe.unsaved GROUP BY 1 ORDER BY 1`)
	if err != nil {
		return err
	}
	var extension, tables string
	_, err = pgx.ForEachRow(rows, []any{&extension, &tables}, func() error {
		notice("the rows of tables that extension " + extension + " does not mark for pg_dump are not backed up: " + tables)
		return nil
	})
	return err
}

// A trigger is an event trigger that calls a function of folder capture.
type trigger struct{ name, event, function string }

// They fire in the order of their names. The end of a command comes before what
// the event triggers of others do behind it, so that this does not count as a part
// of the command.
var eventTriggers = []trigger{
	{"scribe_a", "ddl_command_start", "on_start_user"},
	{"scribe_b", "ddl_command_start", "on_start"},
	{"scribe_d", "sql_drop", "on_drop"},
	{"scribe_r", "table_rewrite", "on_rewrite"},
	{"!scribe_y", "ddl_command_end", "on_end"},
	{"scribe_z", "ddl_command_end", "on_end_guard"},
}

// TriggerNames are those of the capture's event triggers.
func TriggerNames() []string {
	names := make([]string, len(eventTriggers))
	for i, t := range eventTriggers {
		names[i] = t.name
	}
	return names
}

// create makes the trigger, whatever there is of it.
func (t trigger) create(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Conn().PgConn().Exec(ctx, fmt.Sprintf(`DROP EVENT TRIGGER IF EXISTS %[1]s;
	  CREATE EVENT TRIGGER %[1]s ON %[2]s EXECUTE FUNCTION scribe.%[3]s(); ALTER EVENT TRIGGER %[1]s ENABLE ALWAYS`,
		sqltext.Identifier(t.name), t.event, t.function)).ReadAll()
	return err
}

// Remove takes back what Install made. The event triggers go
// before anything has to wait, and the schema only when every table has its
// replica identity back: it holds which one that was.
func Remove(ctx context.Context, conn *pgx.Conn, made Made) error {
	var errs []error
	do := func(relation, what string, f func() error) {
		errs = append(errs, withLocks(ctx, conn, source.LongPatience, relation, what, f))
	}
	for _, name := range made.publications {
		do("pg_catalog.pg_publication", "publication "+name+" was not dropped", func() error {
			return execUncaptured(ctx, conn, "DROP PUBLICATION IF EXISTS "+sqltext.Identifier(name))
		})
	}
	if made.Schema {
		for _, t := range eventTriggers {
			do("pg_catalog.pg_event_trigger", "event trigger "+t.name+" was not dropped", func() error {
				_, err := conn.Exec(ctx, "DROP EVENT TRIGGER IF EXISTS "+sqltext.Identifier(t.name))
				return err
			})
		}
	}
	for _, oid := range made.guarded {
		var name *string
		if err := conn.QueryRow(ctx, "SELECT $1::oid::regclass::text FROM pg_class WHERE oid = $1", oid).Scan(&name); err != nil {
			if !errors.Is(err, pgx.ErrNoRows) {
				errs = append(errs, err)
			}
			continue
		}
		do(*name, "its replica identity is still FULL", func() error { return restoreIdentity(ctx, conn, oid) })
	}
	if err := errors.Join(errs...); err != nil || !made.Schema {
		return err
	}
	return withLocks(ctx, conn, source.LongPatience, "scribe.config", "schema scribe was not dropped", func() error {
		_, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS scribe CASCADE")
		return err
	})
}

//go:embed restore_identity.sql
var restoreIdentitySQL string

// restoreIdentity gives a table back the replica identity it had.
func restoreIdentity(ctx context.Context, conn *pgx.Conn, oid uint32) error {
	var sql *string
	err := conn.QueryRow(ctx, restoreIdentitySQL, oid).Scan(&sql)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return execUncaptured(ctx, conn, *sql)
}

// Uninstall removes publications and capture and gives tables their original
// replica identities back. What is not there is not an error.
func Uninstall(ctx context.Context, connString, publication string) error {
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return RemoveAll(ctx, conn, publication)
}

func RemoveAll(ctx context.Context, conn *pgx.Conn, publication string) error {
	var installed bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('scribe.config') IS NOT NULL").Scan(&installed); err != nil {
		return err
	}
	publications, err := InstalledPublications(ctx, conn, publication)
	if err != nil {
		return err
	}
	if !installed {
		for _, name := range publications {
			if _, err := conn.Exec(ctx, "DROP PUBLICATION IF EXISTS "+sqltext.Identifier(name)); err != nil {
				return err
			}
		}
		return nil
	}
	rows, err := conn.Query(ctx, "SELECT relid FROM scribe.identity")
	if err != nil {
		return err
	}
	guarded, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return err
	}
	return Remove(ctx, conn, Made{Schema: true, guarded: guarded, publications: publications})
}
