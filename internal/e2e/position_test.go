package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/repo"
	"pg_scribe/stream"
)

// A stream may break off anywhere between two transactions. What it goes on
// with must not depend on what only the process before it knew.

// pausing are strings that wait in the middle for the lock that held holds.
// Each has transactions on both sides, and statements that could be mistaken
// for those of the other side.
var pausing = []string{
	`ALTER TABLE t ADD a int; COMMIT; SELECT pg_advisory_lock(1); ALTER TABLE t ADD b int`,
	`BEGIN; ALTER TABLE t DROP COLUMN IF EXISTS no; ALTER TABLE t ADD a2 int DEFAULT 5; SAVEPOINT s; ALTER TABLE t ADD never int; ROLLBACK TO s; COMMIT AND CHAIN;
	  SELECT pg_advisory_lock(1); ALTER TABLE t ADD b2 int; COMMIT; ALTER TABLE t ADD c2 int; ALTER TABLE t ADD d2 int`,
	`BEGIN; CREATE INDEX ON t (id); GRANT SELECT ON t TO PUBLIC; END; SELECT pg_advisory_lock(1); BEGIN; CREATE INDEX ON t (id, v);
	  GRANT UPDATE (v) ON t TO PUBLIC; END; CREATE INDEX ON t (v)`,
	`DO $$BEGIN EXECUTE 'ALTER TABLE t ADD n1 int; ALTER TABLE t ADD n2 int'; EXECUTE 'ALTER TABLE t DROP n1; ALTER TABLE t DROP n2'; COMMIT; ` +
		`PERFORM pg_advisory_lock(1);
	  EXECUTE 'ALTER TABLE t ADD n1 int; ALTER TABLE t ADD n2 int'; ALTER TABLE t ADD n3 int; END$$`,
}

// pause runs a string up to its lock, then what happens meanwhile, then the rest.
func (tr *trip) pause(sql string, meanwhile func()) {
	tr.t.Helper()
	ctx := context.Background()
	held := tr.source.Conn(tr.t, tr.db)
	if _, err := held.Exec(ctx, "SELECT pg_advisory_lock(1)"); err != nil {
		tr.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := tr.source.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", tr.db, "-c", sql)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		tr.t.Fatal(err)
	}
	tr.await("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT "+
		"granted", "1")
	meanwhile()
	held.Close(ctx)
	if err := cmd.Wait(); err != nil {
		tr.t.Fatalf("%s: %v\n%s", sql, err, &out)
	}
}

func (tr *trip) await(query, want string) {
	tr.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); tr.source.Query(tr.t, tr.db, query) != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tr.t.Fatalf("%s: never %s", query, want)
		}
	}
}

