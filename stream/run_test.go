package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/base"
	"pg_scribe/stream/source"
)

// sourceDB is a database under capture with its repository.
type sourceDB struct {
	tb      testing.TB
	cluster *pgtest.Cluster
	db      string
	slot    string
	dir     string
	base    base.Result
}

func (s *sourceDB) conn() string { return s.cluster.ConnString(s.db) }

func (s *sourceDB) options() BaseOptions {
	return BaseOptions{ConnString: s.conn(), Publication: DefaultPublication,
		Command: func(ctx context.Context, name string, args ...string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, filepath.Join(s.cluster.BinDir, name), args...)
			cmd.Env = s.cluster.Env()
			return cmd
		}, Notice: func(text string) { s.tb.Log(text) }}
}

// newSource prepares a database, runs the set-up SQL in it, and calls Init.
func newSource(tb testing.TB, setup string) *sourceDB {
	tb.Helper()
	return newSourceOn(tb, pgtest.Shared(tb), setup)
}

func (s *sourceDB) exec(sql string) { s.tb.Helper(); s.cluster.Exec(s.tb, s.db, sql) }

func (s *sourceDB) lsn() catalog.LSN {
	s.tb.Helper()
	lsn, err := source.Flushed(context.Background(), s.cluster.Conn(s.tb, s.db))
	if err != nil {
		s.tb.Fatal(err)
	}
	return lsn
}

func (s *sourceDB) open() *repo.Repository {
	s.tb.Helper()
	r, err := repo.Open(context.Background(), s.dir, time.Now)
	if err != nil {
		s.tb.Fatal(err)
	}
	return r
}

// stream runs until everything up to now is stored.
func (s *sourceDB) stream() {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := s.open()
	defer r.Close()
	release, err := r.LockStreamer()
	if err != nil {
		s.tb.Fatal(err)
	}
	defer release()
	if err := r.Recover(ctx); err != nil {
		s.tb.Fatal(err)
	}
	err = Run(ctx, r, RunOptions{ConnString: s.conn(), Slot: s.slot, Publication: DefaultPublication, NoLoop: true,
		StatusInterval: 200 * time.Millisecond, FsyncInterval: time.Second, Endpos: s.lsn(),
		Notice: func(text string) { s.tb.Log(text) }})
	if err != nil {
		s.tb.Fatal(err)
	}
	if ctx.Err() != nil {
		s.tb.Fatal("the end position was not reached in time")
	}
}

// text is the SQL of all segments, without what changes from run to run.
func (s *sourceDB) text() string {
	s.tb.Helper()
	r := s.open()
	defer r.Close()
	segments, err := r.Catalog().Artifacts(context.Background(), catalog.KindSegment)
	if err != nil {
		s.tb.Fatal(err)
	}
	var out bytes.Buffer
	for _, a := range segments {
		sr, err := r.OpenSegment(a)
		if err != nil {
			s.tb.Fatal(err)
		}
		for {
			item, err := sr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				s.tb.Fatal(err)
			}
			switch item.Kind {
			case segment.Preamble, segment.Reached, segment.End:
			case segment.Begin:
				out.WriteString("BEGIN\n")
			case segment.Commit:
				out.WriteString("COMMIT\n")
			case segment.RestorePoint:
				out.WriteString("mark " + item.Text + "\n")
			case segment.Gap:
				out.WriteString("gap " + item.Text + "\n")
			default:
				out.Write(item.SQL)
				out.WriteByte('\n')
				if item.Kind == segment.CopyBlock {
					io.Copy(&out, sr.CopyData())
					out.WriteString("\\.\n")
				}
			}
		}
		sr.Close()
	}
	return out.String()
}

