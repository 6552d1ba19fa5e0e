package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/stream"
	"pg_scribe/stream/capture"
)

// beginNoHarm is begin in the no-harm mode.
func beginNoHarm(t *testing.T, setup ...string) *trip {
	t.Helper()
	source, target := clusters(t)
	db := source.CreateDB(t, "src")
	tr := &trip{t: t, source: source, target: target, db: db, slot: db, dir: filepath.Join(t.TempDir(), "repo"), mode: capture.ModeNoHarm}
	tr.begin(setup...)
	return tr
}

// listed are the tables of the no-harm mode's list.
func (tr *trip) listed() string {
	tr.t.Helper()
	return strings.ReplaceAll(tr.source.Query(tr.t, tr.db, `SELECT tablename FROM pg_publication_tables WHERE pubname = 'pg_scribe_ud' ORDER BY 1`), "\n", " ")
}

// identities are the replica identities of the application's tables.
func (tr *trip) identities() string {
	tr.t.Helper()
	return tr.source.Query(tr.t, tr.db, `SELECT relname, relreplident FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1`)
}

// rowGaps are the tables whose changes the stream says it lacks, one for each mark.
func (tr *trip) rowGaps() string {
	tr.t.Helper()
	var list []string
	for line := range strings.Lines(tr.text()) {
		if !strings.HasPrefix(line, "-- pg_scribe gap") {
			continue
		}
		if _, rest, ok := strings.Cut(line, "rows of "); ok {
			name, _, _ := strings.Cut(rest, " ")
			list = append(list, name)
		} else {
			tr.t.Errorf("a gap of another kind: %s", line)
		}
	}
	return strings.Join(list, " ")
}

// settle waits for the statistics of sessions that have ended.
func (tr *trip) settle(table, changes string) {
	tr.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if tr.source.Query(tr.t, tr.db, "SELECT scribe.changes('"+table+"'::regclass)") == changes {
			return
		}
		if time.Now().After(deadline) {
			tr.t.Fatalf("the statistics of %s do not become %s", table, changes)
		}
	}
}

