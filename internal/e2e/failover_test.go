package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/restore"
	"pg_scribe/stream"
	"pg_scribe/stream/base"
	"pg_scribe/stream/source"
)

// beginWithStandby is begin on a cluster of its own with a standby that was
// there before the slot, so that it has all WAL that the slot needs.
func beginWithStandby(t *testing.T, setup ...string) (tr *trip, standby *pgtest.Cluster) {
	t.Helper()
	_, target := clusters(t)
	source := pgtest.New(t)
	standby = source.Standby(t)
	return beginOn(t, source, target, setup...), standby
}

// failOver kills the primary and goes on with the standby.
func (tr *trip) failOver(standby *pgtest.Cluster) {
	tr.t.Helper()
	must(tr.t, tr.source.Kill())
	standby.Exec(tr.t, "postgres", "SELECT pg_promote()")
	tr.source = standby
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tryStart begins to stream and returns the error.
func (tr *trip) tryStart() error { tr.t.Helper(); return tr.streamTo(1) }

// tryCapture streams up to now, and returns an error that a new connection
// cannot mend.
func (tr *trip) tryCapture() error { tr.t.Helper(); return tr.streamTo(tr.lsn()) }

func (tr *trip) streamTo(end catalog.LSN) error {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.Open(ctx, tr.dir, time.Now)
	must(tr.t, err)
	defer r.Close()
	must(tr.t, r.Recover(ctx))
	return stream.Run(ctx, r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication,
		StatusInterval: 100 * time.Millisecond, FsyncInterval: time.Second, Endpos: end, Notice: func(s string) { tr.t.Log(s) }})
}

// base takes one, on request with a new slot.
func (tr *trip) base(newSlot bool, force ...bool) (base.Result, error) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.Open(ctx, tr.dir, time.Now)
	must(tr.t, err)
	defer r.Close()
	return stream.FullBackup(ctx, r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Command: tr.command, Notice: func(s string) { tr.t.Log(s) }, NewSlot: newSlot, Force: len(force) > 0})
}

// rows restores to a target and returns column v of table t.
func (tr *trip) rows(req catalog.Request) (string, error) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.OpenReadOnly(ctx, tr.dir)
	must(tr.t, err)
	defer r.Close()
	p, err := restore.Prepare(ctx, r, req)
	if err != nil {
		return "", err
	}
	db := "rows_" + strings.ReplaceAll(time.Now().Format("150405.000000"), ".", "_")
	defer tr.target.Exec(tr.t, "postgres", "DROP DATABASE IF EXISTS "+db+" WITH (FORCE)")
	_, err = p.Execute(ctx, restore.Options{TargetConn: tr.target.ConnString(db), MaintenanceConn: tr.target.ConnString("postgres"), CreateDatabase: true})
	must(tr.t, err)
	return tr.target.Query(tr.t, db, "SELECT string_agg(v, ' ' ORDER BY id) FROM t"), nil
}

func (tr *trip) inventory() catalog.Inventory {
	tr.t.Helper()
	r, err := repo.OpenReadOnly(context.Background(), tr.dir)
	must(tr.t, err)
	defer r.Close()
	inv, err := r.Catalog().Inventory(context.Background())
	must(tr.t, err)
	return inv
}

// oneChain makes sure that the stream goes on without a hole on a timeline.
func (tr *trip) oneChain(timeline uint32) {
	tr.t.Helper()
	inv := tr.inventory()
	if holes := catalog.Holes(inv.Artifacts, inv.Switches...); len(holes) > 0 || len(catalog.Windows(inv)) != 1 || inv.Repository.Timeline != timeline {
		tr.t.Errorf("holes %v, windows %v, timeline %d", holes, catalog.Windows(inv), inv.Repository.Timeline)
	}
}

// The slot is there on the promoted standby, and nothing that was stored is
// lost: the stream goes on in the same chain.
func TestFailoverKeepsTheChain(t *testing.T) {
	tr, standby := beginWithStandby(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	tr.run("INSERT INTO t VALUES (1, 'one')")
	tr.capture()
	standby.CatchUp(t, tr.source)
	must(t, standby.Kill())
	standby.CopySlot(t, tr.source, tr.slot)
	must(t, standby.StartAgain())
	tr.run("INSERT INTO t VALUES (2, 'stored')")
	tr.capture()
	before := tr.lsn()
	tr.run("INSERT INTO t VALUES (3, 'replicated only')", "ALTER TABLE t ADD COLUMN w int DEFAULT 7")
	standby.CatchUp(t, tr.source)
	tr.failOver(standby)
	tr.run("INSERT INTO t VALUES (4, 'after')") // the first checkpoint is yet to come
	tr.capture()
	tr.noGap()
	tr.oneChain(2)
	tr.back()
	tr.equal()
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: before}}); err != nil || got != "one stored" {
		t.Errorf("before the failover: %q, %v", got, err)
	}
	if _, err := tr.base(false); err != nil {
		t.Errorf("a base on the new timeline: %v", err)
	}
	tr.run("INSERT INTO t VALUES (5, 'later')")
	tr.capture()
	tr.back()
	tr.equal()
}

