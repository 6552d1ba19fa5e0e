package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// TestRestoreRefuses everything that cannot be restored as asked, before it
// touches a server; and a target that must not be written to.
func TestRestoreRefuses(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	s.segments(3)
	c.Exec(t, s.db, "SELECT scribe.mark('it''s here')")
	s.catchUp()
	doc := decode[listJSONRead](t, s.must("list", "-f", s.dir, "--output", "json"))
	if len(doc.Segments) != 4 || len(doc.Bases) != 1 {
		t.Fatalf("the repository has %+v", doc)
	}
	first := doc.Bases[0].StartLSN
	target := s.db + "_r"
	conn := c.ConnString(target)
	before := s.state(s.db, s.dir)
	refuse := func(flags string, code int, problem, hint string) {
		t.Helper()
		args := []string{"restore", "-f", s.dir, "-C", "-d", conn}
		if flags != "" {
			args = append(args, strings.Split(flags, "|")...)
		}
		s.run(args...).refused(t, code, problem, hint)
	}
	beyond := time.Now().Add(time.Hour).UTC().Format("2006-01-02 15:04:05Z")
	refuse("--target-lsn|0/1", exitBackup, "before", "--target-lsn "+first)
	refuse("--target-lsn|FFFF/0", exitBackup, "LSN FFFF/0", "pg_scribe start")
	refuse("--target-time|1999-12-31 23:59:59 UTC", exitBackup, "before", "--target-lsn "+first)
	refuse("--target-time|"+beyond, exitBackup, "", "which is at ")
	refuse("--target-xid|4294967295", exitBackup, "4294967295", "pg_scribe list")
	refuse("--target-name|it's gone", exitUsage, "it's gone", `--target-name 'it'\''s here'`)
	refuse("--base-backup|base-x;\n.sql", exitUsage, "base-x;", "--base-backup "+doc.Bases[0].Name)
	s.run("restore", "-f", s.dir, "-d", conn).refused(t, exitConnection, target, "-C")
	s.run("restore", "-f", s.dir, "-C", "-d", s.conn).refused(t, exitBackup, "already exists", "-d NEW_DATABASE")
	s.run("restore", "-f", s.dir, "-d", s.conn).refused(t, exitBackup, "is the source", "-d NEW_DATABASE")
	s.run("restore", "-f", s.dir, "-d", s.conn, "--force").refused(t, exitBackup, "is the source", "--allow-source")
	refuse("--allow-source", exitUsage, "always makes a new database", "leave out -C")
	s.run("restore", "-f", s.dir, "-d", conn, "--allow-source").refused(t, exitUsage, "is not the source", "-d NEW_DATABASE")
	if after := s.state(s.db, s.dir); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	filled := c.CreateDB(t, "cli")
	c.Exec(t, filled, "CREATE TABLE mine (i int)")
	s.run("restore", "-f", s.dir, "-d", c.ConnString(filled)).refused(t, exitBackup, "is not empty", "--force")
}

