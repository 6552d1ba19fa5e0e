package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/restore"
	"pg_scribe/stream"
	"pg_scribe/stream/source"
)

// pair is a source and a target cluster that the round trips share.
var pair struct {
	once           sync.Once
	source, target *pgtest.Cluster
	err            error
}

func clusters(t *testing.T) (source, target *pgtest.Cluster) {
	t.Helper()
	pair.once.Do(func() {
		if pair.source, pair.err = pgtest.Start(pgtest.Options{}); pair.err == nil {
			pair.target, pair.err = pgtest.Start(pgtest.Options{})
		}
	})
	if pair.err != nil {
		t.Fatal(pair.err)
	}
	return pair.source, pair.target
}

// trip is one database on its way through a backup and back.
type trip struct {
	t        *testing.T
	source   *pgtest.Cluster
	target   *pgtest.Cluster
	db, dir  string
	slot     string
	mode     string // of the capture; empty: guarded
	restored string
	connMore string // further keywords of the connection that streams
	patience time.Duration
	failover bool   // standbys keep the slot in step
	dumping  func() // called once, when pg_dump is about to read a snapshot
}

// begin sets a database up and takes its first base.
func begin(t *testing.T, setup ...string) *trip {
	t.Helper()
	source, target := clusters(t)
	return beginOn(t, source, target, setup...)
}

func beginOn(t *testing.T, source, target *pgtest.Cluster, setup ...string) *trip {
	t.Helper()
	return beginIn(t, source, target, source.CreateDB(t, "src"), setup...)
}

// beginIn is beginOn in a database that exists.
func beginIn(t *testing.T, source, target *pgtest.Cluster, db string, setup ...string) *trip {
	t.Helper()
	tr := &trip{t: t, source: source, target: target, db: db, slot: db, dir: filepath.Join(t.TempDir(), "repo")}
	tr.begin(setup...)
	return tr
}

// begin sets the database up and takes its first base.
func (tr *trip) begin(setup ...string) {
	t := tr.t
	t.Helper()
	tr.run(setup...)
	_, err := stream.Init(context.Background(), stream.InitOptions{
		BaseOptions: stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication, Command: tr.command, Notice: func(s string) { t.Log(s) }},
		Slot:        tr.slot, Mode: tr.mode, Step: func(string) {}, Patience: tr.patience, Failover: tr.failover,
	}, func(info catalog.Repository) (*repo.Repository, error) {
		info.CreatedAt = time.Now()
		return repo.Create(context.Background(), tr.dir, info, time.Now)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (tr *trip) conn() string { return tr.source.ConnString(tr.db) + tr.connMore }

func (tr *trip) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if tr.dumping != nil && strings.Contains(strings.Join(args, " "), "--snapshot=") {
		tr.dumping()
		tr.dumping = nil
	}
	cmd := exec.CommandContext(ctx, filepath.Join(tr.source.BinDir, name), args...)
	cmd.Env = tr.source.Env()
	return cmd
}

// targetCommand is a client program of the target's version.
func (tr *trip) targetCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(tr.target.BinDir, name), args...)
}

// run executes each script by psql, statement by statement, as a person would.
func (tr *trip) run(scripts ...string) {
	tr.t.Helper()
	for _, sql := range scripts {
		cmd := tr.source.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", tr.db, "-f", "-")
		cmd.Stdin = strings.NewReader(sql)
		if out, err := cmd.CombinedOutput(); err != nil {
			tr.t.Fatalf("%s\n%.2000s", out, sql)
		}
	}
}

// once executes a script as one string of the simple protocol.
func (tr *trip) once(sql string) {
	tr.t.Helper()
	if out, err := tr.source.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", tr.db, "-c", sql).CombinedOutput(); err != nil {
		tr.t.Fatalf("%s\n%s", sql, out)
	}
}

// lsn makes the server write out its WAL and returns where it ends.
func (tr *trip) lsn() catalog.LSN {
	tr.t.Helper()
	tr.run("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'test', '')")
	lsn, err := catalog.ParseLSN(tr.source.Query(tr.t, tr.db, "SELECT pg_current_wal_flush_lsn()"))
	if err != nil {
		tr.t.Fatal(err)
	}
	return lsn
}

// capture streams up to now and takes a last sample.
func (tr *trip) capture() {
	tr.t.Helper()
	tr.captureUntil(true)
}

