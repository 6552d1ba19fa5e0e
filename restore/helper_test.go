package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// allSets applies sets wherever that can be.
var allSets = Limits{LookAfter: 1, Set: 2, NewSet: 2}

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	testSystem   = "7000000000000000001"
	testDatabase = "source"
)

// at is a moment on the source's clock.
func at(second int) time.Time {
	return time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

// builder makes a repository by hand. Transactions are given as LSN, xid and
// SQL lines.
type builder struct {
	t       *testing.T
	repo    *repo.Repository
	segment *repo.SegmentWriter
	now     time.Time
	header  segment.Header
}

func build(t *testing.T) *builder {
	t.Helper()
	b := &builder{t: t, now: at(0)}
	clock := func() time.Time { b.now = b.now.Add(time.Second); return b.now }
	info := catalog.Repository{Format: 1, SystemID: testSystem, Timeline: 1, Database: testDatabase, Encoding: "UTF8",
		Collate: "C.UTF-8", CType: "C.UTF-8", LocaleProvider: "libc", ServerVersion: "15.1", Slot: "s", Publication: "p",
		Compression: "zstd", Mode: "guarded", CreatedAt: at(0)}
	r, err := repo.Create(context.Background(), filepath.Join(t.TempDir(), "repo"), info, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.segment != nil {
			b.segment.Close()
		}
		r.Close()
	})
	b.repo = r
	b.header = segment.Header{SystemID: testSystem, Timeline: 1, Database: testDatabase, Server: "15.1", Encoding: "UTF8",
		Collate: "C.UTF-8", CType: "C.UTF-8", LocaleProvider: "libc"}
	return b
}

// base writes a base at an LSN, and its globals unless they are empty.
func (b *builder) base(lsn catalog.LSN, second int, sql, globals string) catalog.Artifact {
	b.t.Helper()
	stamp, err := b.repo.Stamp()
	if err != nil {
		b.t.Fatal(err)
	}
	h := b.header
	h.Start, h.At, h.Created = lsn, at(second), at(second)
	h.Kind = catalog.KindBase
	base := b.dump(h, stamp, sql)
	var g catalog.Artifact
	if globals != "" {
		h.Kind = catalog.KindGlobals
		g = b.dump(h, stamp, globals)
	}
	if err := b.repo.AddBase(context.Background(), base, g); err != nil {
		b.t.Fatal(err)
	}
	return base
}

func (b *builder) dump(h segment.Header, stamp, sql string) catalog.Artifact {
	b.t.Helper()
	w, err := b.repo.CreateDump(h, stamp, filter.Default)
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte(sql)); err != nil {
		b.t.Fatal(err)
	}
	a, err := w.Finish(segment.Trailer{})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// open begins the first segment.
func (b *builder) open(lsn catalog.LSN) {
	b.t.Helper()
	h := b.header
	h.Start, h.At, h.Created = lsn, at(0), at(0)
	w, err := b.repo.CreateSegment(context.Background(), h)
	if err != nil {
		b.t.Fatal(err)
	}
	b.segment = w
}

// tx appends a transaction whose commit record is 16 bytes long.
func (b *builder) tx(lsn catalog.LSN, xid uint32, second int, lines ...string) {
	b.t.Helper()
	text := segment.AppendBegin(nil, xid, lsn, at(second))
	s := segment.Stats{End: lsn + 16, Transactions: 1, MinXID: xid, MaxXID: xid, FirstCommit: at(second), LastCommit: at(second)}
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "origin "):
			text = segment.AppendOrigin(text, line[7:], 1)
			s.FirstCommit, s.LastCommit = time.Time{}, time.Time{}
		case strings.HasPrefix(line, "mark "):
			text = segment.AppendRestorePoint(text, line[5:])
			s.Points = append(s.Points, catalog.RestorePoint{Name: line[5:], LSN: lsn, XID: xid, At: at(second)})
		case strings.HasPrefix(line, "ddl "):
			text = segment.AppendDDL(text, "DDL", line[4:])
		default:
			text = append(append(text, line...), '\n')
		}
		if s.Tables == nil {
			s.Tables = map[string]catalog.TableCount{}
		}
		for _, c := range changes(line) {
			addCount(s.Tables, c)
		}
	}
	text = segment.AppendCommit(text, lsn+16)
	if err := b.segment.Write(text); err != nil {
		b.t.Fatal(err)
	}
	b.segment.Add(s)
}

