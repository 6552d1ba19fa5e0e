package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PG_SCRIBE_TEST_HOLD"); dir != "" {
		hold(dir)
		return
	}
	if os.Getenv("PG_SCRIBE_TEST_EXPIRE") != "" { // the child of a test, which needs no server
		os.Exit(m.Run())
	}
	pgtest.Main(m)
}

var ctx = context.Background()

// testClock is a time that every file of a test repository bears.
var testClock = time.Date(2026, 11, 21, 1, 57, 58, 268382000, time.UTC)

// chains are the filters that a test repository can have beside compression.
var chains = map[string][]string{
	"lz4+age":  {"lz4", "age recipient=" + testIdentity.Recipient().String()},
	"shell":    {"shell write='gzip -c' read='gzip -dc'"},
	"zstd+f1":  {"zstd level=3", "shell write='tr a-z n-za-m' read='tr n-za-m a-z'"},
	"zstd+age": {"zstd", "age recipient=" + testIdentity.Recipient().String()},
}

var testIdentity, otherIdentity = newIdentity(), newIdentity()

func newIdentity() *age.X25519Identity {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return i
}

// keysOf are keys that hold the given identities.
func keysOf(t testing.TB, identities ...*age.X25519Identity) *filter.Keys {
	t.Helper()
	keys := &filter.Keys{}
	for i, id := range identities {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("key%d", i))
		must(t, os.WriteFile(path, []byte("# a key\n"+id.String()+"\n"), 0o600))
		keys.IdentityFiles = append(keys.IdentityFiles, path)
	}
	must(t, keys.Load())
	return keys
}

// parseChain makes a chain of what a user gives.
func parseChain(t testing.TB, specs ...string) filter.Chain {
	t.Helper()
	c := filter.Chain{}
	for _, s := range specs {
		f, err := filter.ParseFilter(s)
		must(t, err)
		c = append(c, f)
	}
	return c
}

// apart ends the spec of a test repository with its working files elsewhere.
const apart = " apart"

// testRepository makes a repository that compresses as spec says, or has one
// of chains.
func testRepository(t testing.TB, spec string) *Repository {
	t.Helper()
	dir, spool := filepath.Join(t.TempDir(), "repo"), ""
	spec, isApart := strings.CutSuffix(spec, apart)
	if isApart {
		spool = t.TempDir()
	}
	specs, chained := chains[spec]
	info := catalog.Repository{Format: segment.FormatVersion, SystemID: "7", Timeline: 1, Database: "customers_db"}
	if !chained {
		info.Compression = spec
	}
	r, err := CreateWithSpool(ctx, dir, spool, info, func() time.Time { return testClock })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	r.Keys(keysOf(t, testIdentity))
	if chained {
		must(t, r.SetChain(ctx, parseChain(t, specs...)))
	}
	return r
}

// reopen opens a directory as the next process would, and recovers it.
func reopen(t testing.TB, dir string) *Repository {
	t.Helper()
	r, err := Open(ctx, dir, func() time.Time { return testClock })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	release, err := r.LockStreamer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	r.Keys(keysOf(t, testIdentity))
	if err := r.Recover(ctx); err != nil {
		t.Fatalf("Recover: %v", err)
	}
	return r
}

func segmentHeader(start catalog.LSN) segment.Header {
	return segment.Header{SystemID: "7", Timeline: 1, Database: "customers_db", Slot: "pg_scribe", Server: "15.18", Encoding: "UTF8",
		Start: start, Created: testClock}
}

