package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/s3test"
)

// shellTarget keeps files in a directory by commands of the shell.
func shellTarget(dir string) string {
	return fmt.Sprintf(`shell write="mkdir -p $(dirname %[1]s/%%f) && cat > %[1]s/%%f" read="cat %[1]s/%%f" list="cd %[1]s && find . -type f -printf '%%%%s `+
		`%%%%P\n'" remove="rm %[1]s/%%f"`, dir)
}

func withS3(b *bench) {
	b.env = append(slices.DeleteFunc(b.env, func(s string) bool { return strings.HasPrefix(s, "AWS_") }),
		"AWS_ACCESS_KEY_ID="+s3test.AccessKey, "AWS_SECRET_ACCESS_KEY="+s3test.SecretKey)
}

// targetSource is a source whose repository has targets.
func targetSource(t *testing.T, c *pgtest.Cluster, sql string, targets ...string) *sourceDB {
	var flags []string
	for _, target := range targets {
		flags = append(flags, "--storage", target)
	}
	return initSource(t, c, sql, flags...)
}

// initSource is a source whose repository was begun with further flags.
func initSource(t *testing.T, c *pgtest.Cluster, sql string, flags ...string) *sourceDB {
	b := newBench(t, c)
	withS3(b)
	db := c.CreateDB(t, "tgt")
	c.Exec(t, db, sql)
	s := &sourceDB{bench: b, db: db, conn: c.ConnString(db), dir: filepath.Join(t.TempDir(), "repo"), slot: fmt.Sprintf("tgt_%d", time.Now().UnixNano())}
	b.must(append([]string{"init", "-d", s.conn, "-f", s.dir, "-S", s.slot}, flags...)...)
	return s
}

// restoredFrom restores from a place and returns what the table holds.
func (s *sourceDB) restoredFrom(place string, flags ...string) string {
	s.t.Helper()
	db := s.db + "_r"
	s.must(append([]string{"restore", "-f", place, "-C", "-d", s.c.ConnString(db)}, flags...)...)
	got := s.c.Query(s.t, db, "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(t::text, '|' ORDER BY id)), '') FROM t")
	s.c.Exec(s.t, "postgres", "DROP DATABASE "+db)
	return got
}

func (s *sourceDB) content() string {
	s.t.Helper()
	return s.c.Query(s.t, s.db, "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(t::text, '|' ORDER BY id)), '') FROM t")
}

// With nothing but the storage, everything is there: the first base, the stream,
// bases of both forms.
func TestTargetsAloneRestore(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	for name, place := range map[string]func(dir string) (spec string){
		"directory": func(dir string) string { return "file:" + dir },
		"shell":     shellTarget,
		"s3":        func(string) string { return server.URL("hosts/db1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			spec := place(t.TempDir())
			s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'first' FROM generate_series(1, 100) g", spec)
			if got, want := s.restoredFrom(spec), s.content(); got != want {
				t.Errorf("the first base alone: %s, want %s", got, want)
			}
			s.c.Exec(t, s.db, "INSERT INTO t SELECT g, 'streamed' FROM generate_series(101, 5000) g; UPDATE t SET v = 'changed' WHERE id % 7 = 0")
			s.catchUp()
			early := s.content()
			s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
			s.c.Exec(t, s.db, "DELETE FROM t WHERE id % 3 = 0")
			s.catchUp()
			// A fresh machine: the directory is gone.
			if err := os.Rename(s.dir, s.dir+".gone"); err != nil {
				t.Fatal(err)
			}
			if got, want := s.restoredFrom(spec), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
			l := decode[struct {
				Bases    []struct{ Name string }
				Segments []struct {
					Name  string
					State string
				}
			}](t, s.must("list", "-f", spec, "--output", "json"))
			if len(l.Bases) != 2 || len(l.Segments) != 2 || l.Segments[0].State != "sealed" {
				t.Errorf("the list shows %+v", l)
			}
			if got := s.restoredFrom(spec, "--base-backup", l.Bases[0].Name); got != s.content() {
				t.Errorf("from the first base: %s", got)
			}
			if got := s.restoredFrom(spec, "--base-backup", l.Bases[1].Name, "--target-lsn", s.restoredPoint(spec)); got != early {
				t.Errorf("from the second base alone: %s, want %s", got, early)
			}
			o := s.run("status", "-f", spec)
			if o.code != exitOK || !strings.Contains(o.out, "OK") {
				t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
			}
			s.listToNobody(spec)
			left, _ := filepath.Glob(filepath.Join(os.TempDir(), "pg_scribe-*"))
			for _, dir := range left {
				if _, err := os.Stat(filepath.Join(dir, "catalog.db")); err == nil {
					t.Errorf("left behind: %s", dir)
				}
			}
		})
	}
}

