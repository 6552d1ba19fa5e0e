package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/restore"
)

// backTo restores to a moment.
func (tr *trip) backTo(req catalog.Request, sync bool, change ...func(*restore.Options)) restore.Report {
	tr.t.Helper()
	tr.restored = fmt.Sprintf("back_%d", time.Now().UnixNano())
	db := tr.restored
	opts := restore.Options{SyncSequences: sync}
	for _, f := range change {
		f(&opts)
	}
	report, err := tr.restoreTo(db, req, opts)
	if err != nil {
		tr.t.Fatalf("restore: %v\n%s", err, tr.text())
	}
	tr.t.Cleanup(func() { tr.target.Exec(tr.t, "postgres", "DROP DATABASE IF EXISTS "+db+" WITH (FORCE)") })
	return report
}

// value is what a sequence of the restored database last handed out, as far
// as that can be told without asking it for more.
func (tr *trip) value(sequence string) int64 {
	tr.t.Helper()
	n, err := strconv.ParseInt(tr.target.Query(tr.t, tr.restored, "SELECT last_value FROM "+sequence), 10, 64)
	if err != nil {
		tr.t.Fatal(err)
	}
	return n
}

func TestSequencesBetweenSamples(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id serial PRIMARY KEY, other int); CREATE SEQUENCE free; CREATE SEQUENCE down INCREMENT -2 MINVALUE -1000;
	  CREATE SEQUENCE still; CREATE SEQUENCE "Re named"; CREATE SEQUENCE round MAXVALUE 10 CYCLE`)
	tr.run(`SELECT nextval('free') FROM generate_series(1, 10); INSERT INTO t DEFAULT VALUES;
	  SELECT nextval('still'), nextval('"Re named"') FROM generate_series(1, 5)`)
	tr.capture()
	at := tr.lsn()
	tr.run(`SELECT nextval('free') FROM generate_series(1, 5000); SELECT nextval('down') FROM generate_series(1, 20);
	  SELECT nextval('"Re named"') FROM generate_series(1, 100);
	  INSERT INTO t DEFAULT VALUES; DELETE FROM t; SELECT nextval('round') FROM generate_series(1, 13)`)
	moment := tr.lsn()
	tr.run(`SELECT nextval('free') FROM generate_series(1, 7); ALTER SEQUENCE "Re named" RENAME TO renamed; INSERT INTO t DEFAULT VALUES`)
	tr.capture()
	exact := `SELECT (SELECT last_value FROM free), (SELECT last_value FROM down), (SELECT last_value FROM still), (SELECT last_value FROM renamed), ` +
		`(SELECT last_value FROM t_id_seq), (SELECT last_value FROM round)`
	tr.backTo(catalog.Request{}, true)
	if want, got := tr.source.Query(t, tr.db, exact), tr.target.Query(t, tr.restored, exact); want != got {
		t.Errorf("at the last sample the sequences are %s, want %s", got, want)
	}

	tr.backTo(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: moment}}, true)
	if got := tr.value("free"); got != 5017 {
		t.Errorf("free is at %d, want the 5017 of the next sample", got)
	}
	if got := tr.value("down"); got > -39 {
		t.Errorf("down is at %d, and -39 was handed out", got)
	}
	if got := tr.value(`"Re named"`); got < 105 {
		t.Errorf("the sequence that is renamed later is at %d, and 105 was handed out", got)
	}
	if got := tr.value("t_id_seq"); got < 2 {
		t.Errorf("the sequence of an emptied column is at %d, and 2 was handed out", got)
	}

	// Nothing happened between the sample and this moment.
	tr.backTo(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: at}}, true)
	if free, still := tr.value("free"), tr.value("still"); free != 10 || still != 5 {
		t.Errorf("behind a sample free is at %d and still at %d, want 10 and 5", free, still)
	}

	// As the stream left them, when asked for.
	tr.backTo(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: moment}}, false)
	if got := tr.value("free"); got != 10 {
		t.Errorf("without settling free is at %d, want 10", got)
	}
}

// No sample follows: the streamer or its machine was lost.
func TestSequencesBehindTheLastSample(t *testing.T) {
	tr := begin(t, `CREATE SEQUENCE free; CREATE SEQUENCE small AS smallint MAXVALUE 100; CREATE SEQUENCE cached CACHE 500; CREATE SEQUENCE shared;
	  CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('shared'))`)
	tr.run(`SELECT nextval('free'), nextval('small'), nextval('cached') FROM generate_series(1, 3)`)
	tr.capture()
	tr.run(`SELECT nextval('free'), nextval('small'), nextval('cached') FROM generate_series(1, 30); INSERT INTO t SELECT FROM generate_series(1, 20000)`)
	tr.captureUntil(false)
	tr.backTo(catalog.Request{}, true)
	for sequence, used := range map[string]int64{"free": 33, "small": 33, "cached": 533, "shared": 20000} {
		if got := tr.value(sequence); got < used {
			t.Errorf("%s is at %d, and %d was handed out", sequence, got, used)
		}
	}
	if got := tr.value("small"); got > 60 {
		t.Errorf("the margin leaves a small sequence no room: %d of 100", got)
	}
	tr.target.Exec(t, tr.restored, "INSERT INTO t DEFAULT VALUES; SELECT nextval('small')")
}

// What follows the last sample only describes what was there before it.
func TestSequencesBeforeTheLastDescriptions(t *testing.T) {
	tr := begin(t, "CREATE SEQUENCE free INCREMENT 5 CACHE 3")
	for try := 0; ; try++ {
		if try == 8 {
			t.Fatal("no description came behind the last sample")
		}
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			time.Sleep(800 * time.Millisecond)
			tr.run(fmt.Sprintf("ALTER SEQUENCE free RESTART 1000; CREATE TABLE t%d (a int); SELECT nextval('free') FROM generate_series(1, 4)", try))
		}()
		tr.captureSampled()
		<-ran
		if text := tr.text(); strings.LastIndex(text, "\n-- pg_scribe object ") > strings.LastIndex(text, "SAMPLE") {
			break
		}
	}
	tr.back()
	tr.equal()
	const state = "SELECT last_value, is_called FROM free"
	if want, got := tr.source.Query(t, tr.db, state), tr.target.Query(t, tr.restored, state); want != got {
		t.Errorf("the sequence is at %s, want %s", got, want)
	}
}
