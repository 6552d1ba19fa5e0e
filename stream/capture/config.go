package capture

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/source"
)

// config is what scribe.config holds: keys and values.
type config map[string]string

// Keys of scribe.config that no copy by pg_dump has.
const (
	secretKey   = "secret"
	systemKey   = "system"   // identifier of the server that init was run on
	databaseKey = "database" // OID of the database there
)

// recordUserKey is there if commands are sent with what is known of their session.
const recordUserKey = "record-user"

// publicationKey is where the OID of a publication stands that the capture guards.
const publicationKey = "publication "

func whereabouts(ctx context.Context, tx pgx.Tx) (system, database string, err error) {
	err = tx.QueryRow(ctx, `SELECT system_identifier::text, d.oid::text FROM pg_control_system(), pg_database d
	  WHERE d.datname = current_database()`).Scan(&system, &database)
	return system, database, err
}

func readConfig(ctx context.Context, tx pgx.Tx) (config, error) {
	rows, err := tx.Query(ctx, "SELECT key, value FROM scribe.config")
	if err != nil {
		return nil, err
	}
	config := config{}
	var key, value string
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		config[key] = value
		return nil
	})
	return config, err
}

// write replaces what scribe.config holds, and what a copy by pg_dump is to
// have in its place: all but the secret and where it belongs. REFRESH locks
// scribe.config until the transaction ends, and waits for all that have used it.
func (c config) write(ctx context.Context, tx pgx.Tx) error {
	var values, publications []string
	for _, key := range slices.Sorted(maps.Keys(c)) {
		if name, ok := strings.CutPrefix(key, publicationKey); ok {
			publications = append(publications, sqltext.Literal(name))
		} else if key != secretKey && key != systemKey && key != databaseKey {
			values = append(values, "("+sqltext.Literal(key)+", "+sqltext.Literal(c[key])+")")
		}
	}
	settings := "RETURN QUERY SELECT * FROM (VALUES " + strings.Join(values, ", ") + ") x (key, value) UNION ALL SELECT " +
		sqltext.Literal(publicationKey) + " || pubname, oid::text FROM pg_publication WHERE pubname = ANY (ARRAY[" + strings.Join(publications, ", ") + "]::text[]);"
	if _, err := tx.Exec(ctx, configFunction(settings)); err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT set_config('scribe.new_config', $1, true)", string(text)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "REFRESH MATERIALIZED VIEW scribe.config"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT set_config('scribe.new_config', '', true)")
	return err
}

// configFunction is the command of the capture that makes
// scribe.config_values, with a statement in place of its line SETTINGS.
func configFunction(settings string) string {
	_, text, _ := strings.Cut(installSQL(), "CREATE FUNCTION scribe.config_values()")
	text, _, _ = strings.Cut(text, "REVOKE ALL ON FUNCTION scribe.config_values()")
	quote := "$fn$"
	for strings.Contains(settings, quote) {
		quote = "$x" + quote[1:]
	}
	lines := strings.Split(strings.ReplaceAll(text, "$fn$", quote), "\n")
	for i, line := range lines {
		if strings.HasSuffix(line, "-- SETTINGS") {
			lines[i] = "    " + settings
		}
	}
	return "CREATE OR REPLACE FUNCTION scribe.config_values()" + strings.Join(lines, "\n")
}

// change changes what scribe.config holds, if the function leaves anything else
// than there was. changed says so. what is the error when it stays locked.
func change(ctx context.Context, conn *pgx.Conn, what string, edit func(pgx.Tx, config) error) (changed bool, err error) {
	err = withLocks(ctx, conn, source.LongPatience, "scribe.config", what, func() error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		config, err := readConfig(ctx, tx)
		if err != nil {
			return err
		}
		before := maps.Clone(config)
		if err := edit(tx, config); err != nil {
			return err
		}
		if maps.Equal(before, config) {
			return nil
		}
		if err := leaveOut(ctx, tx); err != nil {
			return err
		}
		if err := config.write(ctx, tx); err != nil {
			return err
		}
		changed = true
		return tx.Commit(ctx)
	})
	return changed, err
}

// notePublications lets the capture know which publications to guard, unless it
// does.
func notePublications(ctx context.Context, conn *pgx.Conn, publications []Publication) error {
	_, err := change(ctx, conn, "the publications to guard were not noted", func(tx pgx.Tx, config config) error {
		for _, p := range publications {
			var oid string
			if err := tx.QueryRow(ctx, "SELECT oid::text FROM pg_publication WHERE pubname = $1", p.Name).Scan(&oid); err != nil {
				return err
			}
			config[publicationKey+p.Name] = oid
		}
		return nil
	})
	return err
}

// RecordUser has the capture send, with each command, the application and the client
// address of its session, or no longer. changed says that it did otherwise before.
func RecordUser(ctx context.Context, conn *pgx.Conn, on bool) (changed bool, err error) {
	return change(ctx, conn, "whether to record users was not noted", func(_ pgx.Tx, config config) error {
		if delete(config, recordUserKey); on {
			config[recordUserKey] = "on"
		}
		return nil
	})
}

// CopyError says that a database was made from one that is captured, by
// pg_dump, as a template, or by pg_upgrade: what came along captures nothing.
type CopyError struct{ Database string }

func (e *CopyError) Error() string {
	return "database \"" + e.Database + "\" is a copy of a captured database: nothing of it is captured"
}

// CheckOriginal returns a CopyError for a database whose capture came along
// with a copy of a captured one.
func CheckOriginal(ctx context.Context, connString string) error {
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return RefuseCopy(ctx, conn)
}

// IsCopy says whether the capture in a database came along with a copy of a
// captured one.
func IsCopy(ctx context.Context, conn *pgx.Conn) (bool, error) {
	err := RefuseCopy(ctx, conn)
	if errors.As(err, new(*CopyError)) {
		return true, nil
	}
	return false, err
}

// RefuseCopy returns a CopyError for a database whose capture came along
// with a copy; nil also for one that has none, and for a role that cannot tell.
func RefuseCopy(ctx context.Context, conn *pgx.Conn) error {
	var known bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE nspname = 'scribe' AND proname = 'here'
	    AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))`).Scan(&known); err != nil || !known {
		return err
	}
	var here bool
	var database string
	if err := conn.QueryRow(ctx, "SELECT scribe.here(), current_database()").Scan(&here, &database); err != nil || here {
		return err
	}
	return &CopyError{database}
}
