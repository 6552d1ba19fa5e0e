package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/sample"
)

// fault is what the catalog says of the last sample.
func (tr *trip) fault() string {
	tr.t.Helper()
	r, err := repo.OpenReadOnly(context.Background(), tr.dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	fault, _, err := r.Catalog().Setting(context.Background(), sample.FaultSetting)
	if err != nil {
		tr.t.Fatal(err)
	}
	return fault
}

// Settings of the role and of the database, and names that shadow the
// server's own, do not reach the sampler.
func TestSamplerUnderHostileSettings(t *testing.T) {
	tr := begin(t, `CREATE SCHEMA evil; CREATE SEQUENCE q; SELECT lo_from_bytea(100, 'x');
	  CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT ''evil''';
	  CREATE FUNCTION evil.lo_create(oid) RETURNS oid LANGUAGE sql AS 'SELECT 1::oid';
	  CREATE TABLE evil.pg_roles (rolname text); CREATE TABLE evil.pg_class (oid oid)`)
	tr.run(`SELECT nextval('public.q'), lo_put(100, 0, 'yes'), lo_from_bytea(101, 'new'); CREATE ROLE ` + tr.db + `_x`)
	for _, set := range []string{"search_path = evil, pg_catalog", "statement_timeout = 1", "lock_timeout = 1", "default_transaction_read_only = on",
		"default_transaction_isolation = 'serializable'", "standard_conforming_strings = off"} {
		tr.source.Exec(t, "postgres", "ALTER DATABASE "+tr.db+" SET "+set)
	}
	defer tr.source.Exec(t, "postgres", "ALTER DATABASE "+tr.db+" RESET ALL")
	tr.captureSampled()
	if fault := tr.fault(); fault != "" {
		t.Error(fault)
	}
	tr.source.Exec(t, "postgres", "ALTER DATABASE "+tr.db+" RESET ALL")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	tr.largeObjects()
	tr.states()
}

// captureSampled streams for a moment, with samples, as start does.
func (tr *trip) captureSampled() {
	tr.t.Helper()
	tr.stream(nil, time.Second)
}

func (tr *trip) stream(change func(*stream.RunOptions), length time.Duration) {
	tr.t.Helper()
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	if err := r.Recover(context.Background()); err != nil {
		tr.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go tr.stopAfter(ctx, cancel, length)
	opts := stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication, NoLoop: true,
		StatusInterval: 100 * time.Millisecond, FsyncInterval: 100 * time.Millisecond, StateInterval: time.Minute, Notice: func(s string) { tr.t.Log(s) }}
	if change != nil {
		change(&opts)
	}
	if err := stream.Run(ctx, r, opts); err != nil {
		tr.t.Fatal(err)
	}
}

// A stop is behind a last sample, whatever is being stored when it comes.
func TestStopIsBehindALastSample(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE SEQUENCE q`)
	for i := range 6 {
		streamer := tr.launchStart("--state-interval", "1h", "-F", "1ms", "-s", "1ms")
		tr.run(fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
		tr.acknowledged()
		tr.run(`SELECT nextval('q')`)
		streamer.stop(t)
		if want := fmt.Sprintf("setval(public.q, %d, true)", i+1); !strings.Contains(strings.ReplaceAll(tr.text(), "'", ""), want) {
			t.Errorf("after stop %d: no %s\n%s", i, want, tr.text())
		}
	}
}

// The application's event trigger refuses what the sampler does: the stream
// goes on, everything else is sampled, and the catalog tells.
func TestSamplerThatFailsDoesNotEndTheStream(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int); CREATE SEQUENCE q`)
	tr.run(`CREATE TABLE later (id int PRIMARY KEY);
	  CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF tg_tag = 'ALTER TABLE' THEN RAISE 'no DDL in the daytime'; END IF; END$$;
	  CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no(); ALTER EVENT TRIGGER no ENABLE ALWAYS`,
		`SET session_replication_role = replica; UPDATE pg_class SET relreplident = 'n' WHERE relname = 't'; SELECT nextval('q')`) // by the back door
	tr.captureSampled()
	if fault := tr.fault(); !strings.Contains(fault, "no DDL in the daytime") {
		t.Errorf("the catalog says of the sample: %q", fault)
	}
	tr.run(`DROP EVENT TRIGGER no; INSERT INTO later VALUES (1)`)
	tr.capture()
	if fault := tr.fault(); fault != "" {
		t.Errorf("a fault that was mended stays: %q", fault)
	}
	tr.back()
	tr.equal()
	tr.states()
}

// A closed segment and a base are reasons to sample.
func TestSampleAtSegmentsAndBases(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE SEQUENCE q`)
	rotate := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.stream(func(o *stream.RunOptions) { o.Rotate = rotate; o.StateInterval = time.Hour }, 14*time.Second)
	}()
	time.Sleep(11 * time.Second) // the pause that keeps samples apart
	tr.run(`SELECT nextval('q') FROM generate_series(1, 42); INSERT INTO t VALUES (1, 'x')`)
	rotate <- struct{}{}
	time.Sleep(time.Second)
	if got := strings.Count(tr.stored(), ", 42, true)"); got == 0 {
		t.Error("a closed segment was no reason to sample")
	}
	<-done
	tr.run(`SELECT nextval('q') FROM generate_series(1, 58); INSERT INTO t VALUES (2, 'y')`)
	tr.fullBackup()
	tr.captureUntil(false)
	if text := tr.text(); !strings.Contains(text, ", 100, true)") {
		t.Error("a base was no reason to sample")
	}
}

// stored is the text of all segments, that of the open one too.
func (tr *trip) stored() string {
	out, err := exec.Command("bash", "-c", fmt.Sprintf("cat %s/incremental-* | zstd -dcq", tr.dir)).Output()
	if err != nil {
		tr.t.Logf("%v", err) // the open one ends within a frame
	}
	return string(out)
}

// A role that never ends has no end in the target either, not even infinity.
func TestSampledRoleWithoutEnd(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	ends, never := tr.db+"_ends", tr.db+"_never"
	t.Cleanup(func() {
		for _, c := range []*pgtest.Cluster{tr.source, tr.target} {
			c.Exec(t, "postgres", "DROP ROLE IF EXISTS "+ends+", "+never)
		}
	})
	tr.run("CREATE ROLE " + never + "; CREATE ROLE " + ends + " VALID UNTIL '2030-01-02 03:04:05+00'")
	tr.capture()
	tr.back()
	const query = "SELECT rolname, rolvaliduntil AT TIME ZONE 'UTC' FROM pg_roles WHERE rolname LIKE '%s_%%' ORDER BY 1"
	sql := fmt.Sprintf(query, tr.db)
	if got, want := tr.target.Query(t, "postgres", sql), tr.source.Query(t, "postgres", sql); got != want || !strings.Contains(want, never+"|") {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