func (tr *trip) captureUntil(sample bool) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	end := tr.lsn()
	r, err := repo.Open(ctx, tr.dir, time.Now)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	if err := r.Recover(ctx); err != nil {
		tr.t.Fatal(err)
	}
	if sample {
		stop, halt := context.WithCancel(ctx) // a stop is behind a last sample
		go tr.stopAfter(stop, halt, 400*time.Millisecond)
		defer halt()
		if err := stream.Run(stop, r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication, NoLoop: true,
			StatusInterval: 100 * time.Millisecond, FsyncInterval: time.Second, StateInterval: time.Minute, Notice: func(s string) { tr.t.Log(s) }}); err != nil {
			tr.t.Fatal(err)
		}
	}
	err = stream.Run(ctx, r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication, NoLoop: true,
		StatusInterval: 100 * time.Millisecond, FsyncInterval: time.Second, Endpos: end, Notice: func(s string) { tr.t.Log(s) }})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		tr.t.Fatal(err)
	}
}

// stopAfter ends a stream some time after it has begun.
func (tr *trip) stopAfter(ctx context.Context, halt func(), length time.Duration) {
	defer halt()
	for began := false; !began && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		slot, err := source.FindSlot(ctx, tr.conn(), tr.slot)
		began = err != nil || slot.Active
	}
	time.Sleep(length)
}

// back restores to the latest moment.
func (tr *trip) back() {
	tr.t.Helper()
	tr.backFrom("")
}

// backFrom restores to the latest moment from a base, or the newest.
func (tr *trip) backFrom(base string) {
	tr.t.Helper()
	tr.restored = fmt.Sprintf("back_%d", time.Now().UnixNano())
	report, err := tr.restoreTo(tr.restored, catalog.Request{Base: base}, restore.Options{SyncSequences: true, Command: tr.targetCommand, Ordered: ordered,
		Limits: allSets})
	if err != nil {
		tr.t.Fatalf("restore: %v\n%s", err, tr.text())
	}
	for _, n := range report.Notices {
		tr.t.Log("notice:", n)
	}
	tr.t.Cleanup(func() {
		tr.target.Exec(tr.t, "postgres", "DROP DATABASE IF EXISTS "+tr.restored+" WITH (FORCE)")
	})
	if rehearseAll && base == "" {
		tr.rehearses()
	}
}

// restoreTo restores into a database of the target that it makes.
func (tr *trip) restoreTo(db string, req catalog.Request, o restore.Options) (restore.Report, error) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.OpenReadOnly(ctx, tr.dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	p, err := restore.Prepare(ctx, r, req)
	if err != nil {
		tr.t.Fatal(err)
	}
	o.TargetConn, o.MaintenanceConn, o.CreateDatabase = tr.target.ConnString(db), tr.target.ConnString("postgres"), true
	return p.Execute(ctx, o)
}

// text is the SQL of the segments.
func (tr *trip) text() string {
	out, err := exec.Command("bash", "-c", "zstd -dcq "+tr.dir+"/incremental-*").Output()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// rowDiff compares every table's content of source and restored database.
func (tr *trip) rowDiff() string {
	tr.t.Helper()
	ctx := context.Background()
	want, err := pgtest.Snapshot(ctx, tr.conn(), "")
	if err != nil {
		tr.t.Fatal(err)
	}
	got, err := pgtest.Snapshot(ctx, tr.target.ConnString(tr.restored), "")
	if err != nil {
		tr.t.Fatal(err)
	}
	return pgtest.Diff(want, got)
}

// equal compares source and restored database: every table's content, and
// the schema after one normalising round through pg_dump.
func (tr *trip) equal() {
	tr.t.Helper()
	ctx := context.Background()
	if diff := tr.rowDiff(); diff != "" {
		tr.t.Errorf("data differ:\n%s\n%s", diff, tr.text())
	}
	wantSchema, err := tr.source.NormalSchema(ctx, tr.db)
	if err != nil {
		tr.t.Fatal(err)
	}
	gotSchema, err := tr.target.NormalSchema(ctx, tr.restored)
	if err != nil {
		tr.t.Fatal(err)
	}
	if diff := lineDiff(wantSchema, gotSchema); diff != "" {
		tr.t.Errorf("schemas differ:\n%s\n%s", diff, tr.text())
	}
}

// noGap fails the test if the capture had to give up on something.
func (tr *trip) noGap() {
	tr.t.Helper()
	for line := range strings.Lines(tr.text()) {
		if strings.HasPrefix(line, "-- pg_scribe gap") {
			tr.t.Errorf("a gap: %s", line)
		}
	}
}

// roundTrip is the whole way: set up, base, work, stream, restore, compare.
func roundTrip(t *testing.T, setup string, work ...string) *trip {
	t.Helper()
	tr := begin(t, setup)
	tr.run(work...)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	return tr
}
