package rehearse

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/restore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var moment = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// source is a database whose objects are told in a repository that is made by hand.
type source struct {
	t    *testing.T
	c    *pgtest.Cluster
	db   string
	repo *repo.Repository
	file *repo.SegmentWriter
	lsn  catalog.LSN
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// role is one that the globals of every source have.
const role = "rehearsed_role"

// newSource has a base with the schema, what it says of its objects, and more text.
func newSource(t *testing.T, schema, more string) *source {
	t.Helper()
	c := pgtest.Shared(t)
	s := &source{t: t, c: c, db: c.CreateDB(t, "rehearsed"), lsn: 0x1000}
	c.Exec(t, s.db, schema)
	version := c.Query(t, "postgres", "SHOW server_version")
	info := catalog.Repository{Format: 2, SystemID: "7000000000000000001", Timeline: 1, Database: "source", Encoding: "UTF8", Collate: "C.UTF-8",
		CType: "C.UTF-8", LocaleProvider: "libc", ServerVersion: version, Slot: "s", Publication: "p", Compression: "zstd", Mode: "guarded", CreatedAt: moment}
	r, err := repo.Create(context.Background(), filepath.Join(t.TempDir(), "repo"), info, time.Now)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	s.repo = r
	h := segment.Header{Kind: catalog.KindBase, SystemID: info.SystemID, Timeline: 1, Database: "source", Server: version, Encoding: "UTF8", Collate: "C.UTF-8",
		CType: "C.UTF-8", LocaleProvider: "libc", Start: s.lsn, At: moment, Created: moment}
	stamp, err := r.Stamp()
	must(t, err)
	w, err := r.CreateDump(h, stamp, filter.Default)
	must(t, err)
	dump, err := c.Command("pg_dump", "-d", c.ConnString(s.db)).Output()
	must(t, err)
	base := s.finish(w, append(append(dump, s.described()...), more...))
	h.Kind = catalog.KindGlobals
	w, err = r.CreateDump(h, stamp, filter.Default)
	must(t, err)
	must(t, r.AddBase(context.Background(), base, s.finish(w, []byte("CREATE ROLE "+role+";\n"))))
	h.Kind = catalog.KindSegment
	s.file, err = r.CreateSegment(context.Background(), h)
	must(t, err)
	t.Cleanup(func() { s.file.Close() })
	return s
}

func (s *source) finish(w *repo.DumpWriter, text []byte) catalog.Artifact {
	s.t.Helper()
	defer w.Close()
	_, err := w.Write(text)
	must(s.t, err)
	a, err := w.Finish(segment.Trailer{})
	must(s.t, err)
	return a
}

// described is what the source says of its objects now, or of those with a name.
func (s *source) described(names ...string) (text []byte) {
	s.t.Helper()
	ctx, conn := context.Background(), s.c.Conn(s.t, s.db).PgConn()
	reader, err := describe.NewReader(ctx, conn)
	must(s.t, err)
	must(s.t, reader.All(ctx, conn, func(o describe.Object) error {
		for _, name := range names {
			if o.Identity != name {
				continue
			}
			text = segment.AppendObject(text, segment.NewFingerprint(o.Class, o.Identity, o.Append(nil)))
		}
		if len(names) == 0 {
			text = segment.AppendObject(text, segment.NewFingerprint(o.Class, o.Identity, o.Append(nil)))
		}
		return nil
	}))
	return text
}

// run runs a command on the source, and stores another in a transaction, with what
// the source says of some objects behind it.
func (s *source) run(tag, command, stored string, names ...string) catalog.LSN {
	s.t.Helper()
	s.c.Exec(s.t, s.db, command)
	at := s.lsn + 0x100
	s.lsn = at + 0x10
	text := segment.AppendBegin(nil, 7, at, moment.Add(time.Minute))
	text = segment.AppendDDL(text, tag, stored+";")
	if len(names) > 0 {
		text = append(text, s.described(names...)...)
	}
	must(s.t, s.file.Write(segment.AppendCommit(text, s.lsn)))
	s.file.Add(segment.Stats{End: s.lsn, Reached: moment.Add(time.Hour), Transactions: 1, MinXID: 7, MaxXID: 7, FirstCommit: moment, LastCommit: moment})
	must(s.t, s.file.Checkpoint(context.Background()))
	return at
}

func (s *source) rehearse() Report {
	s.t.Helper()
	report, err := Run(context.Background(), s.repo, Options{Scratch: s.c.ConnString("postgres"), Command: exec.CommandContext, Now: time.Now,
		Progress: func(restore.Progress) {}})
	must(s.t, err)
	if got := s.c.Query(s.t, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'pg_scribe_rehearsal%' "+
		"UNION ALL SELECT rolname FROM pg_roles WHERE rolname = '"+role+"'"); got != "" || len(report.Left) > 0 {
		s.t.Errorf("left: %s %v", got, report.Left)
	}
	return report
}

const schema = `CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'a'); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE MATERIALIZED VIEW m AS SELECT 1 AS one; CREATE VIEW w AS SELECT id FROM t; CREATE SEQUENCE s`

// What the commands make is what the source says: nothing differs, though there are no
// rows in it, and a second run has nothing to do.
func TestNothingDiffers(t *testing.T) {
	s := newSource(t, schema, "")
	sql := "CREATE MATERIALIZED VIEW n AS SELECT 1 / count(*) AS one FROM t"
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1)")
	s.run("CREATE MATERIALIZED VIEW", sql, "CREATE MATERIALIZED VIEW public.n AS SELECT 1 / count(*) AS one FROM public.t", "public.n")
	r := s.rehearse()
	if r.Outcome != catalog.OutcomeOK || r.Restore.Compared < 5 || r.Proven != s.lsn || r.Skipped {
		t.Errorf("%+v", r)
	}
	if r = s.rehearse(); !r.Skipped || r.Proven != s.lsn {
		t.Errorf("again: %+v", r)
	}
}