// restoredPoint is the point of the newest base.
func (s *sourceDB) restoredPoint(place string) string {
	l := decode[struct {
		Bases []struct {
			Start catalog.LSN `json:"start_lsn"`
		}
	}](s.t, s.must("list", "bases", "-f", place, "--output", "json"))
	return l.Bases[len(l.Bases)-1].Start.String()
}

func TestTargetRefusals(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	withS3(b)
	db := c.CreateDB(t, "tgt")
	server := s3test.Start(t)
	readOnly := s3test.Serve(t, server.Root, "--readonly")
	taken := t.TempDir()
	if err := os.WriteFile(filepath.Join(taken, "pg_scribe_repository.txt"), []byte("ANOTHER\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "letter.txt"), []byte("Dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := strings.Replace(server.URL("p"), fmt.Sprint(server.Port), "1", 1)
	cases := []struct {
		name, spec, problem, hint string
		code                      int
		env                       []string
	}{
		{"credentials", server.URL("p"), "access is denied", "AWS_ACCESS_KEY_ID", exitBackup, []string{"AWS_SECRET_ACCESS_KEY=wrong"}},
		{"bucket", strings.Replace(server.URL("p"), "backups", "nobucket", 1), "bucket or directory does not exist", "make the bucket", exitBackup, nil},
		{"directory", "/nonexistent/dir", "bucket or directory does not exist", "mount the disk", exitBackup, nil},
		{"read-only", readOnly.URL("p"), "not written", "s3:PutObject", exitBackup, nil},
		{"unreachable", gone, "cannot be reached", "see that its server runs", exitConnection, nil},
		{"another repository's", taken, "another repository", "of its own", exitUsage, nil},
		{"used otherwise", used, "another repository", "of its own", exitUsage, nil},
		{"no storage", "gs://bucket", "kinds are", "s3://BUCKET/PREFIX", exitUsage, nil},
		{"template", "shell write='cat > %x' read='cat %f' list=ls remove='rm %f'", "%x has no meaning", "write it as", exitUsage, nil},
	}
	for _, e := range cases {
		t.Run(e.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repo")
			run := &bench{t: t, c: c, env: append(slices.Clone(b.env), e.env...)}
			good := t.TempDir()
			before := run.state(db, dir)
			o := run.run("init", "-d", c.ConnString(db), "-f", dir, "-S", "refused", "--storage", good, "--storage", e.spec)
			o.errors = o.errors[strings.Index(o.errors, "pg_scribe: error"):]
			o.refused(t, e.code, e.problem, e.hint)
			if after := run.state(db, dir); after != before {
				t.Errorf("before %s\nafter %s", before, after)
			}
			if left, _ := os.ReadDir(good); len(left) != 0 {
				t.Errorf("the other storage was not given free: %v", left)
			}
			if strings.Contains(o.errors, s3test.SecretKey) {
				t.Error("the secret is told")
			}
		})
	}
	run := &bench{t: t, c: c, env: b.env}
	run.run("restore", "-f", server.URL("nothing"), "--dry-run").refused(t, exitUsage, "is not a repository", "")
	run.run("start", "-f", server.URL("nothing"), "-d", c.ConnString(db)).refused(t, exitUsage, "needs a local directory", "--storage")
}

// background runs start until stop is called.
func (s *sourceDB) background(flags ...string) (stop func() (int, string), said func() string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs safeBuffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"start", "-d", s.conn, "-f", s.dir, "-s", "0.2", "-F", "100ms"}, flags...), s.env, strings.NewReader(""), &out, &errs)
	}()
	s.t.Cleanup(cancel)
	return func() (int, string) {
		cancel()
		return <-done, errs.String()
	}, errs.String
}

