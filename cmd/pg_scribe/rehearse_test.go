package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// rehearsalRead is what tests read of the report.
type rehearsalRead struct {
	Outcome       string
	Base          string
	Skipped       bool
	ProvenLSN     catalog.LSN  `json:"proven_lsn"`
	EndLSN        catalog.LSN  `json:"end_lsn"`
	FailedCommand *failureRead `json:"failed_command"`
	Statements    int64
	ReadBytes     int64 `json:"read_bytes"`
	Warnings      []string
	Left          []string
	Hint          string
}

type failureRead struct {
	LSN                  catalog.LSN
	At                   time.Time
	Tag, Object, Message string
	Line                 int64
}

// verdictRead is what tests read of status.
type verdictRead struct {
	Verdict    string
	Reasons    []struct{ Message, Hint string }
	Repository struct{ Rehearsal *rehearsalRead }
}

// servers lists the folders of throwaway servers that are there now.
func servers(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), "pg_scribe-rehearsal-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// rehearsed is a schema with some of everything, and commands behind it that run again.
const rehearsed = `CREATE ROLE %[1]s_owner; CREATE EXTENSION hstore; CREATE SCHEMA app AUTHORIZATION %[1]s_owner;
CREATE TABLE app.t (i int PRIMARY KEY, v text NOT NULL DEFAULT 'x'); INSERT INTO app.t SELECT g, 'v' || g FROM generate_series(1, 1000) g;
CREATE SEQUENCE app.s; SELECT setval('app.s', 77); SELECT lo_from_bytea(4711, 'large'); COMMENT ON LARGE OBJECT 4711 IS 'one';
CREATE MATERIALIZED VIEW app.ratio AS SELECT 1 / count(*) FROM app.t; CREATE INDEX ON app.t (v);`

const rehearsedAfter = `INSERT INTO app.t SELECT g, 'v' || g FROM generate_series(1001, 2000) g; TRUNCATE app.t; INSERT INTO app.t VALUES (1, 'a');
ALTER TABLE app.t ADD COLUMN h hstore, ADD COLUMN u uuid DEFAULT gen_random_uuid(); UPDATE app.t SET v = 'b';
CREATE MATERIALIZED VIEW app.again AS SELECT 1 / count(*) FROM app.t WITH DATA; REFRESH MATERIALIZED VIEW app.ratio;
CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION app.f() TO %[1]s_owner;
ALTER TABLE app.t ALTER v TYPE varchar(100); SELECT nextval('app.s'); GRANT SELECT ON LARGE OBJECT 4711 TO %[1]s_owner`

// newRehearsed is a source with a base and commands behind it.
func newRehearsed(t *testing.T, c *pgtest.Cluster, more string) *sourceDB {
	t.Helper()
	role := fmt.Sprintf("reh%d", time.Now().UnixNano())
	s := newSource(t, c, fmt.Sprintf(rehearsed, role))
	t.Cleanup(func() { // behind the database, which is dropped first
		c.Exec(t, s.db, "DROP OWNED BY "+role+"_owner CASCADE; DROP ROLE "+role+"_owner")
	})
	for _, sql := range strings.Split(fmt.Sprintf(rehearsedAfter, role)+";"+more, ";") {
		if strings.TrimSpace(sql) != "" {
			c.Exec(t, s.db, sql)
		}
	}
	s.catchUp()
	return s
}