// Without a slot on the promoted standby there is a hole, which only a new
// slot with a new base can end.
func TestFailoverWithoutASlot(t *testing.T) {
	tr, standby := beginWithStandby(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	tr.run("INSERT INTO t VALUES (1, 'one')")
	tr.capture()
	stored := tr.inventory()
	tr.run("INSERT INTO t VALUES (2, 'never streamed')")
	standby.CatchUp(t, tr.source)
	if err := func() error {
		old := tr.source
		tr.source = standby
		defer func() { tr.source = old }()
		return tr.tryStart()
	}(); !errors.As(err, new(*source.StandbyError)) {
		t.Errorf("from a standby: %v", err)
	}
	tr.failOver(standby)
	var e *source.TimelineError
	if err := tr.tryStart(); !errors.As(err, &e) || e.Slot == nil || e.Source != 2 {
		t.Fatalf("%v", err)
	}
	if _, err := tr.base(false); !errors.As(err, &e) {
		t.Errorf("a base without a new slot: %v", err)
	}
	base, err := tr.base(true)
	must(t, err)
	if _, err := tr.base(true); err == nil {
		t.Error("a slot that is whole was made anew")
	}
	tr.run("INSERT INTO t VALUES (3, 'after')")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	end, _ := stored.End()
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: end}}); err != nil || got != "one" {
		t.Errorf("before the hole: %q, %v", got, err)
	}
	if _, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: base.Base.Start - 1}}); !errors.As(err, new(catalog.HoleError)) {
		t.Errorf("inside the hole: %v", err)
	}
}

// What was stored is not on the promoted standby: nothing is added to it, and
// nobody gets it by accident.
func TestFailoverThatLosesWhatIsStored(t *testing.T) {
	tr, standby := beginWithStandby(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	tr.run("INSERT INTO t VALUES (1, 'one')")
	tr.capture()
	standby.CatchUp(t, tr.source)
	common := tr.lsn()
	standby.CatchUp(t, tr.source)
	must(t, standby.Kill())
	standby.CopySlot(t, tr.source, tr.slot) // a slot does not help
	tr.run("INSERT INTO t VALUES (2, 'lost')")
	lostAt := time.Now()
	time.Sleep(1200 * time.Millisecond)
	tr.run("INSERT INTO t VALUES (3, 'lost too')")
	tr.capture()
	lost := tr.inventory()
	first := lost.Artifacts[0].Name
	for _, a := range lost.Artifacts {
		if a.Kind == catalog.KindBase {
			first = a.Name
		}
	}
	end, _ := lost.End()
	must(t, tr.source.Kill())
	must(t, standby.StartAgain())
	tr.failOver(standby)
	tr.run("INSERT INTO t VALUES (2, 'kept')")
	var e *source.TimelineError
	if err := tr.tryStart(); !errors.As(err, &e) || e.At == 0 || e.At > end || e.End != end {
		t.Fatalf("%v", err)
	}
	if now, _ := tr.inventory().End(); now != end {
		t.Errorf("something was added: %s", now)
	}
	if _, err := tr.base(true); err != nil {
		t.Fatal(err)
	}
	tr.run("INSERT INTO t VALUES (4, 'after')", "UPDATE t SET v = v || '!' WHERE id = 2")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	at := func(lsn catalog.LSN) catalog.Target { return catalog.Target{Kind: catalog.ByLSN, LSN: lsn} }
	if got, err := tr.rows(catalog.Request{Target: at(common)}); err != nil || got != "one" {
		t.Errorf("common history: %q, %v", got, err)
	}
	if got, err := tr.rows(catalog.Request{Target: at(end), Base: first}); err != nil || got != "one lost lost too" {
		t.Errorf("what was lost, by its base: %q, %v", got, err)
	}
	var diverged catalog.DivergedError
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByTime, Time: lostAt}}); !errors.As(err, &diverged) || diverged.At != e.At {
		t.Errorf("a moment of the lost branch: %q, %v", got, err)
	}
	if len(catalog.Windows(tr.inventory())) != 2 || catalog.Windows(tr.inventory())[0].Left != e.At {
		t.Errorf("windows: %+v", catalog.Windows(tr.inventory()))
	}
}

// PostgreSQL keeps the slot in step on the standby, and sends the stream
// nothing that the standby lacks: a failover loses nothing that is stored.
func followsFailoverSlot(t *testing.T, version string) {
	source, target := pgtest.New(t, pgtest.Options{Version: version}), pgtest.New(t, pgtest.Options{Version: version})
	standby := source.Standby(t)
	standby.KeepSlotsInStep(t, source)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), slot: "kept", dir: filepath.Join(t.TempDir(), "repo"), failover: true}
	tr.begin("CREATE TABLE t (id int PRIMARY KEY, v text)")
	tr.run("INSERT INTO t VALUES (1, 'one')")
	for began := time.Now(); !standby.HasSlot(t, tr.slot); {
		if time.Since(began) > 2*time.Minute {
			t.Fatal("the standby does not keep the slot")
		}
		source.Query(t, tr.db, "SELECT pg_log_standby_snapshot()")
		tr.capture() // it can take the slot over once that has gone on from where it was made
	}
	before := tr.lsn()

	must(t, standby.Kill())
	cut := tr.lsn()
	tr.run("INSERT INTO t VALUES (2, 'not on the standby yet')")
	ahead := make(chan error, 1)
	go func() { ahead <- tr.tryCapture() }()
	time.Sleep(3 * time.Second)
	if end, _ := tr.inventory().End(); end > cut {
		t.Errorf("%s is stored, the standby ended before %s", end, cut)
	}
	must(t, standby.StartAgain())
	must(t, <-ahead)
	if end, _ := tr.inventory().End(); end <= cut {
		t.Errorf("the stream ended at %s, though the standby is there again", end)
	}

	tr.run("INSERT INTO t VALUES (3, 'replicated only')", "ALTER TABLE t ADD COLUMN w int DEFAULT 7")
	standby.CatchUp(t, source)
	tr.failOver(standby)
	tr.run("INSERT INTO t VALUES (4, 'after')")
	tr.capture()
	tr.noGap()
	tr.oneChain(2)
	tr.back()
	tr.equal()
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: before}}); err != nil || got != "one" {
		t.Errorf("before the failover: %q, %v", got, err)
	}
}