// The store is killed and comes back, ten times, while the stream and a base
// are on their way to it: nothing is lost, and nothing is there twice.
func TestStoreRestartsWhileStreaming(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	spec := server.URL("p") + "&part-size=5MB"
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", spec)
	stop, said := s.background("--segment-size", "200kB")
	base := make(chan int, 1)
	for round := range 10 {
		s.c.Exec(t, s.db, fmt.Sprintf("INSERT INTO t SELECT g + %d, md5(g::text) || repeat(md5((g * 7)::text), 8) FROM generate_series(1, 3000) g; UPDATE t SET v "+
			"= v || 'x' WHERE id %% 10 = %d", round*3000, round))
		if round == 4 { // of several parts: it does not compress well
			s.c.Exec(t, s.db, "CREATE TABLE big AS SELECT g AS id, sha512(g::text::bytea) || sha512((-g)::text::bytea) AS v FROM generate_series(1, 90000) g")
			go func() {
				base <- run(context.Background(), []string{"full-backup", "-d", s.conn, "-f", s.dir}, s.env, strings.NewReader(""), &safeBuffer{}, &safeBuffer{})
			}()
		}
		time.Sleep(time.Duration(100+37*round) * time.Millisecond)
		server.Kill()
		time.Sleep(time.Duration(50*round) * time.Millisecond)
		if round == 5 { // longer than a request is repeated
			waitFor(t, "the store to be missed", func() bool { return strings.Contains(said(), "trying again") })
		}
		server.StartAgain()
	}
	if code := <-base; code != exitOK {
		t.Errorf("full-backup ended with %d", code)
	}
	end := s.c.Query(t, s.db, "SELECT pg_logical_emit_message(true, 'test', '')")
	if end == "" {
		t.Fatal("no position")
	}
	waitFor(t, "the stream's end", func() bool {
		d := decode[statusRead](t, s.run("status", "-f", s.dir, "--output", "json"))
		at, _ := catalog.ParseLSN(d.Repository.EndLSN)
		want, _ := catalog.ParseLSN(end)
		return at >= want
	})
	if code, text := stop(); code != exitOK {
		t.Fatalf("start ended with %d\n%s", code, text)
	}
	s.must("copy", "-f", s.dir)
	// What the storage holds is what the directory holds, each file once.
	d := decode[statusRead](t, s.run("status", "-f", s.dir, "--output", "json"))
	if len(d.Repository.Targets) != 1 || d.Repository.Targets[0].Pending != 0 || d.Repository.Targets[0].FailedSince != "" {
		t.Errorf("status shows %+v", d.Repository.Targets)
	}
	var local, remote []string
	for _, e := range []struct {
		dir  string
		list *[]string
	}{{s.dir, &local}, {filepath.Join(server.Root, "backups", "p"), &remote}} {
		entries, err := os.ReadDir(e.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range entries {
			for _, kind := range []string{"incremental-", "base-", "globals-"} {
				if strings.HasPrefix(f.Name(), kind) {
					*e.list = append(*e.list, f.Name())
				}
			}
		}
	}
	if len(local) < 12 || !slices.Equal(local, remote) {
		t.Errorf("the directory has %d files, the storage %d:\n%q\n%q", len(local), len(remote), local, remote)
	}
	for _, name := range local {
		a, aerr := os.ReadFile(filepath.Join(s.dir, name))
		b, berr := os.ReadFile(filepath.Join(server.Root, "backups", "p", name))
		if aerr != nil || berr != nil || string(a) != string(b) {
			t.Errorf("%s differs: %d and %d bytes, %v %v", name, len(a), len(b), aerr, berr)
		}
	}
	first := decode[struct{ Bases []struct{ Name string } }](t, s.must("list", "bases", "-f", spec, "--output", "json")).Bases[0].Name
	if err := os.Rename(s.dir, s.dir+".gone"); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"--base-backup", first}} {
		if got, want := s.restoredFrom(spec, flags...), s.content(); got != want {
			t.Errorf("restored with %q: %s, want %s", flags, got, want)
		}
	}
}

type statusRead struct {
	Verdict string
	Slot    struct {
		Confirmed string `json:"confirmed_lsn"`
	}
	Repository struct {
		EndLSN  string `json:"end_lsn"`
		Targets []struct {
			Pending     int    `json:"pending_files"`
			Files       int    `json:"files"`
			FailedSince string `json:"failed_since"`
			Error       string `json:"error"`
		}
	}
}

