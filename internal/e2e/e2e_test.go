// Package e2e tests the program as its users run it: the built binary against
// a busy server, with the source itself as the judge of every restore.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// binary is pg_scribe, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pg_scribe-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "pg_scribe")
	if out, err := exec.Command("go", "build", "-o", binary, "pg_scribe/cmd/pg_scribe").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		if os.Getenv("NOBIN") == "" {
			os.Exit(1)
		}
	}
	code := m.Run()
	for _, c := range []*pgtest.Cluster{pair.source, pair.target} {
		if c != nil {
			c.Stop()
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// world is a source under load, its repository, and what is true of it.
type world struct {
	t       *testing.T
	cluster *pgtest.Cluster
	target  *pgtest.Cluster
	db      string
	repo    string
	rnd     *rand.Rand

	// Writers of DDL hold it shared for each step; whoever looks at the
	// truth holds it alone, because DDL does not respect snapshots.
	quiet sync.RWMutex
	stop  chan struct{}
	tasks sync.WaitGroup
	ended sync.Once
	bench *exec.Cmd

	stream *exec.Cmd
	log    *bytes.Buffer
	points []truth
}

// truth is the source at one moment.
type truth struct {
	name   string
	flags  []string // of restore
	point  catalog.LSN
	state  pgtest.State
	schema string
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, cluster: pgtest.New(t, pgtest.Options{Settings: map[string]string{"fsync": "on", "autovacuum_naptime": "1s"}}),
		target: pgtest.New(t), repo: filepath.Join(t.TempDir(), "repo"), stop: make(chan struct{}),
		rnd: rand.New(rand.NewPCG(seed, 7)), log: &bytes.Buffer{}}
	w.db = w.cluster.CreateDB(t, "shop")
	t.Cleanup(func() {
		if t.Failed() && *keep != "" {
			dir := filepath.Join(*keep, filepath.Base(w.cluster.Dir))
			err := os.CopyFS(dir, os.DirFS(w.repo))
			t.Logf("the repository is in %s (%v); the stream printed:\n%s", dir, err, w.log)
		}
	})
	return w
}

// scribe runs the program and returns what it printed.
func (w *world) scribe(args ...string) (string, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = w.cluster.Env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) must(args ...string) string {
	w.t.Helper()
	out, err := w.scribe(args...)
	if err != nil {
		w.t.Fatalf("pg_scribe %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// base runs a command that takes a base. After a while DDL stands still, if it got
// in the way of every dump so far.
func (w *world) base(command string) string {
	w.t.Helper()
	done := make(chan struct{})
	var still sync.WaitGroup
	still.Go(func() {
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			w.quiet.Lock()
			defer w.quiet.Unlock()
			<-done
		}
	})
	defer still.Wait()
	defer close(done)
	return w.must(command, "-d", w.conn(), "-f", w.repo)
}

func (w *world) conn() string { return w.cluster.ConnString(w.db) }

// start runs `pg_scribe start` beside the test.
func (w *world) start() {
	w.t.Helper()
	cmd := exec.Command(binary, "--start", "-d", w.conn(), "-f", w.repo, "-F", "1s", "-s", "1s", "--segment-size", "4MB")
	cmd.Env = w.cluster.Env()
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.stream = cmd
}

// halt ends the streamer with a signal and checks how it ended.
func (w *world) halt(sig syscall.Signal) {
	w.t.Helper()
	if err := w.stream.Process.Signal(sig); err != nil {
		w.t.Fatalf("pg_scribe start had ended before: %v\n%s", w.stream.Wait(), w.log)
	}
	err := w.stream.Wait()
	if sig != syscall.SIGKILL && err != nil {
		w.t.Fatalf("pg_scribe start: %v\n%s", err, w.log)
	}
}

// write begins the load: pgbench, DDL, and large transactions.
func (w *world) write() {
	w.bench = w.cluster.Command("pgbench", "-n", "-c", "2", "-T", "600", "-R", "150", w.db)
	if err := w.bench.Start(); err != nil {
		w.t.Fatal(err)
	}
	for i, work := range []func(step int){w.ddlStep, w.largeStep} {
		w.tasks.Go(func() {
			for step := 0; ; step++ {
				select {
				case <-w.stop:
					return
				case <-time.After(time.Duration(50+250*i) * time.Millisecond):
				}
				w.quiet.RLock()
				work(step)
				w.quiet.RUnlock()
			}
		})
	}
}

// run executes one script of a writer. Errors of concurrency are part of life.
func (w *world) run(sql string) {
	out, err := w.cluster.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", w.db, "-c", sql).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("deadlock")) {
		w.t.Errorf("writer: %s: %s", sql, out)
	}
}

func (w *world) ddlStep(step int) {
	t := fmt.Sprintf("d%d", step%7)
	w.run(fmt.Sprintf(`DROP TABLE IF EXISTS %[1]s CASCADE;
	  CREATE TABLE %[1]s (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text DEFAULT 'it''s; "%[2]d"', at timestamptz DEFAULT now());
	  INSERT INTO %[1]s (v) SELECT 'v' || g || E'\n\\' FROM generate_series(1, 30) g`, t, step))
	switch step % 8 {
	case 0:
		w.run("ALTER TABLE " + t + " ADD COLUMN n numeric DEFAULT 1.50, ADD COLUMN born timestamptz DEFAULT clock_timestamp()")
	case 1:
		w.run("BEGIN; UPDATE " + t + " SET v = 'x' WHERE id < 5; SAVEPOINT s; ALTER TABLE " + t + " DROP COLUMN v; ROLLBACK TO s; ALTER TABLE " + t +
			" RENAME COLUMN v TO w; COMMIT")
	case 2:
		w.run("CREATE INDEX ON " + t + " (v); CREATE VIEW " + t + "_view AS SELECT id, v FROM " + t)
	case 3:
		w.run("CREATE TABLE " + t + "_copy AS SELECT * FROM " + t + "; DROP TABLE " + t + "_copy")
	case 4:
		w.run("TRUNCATE " + t + " RESTART IDENTITY; INSERT INTO " + t + " (v) VALUES (NULL)")
	case 5:
		w.run("ALTER TABLE " + t + " ALTER id TYPE bigint; DELETE FROM " + t + " WHERE id % 3 = 0; ALTER TABLE " + t + " DROP CONSTRAINT " + t + "_pkey; UPDATE " +
			t + " SET v = 'no key'")
	case 6:
		w.run("DO $$BEGIN FOR i IN 1..3 LOOP EXECUTE format('COMMENT ON TABLE " + t + " IS %L', i); END LOOP; END$$; CREATE OR REPLACE FUNCTION f" + t +
			"() RETURNS int LANGUAGE sql AS $f$ SELECT 1; -- ; $f$")
	case 7:
		w.run("CREATE TABLE p" + fmt.Sprint(step) + " (a int, b text) PARTITION BY RANGE (a); CREATE TABLE p" + fmt.Sprint(step) + "_1 PARTITION OF p" +
			fmt.Sprint(step) + " FOR VALUES FROM (0) TO (100); INSERT INTO p" + fmt.Sprint(step) + " SELECT g, 'p' FROM generate_series(0, 99) g; UPDATE p" +
			fmt.Sprint(step) + " SET b = 'q' WHERE a % 2 = 0")
	}
}

func (w *world) largeStep(step int) {
	w.run(fmt.Sprintf(`BEGIN; INSERT INTO big SELECT g, repeat('%d ', 20), random() FROM generate_series(1, 3000) g;
	  SAVEPOINT a; DELETE FROM big; ROLLBACK TO a; UPDATE big SET c = c + 1 WHERE a %% 5 = 0; DELETE FROM big WHERE a %% 4 = %d; COMMIT`, step, step%4))
}

// endWriting ends the load and waits until it has.
func (w *world) endWriting() {
	w.ended.Do(func() {
		close(w.stop)
		w.tasks.Wait()
		w.bench.Process.Signal(syscall.SIGTERM) // SIGINT may be ignored, as in a background job
		w.bench.Wait()
	})
}

// observe takes the truth at the consistent point of a temporary slot, while
// row changes go on.
func (w *world) observe(name string) truth {
	w.t.Helper()
	w.quiet.Lock()
	defer w.quiet.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := pgconn.Connect(ctx, w.conn()+" replication=database")
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(ctx)
	slot, err := pglogrepl.ParseCreateReplicationSlot(conn.Exec(ctx,
		fmt.Sprintf("CREATE_REPLICATION_SLOT truth_%d TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT", len(w.points))))
	if err != nil {
		w.t.Fatal(err)
	}
	point, err := catalog.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.look(ctx, truth{name: name, point: point, flags: []string{"--target-lsn", point.String(), "--target-exclusive"}}, slot.SnapshotName)
}

func (w *world) look(ctx context.Context, p truth, snapshot string) truth {
	w.t.Helper()
	var err error
	if p.state, err = pgtest.Snapshot(ctx, w.conn(), snapshot); err != nil {
		w.t.Fatal(err)
	}
	if p.schema, err = w.cluster.SchemaDump(ctx, w.db, snapshot); err != nil {
		w.t.Fatal(err)
	}
	w.points = append(w.points, p)
	return p
}

// still takes the truth with every writer standing still. moment names the
// moment once they do.
func (w *world) still(name string, moment func() []string) {
	w.t.Helper()
	w.quiet.Lock()
	defer w.quiet.Unlock()
	w.bench.Process.Signal(syscall.SIGSTOP)
	defer w.bench.Process.Signal(syscall.SIGCONT)
	for w.cluster.Query(w.t, w.db, `SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = 'pgbench'
	  AND wait_event_type IS DISTINCT FROM 'Lock'`) != "0" {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	flags := moment()
	lsn, err := catalog.ParseLSN(w.cluster.Query(w.t, w.db, "SELECT pg_current_wal_insert_lsn()"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.look(context.Background(), truth{name: name, point: lsn, flags: flags}, "")
	time.Sleep(10 * time.Millisecond)
}

func (w *world) observeTime(name string) {
	w.t.Helper()
	w.still(name, func() []string {
		at := w.cluster.Query(w.t, w.db, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')") + "+00"
		return []string{"--target-time", at}
	})
}

func (w *world) observeMark(name string) {
	w.t.Helper()
	w.still("mark", func() []string {
		w.must("mark", "-d", w.conn(), name)
		return []string{"--target-name", name}
	})
}

// restored restores to a moment and compares.
func (w *world) restored(p truth, extra ...string) {
	w.t.Helper()
	name := fmt.Sprintf("r%d", w.rnd.Uint32())
	args := append([]string{"--restore", "-f", w.repo, "-d", w.target.ConnString(name), "-C"}, p.flags...)
	args = append(args, extra...)
	out, err := w.scribe(args...)
	if err != nil {
		w.t.Errorf("%s: pg_scribe %s: %v\n%s", p.name, strings.Join(args, " "), err, out)
		return
	}
	w.compare(p, name)
}

// compare compares a restored database with the truth, and drops it.
func (w *world) compare(p truth, name string) {
	w.t.Helper()
	ctx := context.Background()
	got, err := pgtest.Snapshot(ctx, w.target.ConnString(name), "")
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := pgtest.Diff(p.state, got); diff != "" {
		w.t.Errorf("%s %v: the data differ:\n%s", p.name, p.flags, diff)
	}
	schema, err := w.target.SchemaDump(ctx, name, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := lineDiff(p.schema, schema); diff != "" {
		w.t.Errorf("%s %v: the schemas differ:\n%s", p.name, p.flags, diff)
	}
	w.target.Exec(w.t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
}

// lineDiff shows the lines that only one side has; order does not matter,
// because pg_dump breaks ties by OID.
func lineDiff(want, got string) string {
	count := map[string]int{}
	for line := range strings.Lines(want) {
		count[line]++
	}
	for line := range strings.Lines(got) {
		count[line]--
	}
	var out strings.Builder
	for line, n := range count {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "--") {
			continue
		}
		if n > 0 {
			fmt.Fprintf(&out, "missing: %s", line)
		} else if n < 0 {
			fmt.Fprintf(&out, "surplus: %s", line)
		}
	}
	return out.String()
}

// caughtUp waits until the repository reaches a position.
func (w *world) caughtUp(lsn catalog.LSN) {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; {
		c, err := catalog.OpenReadOnly(filepath.Join(w.repo, "catalog.db"))
		if err != nil {
			w.t.Fatal(err)
		}
		segments, err := c.Artifacts(context.Background(), catalog.KindSegment)
		c.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		if n := len(segments); n > 0 && segments[n-1].End >= lsn {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the repository does not reach %s\n%s", lsn, w.log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// moments bounds how long TestRestoreEqualsSourceUnderLoad takes: most
// of its time goes into restores.
var moments = flag.Int("moments", 12, "how many of the observed moments TestRestoreEqualsSourceUnderLoad restores to, beside the last; 0: all")

var keep = flag.String("keep", "", "folder that takes the repository of a world whose test failed")

func TestRestoreEqualsSourceUnderLoad(t *testing.T) {
	w := newWorld(t, 1)
	if out, err := w.cluster.Command("pgbench", "-q", "-i", "-s", "1", w.db).CombinedOutput(); err != nil {
		t.Fatalf("pgbench: %v\n%s", err, out)
	}
	w.cluster.Exec(t, w.db, `CREATE TABLE big (a int, b text, c float8); ALTER TABLE pgbench_history REPLICA IDENTITY FULL;
	  ALTER TABLE big REPLICA IDENTITY FULL; CREATE INDEX ON big (a)`)
	w.write()
	defer w.endWriting()
	t.Log(w.base("--init"))
	w.start()
	kills := 0
	for i := range 20 {
		time.Sleep(time.Duration(200+w.rnd.IntN(600)) * time.Millisecond)
		if i%2 == 1 {
			w.halt(syscall.SIGKILL)
			kills++
			w.start()
		}
		w.observe(fmt.Sprintf("LSN %d", i))
		switch i {
		case 6, 13:
			w.base("--full-backup")
		case 9:
			w.observeMark("before; the 'change\"")
		case 2, 5, 8, 11, 15:
			w.observeTime(fmt.Sprintf("time %d", i))
		}
	}
	t.Logf("%d kills, %d moments observed", kills, len(w.points))
	w.endWriting()
	end := w.observe("end")
	latest := end
	latest.name, latest.flags = "latest", nil
	w.caughtUp(end.point)
	w.halt(syscall.SIGTERM)

	c, err := catalog.OpenReadOnly(filepath.Join(w.repo, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	inv, err := c.Inventory(context.Background())
	c.Close()
	if err != nil {
		t.Fatal(err)
	}
	var bases []catalog.Artifact
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase {
			bases = append(bases, a)
		}
	}
	if len(bases) != 3 || len(inv.Points) != 1 {
		t.Fatalf("%d bases and %d restore points; want 3 and 1", len(bases), len(inv.Points))
	}
	for _, b := range bases {
		w.restored(latest, "--base-backup", b.Name)
	}
	points := w.points
	if n := *moments; n > 0 && n < len(points) {
		w.rnd.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		points = points[:n]
	}
	for i, p := range points {
		w.restored(p)
		// Once more from another base that precedes the moment.
		if b := bases[i%3]; b.Start < p.point && !b.ReachedAt.After(time.Now()) && p.flags[0] == "--target-lsn" {
			w.restored(p, "--base-backup", b.Name)
		}
	}
	w.restoreByHand(latest, bases[len(bases)-1], inv)
	w.restoreByHand(latest, bases[0], inv)
}

// restoreByHand follows pg_scribe_metadata.txt with the usual tools.
func (w *world) restoreByHand(p truth, base catalog.Artifact, inv catalog.Inventory) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.repo, "pg_scribe_metadata.txt"))
	if err != nil {
		w.t.Fatal(err)
	}
	_, recipe, ok := strings.Cut(string(text), "     P=0/3829A018\n")
	recipe, _, ok2 := strings.Cut(recipe, "\n\n")
	if !ok || !ok2 {
		w.t.Fatal("the metadata file does not hold the recipe")
	}
	globals := ""
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindGlobals && a.Start == base.Start {
			globals = a.Name
		}
	}
	script := fmt.Sprintf(`set -e -o pipefail
	  cd %q
	  psql -X -q -d postgres -f %s 2>/dev/null || true
	  createdb -T template0 -E UTF8 byhand
	  zstd -dc %s | psql -X -q -v ON_ERROR_STOP=1 -d byhand >/dev/null
	  P=%s
	  %s`, w.repo, globals, base.Name, base.Start, strings.ReplaceAll(recipe, "-d restored", "-d byhand"))
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = w.target.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("by hand: %v\n%s\n%s", err, script, out)
	}
	w.compare(truth{name: "by hand from " + base.Name, state: p.state, schema: p.schema}, "byhand")
}
