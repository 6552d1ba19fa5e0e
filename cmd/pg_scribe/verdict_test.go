package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
)

type windowRead struct {
	From  string `json:"from_lsn"`
	To    string `json:"to_lsn"`
	Bases int
	Ahead bool
}

// statusWindows are those that status shows.
func (s *sourceDB) statusWindows(t *testing.T) []windowRead {
	t.Helper()
	return decode[struct {
		Repository struct{ Windows []windowRead }
	}](t, s.run("status", "-f", s.dir, "--output", "json")).Repository.Windows
}

// windows are those that status and verify show, which are the same while no
// streamer runs.
func (s *sourceDB) windows(t *testing.T) []windowRead {
	t.Helper()
	status := s.statusWindows(t)
	verify := decode[struct{ Windows []windowRead }](t, s.run("verify", "-f", s.dir, "--output", "json", "--read-data-subset", "1/1000"))
	if !slices.Equal(status, verify.Windows) {
		t.Errorf("status shows %+v, verify %+v", status, verify.Windows)
	}
	return status
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// What can be restored ends where the chain does: at a file that is missing, of
// another size, or that verify found damaged, whatever kind of file it is.
func TestWindowsEndAtDamage(t *testing.T) {
	s := newSource(t, pgtest.Shared(t), "CREATE TABLE t (i int PRIMARY KEY)")
	s.segments(3)
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "--jobs", "2")
	s.catchUp()
	doc := decode[listJSONRead](t, s.must("list", "-f", s.dir, "--output", "json"))
	from, to := doc.Bases[0].StartLSN, doc.Segments[len(doc.Segments)-1].EndLSN
	whole := windowRead{from, to, 2, false}
	second := windowRead{doc.Bases[1].StartLSN, to, 1, false}
	shows := func(what string, want ...windowRead) {
		t.Helper()
		got := s.windows(t)
		if len(got) != len(want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
			return
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
	}
	shows("undamaged", whole)
	ends := windowRead{from, doc.Segments[1].StartLSN, 1, false}
	segment := filepath.Join(s.dir, doc.Segments[1].Name)
	content, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	restorable := func(w windowRead) {
		t.Helper()
		s.must("restore", "-f", s.dir, "--dry-run", "--target-lsn", w.To, "--target-exclusive", "--base-backup", doc.Bases[0].Name)
	}
	write := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(segment); err != nil {
		t.Fatal(err)
	}
	shows("a missing segment", ends, second)
	restorable(ends)
	write(segment, content[:len(content)-1])
	shows("a shorter segment", ends, second)
	bad := append([]byte{}, content...)
	bad[len(bad)/2] ^= 1
	write(segment, bad)
	shows("a damaged segment that nobody has read", whole)
	if o := s.run("verify", "-f", s.dir); o.code != exitBackup || !strings.Contains(o.out, ends.To) || strings.Contains(o.out, "to "+to+" (") &&
		!strings.Contains(o.out, "from "+second.From) {
		t.Errorf("verify: %d\n%s", o.code, o.out)
	}
	shows("a damaged segment that verify has read", ends, second)
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.HasPrefix(o.out, "ERROR: ") || !strings.Contains(o.errors, "verify found damage") {
		t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
	}
	write(segment, content)
	s.must("verify", "-f", s.dir)
	shows("brought back and read", whole)

	inside := filepath.Join(s.dir, doc.Bases[1].Name, "toc.dat")
	toc, err := os.ReadFile(inside)
	if err != nil || os.Truncate(inside, int64(len(toc)-1)) != nil {
		t.Fatal(err)
	}
	if got := decode[struct {
		Repository struct {
			Damaged []string `json:"damaged_files"`
		}
	}](t, s.run("status", "-f", s.dir, "--output", "json")); len(got.Repository.Damaged) != 1 || got.Repository.Damaged[0] != doc.Bases[1].Name {
		t.Errorf("a base directory with a shorter file: %+v", got)
	}
	write(inside, toc)
	globals := filepath.Join(s.dir, doc.Globals[0].Name)
	if err := os.Rename(globals, globals+".away"); err != nil {
		t.Fatal(err)
	}
	if got := s.windows(t); len(got) != 1 || got[0] != second {
		t.Errorf("a base without its globals: %+v, want %+v", got, second)
	}
}

// The verdict is the first line of status and the last of verify, and says the
// same as the exit code. What was not looked at is named.
func TestVerdictsAgree(t *testing.T) {
	s := newSource(t, pgtest.Shared(t), "CREATE TABLE t (i int PRIMARY KEY)")
	s.catchUp()
	status := func(code int, want string, flags ...string) {
		t.Helper()
		if o := s.run(append([]string{"status"}, flags...)...); o.code != code || firstLine(o.out) != want {
			t.Errorf("status %q: %d %q, want %d %q", flags, o.code, firstLine(o.out), code, want)
		}
	}
	status(exitOK, "OK, as far as the files; no streamer is running, and the slot was not looked at: add -d "+s.db, "-f", s.dir)
	status(exitWarnings, "ERROR: nothing streams from the slot, and the server keeps WAL for it", "-f", s.dir, "-d", s.conn)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan outcome, 1)
	go func() { done <- s.runContext(ctx, "start", "-d", s.conn, "-f", s.dir, "-F", "50ms", "-s", "0.2") }()
	waitFor(t, "the streamer", func() bool { return s.run("status", "-d", s.conn, "-f", s.dir).code == exitOK })
	status(exitOK, "OK", "-f", s.dir, "-d", s.conn)
	status(exitOK, "OK, as far as the files; the slot was not looked at: add -d "+s.db, "-f", s.dir)
	status(exitOK, "OK, as far as the slot; the files were not looked at: add -f DIRECTORY", "-d", s.conn, "-S", s.slot)
	stop()
	<-done
	looked := func() []string {
		return decode[struct {
			List []string `json:"not_looked_at"`
		}](t, s.run("status", "-f", s.dir, "--output", "json")).List
	}
	if l := looked(); len(l) != 3 || !strings.Contains(l[0], "the slot") || !strings.Contains(l[1], "contents of") || !strings.Contains(l[2],
		"pg_scribe rehearse") {
		t.Errorf("not looked at: %q", l)
	}
	if o := s.must("verify", "-f", s.dir); lastLine(o.out) != "OK" {
		t.Errorf("verify: %s", o.out)
	}
	if l := looked(); len(l) != 2 {
		t.Errorf("not looked at behind verify: %q", l)
	}

	verify := func(verdict string, args ...string) {
		t.Helper()
		if o := s.run(append(args, "-f", s.dir)...); o.code != exitWarnings || !strings.HasPrefix(lastLine(o.out), verdict) {
			t.Errorf("%q: %d\n%s", args, o.code, o.out)
		}
	}
	stray := filepath.Join(s.dir, "base-20200101-000000.sql.zst")
	if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify("WARNING: the files are in order, but the catalog does not know 1 file", "verify")
	verify("WARNING: the files are in order, but the catalog does not know 1 file", "catalog", "check")
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	s.c.Exec(t, s.db, "ALTER EVENT TRIGGER scribe_b DISABLE")
	s.catchUp()
	verify("WARNING: the files are in order, but 1 gap behind the newest base", "verify")
}

