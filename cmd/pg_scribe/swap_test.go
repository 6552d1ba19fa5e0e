package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/internal/pgtest"
)

// swapSource is a source whose repository ends before its last row.
func swapSource(t *testing.T) *sourceDB {
	t.Helper()
	s := newSource(t, pgtest.Shared(t), "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)")
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2)")
	s.catchUp()
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (3)")
	t.Cleanup(func() {
		s.c.Exec(t, "postgres", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database LIKE '"+s.db+"_%' OR database = '"+s.db+"'")
		for _, db := range s.siblings() {
			s.c.Exec(t, "postgres", "DROP DATABASE "+db+" WITH (FORCE)")
		}
	})
	return s
}

// siblings are the databases that were made beside the source.
func (s *sourceDB) siblings() []string {
	s.t.Helper()
	return strings.Fields(s.c.Query(s.t, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '"+s.db+"\\_%' ORDER BY datname"))
}

// rows are those of table t.
func (s *sourceDB) rows(db string) string {
	s.t.Helper()
	return s.c.Query(s.t, db, "SELECT string_agg(i::text, ',' ORDER BY i) FROM t")
}

func (s *sourceDB) flags(args ...string) []string {
	return append(args, "-h", s.c.Host, "-p", portOf(s.c), "-U", "postgres")
}

// shell runs a command as a person who pastes it.
func (s *sourceDB) shell(command string) {
	s.t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Env = append(s.env, "PATH="+s.c.BinDir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// TestRestoreOverTheSource: the chain of hints that begins with the source as
// target ends with both databases, and no command that drops one of them.
func TestRestoreOverTheSource(t *testing.T) {
	s := swapSource(t)
	for _, flags := range []string{"", "-C", "--force"} {
		o := s.run(append(s.flags("restore", "-f", s.dir, "-d", s.db), strings.Fields(flags)...)...)
		o.refused(t, exitBackup, s.db, "-d NEW_DATABASE")
		if strings.Contains(o.errors, "dropdb") || strings.Contains(o.errors, "drop database") {
			t.Errorf("%s", o.errors)
		}
	}
	o := s.must(s.flags("restore", "-f", s.dir, "-d", s.db, "--allow-source")...)
	siblings := s.siblings()
	if len(siblings) != 1 || !strings.HasPrefix(siblings[0], s.db+"_before_") {
		t.Fatalf("beside the source there is %v\n%s", siblings, o.out)
	}
	kept := siblings[0]
	if s.rows(s.db) != "1,2" || s.rows(kept) != "1,2,3" {
		t.Errorf("restored %s, kept %s", s.rows(s.db), s.rows(kept))
	}
	for _, words := range []string{`Database "` + s.db + `" is restored`, `The source is kept as database "` + kept + `"`,
		"start -d " + s.db + " is refused", "start -d " + kept + " ", "drop -d " + kept + " ", "init -d " + s.db + " "} {
		if !strings.Contains(o.out, words) {
			t.Errorf("it does not say %q:\n%s", words, o.out)
		}
	}
	if strings.Contains(o.out+o.errors, "dropdb") {
		t.Errorf("%s%s", o.out, o.errors)
	}
	// What it says is so.
	s.run(s.flags("start", "-d", s.db, "-f", s.dir, "--no-loop")...).refused(t, exitUsage, "now \""+kept+"\"", "start -d "+kept)
	renamed := *s
	renamed.db, renamed.conn = kept, s.c.ConnString(kept)
	renamed.catchUp()
	anew := filepath.Join(t.TempDir(), "anew")
	line := lineWith(t, o.out, "pg_scribe init -d "+s.db)
	s.must(strings.Fields(strings.TrimPrefix(strings.Replace(line, "NEW_DIRECTORY", anew, 1), "pg_scribe "))...)
	s.must(append(strings.Fields(strings.TrimPrefix(lineWith(t, o.out, "pg_scribe drop -d "+kept), "pg_scribe ")), "--yes")...)
	o = s.run(s.flags("restore", "-f", s.dir, "-d", s.db, "--allow-source")...)
	o.refused(t, exitUsage, "is not the source", "-d NEW_DATABASE")
}

func lineWith(t *testing.T, text, words string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.Contains(line, words) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no line with %q in:\n%s", words, text)
	return ""
}

// TestSwapLater: somebody is connected to the source. Both databases stay, and
// the hint swaps them when nobody is any more.
func TestSwapLater(t *testing.T) {
	s := swapSource(t)
	conn := s.c.Conn(t, s.db)
	o := s.run(s.flags("restore", "-f", s.dir, "-d", s.db, "--allow-source")...)
	o.refused(t, exitBackup, "in use by process", "swap their names: psql")
	if !strings.Contains(o.out, " is restored.") || strings.Contains(o.errors, "dropdb") {
		t.Errorf("%s%s", o.out, o.errors)
	}
	siblings := s.siblings()
	if len(siblings) != 1 || !strings.HasPrefix(siblings[0], s.db+"_restored_") || s.rows(s.db) != "1,2,3" || s.rows(siblings[0]) != "1,2" {
		t.Fatalf("beside the source there is %v", siblings)
	}
	conn.Close(context.Background())
	_, command, _ := strings.Cut(lineWith(t, o.errors, "hint: "), "swap their names: ")
	s.shell(command)
	siblings = s.siblings()
	if len(siblings) != 1 || !strings.HasPrefix(siblings[0], s.db+"_before_") || s.rows(s.db) != "1,2" || s.rows(siblings[0]) != "1,2,3" {
		t.Fatalf("after the hint: beside the source there is %v", siblings)
	}
}

// TestSwapInterrupted in the replay: the source is as it was, and the hints
// lead to the end.
func TestSwapInterrupted(t *testing.T) {
	s := swapSource(t)
	ctx, cancel := context.WithCancel(context.Background())
	var out safeBuffer
	errs := &tripwire{text: "replaying the segments", trip: cancel}
	args := s.flags("restore", "-f", s.dir, "-d", s.db, "--allow-source")
	code := run(ctx, args, s.env, strings.NewReader(""), &out, errs)
	o := outcome{args, code, out.String(), errs.String()}
	o.refused(t, exitGeneral, "interrupted", "the source is as it was")
	siblings := s.siblings()
	if len(siblings) != 1 || s.rows(s.db) != "1,2,3" {
		t.Fatalf("beside the source there is %v", siblings)
	}
	hint := lineWith(t, o.errors, "hint: ")
	_, resume, _ := strings.Cut(hint, "go on to the same target: pg_scribe ")
	resume, swap, _ := strings.Cut(resume, "; then swap the names: ")
	s.must(strings.Fields(resume)...)
	s.shell(swap)
	if siblings = s.siblings(); len(siblings) != 1 || s.rows(s.db) != "1,2" || s.rows(siblings[0]) != "1,2,3" {
		t.Errorf("beside the source there is %v", siblings)
	}
}

// TestNoDropOfWhatWasThere: a restore that fails in a database which it did not
// make never advises to drop that.
func TestNoDropOfWhatWasThere(t *testing.T) {
	s := swapSource(t)
	filled := s.c.CreateDB(t, "cli")
	s.c.Exec(t, filled, "CREATE TABLE t (theirs text)")
	for _, flags := range []string{"", "-C", "--force"} {
		o := s.run(append(s.flags("restore", "-f", s.dir, "-d", filled), strings.Fields(flags)...)...)
		o.refused(t, exitBackup, "", "-d NEW_DATABASE")
		if strings.Contains(o.errors, "dropdb") {
			t.Errorf("%s: %s", flags, o.errors)
		}
	}
}