// A storage that is down delays, warns, and catches up. With --durability
// storage the server keeps what is not there yet.
func TestTargetDown(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	other := t.TempDir()
	spec := server.URL("p")
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", spec, other)
	stop, _ := s.background("--durability", "storage", "--segment-size", "50kB")
	status := func() (statusRead, outcome) {
		o := s.run("status", "-d", s.conn, "-f", s.dir, "--output", "json")
		return decode[statusRead](t, o), o
	}
	fill := func(n int) catalog.LSN {
		s.c.Exec(t, s.db, fmt.Sprintf("INSERT INTO t SELECT g + %d, repeat(md5(g::text), 5) FROM generate_series(1, 1000) g", n*1000))
		lsn, err := catalog.ParseLSN(s.c.Query(t, s.db, "SELECT pg_current_wal_insert_lsn()"))
		if err != nil {
			t.Fatal(err)
		}
		return lsn
	}
	confirmed := func(d statusRead) catalog.LSN { l, _ := catalog.ParseLSN(d.Slot.Confirmed); return l }
	at := fill(0)
	fill(1) // fills the segment
	waitFor(t, "confirmation by way of the storage", func() bool { d, _ := status(); return confirmed(d) >= at })
	server.Kill()
	before := fill(2)
	fill(3)
	waitFor(t, "the warning", func() bool {
		d, o := status()
		return o.code == exitWarnings && d.Repository.Targets[0].FailedSince != "" && d.Repository.Targets[0].Pending > 0
	})
	waitFor(t, "the other storage", func() bool { d, _ := status(); return d.Repository.Targets[1].Pending == 0 })
	if d, _ := status(); confirmed(d) >= before {
		t.Errorf("the server was told %s while the storage was down, %s is not there", d.Slot.Confirmed, before)
	}
	o := s.run("status", "-f", s.dir)
	if !strings.Contains(o.errors, "storage "+spec+" fails since") || !strings.Contains(o.errors, "pg_scribe copy -f") {
		t.Errorf("status says %s%s", o.out, o.errors)
	}
	server.StartAgain()
	waitFor(t, "catching up", func() bool {
		d, _ := status()
		return d.Repository.Targets[0].Pending == 0 && d.Repository.Targets[0].FailedSince == "" && confirmed(d) >= before
	})
	if code, text := stop(); code != exitOK {
		t.Fatalf("start ended with %d\n%s", code, text)
	}
	for _, place := range []string{spec, "file:" + other} {
		if got, want := s.restoredFrom(place), s.content(); got != want {
			t.Errorf("%s: restored %s, want %s", place, got, want)
		}
	}
}