// TestBrokenChain: a segment that is missing, damaged, cut short, or unknown
// to the catalog.
func TestBrokenChain(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	s.segments(3)
	doc := decode[listJSONRead](t, s.must("list", "-f", s.dir, "--output", "json"))
	name := doc.Segments[1].Name
	file := filepath.Join(s.dir, name)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := s.state(s.db, "/nonexistent")
	broken := func(problem, hint, verdict string) {
		t.Helper()
		s.run("restore", "-f", s.dir, "-C", "-d", c.ConnString(s.db+"_r")).refused(t, exitBackup, problem, hint)
		if verdict == "" {
			return
		}
		if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(o.out, verdict) {
			t.Errorf("status: %d %s", o.code, o.out)
		}
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(file)
	broken(name+" is missing", "pg_scribe status -f", "ERROR: missing: "+name)
	damaged := append([]byte{}, content...)
	damaged[len(damaged)/2] ^= 1
	write(damaged)
	broken(name, "a copy of the repository", "") // status reads no content
	write(content[:len(content)-1])
	broken("damaged", "a copy of the repository", "not of the recorded size")
	write(content)
	cat, err := catalog.Open(filepath.Join(s.dir, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	segments, err := cat.Artifacts(t.Context(), catalog.KindSegment)
	if err == nil {
		err = cat.DeleteArtifact(t.Context(), segments[1].ID)
	}
	if err != nil || cat.Close() != nil {
		t.Fatal(err)
	}
	broken(doc.Segments[1].StartLSN, "--target-lsn "+doc.Segments[1].StartLSN, "WARNING: the chain of segments has 1 break")
	if after := s.state(s.db, "/nonexistent"); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// segments makes some, with one row each.
func (s *sourceDB) segments(n int) {
	s.t.Helper()
	for range n {
		s.c.Exec(s.t, s.db, "INSERT INTO t SELECT coalesce(max(i), 0) + 1 FROM t")
		s.catchUp()
	}
}

// TestResume: a restore that is stopped in the middle of the replay says how
// to go on, and does.
func TestResume(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, "CREATE TABLE t (i int PRIMARY KEY)")
	c.Exec(t, s.db, "DO $$ BEGIN FOR g IN 1..60000 LOOP INSERT INTO t VALUES (g); IF g % 10 = 0 THEN COMMIT; END IF; END LOOP; END $$")
	s.catchUp()
	target := s.db + "_r"
	t.Cleanup(func() { c.Exec(t, "postgres", "DROP DATABASE "+target) })
	args := []string{"restore", "-f", s.dir, "-C", "-d", c.ConnString(target)}
	ctx, cancel := context.WithCancel(context.Background())
	var out safeBuffer
	errs := &tripwire{text: "replaying the segments", trip: func() { time.AfterFunc(30*time.Millisecond, cancel) }}
	code := run(ctx, args, s.env, strings.NewReader(""), &out, errs)
	outcome{args, code, out.String(), errs.String()}.refused(t, exitGeneral, "interrupted", "--resume")
	s.run(args...).refused(t, exitBackup, "already exists", "add --resume")
	o := s.must(append(args, "--resume")...)
	if got := c.Query(t, target, "SELECT count(*), sum(i) FROM t"); got != "60000|1800030000" {
		t.Errorf("after the resume: %s\n%s", got, o.out)
	}
	s.run(append(args, "--resume")...).refused(t, exitBackup, "can be continued", "leave out --resume")
}

// tripwire calls a function when a text is printed.
type tripwire struct {
	safeBuffer
	text string
	trip func()
}

func (w *tripwire) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.trip()
	}
	return w.safeBuffer.Write(p)
}

// listJSONRead reads what listJSON writes.
type listJSONRead struct {
	Bases, Globals, Segments []struct {
		Name     string `json:"name"`
		StartLSN string `json:"start_lsn"`
		EndLSN   string `json:"end_lsn"`
	}
	Points []struct {
		Name string `json:"name"`
		LSN  string `json:"lsn"`
	}
}

// TestOddNames: quotes, spaces, newlines and semicolons wherever a name can
// stand, from the first command to the restored database.
func TestOddNames(t *testing.T) {
	const odd = "it's \"odd\"; a\nname\\ $(x) 'é"
	c := pgtest.Shared(t)
	b := newBench(t, c)
	c.Exec(t, "postgres", "CREATE DATABASE "+quoted(odd))
	t.Cleanup(func() { c.Exec(t, "postgres", "DROP DATABASE "+quoted(odd)) })
	c.Exec(t, odd, `CREATE TABLE "a;b ""c"" 'd' e" (i int PRIMARY KEY)`)
	dir := filepath.Join(t.TempDir(), odd)
	where := []string{"-h", c.Host, "-p", portOf(c), "-U", "postgres"}
	on := func(args ...string) []string { return append(args, where...) }
	o := b.must(on("init", "-d", odd, "-f", dir, "-S", "cli_odd", "--publication", odd)...)
	if !strings.Contains(o.out, `-f $'`) { // the hint to start can be pasted
		t.Errorf("init said %s", o.out)
	}
	o = b.run(on("init", "-d", odd, "-f", dir, "-S", "cli_odd2", "--publication", odd)...)
	o.refused(t, exitUsage, "is already a repository", `$'`)
	c.Exec(t, odd, `INSERT INTO "a;b ""c"" 'd' e" VALUES (1)`)
	b.must(on("mark", "-d", odd, odd)...)
	c.Exec(t, odd, `INSERT INTO "a;b ""c"" 'd' e" VALUES (2)`)
	end := c.Query(t, odd, "SELECT pg_current_wal_flush_lsn()")
	b.must(on("start", "-d", odd, "-f", dir, "--endpos", end, "-s", "0.2")...)
	b.must(on("full-backup", "-d", odd, "-f", dir)...)
	if o := b.run(on("status", "-d", odd, "-f", dir)...); o.code != exitWarnings || strings.Contains(o.out, "a\nname") {
		t.Errorf("status: %d %s", o.code, o.out)
	}
	points := decode[listJSONRead](t, b.must("list", "points", "-f", dir, "--output", "json")).Points
	if len(points) != 1 || points[0].Name != odd {
		t.Errorf("points: %q", points)
	}
	if o := b.must("list", "-f", dir); strings.Contains(o.out, "a\nname") {
		t.Errorf("a name breaks the lines of the list:\n%s", o.out)
	}
	target := odd + "; DROP DATABASE postgres"
	b.must(on("restore", "-f", dir, "-C", "-d", target, "--target-name", odd)...)
	t.Cleanup(func() { c.Exec(t, "postgres", "DROP DATABASE "+quoted(target)) })
	if got := c.Query(t, target, `SELECT string_agg(i::text, ',') FROM "a;b ""c"" 'd' e"`); got != "1" {
		t.Errorf("restored %q", got)
	}
	b.run(on("restore", "-f", dir, "-C", "-d", target)...).refused(t, exitBackup, "already exists", "-d NEW_DATABASE")
	b.must(on("drop", "-d", odd, "-f", dir, "--yes")...)
}
