package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// The replica identities as they were outlast a crash of the server and a
// failover, also those of tables that came about in between, and drop puts
// them back.
func TestIdentitiesOutlastCrashAndFailover(t *testing.T) {
	tr, standby := beginWithStandby(t, copied)
	tr.run(`CREATE TABLE later (v text); ALTER TABLE keyless RENAME TO renamed; CREATE TABLE gone (v text); DROP TABLE gone`)
	must(t, tr.source.Kill())
	must(t, tr.source.StartAgain())
	tr.run(`CREATE TABLE latest (v text); INSERT INTO latest VALUES ('a'); UPDATE latest SET v = 'b'`)
	notes := `SELECT string_agg(relid::regclass || ' ' || original::text, ', ' ORDER BY relid) FROM scribe.identity`
	want := `renamed d, nothing n, "odd $$ 'n""ame" d, later d, latest d`
	if got := tr.source.Query(t, tr.db, notes); got != want {
		t.Errorf("after a crash: %s", got)
	}
	tr.capture() // which forgets the table that is gone
	if got := tr.source.Query(t, tr.db, `SELECT count(*) FROM pg_proc WHERE proname ~ '^identity_\d'`); got != "5" {
		t.Errorf("%s notes are kept", got)
	}
	standby.CatchUp(t, tr.source)
	tr.failOver(standby)
	tr.await("SELECT pg_is_in_recovery()", "f")
	if got := tr.source.Query(t, tr.db, notes); got != want {
		t.Errorf("after a failover: %s", got)
	}
	// Without a slot nothing is read, and nothing emitted; the guard goes on.
	if got := messages(t, tr.source, func() {
		tr.run(`CREATE TABLE promoted (v text); INSERT INTO promoted VALUES ('a'); UPDATE promoted SET v = 'b'`)
	}); got != "" {
		t.Errorf("emitted without a slot: %s", got)
	}
	if _, err := tr.base(true); err != nil {
		t.Fatal(err)
	}
	tr.run(`CREATE TABLE captured (v text)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	tr.mustScribe("drop", "-d", tr.conn(), "-S", tr.slot, "--yes")
	if got := (aCopy{t, tr.source, tr.db, tr}).identities(); got != "nothing n" {
		t.Errorf("replica identities are %q", got)
	}
}

// olderCapture is what an earlier version of the program installed, as far as
// it matters for its removal.
const olderCapture = `CREATE SCHEMA scribe; CREATE TABLE scribe.config (key text PRIMARY KEY, value text NOT NULL);
	INSERT INTO scribe.config VALUES ('version', '5'), ('secret', 'ab'), ('mode', 'guarded');
	CREATE TABLE scribe.identity (relid oid PRIMARY KEY, original "char" NOT NULL, index oid); CREATE TABLE scribe.missing (relid oid, attnum int2);
	CREATE FUNCTION scribe.identity_for(rel oid) RETURNS text LANGUAGE sql AS $$SELECT 'FULL'$$;
	CREATE FUNCTION scribe.on_end() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
	CREATE EVENT TRIGGER scribe_y ON ddl_command_end EXECUTE FUNCTION scribe.on_end();
	INSERT INTO scribe.identity VALUES ('keyless'::regclass, 'd', NULL); ALTER TABLE keyless REPLICA IDENTITY FULL; CREATE PUBLICATION pg_scribe FOR ALL TABLES`

// An older capture is refused with the way out, and drop is that way.
func TestOlderCaptureIsRefusedAndRemoved(t *testing.T) {
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: filepath.Join(t.TempDir(), "repo")}
	tr.slot = tr.db
	source.Exec(t, tr.db, copied)
	source.Exec(t, tr.db, olderCapture)
	source.Query(t, tr.db, "SELECT pg_create_logical_replication_slot('"+tr.slot+"', 'pgoutput')")
	for _, args := range [][]string{{"mark", "x"}, {"init", "-S", tr.slot + "_new", "-f", tr.dir, "--force"}} {
		out, code := tr.program(append(args, "-d", tr.conn())...)
		if code != 4 || !strings.Contains(out, "the source has version 5 of it") || !strings.Contains(out, "set it up anew: pg_scribe drop") {
			t.Errorf("%s: exit code %d\n%s", args[0], code, out)
		}
	}
	tr.mustScribe("drop", "-d", tr.conn(), "-S", tr.slot, "--yes")
	if got := (aCopy{t, source, tr.db, tr}).identities(); got != "nothing n" {
		t.Errorf("replica identities are %q", got)
	}
	tr.begin()
	tr.run(`CREATE TABLE captured (v text)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