// A server that is told to stop waits for what it has sent to be confirmed. It
// must not wait for a storage that is down.
func TestServerStopsWhileTargetIsDown(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	server := s3test.Start(t)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", server.URL("p"))
	server.Kill()
	stop, said := s.background("--durability", "storage", "--segment-size", "50kB")
	s.c.Exec(t, s.db, "INSERT INTO t SELECT g, repeat(md5(g::text), 5) FROM generate_series(1, 1000) g")
	defer func() { t.Log(said()) }()
	waitFor(t, "the sealed segment", func() bool {
		return decode[statusRead](t, s.run("status", "-f", s.dir, "--output", "json")).Repository.Targets[0].Pending > 0
	})
	began := time.Now()
	if err := c.Restart("fast"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("the server took %s to restart", took)
	}
	server.StartAgain()
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (0, 'after')")
	waitFor(t, "the stream", func() bool {
		return s.c.Query(t, s.db, "SELECT active::text FROM pg_replication_slots") == "true"
	})
	if code, text := stop(); code != exitOK {
		t.Fatalf("start ended with %d\n%s", code, text)
	}
	s.catchUp()
	if got, want := s.restoredFrom(server.URL("p")), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// The spool limit stops the capture with words, and what was captured is kept.
func TestSpoolLimit(t *testing.T) {
	c := pgtest.Shared(t)
	server := s3test.Start(t)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", server.URL("p"))
	server.Kill()
	s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) || md5((g * 3)::text) FROM generate_series(1, 20000) g")
	o := s.run("start", "-d", s.conn, "-f", s.dir, "-F", "100ms", "--segment-size", "100kB", "--spool-limit", "200kB")
	if o.code != exitBackup || !strings.Contains(o.errors, "wait for the storages") || !strings.Contains(o.errors, "--spool-limit") {
		t.Errorf("exit code %d\n%s", o.code, o.errors)
	}
	server.StartAgain()
	s.catchUp()
	if got, want := s.restoredFrom(server.URL("p")), s.content(); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// A storage that is added later gets everything; one that was emptied, or is
// another disk, is told; files that somebody removed there are sent again.
func TestCopyBringsTargetsUp(t *testing.T) {
	c := pgtest.Shared(t)
	first, second := t.TempDir(), t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", first)
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (2, 'b')")
	s.catchUp()
	s.must("copy", "-f", s.dir, "--storage", second)
	if got := s.restoredFrom("file:" + second); got != s.content() {
		t.Errorf("the added storage: %s", got)
	}
	s.must("copy", "-f", s.dir, "--storage", second) // again: nothing to do
	segments, _ := filepath.Glob(filepath.Join(first, "incremental-*"))
	if len(segments) != 1 {
		t.Fatalf("segments: %q", segments)
	}
	if err := os.Remove(segments[0]); err != nil {
		t.Fatal(err)
	}
	o := s.must("copy", "-f", s.dir)
	if _, err := os.Stat(segments[0]); err != nil || !strings.Contains(o.errors, "has lost") {
		t.Errorf("a lost file: %v\n%s", err, o.errors)
	}
	// Damaged on the storage: restore refuses it.
	if err := os.WriteFile(segments[0], []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("restore", "-f", "file:"+first, "-C", "-d", c.ConnString(s.db+"_x")).refused(t, exitBackup, "is damaged", "copy of the repository")
	s.run("copy", "-f", s.dir).refused(t, exitBackup, "another file of the name", "nothing is overwritten")
	if err := os.RemoveAll(second); err != nil {
		t.Fatal(err)
	}
	s.run("copy", "-f", s.dir, "--storage", second).refused(t, exitBackup, "does not exist", "mount the disk")
	if err := os.Mkdir(second, 0o700); err != nil {
		t.Fatal(err)
	}
	s.run("full-backup", "-d", s.conn, "-f", s.dir)
	if o := s.run("status", "-f", s.dir); o.code != exitWarnings || !strings.Contains(o.errors, "does not hold pg_scribe_repository.txt") {
		t.Errorf("status: %d\n%s%s", o.code, o.out, o.errors)
	}
	s.must("copy", "-f", s.dir, "--storage", second)
	if got := s.restoredFrom("file:" + second); got != s.content() {
		t.Errorf("the emptied storage: %s", got)
	}
}

// What the catalog forgets goes from the storages too, also when the process
// that forgot it ended at once.
func TestForgottenGoesFromTargets(t *testing.T) {
	c := pgtest.Shared(t)
	place := t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", place)
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "-j", "2")
	cat, err := catalog.Open(filepath.Join(s.dir, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	bases, err := cat.Artifacts(context.Background(), catalog.KindBase)
	if err != nil || len(bases) != 2 {
		t.Fatal(bases, err)
	}
	for _, b := range bases {
		before, _ := filepath.Glob(filepath.Join(place, "*"))
		if err := cat.DeleteArtifact(context.Background(), b.ID); err != nil {
			t.Fatal(err)
		}
		s.must("copy", "-f", s.dir)
		after, _ := filepath.Glob(filepath.Join(place, "*"))
		for _, name := range []string{b.Name, "globals-" + b.Name[len("base-"):len("base-20261121-020000")]} {
			if left, _ := filepath.Glob(filepath.Join(place, name+"*")); len(left) != 0 {
				t.Errorf("left on the storage: %q; before %q, after %q", left, before, after)
			}
		}
	}
}

// Storages may stand in the configuration file, one a line. The flag's former
// name counts there, in the environment and on the command line too.
func TestStoragesFromConfiguration(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	db := c.CreateDB(t, "tgt")
	first, second := t.TempDir(), t.TempDir()
	conf := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "[init]\nstorage = '%s'\ntarget = 'file:%s'\n", first, second), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	b.must("init", "-d", c.ConnString(db), "-f", dir, "-S", fmt.Sprintf("tgt_%d", time.Now().UnixNano()), "--config", conf)
	for _, place := range []string{first, second} {
		if found, _ := filepath.Glob(filepath.Join(place, "base-*")); len(found) != 1 {
			t.Errorf("%s holds %q", place, found)
		}
	}
	for _, name := range []string{"TARGET", "STORAGE"} {
		other, line := t.TempDir(), t.TempDir()
		env := b.env
		b.env = append(slices.Clone(env), "PG_SCRIBE_"+name+"="+other)
		b.must("copy", "-f", dir)
		b.env = env
		b.must("copy", "-f", dir, "--"+strings.ToLower(name), line)
		for _, place := range []string{other, line} {
			if found, _ := filepath.Glob(filepath.Join(place, "base-*")); len(found) != 1 {
				t.Errorf("%s: %s holds %q", name, place, found)
			}
		}
	}
}

// A storage that is added while start runs is served at once, whether start had
// one before or not, and also with --durability storage.
func TestTargetAddedBesideStart(t *testing.T) {
	c := pgtest.Shared(t)
	for name, first := range map[string]string{"the first one": "", "a second one": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)")
			if first != "" {
				s.must("copy", "-f", s.dir, "--storage", first)
			}
			stop, said := s.background("--segment-size", "10kB")
			waitFor(t, "the stream", func() bool { return strings.Contains(said(), "stored to") })
			added := t.TempDir()
			s.must("copy", "-f", s.dir, "--storage", added)
			s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 2000) g")
			waitFor(t, "a segment on the added storage", func() bool {
				found, _ := filepath.Glob(filepath.Join(added, "incremental-*"))
				return len(found) > 0
			})
			if code, text := stop(); code != exitOK {
				t.Fatalf("start ended with %d\n%s", code, text)
			}
			if got, want := s.restoredFrom("file:"+added), s.content(); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
		})
	}
}