// A trigger that somebody disabled is put back with a word that names it, by
// start and full-backup; where full-backup may not, the base is taken and what
// is wrong with it said.
func TestDisabledTriggerIsSaid(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	s := &sourceDB{bench: b, db: c.CreateDB(t, "cli"), dir: filepath.Join(t.TempDir(), "repo")}
	s.conn, s.slot = c.ConnString(s.db), s.db
	c.Exec(t, s.db, "CREATE TABLE t (i int PRIMARY KEY)")
	role := s.db + "_small"
	c.Exec(t, s.db, "CREATE ROLE "+role+" LOGIN REPLICATION; GRANT pg_read_all_data, pg_monitor TO "+role)
	t.Cleanup(func() { c.Exec(t, s.db, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	b.must("init", "-d", s.conn, "-f", s.dir, "-S", s.slot, "--grant-to", role)
	s.catchUp()
	disable := func() { c.Exec(t, s.db, "ALTER EVENT TRIGGER scribe_b DISABLE") }
	const said = `event trigger scribe_b is disabled; put back: commands and rows since 20.* may be missing in the stream, which is marked; a new base heals it`

	disable()
	c.Query(t, s.db, "SELECT pg_logical_emit_message(true, 'test', '')")
	o := s.must("start", "-d", s.conn, "-f", s.dir, "--endpos", c.Query(t, s.db, "SELECT pg_current_wal_flush_lsn()"), "--no-loop")
	if !regexp.MustCompile(said).MatchString(o.errors) {
		t.Errorf("start says %s", o.errors)
	}
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(firstLine(o.out), "scribe_b is disabled") {
		t.Errorf("status behind start: %d %s", o.code, o.out)
	}

	disable()
	if o := s.must("full-backup", "-d", s.conn, "-f", s.dir); !regexp.MustCompile(said).MatchString(o.errors) {
		t.Errorf("full-backup says %s", o.errors)
	}
	c.Exec(t, s.db, "CREATE TABLE seen (i int); INSERT INTO seen VALUES (1)")
	s.catchUp()
	s.must("status", "-f", s.dir) // the base heals it
	s.must("restore", "-f", s.dir, "--dry-run")

	disable()
	o = s.run("full-backup", "-d", s.conn+" user="+role, "-f", s.dir)
	if o.code != exitWarnings || !strings.Contains(o.errors, "event trigger scribe_b is disabled") || !strings.Contains(o.errors,
		"fix: take another base, as the role that ran init") {
		t.Errorf("without the rights: %d\n%s%s", o.code, o.out, o.errors)
	}
	fault := decode[struct{ Fault string }](t, s.run("full-backup", "-d", s.conn+" user="+role, "-f", s.dir, "--output", "json"))
	if !strings.Contains(fault.Fault, "scribe_b") {
		t.Errorf("the document does not say it: %+v", fault)
	}
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(firstLine(o.out), "scribe_b is disabled") {
		t.Errorf("status behind full-backup: %d %s", o.code, o.out)
	}
	s.must("full-backup", "-d", s.conn, "-f", s.dir) // the fix
	s.must("status", "-f", s.dir)
	s.catchUp()
	s.must("restore", "-f", s.dir, "--dry-run")
}

// What is not stored yet is not missing.
func TestBaseAheadOfTheStream(t *testing.T) {
	s := newSource(t, pgtest.Shared(t), "CREATE TABLE t (i int PRIMARY KEY)")
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1)")
	s.catchUp()
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2)")
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
	doc := decode[listJSONRead](t, s.must("list", "-f", s.dir, "--output", "json"))
	older, newer := doc.Bases[0], doc.Bases[1]
	if w := s.windows(t); len(w) != 2 || w[0].Ahead || !w[1].Ahead || w[1].From != newer.StartLSN {
		t.Errorf("without a streamer: %+v", w)
	}
	if o := s.must("status", "-f", s.dir); !strings.Contains(o.out, "at "+newer.StartLSN) || !strings.Contains(o.out,
		"a base that the stream has not reached yet") {
		t.Errorf("status: %s", o.out)
	}
	restored := func(want string, flags ...string) {
		t.Helper()
		db := s.db + "_r"
		s.must(append([]string{"restore", "-f", s.dir, "-C", "-d", s.c.ConnString(db)}, flags...)...)
		if got := s.c.Query(t, db, "SELECT string_agg(i::text, ',' ORDER BY i) FROM t"); got != want {
			t.Errorf("restore %q brought %q, want %q", flags, got, want)
		}
		s.c.Exec(t, "postgres", "DROP DATABASE "+db)
	}
	restored("1", "--base-backup", older.Name)
	restored("1,2")
	s.run("restore", "-f", s.dir, "--dry-run", "--base-backup", older.Name, "--target-lsn", newer.StartLSN).
		refused(t, exitBackup, "is after the end of the repository", "let start catch up first")

	// While start runs, full-backup ends when the stream has come to the base,
	// however seldom start makes a checkpoint by itself.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan outcome, 1)
	go func() { done <- s.runContext(ctx, "start", "-d", s.conn, "-f", s.dir, "-F", "1h", "-s", "1h") }()
	waitFor(t, "the streamer", func() bool { return s.run("status", "-d", s.conn, "-f", s.dir).code == exitOK })
	waitFor(t, "the base's place in the chain", func() bool { w := s.statusWindows(t); return len(w) == 1 })
	for range 2 {
		s.must("full-backup", "-d", s.conn, "-f", s.dir)
		if w := s.statusWindows(t); len(w) != 1 || w[0].Ahead {
			t.Errorf("while start runs: %+v", w)
		}
		restored("1,2", "--base-backup", older.Name)
	}
	stop()
	if o := <-done; o.code != exitOK {
		t.Errorf("start: %+v", o)
	}
}

// Lists fit on a screen, and have the moments that one looks for.
func TestTimesInLists(t *testing.T) {
	s := newSource(t, pgtest.Shared(t), "CREATE TABLE t (i int PRIMARY KEY)")
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1)")
	s.catchUp()
	s.must("mark", "-d", s.conn, "here")
	s.catchUp()
	doc := decode[listJSONRead](t, s.must("list", "-f", s.dir, "--output", "json"))
	s.must("keep", doc.Bases[0].Name, "-f", s.dir, "--reason", "before the move")
	zone := func(name string) { s.env = append(s.env, "TZ="+name) }
	const offset, beside = `[+-]0\d[34]\d\b`, `\d\d:\d\d[+-]0\d[34]\d\b`
	utc := `\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`
	shows := func(what string, patterns ...string) {
		t.Helper()
		for _, args := range [][]string{{"list", "-f", s.dir}, {"status", "-f", s.dir}, {"expire", "-f", s.dir}, {"verify", "-f", s.dir}} {
			o := s.run(args...)
			for _, p := range patterns {
				if command, p, _ := strings.Cut(p, ": "); command == args[0] && !regexp.MustCompile(p).MatchString(o.out) {
					t.Errorf("%s: %s does not show %s\n%s", what, args[0], p, o.out)
				}
			}
		}
	}
	zone("UTC")
	shows("UTC", "list: NAME +FIRST COMMIT +LAST COMMIT +COMMITS +STORED", `list: \.sql\.zst +`+utc+" +"+utc+" +[1-9]", "list: KEPT\n.* before the move\n",
		"list: \"here\" +[0-9A-F/]+ +"+utc+" ")
	local := "Asia/Kathmandu" // of the same day, and of less than full hours
	if time.Now().UTC().Hour() >= 12 {
		local = "America/St_Johns"
	}
	zone(local)
	shows("local", `list: \.sql\.zst +`+utc+" "+beside+" +"+utc+" "+beside, `list: "here" .*Z `+beside,
		`status: restorable +from \S+ \(.*Z = [0-9:]+`+offset+`\) to .*`+offset, `status: reached .*`+offset, `expire: Z `+beside, `verify: restorable .*`+offset)
	hours := strings.NewReplacer("Asia/Kathmandu", "Asia/Karachi", "America/St_Johns", "America/Sao_Paulo").Replace(local)
	for _, name := range []string{"UTC", hours} {
		zone(name)
		for line := range strings.Lines(s.must("list", "segments", "-f", s.dir).out) {
			if len(line) > 121 {
				t.Errorf("%s: a line of %d characters: %s", name, len(line), line)
			}
		}
	}
	if at := decode[listJSONRead](t, s.must("list", "-f", s.dir, "--output", "json")); at.Bases[0] != doc.Bases[0] {
		t.Errorf("JSON changes with the zone: %+v", at)
	}
	for _, args := range [][]string{{"list"}, {"status"}, {"expire"}, {"verify"}} {
		if o := s.run(append(args, "-f", s.dir, "--utc")...); regexp.MustCompile(`\d`+offset).MatchString(o.out) || o.code != exitOK {
			t.Errorf("%q --utc: %d\n%s", args, o.code, o.out)
		}
	}
	a := &app{env: []string{"TZ=America/New_York"}}
	early := time.Date(2026, 7, 1, 2, 0, 0, 1000, time.UTC)
	if got := a.showTime(early) + "|" + a.cellTime(early); got != "2026-07-01 02:00:00.000001Z = 2026-06-30 22:00:00-04|2026-07-01 02:00:00Z 22:00-04 -1d" {
		t.Errorf("across midnight: %s", got)
	}
}