func createSegment(t testing.TB, r *Repository, start catalog.LSN) *SegmentWriter {
	t.Helper()
	w, err := r.CreateSegment(ctx, segmentHeader(start))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// addTx writes transaction n of a test: its xid is n, its commit record lies
// at 16n and ends at 16n+8.
func addTx(t testing.TB, w *SegmentWriter, n int, lines ...string) {
	t.Helper()
	commit, end, at := txLSN(n), txLSN(n)+8, testClock.Add(time.Duration(n)*time.Second)
	text := segment.AppendBegin(nil, uint32(n), commit, at)
	counts := map[string]catalog.TableCount{}
	for _, l := range lines {
		text = append(append(text, l...), '\n')
		table := "public.t"
		if c := (segment.Change{}); segment.ParseChange([]byte(l), &c) == nil {
			table = string(c.Table)
		}
		counts[table] = catalog.TableCount{Table: table, Inserted: counts[table].Inserted + 1}
	}
	text = segment.AppendCommit(text, end)
	if err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	w.Add(segment.Stats{End: end, Reached: at, Transactions: 1, FirstCommit: at, LastCommit: at, MinXID: uint32(n), MaxXID: uint32(n),
		Tables: counts})
}

func txLSN(n int) catalog.LSN { return catalog.LSN(16 * n) }

// artifact finds the only artifact that match takes.
func artifact(t testing.TB, r *Repository, match func(catalog.Artifact) bool) catalog.Artifact {
	t.Helper()
	all, err := r.Catalog().Artifacts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var found []catalog.Artifact
	for _, a := range all {
		if match(a) {
			found = append(found, a)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d of the artifacts match: %+v", len(found), all)
	}
	return found[0]
}

func segmentAt(t testing.TB, r *Repository, start catalog.LSN) catalog.Artifact {
	t.Helper()
	return artifact(t, r, func(a catalog.Artifact) bool { return a.Kind == catalog.KindSegment && a.Start == start })
}

// chain is what new files of a repository go through.
func chain(t testing.TB, r *Repository) filter.Chain {
	t.Helper()
	c, err := r.Chain(ctx)
	must(t, err)
	return c
}

// chainOf is what made a file.
func chainOf(t testing.TB, r *Repository, a catalog.Artifact) filter.Chain {
	t.Helper()
	c, err := r.FileChain(ctx, a.Filters)
	must(t, err)
	return c
}

// readItems reads a segment to its end and returns a line for each item.
func readItems(t testing.TB, r *Repository, a catalog.Artifact) ([]string, error) {
	t.Helper()
	reader, err := r.OpenSegment(a)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	return items(reader)
}

func items(reader *segment.Reader) (list []string, err error) {
	for {
		item, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return list, err
		case item.Kind == segment.Preamble:
		case item.Kind == segment.CopyBlock:
			rows, err := io.ReadAll(reader.CopyData())
			if err != nil {
				return list, err
			}
			list = append(list, string(item.SQL)+"\n"+string(rows))
		default:
			list = append(list, item.String())
		}
	}
}

// xids are the transactions of a list of items.
func xids(list []string) []string {
	var found []string
	for _, s := range list {
		if rest, ok := strings.CutPrefix(s, "begin "); ok {
			xid, _, _ := strings.Cut(rest, " ")
			found = append(found, xid)
		}
	}
	return found
}

// need fails the test when a command is not installed: .ci/deps installs it.
func need(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v (install it with make deps)", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hold is the body of a process that holds the streamer's lock until it is
// killed.
func hold(dir string) {
	r, err := Open(ctx, dir, time.Now)
	if err == nil {
		_, err = r.LockStreamer()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	time.Sleep(time.Hour) // a select without cases would end a program without cgo
}

// copyBegin begins a COPY block.
func copyBegin(dst []byte, table string, columns ...string) []byte {
	c := segment.Copy{Table: []byte(table)}
	for _, name := range columns {
		c.Columns = append(c.Columns, []byte(name))
	}
	return segment.AppendCopy(dst, &c)
}

// copyRow writes a row of it; nil is null.
func copyRow(dst []byte, row ...any) []byte {
	var values []segment.Value
	for _, v := range row {
		if v == nil {
			values = append(values, segment.Value{})
		} else {
			values = append(values, segment.Value{Form: segment.Text, Text: []byte(v.(string))})
		}
	}
	return segment.AppendRow(dst, values)
}

const (
	textHeader = "-- pg_scribe segment\n-- format: 1\n-- start: 0/10\n--\n"
	textStream = "SET client_encoding = 'UTF8';\n-- pg_scribe stream\n"
	textBegin  = "BEGIN; -- xid 1 commit 0/10 at 2026-11-21T01:57:58.268382Z\n"
	textCommit = "COMMIT; -- 0/18\n"
)

// sealed appends the trailer with its checksum, as the writers do.
func sealed(before string, t segment.Trailer) (string, segment.Trailer) {
	var c hashCounter
	c.reset(nil)
	c.Write([]byte(before))
	text := t.Append(nil)
	c.Write(text)
	t.TextBytes, t.TextSHA256 = c.n.Load(), c.sum()
	return string(t.AppendSum(text)), t
}
