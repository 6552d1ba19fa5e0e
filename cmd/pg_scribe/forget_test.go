package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/internal/pgtest"
)

// segmentsOn are the names of the segments in a directory target.
func segmentsOn(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "incremental-*"))
	return found
}

// A storage that is gone for good no longer stops the capture, once it is
// forgotten; added again, it is brought up to date.
func TestForgetTarget(t *testing.T) {
	c := pgtest.Shared(t)
	place := filepath.Join(t.TempDir(), "a disk")
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	s.must("copy", "-f", s.dir, "--storage", place)
	if err := os.Rename(place, place+".away"); err != nil {
		t.Fatal(err)
	}
	s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) || md5((g * 3)::text) FROM generate_series(1, 20000) g")
	limited := []string{"start", "-d", s.conn, "-f", s.dir, "-F", "100ms", "--segment-size", "100kB", "--spool-limit", "200kB"}
	s.run(limited...).refused(t, exitBackup, "wait for the storages", "--forget WHERE")
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(o.errors, "--forget '"+place+"'") {
		t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
	}
	s.run("copy", "-f", s.dir, "--forget", place+"x").refused(t, exitUsage, "has no storage "+place+"x", "it has --forget '"+place+"'")
	s.run("copy", "-f", s.dir, "--forget", place, "--storage", place).refused(t, exitUsage, "--forget with --storage", "one after the other")
	o := s.must("copy", "-f", s.dir, "--forget", "file:"+place)
	if !strings.Contains(o.out, "Nothing there was removed: 2 files") || !strings.Contains(o.out, "rm -r '"+place+"'") {
		t.Errorf("it says\n%s", o.out)
	}
	s.run("copy", "-f", s.dir, "--forget", place).refused(t, exitUsage, "has no storage", "none at all")
	s.catchUp("-F", "100ms", "--segment-size", "100kB", "--spool-limit", "200kB")
	if o := s.must("status", "-f", s.dir); strings.Contains(o.out, place) {
		t.Errorf("status shows\n%s", o.out)
	}
	if err := os.Rename(place+".away", place); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsOn(place)); n != 0 {
		t.Errorf("%d segments were sent", n)
	}
	s.must("copy", "-f", s.dir, "--storage", place)
	if got, want := s.restoredFrom("file:"+place), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// A start that runs sends no more to what was forgotten, without a word of
// failure, and goes on with the others.
func TestForgetTargetBesideStart(t *testing.T) {
	c := pgtest.Shared(t)
	stays, goes := t.TempDir(), t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", goes, stays)
	stop, said := s.background("--segment-size", "10kB")
	fill := func(from int) {
		s.c.Exec(t, s.db, fmt.Sprintf("INSERT INTO t SELECT g + %d, md5(g::text) FROM generate_series(1, 1000) g", from))
	}
	fill(0)
	waitFor(t, "segments on both", func() bool { return len(segmentsOn(stays)) > 0 && len(segmentsOn(goes)) > 0 })
	s.must("copy", "-f", s.dir, "--forget", goes)
	before := len(segmentsOn(stays))
	fill(1000)
	waitFor(t, "the other storage", func() bool { return len(segmentsOn(stays)) > before })
	sent := len(segmentsOn(goes))
	before = len(segmentsOn(stays))
	fill(2000)
	waitFor(t, "the other storage", func() bool { return len(segmentsOn(stays)) > before })
	code, text := stop()
	if code != exitOK || strings.Contains(said(), "trying again") || strings.Contains(said(), "not in the catalog") {
		t.Errorf("start ended with %d\n%s", code, text)
	}
	if n := len(segmentsOn(goes)); n != sent {
		t.Errorf("%d segments were sent to the forgotten one", n-sent)
	}
	if got, want := s.restoredFrom("file:"+stays), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	// What was there when it was forgotten restores too.
	s.must("restore", "-f", "file:"+goes, "-C", "-d", s.c.ConnString(s.db+"_old"))
	s.c.Exec(t, "postgres", "DROP DATABASE "+s.db+"_old")
}

// With --durability storage the first storage goes only when the next one has
// all that the server was told to forget.
func TestForgetTargetThatIsReliedOn(t *testing.T) {
	c := pgtest.Shared(t)
	first, second := t.TempDir(), t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", first)
	stop, said := s.background("--durability", "storage", "--segment-size", "10kB")
	s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 1000) g")
	waitFor(t, "the first storage", func() bool { return len(segmentsOn(first)) > 0 })
	s.run("copy", "-f", s.dir, "--forget", first).refused(t, exitUsage, "relies on storage "+first+", and there is no other", "--storage WHERE")
	s.must("copy", "-f", s.dir, "--storage", second)
	waitFor(t, "the second storage", func() bool { return len(segmentsOn(second)) >= len(segmentsOn(first)) && len(segmentsOn(first)) > 0 })
	waitFor(t, "the first one's end", func() bool { return s.run("copy", "-f", s.dir, "--forget", first).code == exitOK })
	at := s.c.Query(t, s.db, "SELECT pg_current_wal_insert_lsn()")
	s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1001, 2000) g")
	s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(2001, 3000) g")
	waitFor(t, "confirmation by way of the second", func() bool {
		return s.c.Query(t, s.db, "SELECT (confirmed_flush_lsn > '"+at+"')::text FROM pg_replication_slots WHERE slot_name = '"+s.slot+"'") == "true"
	})
	if code, text := stop(); code != exitOK || strings.Contains(said(), "trying again") {
		t.Errorf("start ended with %d\n%s", code, text)
	}
	// One that was added beside it, and that lacks what the first has, cannot take its place.
	third := filepath.Join(t.TempDir(), "third")
	if err := os.Mkdir(third, 0o700); err != nil {
		t.Fatal(err)
	}
	s.must("copy", "-f", s.dir, "--storage", third)
	if err := os.RemoveAll(third); err != nil {
		t.Fatal(err)
	}
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (0, '')")
	s.run("start", "-d", s.conn, "-f", s.dir, "--durability", "storage", "--endpos", s.c.Query(t, s.db, "SELECT pg_current_wal_flush_lsn()"), "--no-loop")
	s.run("copy", "-f", s.dir, "--forget", second).refused(t, exitUsage, "storage "+third+", which would decide then, lacks", "bring that one up to date")
	s.must("copy", "-f", s.dir, "--forget", third)
	s.catchUp() // the server no longer relies on it
	if got, want := s.restoredFrom("file:"+second), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	s.must("copy", "-f", s.dir, "--forget", second)
}