// TestRehearse: commands that run again are proven up to the end, for both forms of
// a base, on a server that is thrown away and on one that is there; what is recorded
// shows in status, and nothing is left.
func TestRehearse(t *testing.T) {
	c := pgtest.Shared(t)
	s := newRehearsed(t, c, "")
	before, folders := s.state("postgres", "/nonexistent"), servers(t)
	o := s.must("rehearse", "-f", s.dir)
	if !strings.HasPrefix(o.out, "PROVEN: ") || !strings.Contains(o.out, "server        PostgreSQL") {
		t.Errorf("%s%s", o.out, o.errors)
	}
	doc := decode[rehearsalRead](t, s.must("rehearse", "-f", s.dir, "--output", "json"))
	if !doc.Skipped || doc.Outcome != "ok" || doc.ProvenLSN != doc.EndLSN {
		t.Errorf("the second run: %+v", doc)
	}
	o = s.run("status", "-f", s.dir)
	if !strings.Contains(o.out, "rehearsed      ok at ") || !strings.Contains(o.out, doc.ProvenLSN.String()) {
		t.Errorf("status: %s%s", o.out, o.errors)
	}
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "--jobs", "2", "-Z", "gzip")
	c.Exec(t, s.db, "CREATE VIEW app.more AS SELECT * FROM app.t")
	s.catchUp()
	doc = decode[rehearsalRead](t, s.must("rehearse", "-f", s.dir, "--output", "json"))
	if doc.Skipped || doc.Outcome != "ok" || doc.Statements == 0 || !strings.HasSuffix(doc.Base, ".dir") {
		t.Errorf("a base that is a directory: %+v", doc)
	}
	other := pgtest.New(t)
	doc = decode[rehearsalRead](t, s.must("rehearse", "-f", s.dir, "--always", "--scratch", other.ConnString("postgres"), "--output", "json"))
	if doc.Skipped || doc.Outcome != "ok" || len(doc.Left) > 0 {
		t.Errorf("on a server that is there: %+v", doc)
	}
	if got := other.Query(t, "postgres", `SELECT datname FROM pg_database WHERE datname LIKE 'pg_scribe%'
		UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'reh%'`); got != "" {
		t.Errorf("left on the scratch server: %s", got)
	}
	if after := s.state("postgres", "/nonexistent"); after != before {
		t.Errorf("left on the source:\n%s\nbefore:\n%s", after, before)
	}
	if now := servers(t); len(now) > len(folders) {
		t.Errorf("left: %v, before: %v", now, folders)
	}
}

// TestRehearsalFails: commands that do not run again are named, with the position,
// the message and what heals them, and status goes on saying so until it is done.
func TestRehearsalFails(t *testing.T) {
	c := pgtest.Shared(t)
	for _, kind := range []struct{ name, sql, tag, object, message string }{
		{"what is not backed up", "CREATE VIEW app.peek AS SELECT * FROM scribe.identity", "CREATE VIEW", "app.peek", "scribe"},
		{"a function that fails elsewhere", `CREATE FUNCTION app.here(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
			'BEGIN IF current_database() !~ ''^cli_\d+$'' THEN RAISE ''not here''\; END IF\; RETURN $1\; END';
			CREATE INDEX here ON app.t (i) WHERE i > app.here(1)`, "CREATE INDEX", "here", "not here"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			s := newRehearsed(t, c, "")
			for _, sql := range strings.Split(kind.sql, ";\n") {
				c.Exec(t, s.db, strings.ReplaceAll(sql, `\;`, ";"))
			}
			c.Exec(t, s.db, "CREATE TABLE app.behind (i int)")
			s.catchUp()
			o := s.run("rehearse", "-f", s.dir)
			if o.code != exitBackup || !strings.HasPrefix(o.out, "FAILED: ") || !strings.Contains(o.errors, "pg_scribe full-backup -d "+s.db) {
				t.Errorf("%d\n%s%s", o.code, o.out, o.errors)
			}
			doc := decode[rehearsalRead](t, s.run("rehearse", "-f", s.dir, "--output", "json"))
			f := doc.FailedCommand
			if f == nil || f.Tag != kind.tag || f.Object != kind.object || !strings.Contains(f.Message, kind.message) || f.LSN == 0 || f.LSN != doc.ProvenLSN ||
				time.Since(f.At) > time.Hour || f.Line == 0 {
				t.Fatalf("%+v: %+v", doc, f)
			}
			d := decode[verdictRead](t, s.run("status", "-f", s.dir, "--output", "json"))
			if d.Verdict != "critical" || d.Repository.Rehearsal == nil || !strings.Contains(fmt.Sprint(d.Reasons), kind.object) {
				t.Errorf("status: %s %v", d.Verdict, d.Reasons)
			}
			c.Exec(t, s.db, "DROP "+strings.TrimPrefix(kind.tag, "CREATE ")+" app."+strings.TrimPrefix(kind.object, "app."))
			o = s.must("full-backup", "-d", s.conn, "-f", s.dir, "--rehearse")
			s.catchUp()
			if o = s.must("rehearse", "-f", s.dir, "-q"); o.out+o.errors != "" {
				t.Errorf("healed: %s%s", o.out, o.errors)
			}
			if o = s.run("status", "-f", s.dir); strings.Contains(o.out, "a restore stops") {
				t.Errorf("healed: %s", o.out)
			}
		})
	}
}