// copy sends a catalog only when there is something new to tell.
func TestCopySendsNoCatalogTwice(t *testing.T) {
	c := pgtest.Shared(t)
	place := t.TempDir()
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)", place)
	catalogs := func() string {
		found, _ := filepath.Glob(filepath.Join(place, "catalog-*"))
		return strings.Join(found, " ")
	}
	s.must("copy", "-f", s.dir)
	before := catalogs()
	s.must("copy", "-f", s.dir)
	s.must("copy", "-f", s.dir)
	if after := catalogs(); after != before || before == "" {
		t.Errorf("nothing changed, and there are %s instead of %s", after, before)
	}
	bases, _ := filepath.Glob(filepath.Join(place, "base-*"))
	s.must("keep", filepath.Base(bases[0]), "-f", s.dir)
	s.must("copy", "-f", s.dir)
	if after := catalogs(); after == before {
		t.Error("a pin is not told")
	}
	type pins struct {
		Bases []struct {
			Pinned string `json:"pinned_reason"`
		}
	}
	l := decode[pins](t, s.must("list", "-f", "file:"+place, "--output", "json"))
	if len(l.Bases) != 1 || l.Bases[0].Pinned == "" {
		t.Errorf("the storage shows %+v", l)
	}
	names := strings.Fields(catalogs())
	if err := os.Remove(names[len(names)-1]); err != nil { // the newest is lost
		t.Fatal(err)
	}
	s.must("copy", "-f", s.dir)
	l = decode[pins](t, s.must("list", "-f", "file:"+place, "--output", "json"))
	if len(l.Bases) != 1 || l.Bases[0].Pinned == "" {
		t.Errorf("after the loss of a catalog the storage shows %+v", l)
	}
	s.catchUp("--durability", "storage", "--segment-age", "1s")
	if got := s.restoredFrom("file:" + place); got != s.content() {
		t.Errorf("restored %s", got)
	}
}

// listToNobody lists to a reader that is gone, as head is after some lines.
func (s *sourceDB) listToNobody(spec string) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	read.Close()
	cmd := exec.Command(self, "list", "-f", spec)
	cmd.Env = append(slices.Clone(s.env), reexecVariable+"=1", "TMPDIR="+os.TempDir())
	cmd.Stdout = write
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() < 0 {
		s.t.Errorf("list to nobody: %v", err)
	}
	write.Close()
}