// state is the state of a kind at the stream's end.
func (tr *trip) state(kind string) map[uint32]string {
	tr.t.Helper()
	r, err := repo.OpenReadOnly(tr.t.Context(), tr.dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	_, all, err := r.Catalog().StreamState(tr.t.Context())
	if err != nil {
		tr.t.Fatal(err)
	}
	found := map[uint32]string{}
	for key, value := range all {
		if key.Kind == kind && key.OID != 0 {
			found[key.OID] = value
		}
	}
	return found
}

func TestRestartWithinAString(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	for _, sql := range pausing {
		tr.pause(sql, func() { tr.captureUntil(false) })
	}
	tr.capture()
	if left := tr.state("string"); len(left) > 0 {
		t.Errorf("positions of strings that are over: %v", left)
	}
	tr.noGap()
	tr.back()
	tr.equal()
}

// A string that ends before its text does is forgotten when its session sends
// another one, and takes no part in it.
func TestStringThatFailsBetweenItsTransactions(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	conn := tr.source.Conn(t, tr.db)
	again := `ALTER TABLE t ADD a int; COMMIT; SELECT 1 / (SELECT count(*) FROM t); ALTER TABLE t ADD b int`
	if _, err := conn.PgConn().Exec(t.Context(), again).ReadAll(); err == nil {
		t.Fatal("it did not fail")
	}
	tr.captureUntil(false)
	if left := tr.state("string"); len(left) != 1 {
		t.Errorf("positions of strings: %v", left)
	}
	for _, sql := range []string{`INSERT INTO t VALUES (1); ALTER TABLE t DROP a; COMMIT`, again} {
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	tr.capture()
	if left := tr.state("string"); len(left) > 0 {
		t.Errorf("positions of strings that are over: %v", left)
	}
	tr.noGap()
	tr.back()
	tr.equal()
}

// The connection breaks within one process.
func TestReconnectWithinAString(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	r, err := repo.Open(t.Context(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := tr.inBackground(r, stream.RunOptions{StateInterval: time.Minute})
	for _, sql := range pausing {
		tr.pause(sql, func() { tr.breakOff() })
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	tr.noGap()
	tr.back()
	tr.equal()
}

// Without a repository, the process itself remembers; and what was written is
// not written again.
func TestReconnectWithoutRepository(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	var text bytes.Buffer
	done := tr.inBackground(nil, stream.RunOptions{Text: &text})
	tr.run(`INSERT INTO t VALUES (1, 'first')`)
	for _, sql := range pausing {
		tr.pause(sql, func() { tr.breakOff() })
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "-- pg_scribe gap") || strings.Count(text.String(), "'first'") != 1 {
		t.Errorf("a gap, or a row that is missing or there twice:\n%s", &text)
	}
	db := tr.target.CreateDB(t, "text")
	tr.target.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	cmd := exec.Command(tr.target.BinDir+"/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", tr.target.ConnString(db))
	cmd.Stdin = strings.NewReader(text.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, &text)
	}
	tr.restored = db
	tr.equal()
}

// inBackground streams; the result waits until it has come to the
// present end, and stops it.
func (tr *trip) inBackground(r *repo.Repository, opts stream.RunOptions) (done func() error) {
	ctx, stop := context.WithCancel(tr.t.Context())
	opts.ConnString, opts.Slot, opts.Publication = tr.conn(), tr.slot, stream.DefaultPublication
	opts.StatusInterval, opts.FsyncInterval = 50*time.Millisecond, 50*time.Millisecond
	opts.Notice = func(s string) { tr.t.Log(s) }
	ended := make(chan error, 1)
	go func() {
		err := stream.Run(ctx, r, opts)
		if err != nil {
			tr.t.Log(err) // whoever waits for the stream would not come to see it
		}
		ended <- err
	}()
	tr.awaitWalsender("1")
	return func() error {
		tr.caughtUp()
		stop()
		return <-ended
	}
}

func (tr *trip) awaitWalsender(n string) {
	tr.t.Helper()
	tr.await("SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = '"+tr.slot+"'", n)
}

// caughtUp waits until the server knows that the stream is stored up to now.
func (tr *trip) caughtUp() {
	tr.t.Helper()
	tr.await("SELECT confirmed_flush_lsn >= '"+tr.lsn().String()+"' FROM pg_replication_slots WHERE slot_name = '"+tr.slot+"'", "t")
}

// breakOff ends the connection when everything so far is stored, and waits for another.
func (tr *trip) breakOff() {
	tr.t.Helper()
	tr.caughtUp()
	pid := tr.source.Query(tr.t, tr.db, "SELECT pg_terminate_backend(active_pid)::text || active_pid FROM pg_replication_slots WHERE slot_name = '"+tr.slot+"'")
	pid = strings.TrimPrefix(pid, "true")
	tr.await("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+tr.slot+"' AND active_pid <> "+pid, "1")
}

// A base that is taken while a string runs is behind some of its transactions.
// What cannot be told apart there is marked, and nothing is guessed.
func TestInitWithinAString(t *testing.T) {
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: t.TempDir() + "/repo"}
	tr.slot, tr.patience = tr.db, time.Millisecond
	tr.run(`CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
	tr.pause(`ALTER TABLE t ADD a int; ALTER TABLE u ADD a int; COMMIT; SELECT pg_advisory_lock(1); SELECT count(*) FROM u; ALTER TABLE t ADD b int;
	  DROP TABLE u`, func() { tr.begin() })
	tr.capture()
	text := tr.text()
	if strings.Count(text, "-- pg_scribe gap") != 2 || !strings.Contains(text, "older than the capture") || !strings.Contains(text, "has several transactions") ||
		strings.Contains(text, "ADD a int") {
		t.Errorf("not marked:\n%s", text)
	}
	if !strings.Contains(text, "DROP TABLE IF EXISTS u") && !strings.Contains(text, "DROP TABLE u") {
		t.Errorf("what can be told is missing:\n%s", text)
	}
	tr.once(`ALTER TABLE t ADD c int; COMMIT; ALTER TABLE t ADD d int`)
	tr.capture()
	if text := tr.text(); strings.Count(text, "-- pg_scribe gap") != 2 || !strings.Contains(text, "ADD d int") {
		t.Errorf("a later string:\n%s", text)
	}
}

// What a string prepares comes into the stream when it is committed, behind
// what the string does after that.
func TestPreparedWithinAString(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
	conn := tr.source.Conn(t, tr.db)
	for _, sql := range []string{
		`BEGIN; ALTER TABLE t ADD a int; ALTER TABLE t ADD b int; PREPARE TRANSACTION 'p'; ALTER TABLE u ADD c int; ALTER TABLE u ADD d int`, `COMMIT PREPARED 'p'`,
		`BEGIN; CREATE TABLE x (a int); PREPARE TRANSACTION 'p'`, `COMMIT PREPARED 'p'`} {
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			if strings.Contains(err.Error(), "max_prepared_transactions") {
				t.Skip(err)
			}
			t.Fatal(err)
		}
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	for _, sql := range []string{`BEGIN; GRANT SELECT ON t TO PUBLIC; PREPARE TRANSACTION 'p'; GRANT UPDATE ON u TO PUBLIC`, `COMMIT PREPARED 'p'`} {
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	tr.capture()
	if text := tr.text(); strings.Count(text, "-- pg_scribe gap") != 2 {
		t.Errorf("not marked:\n%s", text)
	}
}

// A transaction that wrote to a table before its schema was renamed commits
// after a restart, and describes the table by the old name.
func TestRestartBesideASchemaRename(t *testing.T) {
	tr := begin(t, `CREATE SCHEMA a; CREATE TABLE a.x (id int PRIMARY KEY, v text)`)
	writer := tr.source.Conn(t, tr.db)
	write := func(sql string) {
		t.Helper()
		if _, err := writer.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	write("BEGIN")
	write("INSERT INTO a.x VALUES (1, 'before')")
	for _, sql := range []string{`ALTER SCHEMA a RENAME TO b`, `CREATE SCHEMA a; CREATE TABLE a.x (id int PRIMARY KEY, v text);
	  INSERT INTO a.x VALUES (7, 'of another table')`,
		`ALTER SCHEMA b RENAME TO c`, `ALTER SCHEMA c OWNER TO CURRENT_USER`} {
		tr.run(sql)
		tr.captureUntil(false)
	}
	if moves := tr.state("move"); len(moves) != 1 {
		t.Errorf("moves: %v", moves)
	}
	write("INSERT INTO c.x VALUES (2, 'after')")
	write("COMMIT")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	// Nobody is left who could use the old names.
	for range 2 {
		tr.capture()
	}
	if moves := tr.state("move"); len(moves) > 0 {
		t.Errorf("moves that are over: %v", moves)
	}
}

// The capture looks at what a command touched, and at what is listed beside it.
// Another session's lock on that must not make the command wait.
func TestCommandsDoNotWaitForOthersLocks(t *testing.T) {
	tr := begin(t, `CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE SCHEMA hashed; CREATE SCHEMA other; CREATE TABLE t (id int PRIMARY KEY);
	  CREATE TABLE z (id int PRIMARY KEY);
		CREATE TABLE hashed.h (m mood, v int) PARTITION BY HASH (m); CREATE TABLE hashed.h0 PARTITION OF hashed.h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE hashed.h1 PARTITION OF hashed.h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE part (id int, v text) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
	  CREATE TABLE part2 (id int, v text);
		CREATE TABLE base (id int PRIMARY KEY, v text); CREATE MATERIALIZED VIEW mv AS SELECT * FROM base; CREATE VIEW w AS SELECT * FROM base;
		CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SET work_mem = '5MB' BEGIN ATOMIC SELECT count(*) FROM base; END; CREATE TYPE pair AS (a int, b int);
		CREATE TABLE child (x int) INHERITS (base); ALTER TABLE child ADD n int DEFAULT 5`)
	ctx := t.Context()
	held, begun, worker := tr.source.Conn(t, tr.db), tr.source.Conn(t, tr.db), tr.source.Conn(t, tr.db)
	do := func(conn interface {
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	}, sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	// A transaction that began before a partition was made by another one.
	do(begun, "BEGIN; INSERT INTO z VALUES (1)")
	do(worker, "SET lock_timeout = 0; SET statement_timeout = '3s'")
	do(worker, "ALTER TABLE part ATTACH PARTITION part2 FOR VALUES FROM (10) TO (20)")
	do(held, "BEGIN; LOCK TABLE ONLY hashed.h0, hashed.h1, part1, part2, base, child IN ACCESS EXCLUSIVE MODE")
	grant := "GRANT INSERT ON part1 TO PUBLIC; "
	if tr.source.Major >= 18 { // which locks what it is about
		grant = ""
	}
	for _, sql := range []string{
		"ALTER SCHEMA other RENAME TO another", "ALTER SCHEMA hashed RENAME TO chopped", "ALTER SCHEMA chopped RENAME TO hashed",
		"ALTER TABLE t ADD COLUMN a int DEFAULT 3", "ALTER TABLE t ADD COLUMN b date DEFAULT 'today'", "ALTER TABLE t RENAME TO t2",
		"ALTER TABLE t2 ADD CHECK (a > 0)", "CREATE INDEX ON t2 (a) WHERE a > 1",
		"CREATE TABLE new (a int, d date DEFAULT 'today') PARTITION BY RANGE (d)", "CREATE TABLE new1 PARTITION OF new FOR VALUES FROM (current_date) TO " +
			"(current_date + 1)",
		"CREATE TABLE cta AS SELECT * FROM new", "CREATE VIEW nv AS SELECT date 'today' AS d FROM t2", "REFRESH MATERIALIZED VIEW mv WITH NO DATA",
		"DROP TABLE new1", "ALTER TYPE mood ADD VALUE 'glad'", "ALTER TYPE pair RENAME TO couple",
		"ALTER FUNCTION f() COST 5", "CREATE FUNCTION g() RETURNS date LANGUAGE sql AS $$SELECT date 'today'$$", "GRANT SELECT ON ALL TABLES IN SCHEMA hashed TO " +
			"PUBLIC",
		"BEGIN; " + grant + "CREATE TABLE n2 (d date DEFAULT 'today'); COMMIT",
		"CREATE STATISTICS st ON id, a FROM t2", "CREATE DOMAIN dom AS date CHECK (VALUE > 'yesterday')", "ALTER TABLE part OWNER TO CURRENT_USER",
	} {
		do(worker, sql)
	}
	do(begun, "SET statement_timeout = '3s'")
	do(begun, "ALTER TABLE part OWNER TO CURRENT_USER")
	do(begun, "COMMIT")
	do(held, "COMMIT")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	// What only a table's lock would tell is given up, and marked.
	do(held, "BEGIN; LOCK TABLE base IN ACCESS EXCLUSIVE MODE")
	do(worker, "ALTER FUNCTION f() SET search_path FROM CURRENT")
	do(held, "COMMIT")
	tr.capture()
	if text := tr.text(); !strings.Contains(text, `-- pg_scribe gap "end of ALTER FUNCTION`) {
		t.Errorf("not marked:\n%s", text)
	}
}