// A command that makes something else than it did on the source is found: what a
// restore repairs is a warning, and what it cannot repair is named with its position.
func TestPlantedDifferences(t *testing.T) {
	for _, c := range []struct{ name, tag, command, stored, object, outcome, message string }{
		{"a body", "CREATE FUNCTION", "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 7'",
			"CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'SELECT 8'", "public.g()", catalog.OutcomeWarnings, "prosrc"},
		{"a default", "ALTER TABLE", "ALTER TABLE t ALTER v SET DEFAULT 'b'", "ALTER TABLE public.t ALTER v SET DEFAULT 'c'", "public.t",
			catalog.OutcomeWarnings, "adbin"},
		{"a privilege", "GRANT", "GRANT SELECT ON t TO PUBLIC", "GRANT INSERT ON public.t TO PUBLIC", "public.t", catalog.OutcomeWarnings, "relacl"},
		{"a column", "ALTER TABLE", "ALTER TABLE t ADD x int", "ALTER TABLE public.t ADD y int", "public.t", catalog.OutcomeWarnings, "public.t.x"},
		{"a type", "CREATE TABLE", "CREATE TABLE u (i bigint)", "CREATE TABLE public.u (i int)", "public.u", catalog.OutcomeFailed, "atttypid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSource(t, schema, "")
			at := s.run(c.tag, c.command, c.stored, c.object)
			s.run("CREATE TABLE", "CREATE TABLE behind (i int)", "CREATE TABLE public.behind (i int)", "public.behind")
			r := s.rehearse()
			if r.Outcome != c.outcome {
				t.Fatalf("%+v\n%v", r.Rehearsal, r.Warnings)
			}
			if c.outcome == catalog.OutcomeFailed {
				if r.Object != c.object || r.FailedLSN != at || r.Proven != at || !strings.Contains(r.Message, c.message) || !r.FailedAt.Equal(moment.Add(time.Minute)) {
					t.Errorf("%+v", r.Rehearsal)
				}
			} else if text := strings.Join(r.Warnings, "\n"); !strings.Contains(text, c.object) || !strings.Contains(text, c.message) || r.Proven != s.lsn {
				t.Errorf("%+v", r.Rehearsal)
			}
		})
	}
}