// Tables without a usable key stay as they are: INSERT is captured, UPDATE and
// DELETE succeed and leave one mark for each table until the next base.
func TestNoHarmMarksUnlistedTables(t *testing.T) {
	tr := beginNoHarm(t, `CREATE TABLE keyed (id int PRIMARY KEY, v text); INSERT INTO keyed VALUES (1, 'a'), (2, 'b');
	  CREATE TABLE plain (id int, v text); INSERT INTO plain VALUES (1, 'a'), (2, 'b'); UPDATE plain SET v = v || v;
	  CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE, v text); CREATE TABLE nothing (id int PRIMARY KEY, v text);
	  ALTER TABLE nothing REPLICA IDENTITY NOTHING;
	  CREATE TABLE whole (id int, v text); ALTER TABLE whole REPLICA IDENTITY FULL;
	  CREATE TABLE by_index (id int NOT NULL, v text); CREATE UNIQUE INDEX by_index_u ON by_index (id);
	  ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_u`)
	before := tr.identities()
	if got := tr.listed(); got != "by_index keyed whole" {
		t.Errorf("listed: %s", got)
	}
	tr.run(`INSERT INTO plain VALUES (3, 'c'); INSERT INTO deferred VALUES (1, 'x'), (2, 'y'); INSERT INTO nothing VALUES (1, 'n');
	  INSERT INTO whole VALUES (1, 'w'), (1, 'w'), (2, 'x'); INSERT INTO by_index VALUES (1, 'i');
	  UPDATE keyed SET v = 'z' WHERE id = 1; DELETE FROM keyed WHERE id = 2; UPDATE whole SET v = 'u' WHERE id = 1; UPDATE by_index SET id = 2; TRUNCATE nothing;
	  INSERT INTO nothing VALUES (7, 'n')`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()

	tr.run(`UPDATE plain SET v = 'lost' WHERE id = 1; DELETE FROM deferred WHERE id = 1; UPDATE nothing SET v = 'lost'`)
	tr.settle("plain", "3")
	tr.capture()
	if got := tr.rowGaps(); got != "public.deferred public.nothing public.plain" {
		t.Errorf("marks: %s", got)
	}
	tr.run(`UPDATE plain SET v = 'again'`)
	tr.settle("plain", "6")
	tr.capture()
	if got := tr.rowGaps(); got != "public.deferred public.nothing public.plain" {
		t.Errorf("marks after another UPDATE: %s", got)
	}
	if got := tr.identities(); got != before {
		t.Errorf("replica identities: %s, before %s", got, before)
	}

	tr.fullBackup()
	tr.run(`INSERT INTO plain VALUES (4, 'd'); UPDATE keyed SET v = 'zz'`)
	tr.capture()
	if got := tr.rowGaps(); got != "public.deferred public.nothing public.plain" {
		t.Errorf("marks after the base: %s", got)
	}
	tr.back()
	tr.equal()
	tr.run(`UPDATE plain SET v = 'lost again'`)
	tr.settle("plain", "10")
	tr.capture()
	if got := tr.rowGaps(); got != "public.deferred public.nothing public.plain public.plain" {
		t.Errorf("marks after a change behind the base: %s", got)
	}
	tr.run(`SELECT pg_stat_reset()`)
	tr.capture()
	if got := tr.rowGaps(); got != "public.deferred public.nothing public.plain public.plain public.deferred public.nothing" {
		t.Errorf("marks after the statistics were lost: %s", got)
	}
}

// What has a key is captured whole, wherever the table and its key come from.
func TestNoHarmListFollowsCommands(t *testing.T) {
	tr := beginNoHarm(t, `CREATE TABLE t (id int CONSTRAINT t_key PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 10) g;
	  CREATE TABLE logged (id int PRIMARY KEY, v text); INSERT INTO logged VALUES (1, 'a');
	  CREATE TABLE par (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE par1 PARTITION OF par FOR VALUES FROM (0) TO (10)`)
	tr.run(`BEGIN; ALTER TABLE t DROP CONSTRAINT t_key; INSERT INTO t VALUES (11, 'v'); ALTER TABLE t ADD PRIMARY KEY (id); UPDATE t SET v = 'w' WHERE id < 4;
	  COMMIT; UPDATE t SET v = 'x' WHERE id = 5; DELETE FROM t WHERE id = 6`,
		`ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, v); UPDATE t SET v = 'y' WHERE id = 7`,
		`CREATE TABLE fresh (id int PRIMARY KEY, v text); INSERT INTO fresh VALUES (1, 'a'), (2, 'b'); UPDATE fresh SET v = 'c'; DELETE FROM fresh WHERE id = 2`,
		`BEGIN; CREATE TABLE ctas AS SELECT * FROM t; ALTER TABLE ctas ADD PRIMARY KEY (id); UPDATE ctas SET v = 'ctas'; COMMIT; DELETE FROM ctas WHERE id = 1`,
		`CREATE TABLE par2 PARTITION OF par FOR VALUES FROM (10) TO (20); INSERT INTO par SELECT g, 'p' FROM generate_series(1, 19) g;
		  UPDATE par SET v = 'q' WHERE id % 2 = 0; DELETE FROM par WHERE id = 10; UPDATE par SET id = 10 WHERE id = 9; DELETE FROM par WHERE id = 3`,
		`CREATE TABLE later (id int, v text); ALTER TABLE later ADD PRIMARY KEY (id); INSERT INTO later VALUES (1, 'l'); UPDATE later SET v = 'm'`,
		`CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent); INSERT INTO child VALUES (1, 'c');
		  UPDATE parent SET v = 'd'`,
		`CREATE SCHEMA s CREATE TABLE st (id int PRIMARY KEY); INSERT INTO s.st VALUES (1), (2); DELETE FROM s.st WHERE id = 1; ALTER SCHEMA s RENAME TO s2;
		  DROP TABLE ctas`,
		`ALTER TABLE logged SET UNLOGGED; UPDATE logged SET v = 'u'; ALTER TABLE logged SET LOGGED; UPDATE logged SET v = 'l'`,
		`DO $$ BEGIN ALTER TABLE logged SET UNLOGGED; ALTER TABLE logged SET LOGGED; END $$; DELETE FROM logged; INSERT INTO logged VALUES (9, 'i')`)
	if got := tr.listed(); got != "child fresh later logged par1 par2 parent st t" {
		t.Errorf("listed: %s", got)
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()

	// Without its key the table leaves the list at once, and so do partitions.
	tr.run(`ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET v = 'lost' WHERE id = 1`,
		`ALTER TABLE par DROP CONSTRAINT par_pkey; DELETE FROM par WHERE id = 2; ALTER TABLE fresh REPLICA IDENTITY NOTHING; UPDATE fresh SET v = 'n'`)
	if got := tr.listed(); got != "child later logged parent st" {
		t.Errorf("listed: %s", got)
	}
	// It comes back with its key; what happened meanwhile is not captured.
	tr.run(`ALTER TABLE t ADD PRIMARY KEY (id); UPDATE t SET v = 'kept' WHERE id = 2`)
	tr.settle("par1", tr.source.Query(t, tr.db, "SELECT scribe.changes('par1'::regclass)"))
	tr.capture()
	for _, want := range []string{"public.t", "public.par1", "public.fresh"} {
		if got := tr.rowGaps(); strings.Count(got+" ", want+" ") != 1 {
			t.Errorf("marks: %s, without one for %s", got, want)
		}
	}
	tr.fullBackup()
	tr.capture()
	tr.back()
	tr.equal()
}

// Transactions that wait for nothing hold the list for long: a table loses its
// key regardless, and one that cannot be listed yet leaves a mark, not an error.
func TestNoHarmNeverWaitsForTheList(t *testing.T) {
	tr := beginNoHarm(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')`)
	ctx := context.Background()
	long := tr.source.Conn(t, tr.db)
	mustExec(t, long, "BEGIN; CREATE TABLE long_one (id int PRIMARY KEY)")
	began := time.Now()
	tr.run(`ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET v = 'b'; CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1), (2);
	  DELETE FROM other WHERE id = 1`)
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the commands took %v", d)
	}
	if _, err := long.Exec(ctx, "INSERT INTO long_one VALUES (1); UPDATE long_one SET id = 2; COMMIT"); err != nil {
		t.Fatal(err)
	}
	if got := tr.listed(); got != "long_one" {
		t.Errorf("listed: %s", got)
	}
	if got := tr.source.Query(t, tr.db, "SELECT count(*) FROM pg_depend d WHERE classid = 'pg_publication_rel'::regclass AND NOT EXISTS (SELECT FROM "+
		"pg_publication_rel WHERE oid = d.objid)"); got != "0" {
		t.Errorf("%s dependencies are left", got)
	}
	tr.settle("t", "1")
	tr.capture()
	if got := tr.listed(); got != "long_one other" {
		t.Errorf("listed after a sample: %s", got)
	}
	if got := tr.rowGaps(); got != "public.other public.t" {
		t.Errorf("marks: %s", got)
	}
	tr.fullBackup()
	tr.run("UPDATE other SET id = 5; UPDATE long_one SET id = 3")
	tr.capture()
	tr.back()
	tr.equal()
	tr.run("DROP TABLE t")
}

// The list is guarded like the other publication, repaired, and removed.
func TestNoHarmListIsGuardedAndRemoved(t *testing.T) {
	tr := beginNoHarm(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE plain (id int); INSERT INTO t VALUES (1)`)
	for _, sql := range []string{"DROP PUBLICATION pg_scribe_ud", "DROP PUBLICATION pg_scribe", "ALTER PUBLICATION pg_scribe_ud DROP TABLE t",
		"ALTER PUBLICATION pg_scribe_ud SET TABLE plain",
		"ALTER PUBLICATION pg_scribe_ud SET (publish = 'update')", "ALTER PUBLICATION pg_scribe SET (publish = 'insert')"} {
		out, err := tr.source.Command("psql", "-X", "-d", tr.db, "-v", "ON_ERROR_STOP=1", "-c", sql).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "pg_scribe drop") {
			t.Errorf("%s: %v, %s", sql, err, out)
		}
	}
	check := func(mode string, problems int) {
		t.Helper()
		if list, err := capture.Check(context.Background(), tr.conn(), stream.DefaultPublication, mode); err != nil || len(list) != problems {
			t.Errorf("the capture's problems in mode %q: %v, %v", mode, list, err)
		}
	}
	check(capture.ModeNoHarm, 0)
	check("", 0)
	check(capture.ModeGuarded, 1+1) // it is not, and the table would fail
	tr.run(`SET session_replication_role = replica; ALTER EVENT TRIGGER scribe_z DISABLE; ALTER EVENT TRIGGER "!scribe_y" DISABLE;
	  ALTER PUBLICATION pg_scribe_ud ADD TABLE plain; ALTER EVENT TRIGGER "!scribe_y" ENABLE ALWAYS; ALTER EVENT TRIGGER scribe_z ENABLE ALWAYS`)
	check(capture.ModeNoHarm, 1)
	tr.capture()
	check(capture.ModeNoHarm, 0)
	if got := tr.listed(); got != "t" {
		t.Errorf("listed: %s", got)
	}
	if err := capture.Uninstall(context.Background(), tr.conn(), stream.DefaultPublication); err != nil {
		t.Error(err)
	}
	if left := tr.source.Query(t, tr.db, "SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_event_trigger), to_regnamespace('scribe') IS "+
		"NULL"); left != "0|0|t" {
		t.Errorf("Uninstall leaves publications, event triggers, no schema: %s", left)
	}
}

// The program in the no-harm mode, from init to drop.
func TestNoHarmCommandLine(t *testing.T) {
	w := newWorld(t, 1)
	w.cluster.Exec(t, w.db, `CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE "no key" (id int); INSERT INTO keyed VALUES (1)`)
	out := w.must("init", "-d", w.conn(), "-f", w.repo, "--mode", "no-harm")
	if !strings.Contains(out, `public."no key"`) {
		t.Errorf("init does not name the table without key:\n%s", out)
	}
	w.cluster.Exec(t, w.db, `UPDATE "no key" SET id = 2; UPDATE keyed SET id = 2`)
	if out, err := w.scribe("status", "-d", w.conn(), "-f", w.repo); !strings.Contains(out, "no-harm mode") || strings.Contains(out, "not complete") {
		t.Errorf("status: %v\n%s", err, out)
	}
	w.must("full-backup", "-d", w.conn(), "-f", w.repo)
	w.must("full-backup", "-d", w.conn(), "-f", w.repo, "--jobs", "2")
	w.must("restore", "-f", w.repo, "-d", w.target.ConnString("again"), "-C")
	if got := w.target.Query(t, "again", `SELECT (SELECT id FROM keyed), (SELECT count(*) FROM pg_publication), to_regclass('public."no key"') `+
		`IS NOT NULL`); got != "2|0|t" {
		t.Errorf("restored: %s", got)
	}
	if out, err := w.scribe("init", "-d", w.conn(), "-f", w.repo+"2", "-S", "other", "--force"); err == nil || !strings.Contains(out, "no-harm") {
		t.Errorf("init in another mode: %v\n%s", err, out)
	}
	if out := w.must("drop", "-d", w.conn(), "-f", w.repo, "--yes"); !strings.Contains(out, `"pg_scribe_ud"`) {
		t.Errorf("drop: %s", out)
	}
	if left := w.cluster.Query(t, w.db, "SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_event_trigger), to_regnamespace('scribe') IS "+
		"NULL"); left != "0|0|t" {
		t.Errorf("drop leaves publications, event triggers, no schema: %s", left)
	}
}
