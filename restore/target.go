package restore

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"pg_scribe/internal/conninfo"
	"pg_scribe/internal/simple"
)

// server is what is known of the target server.
type server struct {
	version   string // 15.18
	major     int
	system    string // its system identifier; empty when the role may not know
	superuser bool
}

// connect opens a connection on which cancelling a context stops what the
// server does, and not only the waiting for it.
func connect(ctx context.Context, connString string) (*pgconn.PgConn, error) {
	return connectWith(ctx, connString, nil)
}

// unheard keeps a login trigger of the restored database, which there are from
// version 17 on, from firing.
var unheard = map[string]string{"event_triggers": "off"}

// connectUnheard connects to a database that may have login triggers, on a
// server that may not know how to silence them.
func connectUnheard(ctx context.Context, connString string) (*pgconn.PgConn, error) {
	conn, err := connectWith(ctx, connString, unheard)
	if code := state(err); code == stateUndefinedObject || code == stateNoPrivilege {
		return connect(ctx, connString)
	}
	return conn, err
}

// connectDatabase is the same for another database than the string names.
func connectDatabase(ctx context.Context, connString, name string) (*pgconn.PgConn, error) {
	info, err := conninfo.Parse(connString)
	if err != nil {
		return nil, err
	}
	return connectUnheard(ctx, info.With("dbname", name).Keywords())
}

func connectWith(ctx context.Context, connString string, settings map[string]string) (*pgconn.PgConn, error) {
	parsed, err := conninfo.Config(connString)
	if err != nil {
		return nil, err
	}
	config := &parsed.Config
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pg_scribe restore"
	}
	maps.Copy(config.RuntimeParams, settings)
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 5 * time.Second}
	}
	return pgconn.ConnectConfig(ctx, config)
}

// SystemOf asks a server for its system identifier; empty: this role may not know.
func SystemOf(ctx context.Context, connString string) (string, error) {
	conn, err := connect(ctx, connString)
	if err != nil {
		return "", err
	}
	defer closeNow(conn)
	s, err := inspectServer(ctx, conn)
	return s.system, err
}

// databaseOf is the database that a connection string names.
func databaseOf(connString string) (string, error) {
	config, err := conninfo.Config(connString)
	if err != nil {
		return "", err
	}
	return config.Database, nil
}

// inspectServer asks a server what it is.
func inspectServer(ctx context.Context, conn *pgconn.PgConn) (server, error) {
	rows, err := simple.Query(ctx, conn, `SELECT pg_catalog.current_setting('server_version_num'),
		pg_catalog.current_setting('server_version'), pg_catalog.current_setting('is_superuser')`)
	if err != nil {
		return server{}, err
	}
	number, err := strconv.Atoi(rows[0][0])
	if err != nil {
		return server{}, fmt.Errorf("server_version_num: %w", err)
	}
	version, _, _ := strings.Cut(rows[0][1], " ") // "15.18 (Debian …)"
	s := server{version: version, major: number / 10000, superuser: rows[0][2] == "on"}
	if rows, err := simple.Query(ctx, conn, "SELECT system_identifier FROM pg_catalog.pg_control_system()"); err == nil {
		s.system = rows[0][0]
	}
	return s, ctx.Err()
}

// settings are what every session that writes to the target starts with. They
// undo what ALTER DATABASE or ALTER ROLE may have set.
func (s server) settings() string {
	list := []string{
		"statement_timeout = 0", "lock_timeout = 0", "idle_in_transaction_session_timeout = 0",
		"idle_session_timeout = 0", "synchronous_commit = off", "default_transaction_read_only = off",
		"default_transaction_isolation = 'read committed'", "default_transaction_deferrable = off",
		"client_min_messages = warning", "standard_conforming_strings = on", "row_security = off",
	}
	if s.major >= 17 {
		list = append(list, "transaction_timeout = 0")
	}
	if s.superuser {
		// Event triggers that the base brings must not fire for what follows.
		list = append(list, "session_replication_role = replica", "update_process_title = off")
		if s.major >= 17 {
			list = append(list, "event_triggers = off")
		}
	}
	return "SET " + strings.Join(list, "; SET ")
}

// readSettings returns the names of the server's settings.
func readSettings(ctx context.Context, conn *pgconn.PgConn) (map[string]bool, error) {
	rows, err := simple.Query(ctx, conn, "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings")
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(rows))
	for _, row := range rows {
		known[row[0]] = true
	}
	return known, nil
}

// analyze collects the statistics of all tables. One that cannot be analyzed,
// because a function in one of its indexes fails, say, is restored all the
// same: it is returned as a notice.
func analyze(ctx context.Context, conn *pgconn.PgConn) (notices []string, err error) {
	if _, err := simple.Query(ctx, conn, "ANALYZE"); err == nil || conn.IsClosed() || ctx.Err() != nil {
		return nil, err
	}
	tables, err := simple.Query(ctx, conn, `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	for _, row := range tables {
		_, err := simple.Query(ctx, conn, "ANALYZE "+row[0])
		if conn.IsClosed() || ctx.Err() != nil {
			return notices, err
		}
		if err != nil {
			notices = append(notices, fmt.Sprintf("no statistics of table %s: %v", row[0], err))
		}
	}
	return notices, nil
}

// open connects to the target database with the settings of a writing session.
func (s server) open(ctx context.Context, connString string) (*pgconn.PgConn, error) {
	var settings map[string]string
	if s.major >= 17 && s.superuser {
		settings = unheard
	}
	conn, err := connectWith(ctx, connString, settings)
	if err != nil {
		return nil, err
	}
	if _, err := simple.Query(ctx, conn, s.settings()); err != nil {
		closeNow(conn)
		return nil, err
	}
	return conn, nil
}

// closeNow closes a connection whatever became of the context.
func closeNow(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn.Close(ctx)
}

// MajorOf reads the major version out of one like 15.18 or 17beta1; 0 when it
// cannot.
func MajorOf(version string) int {
	end := 0
	for end < len(version) && version[end] >= '0' && version[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(version[:end])
	return n
}