// next seals the segment and opens the one that joins it.
func (b *builder) next() {
	b.t.Helper()
	w, err := b.segment.Next(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	b.segment = w
}

// reach says that the stream is complete up to here.
func (b *builder) reach(lsn catalog.LSN, second int) {
	b.segment.Add(segment.Stats{End: lsn, Reached: at(second)})
}

// checkpoint leaves the segment open, seal ends it.
func (b *builder) checkpoint() {
	b.t.Helper()
	if err := b.segment.Checkpoint(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *builder) seal() {
	b.t.Helper()
	if err := b.segment.Seal(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	b.segment = nil
}

func (b *builder) prepare(t catalog.Target) *Prepared {
	b.t.Helper()
	p, err := Prepare(context.Background(), b.repo, catalog.Request{Target: t})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// damage flips a byte in the middle of a file.
func (b *builder) damage(name string) {
	b.t.Helper()
	data, err := os.ReadFile(b.repo.Path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(b.repo.Path(name), data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// target is a database name of the shared cluster that is not taken, and goes
// with the test.
func target(t *testing.T, name string) (c *pgtest.Cluster, o Options) {
	t.Helper()
	c = pgtest.Shared(t)
	t.Cleanup(func() { c.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+sqltext.Quoted(name)+" WITH (FORCE)") })
	return c, Options{TargetConn: c.ConnString(name), MaintenanceConn: c.ConnString("postgres"), CreateDatabase: true,
		SyncSequences: true, Limits: allSets}
}

func exists(t *testing.T, c *pgtest.Cluster, name string) bool {
	t.Helper()
	return c.Query(t, "postgres", "SELECT 1 FROM pg_database WHERE datname = "+sqltext.Literal(name)) == "1"
}

// row is an INSERT into the table of smallBase.
func row(id int, v string) string {
	return fmt.Sprintf(`INSERT INTO "public"."t" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('%d', %s);`, id, sqltext.Literal(v))
}

// smallBase is a dump with one table t(id, v) of two rows.
const smallBase = `--
-- PostgreSQL database dump
--

\restrict abc

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.t (
    id integer NOT NULL,
    v text
);

CREATE TABLE public.s (
    id integer NOT NULL
);

CREATE SEQUENCE public.s_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.s_id_seq OWNED BY public.s.id;

ALTER TABLE ONLY public.s ALTER COLUMN id SET DEFAULT nextval('public.s_id_seq'::regclass);

COPY public.t (id, v) FROM stdin;
1	one
2	two;\nsecond line
\.

COPY public.s (id) FROM stdin;
\.

SELECT pg_catalog.setval('public.s_id_seq', 5, true);

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);

CREATE INDEX t_v ON public.t USING btree (v);

COMMENT ON INDEX public.t_v IS 'it''s; an index';

CREATE UNIQUE INDEX s_id ON public.s USING btree (id);

ALTER TABLE ONLY public.s
    ADD CONSTRAINT s_fkey FOREIGN KEY (id) REFERENCES public.t(id);

--
-- PostgreSQL database dump complete
--

\unrestrict abc
`

// changes counts what a line of a segment changes.
func changes(line string) (list []catalog.TableCount) {
	var c segment.Change
	var t segment.Truncate
	switch {
	case segment.ParseTruncate([]byte(line), &t) == nil:
		for _, name := range t.Tables {
			list = append(list, catalog.TableCount{Table: sqltext.DisplayName(string(name)), Truncated: 1})
		}
	case segment.ParseChange([]byte(line), &c) == nil:
		count := catalog.TableCount{Table: sqltext.DisplayName(string(c.Table))}
		switch c.Op {
		case segment.Insert:
			count.Inserted = 1
		case segment.Update:
			count.Updated = 1
		case segment.Delete:
			count.Deleted = 1
		}
		list = append(list, count)
	}
	return list
}
