package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/restore"
)

var (
	randomTime = flag.Duration("random-time", 0, "how long TestRandomWork makes up work; 0: a few seeds only")
	randomSeed = flag.Uint64("random-seed", 0, "the first seed of TestRandomWork; 0: the usual ones, or the time with -random-time")
)

// TestRandomWork runs made-up commands of all kinds on a source, many of which
// fail there as they may, and compares what comes back: at the end, and at a
// moment between. A failure tells the seed to repeat it with.
func TestRandomWork(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if *randomSeed != 0 {
		seeds = []uint64{*randomSeed}
	} else if *randomTime > 0 {
		seeds = []uint64{uint64(time.Now().Unix())}
	}
	end := time.Now().Add(*randomTime)
	for i := 0; i < len(seeds) || time.Now().Before(end); i++ {
		seed := seeds[min(i, len(seeds)-1)]
		if i >= len(seeds) {
			seed += uint64(i - len(seeds) + 1)
		}
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomWork(t, seed, 250) })
		if !ok {
			t.Logf("to repeat: go test ./internal/e2e -run TestRandomWork -random-seed %d", seed)
		}
	}
}

// moment is a source as it was.
type moment struct {
	lsn    catalog.LSN
	state  pgtest.State
	schema string
}

func (tr *trip) moment() moment {
	tr.t.Helper()
	var m moment
	var err error
	if m.state, err = pgtest.Snapshot(tr.t.Context(), tr.conn(), ""); err != nil {
		tr.t.Fatal(err)
	}
	if m.schema, err = tr.source.NormalSchema(tr.t.Context(), tr.db); err != nil {
		tr.t.Fatal(err)
	}
	m.lsn = tr.lsn()
	return m
}

// at restores to a moment into a database of its own, and compares.
func (tr *trip) at(m moment) {
	tr.t.Helper()
	ctx := tr.t.Context()
	name := fmt.Sprintf("at_%d", time.Now().UnixNano())
	if _, err := tr.restoreTo(name, catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: m.lsn}},
		restore.Options{Globals: restore.GlobalsAll, SyncSequences: true, Ordered: ordered, Limits: allSets}); err != nil {
		tr.t.Fatalf("restore to %s: %v", m.lsn, err)
	}
	defer tr.target.Exec(tr.t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
	got, err := pgtest.Snapshot(ctx, tr.target.ConnString(name), "")
	if err != nil {
		tr.t.Fatal(err)
	}
	if diff := pgtest.Diff(m.state, got); diff != "" {
		tr.t.Errorf("at %s data differ:\n%s", m.lsn, diff)
	}
	schema, err := tr.target.NormalSchema(ctx, name)
	if err != nil {
		tr.t.Fatal(err)
	}
	if diff := lineDiff(m.schema, schema); diff != "" {
		tr.t.Errorf("at %s schemas differ:\n%s", m.lsn, diff)
	}
}

// randomWork is one round. Roles belong to a cluster, so each has its own pair.
func randomWork(t *testing.T, seed uint64, steps int) {
	source, target := pgtest.New(t, pgtest.Options{Template: false}), pgtest.New(t)
	tr := beginOn(t, source, target, `CREATE ROLE r1; CREATE ROLE r2 CREATEROLE; CREATE ROLE r3 SUPERUSER; CREATE SCHEMA s1; CREATE SCHEMA s2;
GRANT ALL ON SCHEMA s1, s2, public TO r1, r2; GRANT r1 TO r2; CREATE TYPE s1.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN s1.small AS int CHECK (value < 1000);
CREATE TABLE s1.log (id int GENERATED ALWAYS AS IDENTITY, what text); CREATE TABLE s1.counter (n int); INSERT INTO s1.counter VALUES (0);
CREATE FUNCTION s1.counted() RETURNS int LANGUAGE sql AS 'UPDATE s1.counter SET n = n + 1 RETURNING n';
CREATE FUNCTION s1.logged(v text) RETURNS text LANGUAGE sql AS 'INSERT INTO s1.log (what) VALUES (v) RETURNING what';
CREATE FUNCTION s1.tenant() RETURNS text LANGUAGE sql STABLE AS $$SELECT current_setting('app.tenant', true)$$;
GRANT ALL ON s1.log, s1.counter TO PUBLIC; DO $$BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO r1', current_database()); END$$;
CREATE FUNCTION s1.reacts() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO s1.log (what) VALUES (tg_tag); END$$;
CREATE EVENT TRIGGER reacts ON ddl_command_end WHEN TAG IN ('CREATE SEQUENCE', 'CREATE VIEW', 'COMMENT', 'ALTER FUNCTION') EXECUTE FUNCTION s1.reacts();
CREATE TABLE s1.start (id int PRIMARY KEY, v text); INSERT INTO s1.start SELECT g, 'v' || g FROM generate_series(1, 30) g`)
	g := newGenerator(t, seed, source, tr.db)
	defer func() {
		if t.Failed() {
			t.Logf("the statements that succeeded:\n%s", strings.Join(g.log, "\n"))
			file := filepath.Join(os.TempDir(), fmt.Sprintf("pg_scribe-random-%d.sql", seed))
			if err := os.WriteFile(file, []byte(tr.text()), 0o600); err == nil {
				t.Logf("the segments are in %s", file)
			}
		}
	}()
	work := func() {
		if seed%2 == 0 { // samples look between the commands, or all is caught up with later
			_, stop := tr.streaming(50 * time.Millisecond)
			defer stop()
		}
		for range steps / 2 {
			g.step()
		}
		g.rest()
	}
	work()
	tr.capture()
	between := tr.moment()
	work()
	tr.capture()
	end := tr.moment()
	tr.captureUntil(false)
	if g.done < steps/3 {
		t.Errorf("only %d of %d statements succeeded", g.done, g.tried)
	}
	t.Logf("%d of %d statements succeeded", g.done, g.tried)
	tr.noGap()
	tr.at(end)
	tr.at(between)
}