// TestRehearseVersions: a newer server proves the commands too, an older one is
// refused.
func TestRehearseVersions(t *testing.T) {
	older, newer := pgtest.TwoVersions(t)
	s := newRehearsed(t, older, "")
	for _, flags := range [][]string{{"--bindir", newer.BinDir}, {"--scratch", newer.ConnString("postgres")}} {
		doc := decode[rehearsalRead](t, s.must(append([]string{"rehearse", "-f", s.dir, "--always", "--output", "json"}, flags...)...))
		if doc.Outcome != "ok" || doc.Skipped {
			t.Errorf("%v: %+v", flags, doc)
		}
	}
	s = newRehearsed(t, newer, "")
	s.run("rehearse", "-f", s.dir, "--bindir", older.BinDir).refused(t, exitBackup, "older than the source's", "without --bindir and --scratch one is looked for")
}

// serverWithout is a folder with programs of the cluster's server that finds all but
// one extension: it is looked for beside the programs, which are copies.
func serverWithout(t *testing.T, c *pgtest.Cluster, extension string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(c.BinDir, "pg_config"), "--bindir", "--sharedir", "--pkglibdir").Output()
	dirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(dirs) != 3 {
		t.Fatal(err, dirs)
	}
	root, err := os.MkdirTemp("", "pg_scribe-server-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	script := `set -e; chmod 755 "$1"; mkdir -p "$1$2" "$1$3/extension" "$1$(dirname "$4")"; cp -L "$2/postgres" "$2/initdb" "$1$2"; ln -s "$4" "$1$4"
for f in "$3"/*; do [ "$f" = "$3/extension" ] || ln -s "$f" "$1$3/"; done
for f in "$3/extension"/*; do case "$f" in */"$5"[.-]*) ;; *) ln -s "$f" "$1$3/extension/";; esac; done`
	if out, err := exec.Command("/bin/sh", "-c", script, "sh", root, dirs[0], dirs[1], dirs[2], extension).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	return root + dirs[0]
}

// TestRehearsalLacksExtension: an extension whose files a restore would not find is
// found in the stream and in a base, and what heals it is not a base.
func TestRehearsalLacksExtension(t *testing.T) {
	c := pgtest.Shared(t)
	s := newRehearsed(t, c, "CREATE EXTENSION citext")
	without := serverWithout(t, c, "citext")
	check := func(lsn bool) {
		t.Helper()
		doc := decode[rehearsalRead](t, s.run("rehearse", "-f", s.dir, "--bindir", without, "--always", "--output", "json"))
		f := doc.FailedCommand
		if f == nil || f.Tag != "CREATE EXTENSION" || f.Object != "citext" || !strings.Contains(f.Message, "control file") || (f.LSN != 0) != lsn ||
			doc.ProvenLSN != f.LSN || !strings.Contains(doc.Hint, "install the extension") || strings.Contains(doc.Hint, "full-backup") {
			t.Errorf("%+v: %+v", doc, f)
		}
	}
	check(true)
	s.must("full-backup", "-d", s.conn, "-f", s.dir)
	s.catchUp()
	check(false)
	s.must("rehearse", "-f", s.dir)
}

// TestRehearsalIsStopped: whenever a signal comes, no server and no folder stays.
func TestRehearsalIsStopped(t *testing.T) {
	s := newRehearsed(t, pgtest.Shared(t), "")
	folders := servers(t)
	other := pgtest.New(t)
	before := other.Query(t, "postgres", "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1")
	for i, after := range []time.Duration{100 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond, 100 * time.Millisecond,
		400 * time.Millisecond} {
		cmd := exec.Command(filepath.Join(programFolder(t), "pg_scribe"), "rehearse", "-f", s.dir, "--always")
		if i > 2 {
			cmd.Args = append(cmd.Args, "--scratch", other.ConnString("postgres"))
		}
		cmd.Env = s.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if now := servers(t); len(now) > len(folders) {
			t.Errorf("after %s (%v) there is %v", after, err, now)
		}
	}
	if now := other.Query(t, "postgres", "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1"); now != before {
		t.Errorf("on the scratch server is\n%s\nbefore:\n%s", now, before)
	}
	s.must("rehearse", "-f", s.dir)
}

// TestRehearsalOfEncrypted: files that are encrypted need the key, and the catalog, which
// is in clear, does not learn what is in them.
func TestRehearsalOfEncrypted(t *testing.T) {
	c := pgtest.Shared(t)
	recipient, key := newKey(t)
	s := initSource(t, c, "CREATE TABLE t (id int PRIMARY KEY); CREATE MATERIALIZED VIEW m AS SELECT 1 / count(*) FROM t HAVING count(*) > 0",
		"-Z", "zstd", "--filter", recipient)
	c.Exec(t, s.db, "CREATE VIEW peek AS SELECT *, 'precious'::text FROM scribe.identity")
	s.catchUp()
	s.run("rehearse", "-f", s.dir).refused(t, exitUsage, "encrypted", "--identity FILE")
	o := s.run("rehearse", "-f", s.dir, "-i", key)
	if o.code != exitBackup || !strings.Contains(o.out, "CREATE VIEW peek") {
		t.Errorf("%d %s%s", o.code, o.out, o.errors)
	}
	if o = s.run("status", "-f", s.dir); !strings.Contains(o.out, "CREATE VIEW peek") {
		t.Errorf("%s%s", o.out, o.errors)
	}
	content, err := os.ReadFile(filepath.Join(s.dir, "catalog.db"))
	if err != nil || bytes.Contains(content, []byte("precious")) {
		t.Errorf("the catalog knows what is in the files: %v", err)
	}
	c.Exec(t, s.db, "DROP VIEW peek")
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "--jobs", "2", "--filter", recipient, "-Z", "gzip")
	s.catchUp()
	s.must("rehearse", "-f", s.dir, "-i", key)
}

// TestRehearsalOfMuchData: of a base and segments full of rows, and of samples, little
// is read.
func TestRehearsalOfMuchData(t *testing.T) {
	c := pgtest.Shared(t)
	s := newSource(t, c, `CREATE TABLE big (i bigserial PRIMARY KEY, v text);
		INSERT INTO big (v) SELECT md5(g::text) || md5((-g)::text) FROM generate_series(1, 200000) g`)
	c.Exec(t, s.db, "INSERT INTO big (v) SELECT md5(g::text) || md5((-g)::text) FROM generate_series(1, 100000) g")
	c.Exec(t, s.db, "CREATE TABLE little (i int)")
	for range 10 {
		c.Exec(t, s.db, "INSERT INTO big (v) SELECT md5(g::text) || md5((-g)::text) FROM generate_series(1, 10000) g")
	}
	s.catchUp()
	var stored int64
	files, err := filepath.Glob(filepath.Join(s.dir, "*.zst"))
	for _, file := range files {
		info, serr := os.Stat(file)
		if err = errors.Join(err, serr); err == nil {
			stored += info.Size()
		}
	}
	if err != nil || len(files) < 2 {
		t.Fatal(err, files)
	}
	doc := decode[rehearsalRead](t, s.must("rehearse", "-f", s.dir, "--output", "json"))
	t.Logf("%d of %d bytes were read", doc.ReadBytes, stored)
	if doc.Outcome != "ok" || doc.Statements == 0 || doc.ReadBytes > stored/5 || doc.ReadBytes == 0 {
		t.Errorf("%d of %d bytes were read: %+v", doc.ReadBytes, stored, doc)
	}
}