func TestStreamRendersEverything(t *testing.T) {
	s := newSource(t, `CREATE TABLE t (id int PRIMARY KEY, a text, b numeric);
	  CREATE TABLE f (a text, b json); CREATE SCHEMA "Odd ""S";`)
	s.exec("INSERT INTO t VALUES (1, E'it''s\\nnew\\\\', 1.50), (2, NULL, 'NaN')")
	s.exec("UPDATE t SET a = 'x' WHERE id = 1")
	s.exec("UPDATE t SET id = 3 WHERE id = 2")
	s.exec("DELETE FROM t WHERE id = 1")
	s.exec("INSERT INTO t SELECT g, 'row ' || g, g FROM generate_series(10, 20) g")
	s.exec(`INSERT INTO f VALUES ('a', '{"x": 1}'); UPDATE f SET a = 'b'; DELETE FROM f`)
	s.exec(`CREATE TABLE "Odd ""S"."T;" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v timestamptz DEFAULT now());
	  INSERT INTO "Odd ""S"."T;" DEFAULT VALUES`)
	s.exec("CREATE TABLE made AS SELECT id, a FROM t WHERE id > 15")
	s.exec("ALTER TABLE t ADD COLUMN at timestamptz DEFAULT now()")
	s.exec("TRUNCATE f RESTART IDENTITY")
	s.exec("CREATE TEMP TABLE gone (x int)")
	s.exec("DO $$BEGIN EXECUTE 'CREATE VIEW v AS SELECT 1 AS one'; END$$")
	if err := Mark(context.Background(), s.conn(), "before the;\nend"); err != nil {
		t.Fatal(err)
	}
	s.stream()
	got := s.text()
	t.Log(got)
	for _, want := range []string{
		`INSERT INTO "public"."t" ("id", "a", "b") OVERRIDING SYSTEM VALUE VALUES ('1', E'it''s\nnew\\', '1.50');`,
		`UPDATE ONLY "public"."t" SET "a" = 'x', "b" = '1.50' WHERE "id" = '1';`,
		`UPDATE ONLY "public"."t" SET "id" = '3', "a" = NULL, "b" = 'NaN' WHERE "id" = '2';`,
		`DELETE FROM ONLY "public"."t" WHERE "id" = '1';`,
		"COPY \"public\".\"t\" (\"id\", \"a\", \"b\") FROM stdin;\n10\trow 10\t10\n",
		`UPDATE ONLY "public"."f" SET "a" = 'b' WHERE ctid = (SELECT ctid FROM ONLY "public"."f" WHERE "a" = 'a' AND format('%s', "a") COLLATE "C" = 'a' AND ` +
			`format('%s', "b") COLLATE "C" = '{"x": 1}' LIMIT 1);`,
		`CREATE TABLE "Odd ""S"."T;" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v timestamptz DEFAULT now());`,
		`CREATE TABLE public.made (id integer, a text);`,
		`UPDATE ONLY "public"."t" SET "at" = ''2`,
		`TRUNCATE ONLY "public"."f" RESTART IDENTITY CASCADE;`,
		`CREATE VIEW v AS SELECT 1 AS one;`,
		"mark before the;\nend\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the segments lack %s", want)
		}
	}
	for _, not := range []string{"gap", "gone", "scribe."} {
		if strings.Contains(got, not) {
			t.Errorf("the segments hold %q", not)
		}
	}
}

// Whoever comes next finds the slot free, also when the stop came amid a large
// transaction.
func TestRunLeavesTheSlotFree(t *testing.T) {
	s := newSource(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	conn := s.cluster.Conn(t, s.db)
	for i := range 5 {
		s.exec(fmt.Sprintf("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(%d, %d) g", i*100000, i*100000+99999))
		ctx, cancel := context.WithCancel(context.Background()) // a deadline could end a connection attempt before ctx
		time.AfterFunc(time.Duration(i+1)*60*time.Millisecond, cancel)
		err := Run(ctx, nil, RunOptions{ConnString: s.conn(), Slot: s.slot, Publication: DefaultPublication, NoLoop: true, Text: io.Discard})
		if slot, serr := source.ReadSlot(context.Background(), conn, s.slot); err != nil || serr != nil || slot.Active {
			t.Fatalf("round %d: active %t, %v, %v", i, slot.Active, err, serr)
		}
	}
}
