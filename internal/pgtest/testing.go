package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pg_scribe/internal/simple"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// New starts a cluster and stops it at the end of the test. At most one Options is taken.
func New(tb testing.TB, opts ...Options) *Cluster {
	tb.Helper()
	if len(opts) > 1 {
		tb.Fatal("pgtest.New: more than one Options")
	}
	c, err := Start(append(opts, Options{})[0])
	if err != nil {
		tb.Fatalf("starting a PostgreSQL cluster: %v", err)
	}
	tb.Cleanup(func() {
		if err := c.Stop(); err != nil {
			tb.Errorf("stopping the PostgreSQL cluster: %v", err)
		}
	})
	return c
}

var shared = struct {
	sync.Mutex
	cluster *Cluster
	err     error
}{}

// Shared is the one cluster with default options that the tests of this process share. A test must not stop, kill or
// reconfigure it, and works in databases of its own (CreateDB).
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = Start(Options{})
	}
	if shared.err != nil {
		tb.Fatalf("starting the shared PostgreSQL cluster: %v", shared.err)
	}
	return shared.cluster
}

// StopShared stops the shared cluster, if one was started, and removes what else this package keeps for the process.
func StopShared() error {
	shared.Lock()
	defer shared.Unlock()
	err := dropTemplates()
	if shared.cluster != nil {
		err = errors.Join(err, shared.cluster.Stop())
		shared.cluster = nil
	}
	return err
}

// Main is the body of a TestMain: it runs the tests, stops the shared cluster and exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := StopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

var lastDB atomic.Int64

// CreateDB creates an empty database with a name of its own that starts with prefix. At the end of the test it is dropped
// together with all that would hold it: connections, slots, prepared transactions, subscriptions.
func (c *Cluster) CreateDB(tb testing.TB, prefix string) string {
	tb.Helper()
	db := fmt.Sprintf("%s_%d", prefix, lastDB.Add(1))
	c.Exec(tb, "postgres", "CREATE DATABASE "+quoteIdent(db)+" TEMPLATE template0")
	tb.Cleanup(func() {
		if !c.Running() {
			return
		}
		if err := c.dropDB(context.Background(), db); err != nil {
			tb.Errorf("dropping database %q: %v", db, err)
		}
	})
	return db
}

// dropDB drops a database with all that would hold it. Only what exists is dropped: a test may have dropped it itself.
func (c *Cluster) dropDB(ctx context.Context, db string) error {
	name := quoteLiteral(db)
	exists, err := c.query(ctx, "postgres", "SELECT FROM pg_database WHERE datname = "+name)
	if err != nil || len(exists) == 0 {
		return err
	}
	// Each statement of a list is run alone: none of them may stand in a transaction block.
	lists := []string{
		`SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = current_database()`,
		`SELECT format(s, subname) FROM pg_subscription, (VALUES (1, 'ALTER SUBSCRIPTION %I DISABLE'),
			(2, 'ALTER SUBSCRIPTION %I SET (slot_name = NONE)'), (3, 'DROP SUBSCRIPTION %I')) AS v (n, s)
			WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY subname, n`,
	}
	for _, list := range lists {
		statements, err := c.query(ctx, db, list)
		if err != nil {
			return err
		}
		for _, s := range statements {
			if _, err := c.query(ctx, db, s[0]); err != nil {
				return fmt.Errorf("%s: %w", s[0], err)
			}
		}
	}
	_, err = c.query(ctx, "postgres", `DO $$
		DECLARE slot name;
		BEGIN
			FOR slot IN SELECT slot_name FROM pg_replication_slots WHERE database = `+name+` AND NOT temporary LOOP
				FOR i IN 1 .. 1000 LOOP
					PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots
						WHERE slot_name = slot AND active_pid IS NOT NULL;
					EXIT WHEN NOT FOUND;
					PERFORM pg_sleep(0.01);
				END LOOP;
				PERFORM pg_drop_replication_slot(slot);
			END LOOP;
		END $$`)
	if err != nil {
		return err
	}
	_, err = c.query(ctx, "postgres", "DROP DATABASE "+quoteIdent(db)+" WITH (FORCE)")
	return err
}

// Exec runs one or several statements by the simple protocol (several are one transaction).
func (c *Cluster) Exec(tb testing.TB, db, sql string) {
	tb.Helper()
	c.Query(tb, db, sql)
}

// TwoVersions are servers of two versions, the older one first: the last pair of different ones in PG_SCRIBE_TEST_MATRIX,
// which lists SOURCE:TARGET. Where that is not set, the test is left to make matrix, which gets the servers.
func TwoVersions(tb testing.TB) (older, newer *Cluster) {
	tb.Helper()
	var source, target string
	for pair := range strings.FieldsSeq(os.Getenv("PG_SCRIBE_TEST_MATRIX")) {
		if from, to, _ := strings.Cut(pair, ":"); from != to {
			source, target = from, to
		}
	}
	if target == "" {
		tb.Skip("needs servers of two versions, which make matrix gets")
	}
	return New(tb, Options{Version: source}), New(tb, Options{Version: target})
}

// Query runs one or several statements and returns their rows as psql -At prints them: columns separated by |, rows by
// newlines, null as nothing.
func (c *Cluster) Query(tb testing.TB, db, sql string) string {
	tb.Helper()
	rows, err := c.query(context.Background(), db, sql)
	if err != nil {
		tb.Fatalf("%v\ndatabase %s, statement: %s", err, db, sql)
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = strings.Join(row, "|")
	}
	return strings.Join(lines, "\n")
}

// Conn is a connection that is closed at the end of the test.
func (c *Cluster) Conn(tb testing.TB, db string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), c.ConnString(db))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) }) // the test may have closed or killed it
	return conn
}

// query runs sql on a connection of its own.
func (c *Cluster) query(ctx context.Context, db, sql string) ([][]string, error) {
	conn, err := pgconn.Connect(ctx, c.ConnString(db))
	if err != nil {
		return nil, err
	}
	rows, err := simple.Query(ctx, conn, sql)
	return rows, errors.Join(err, conn.Close(ctx))
}

func quoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }

// quoteLiteral is for a server with standard_conforming_strings on, the default.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