// Changes of one attribute each, of every kind of object: the source is described as if
// it had been so for a moment, which no command in the stream brought about. Each is found.
func TestPlantedOfEveryKind(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../../internal/describe/testdata", name))
		must(t, err)
		return string(text)
	}
	s := newSource(t, read("objects.sql"), "")
	before := s.objects()
	changes := slices.DeleteFunc(strings.Split(read("changes.sql"), "\n"), func(line string) bool { return line == "" || strings.HasPrefix(line, "--") })
	if len(changes) < 100 {
		t.Fatalf("%d changes", len(changes))
	}
	planted := map[string][]string{} // changed objects, by change
	for i := 0; i < len(changes); i += *stride {
		conn := s.c.Conn(t, s.db)
		_, err := conn.Exec(t.Context(), "BEGIN; SET LOCAL search_path = public; "+changes[i])
		must(t, err)
		after := s.objectsBy(conn.PgConn())
		must(t, conn.Close(t.Context()))
		var there, back []byte
		for key := range joined(before, after) {
			if !bytes.Equal(before[key], after[key]) {
				planted[changes[i]] = append(planted[changes[i]], key)
				there = append(there, line(key, after[key])...)
				if before[key] != nil { // what is missing as a whole may come later, and counts at the end only
					back = append(back, line(key, before[key])...)
				}
			}
		}
		s.say(there)
		if len(back) > 0 {
			s.say(back)
		}
	}
	r := s.rehearse()
	found := map[string]bool{}
	for _, d := range r.Restore.Differences {
		found[d.Class+"\x00"+d.Identity] = true
	}
	for change, keys := range planted {
		if !slices.ContainsFunc(keys, func(key string) bool { return found[key] }) {
			t.Errorf("not found: %s, of %q", change, keys)
		}
	}
	t.Logf("%d of %d changes, %d differences, %s in %s", len(planted), len(changes), len(r.Restore.Differences), r.Outcome, r.Took)
	if r.Outcome != catalog.OutcomeFailed || len(planted) < len(changes) / *stride {
		t.Errorf("%+v", r.Rehearsal)
	}
}

// stride is every which change is planted: all take two minutes.
var stride = flag.Int("stride", 4, "every which of the changes is planted")

// objects are the descriptions of all objects, by class and identity.
func (s *source) objects() map[string][]byte {
	s.t.Helper()
	return s.objectsBy(s.c.Conn(s.t, s.db).PgConn())
}

func (s *source) objectsBy(conn *pgconn.PgConn) map[string][]byte {
	s.t.Helper()
	all := map[string][]byte{}
	reader, err := describe.NewReader(context.Background(), conn)
	must(s.t, err)
	must(s.t, reader.All(context.Background(), conn, func(o describe.Object) error {
		all[o.Class+"\x00"+o.Identity] = o.Append(nil)
		return nil
	}))
	return all
}

func joined(a, b map[string][]byte) map[string]bool {
	keys := map[string]bool{}
	for _, m := range []map[string][]byte{a, b} {
		for key := range m {
			keys[key] = true
		}
	}
	return keys
}

// line is what the stream says of an object; without a description it is gone.
func line(key string, description []byte) []byte {
	class, identity, _ := strings.Cut(key, "\x00")
	f := segment.Fingerprint{Class: class, Identity: identity, SHA256: segment.Gone}
	if description != nil {
		f = segment.NewFingerprint(class, identity, description)
	}
	return segment.AppendObject(nil, f)
}

// say stores a transaction of such lines alone.
func (s *source) say(lines []byte) {
	s.t.Helper()
	at := s.lsn + 0x100
	s.lsn = at + 0x10
	text := append(segment.AppendBegin(nil, 7, at, moment), lines...)
	must(s.t, s.file.Write(segment.AppendCommit(text, s.lsn)))
	s.file.Add(segment.Stats{End: s.lsn, Reached: moment.Add(time.Hour), Transactions: 1, MinXID: 7, MaxXID: 7, FirstCommit: moment, LastCommit: moment})
	must(s.t, s.file.Checkpoint(context.Background()))
}

// A base that cannot be restored is a verdict too, and leaves nothing behind.
func TestBaseThatFails(t *testing.T) {
	s := newSource(t, schema, "SELECT public.nobody();\n")
	for range 2 {
		r := s.rehearse()
		if r.Outcome != catalog.OutcomeFailed || r.FailedLSN != 0 || r.Proven != 0 || !strings.Contains(r.Message, "nobody()") || r.Line == 0 {
			t.Errorf("%+v", r.Rehearsal)
		}
	}
	if last, err := s.repo.Catalog().LastRehearsal(context.Background()); err != nil || last.Outcome != catalog.OutcomeFailed {
		t.Errorf("recorded: %+v, %v", last, err)
	}
}
