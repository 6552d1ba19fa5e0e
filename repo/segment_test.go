package repo

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

var allCodecs = []string{"none", "zstd", "lz4", "gzip"}

// eachCodec runs a test for every method of compression.
func eachCodec(t *testing.T, test func(t *testing.T, spec string)) {
	for _, spec := range allCodecs {
		t.Run(spec, func(t *testing.T) { test(t, spec) })
	}
}

// eachPlace is eachCodec, with the working files in the directory and elsewhere.
func eachPlace(t *testing.T, test func(t *testing.T, spec string)) {
	eachCodec(t, test)
	eachCodec(t, func(t *testing.T, spec string) { t.Run("apart", func(t *testing.T) { test(t, spec+apart) }) })
}

// everyKind is a transaction body with every kind of item.
func everyKind() (text []byte, want []string) {
	text = segment.AppendOrigin(text, "up\nstream", 0x99)
	text = append(text, "INSERT INTO \"public\".\"t\" VALUES ('1');\n"...)
	text = segment.AppendDDL(text, "CREATE TABLE", "CREATE TABLE u (\n\n  a int\n);")
	text = segment.AppendDDL(text, "COMMENT", "COMMENT ON TABLE u IS ''")
	text = copyBegin(text, `"public"."t"`, `"a"`, `"b"`)
	text = copyRow(text, "1", nil)
	text = copyRow(text, "-- pg_scribe end", "\\.")
	text = copyRow(text, "", "")
	text = segment.AppendCopyEnd(text)
	text = copyBegin(text, `"public"."t"`, `"a"`)
	text = segment.AppendCopyEnd(text)
	text = segment.AppendRestorePoint(text, "before\nthat")
	text = segment.AppendGap(text, "no 'privilege'")
	text = append(text, "DELETE FROM ONLY \"public\".\"t\";\n"...)
	return text, []string{
		`origin 0/99 "up\nstream"`, "sql INSERT INTO \"public\".\"t\" VALUES ('1');",
		"ddl CREATE TABLE: CREATE TABLE u (\n\n  a int\n);", "ddl COMMENT: COMMENT ON TABLE u IS '';",
		"COPY \"public\".\"t\" (\"a\", \"b\") FROM stdin;\n1\t\\N\n\\055- pg_scribe end\t\\\\.\n\t\n",
		"COPY \"public\".\"t\" (\"a\") FROM stdin;\n", `mark "before\nthat"`, `gap "no 'privilege'"`,
		"sql DELETE FROM ONLY \"public\".\"t\";",
	}
}

func TestSegmentRoundTrip(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		body, wantBody := everyKind()
		addTx(t, w, 1, strings.TrimSuffix(string(body), "\n"))
		must(t, w.Checkpoint(ctx))
		addTx(t, w, 2, "SELECT 1;")
		addTx(t, w, 4)
		must(t, w.Write(segment.AppendGap(nil, "between")))
		w.Add(segment.Stats{End: txLSN(6), Reached: testClock.Add(time.Hour)})
		must(t, w.Seal(ctx))

		a := segmentAt(t, r, txLSN(1))
		got, err := readItems(t, r, a)
		must(t, err)
		want := append([]string{"begin 1 0/10 2026-11-21T01:57:59.268382Z"}, wantBody...)
		want = append(want, "commit 0/18", "reached 0/18 2026-11-21T01:57:59.268382Z",
			"begin 2 0/20 2026-11-21T01:58:00.268382Z", "sql SELECT 1;", "commit 0/28",
			"begin 4 0/40 2026-11-21T01:58:02.268382Z", "commit 0/48", `gap "between"`, "end 0/60")
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		checkSealed(t, r, a)
	})
}

// checkSealed compares what catalog, file and trailer say of a segment.
func checkSealed(t *testing.T, r *Repository, a catalog.Artifact) {
	t.Helper()
	reader, err := r.OpenSegment(a)
	must(t, err)
	defer reader.Close()
	if _, err := items(reader); err != nil {
		t.Fatal(err)
	}
	h, tr := reader.Header, reader.Trailer
	if h.Kind != catalog.KindSegment || h.Format != segment.FormatVersion || h.Database != "customers_db" || h.Slot != "pg_scribe" || h.Start != a.Start ||
		h.Filters != a.Filters {
		t.Errorf("header %+v", h)
	}
	counts, err := r.Catalog().Tables(ctx, a.ID)
	must(t, err)
	if !slices.Equal(tr.Tables, counts) {
		t.Errorf("trailer counts %v, catalog %v", tr.Tables, counts)
	}
	if tr.End != a.End || !tr.Reached.Equal(a.ReachedAt) || tr.Transactions != a.Transactions || tr.MinXID != a.MinXID || tr.MaxXID != a.MaxXID ||
		!tr.FirstCommit.Equal(a.FirstCommitAt) || !tr.LastCommit.Equal(a.LastCommitAt) || tr.TextSHA256 != a.TextSHA256 || tr.TextBytes != a.TextBytes {
		t.Errorf("trailer %+v\ncatalog %+v", tr, a)
	}
	if a.State != catalog.StateSealed || a.Name != SegmentName(a.Start, chainOf(t, r, a)) {
		t.Errorf("catalog %+v", a)
	}
	must(t, r.Check(a))
}

func TestSegmentFilesArePrivate(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(r.Path(name))
		must(t, err)
		return info.Mode().Perm()
	}
	if m := mode(segmentAt(t, r, txLSN(1)).Name); m != 0o600 {
		t.Errorf("open segment has mode %o", m)
	}
	addTx(t, w, 1)
	must(t, w.Seal(ctx))
	if m := mode(segmentAt(t, r, txLSN(1)).Name); m != 0o600 {
		t.Errorf("sealed segment has mode %o", m)
	}
	if m := mode("."); m != 0o700 {
		t.Errorf("directory has mode %o", m)
	}
	if m := mode(CatalogName); m != 0o600 {
		t.Errorf("catalog has mode %o", m)
	}
}

func TestNextJoins(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		for n := 1; n <= 6; n++ {
			addTx(t, w, n, "SELECT 1;")
			if n%2 == 0 {
				next, err := w.Next(ctx)
				must(t, err)
				w = next
				t.Cleanup(func() { next.Close() })
			}
		}
		must(t, w.Seal(ctx))
		segments, err := r.Catalog().Artifacts(ctx, catalog.KindSegment)
		must(t, err)
		if len(segments) != 3 {
			t.Fatalf("%d segments, want 3: the last one is empty", len(segments))
		}
		if holes := catalog.Holes(segments); len(holes) > 0 {
			t.Errorf("holes %v", holes)
		}
		previous := ""
		for i, a := range segments {
			checkSealed(t, r, a)
			list, err := readItems(t, r, a)
			must(t, err)
			if got, want := xids(list), []string{fmt.Sprint(2*i + 1), fmt.Sprint(2*i + 2)}; !slices.Equal(got, want) {
				t.Errorf("segment %d holds transactions %v, want %v", i, got, want)
			}
			reader, err := r.OpenSegment(a)
			must(t, err)
			if reader.Header.Previous != previous || i > 0 && !reader.Header.At.Equal(segments[i-1].ReachedAt) {
				t.Errorf("segment %d: header %+v", i, reader.Header)
			}
			reader.Close()
			previous = a.TextSHA256
		}
		if end, err := r.End(ctx); err != nil || end != txLSN(6)+8 {
			t.Errorf("End() = %s, %v", end, err)
		}
	})
}

func TestNextOfEmptySegment(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	next, err := w.Next(ctx)
	must(t, err)
	defer next.Close()
	if next.Start() != txLSN(1) {
		t.Errorf("it starts at %s", next.Start())
	}
	addTx(t, next, 1)
	must(t, next.Seal(ctx))
	checkSealed(t, r, segmentAt(t, r, txLSN(1)))
}

func TestEmptySegmentIsDiscarded(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	must(t, w.Checkpoint(ctx))
	must(t, w.Seal(ctx))
	must(t, w.Seal(ctx)) // again: nothing happens
	segments, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	files, err := filepath.Glob(r.Path("incremental-*"))
	must(t, err)
	if len(segments) != 0 || len(files) != 0 {
		t.Errorf("left: %v, %v", segments, files)
	}
}

func TestRollback(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		lost := "INSERT INTO lost VALUES ('" + strings.Repeat("x", 3<<20) + "');\n"
		must(t, w.Write(segment.AppendBegin(nil, 9, txLSN(9), testClock)))
		must(t, w.Write([]byte(lost)))
		must(t, w.Rollback())
		if w.Dirty() || w.End() != txLSN(1) {
			t.Errorf("after a rollback: dirty %v, end %s", w.Dirty(), w.End())
		}
		addTx(t, w, 1, "SELECT 1;")
		must(t, w.Checkpoint(ctx))
		bytesBefore := segmentAt(t, r, txLSN(1)).Bytes
		addTx(t, w, 2, "SELECT 2;")
		for range 3 {
			must(t, w.Write([]byte(lost)))
			must(t, w.Rollback())
		}
		must(t, w.Rollback())
		if info, err := os.Stat(r.Path(w.name)); err != nil || info.Size() != bytesBefore {
			t.Errorf("the file has %d bytes, want %d", info.Size(), bytesBefore)
		}
		if w.End() != txLSN(1)+8 {
			t.Errorf("end %s", w.End())
		}
		addTx(t, w, 3, "SELECT 3;")
		must(t, w.Seal(ctx))
		a := segmentAt(t, r, txLSN(1))
		list, err := readItems(t, r, a)
		must(t, err)
		if got := xids(list); !slices.Equal(got, []string{"1", "3"}) {
			t.Errorf("transactions %v", got)
		}
		if a.Transactions != 2 || a.MinXID != 1 || a.MaxXID != 3 {
			t.Errorf("catalog %+v", a)
		}
		checkSealed(t, r, a)
	})
}

// An open segment reads up to its last checkpoint, whatever its writer does
// meanwhile.
func TestReadOpenSegment(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		before := segmentAt(t, r, txLSN(1))
		addTx(t, w, 1, "SELECT 1;")
		must(t, w.Checkpoint(ctx))
		one := segmentAt(t, r, txLSN(1))
		addTx(t, w, 2, "SELECT '"+strings.Repeat("x", 3<<20)+"';")
		must(t, w.Write([]byte("BEGIN; -- xid 3 commit 0/30 at 2026")))

		read := func(when string) {
			t.Helper()
			for _, c := range []struct {
				a    catalog.Artifact
				want []string
			}{{before, nil}, {one, []string{"1"}}} {
				list, err := readItems(t, r, c.a)
				if got := xids(list); err != nil || !slices.Equal(got, c.want) {
					t.Errorf("%s: transactions %v, error %v, want %v", when, got, err, c.want)
				}
				must(t, r.Check(c.a))
			}
		}
		read("while a transaction comes in")
		must(t, w.Rollback())
		read("after a rollback")
		addTx(t, w, 2, "SELECT 2;")
		must(t, w.Checkpoint(ctx))
		read("after another checkpoint")
		reader, err := r.OpenSegment(one)
		must(t, err)
		defer reader.Close()
		must(t, w.Seal(ctx))
		read("after it was sealed")
		if list, err := items(reader); err != nil || !slices.Equal(xids(list), []string{"1"}) {
			t.Errorf("opened before: %v, error %v", list, err)
		}
	})
}

func TestCheckpointTellsTheCatalog(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 1;")
	w.Add(segment.Stats{Points: []catalog.RestorePoint{{Name: "p", LSN: txLSN(1), XID: 1, At: testClock}},
		Gaps: []catalog.Gap{{Kind: catalog.GapSchema, From: txLSN(1), To: txLSN(1), Reason: "why"}}})
	if !w.Dirty() {
		t.Error("not dirty")
	}
	must(t, w.Checkpoint(ctx))
	if w.Dirty() {
		t.Error("dirty after a checkpoint")
	}
	size := segmentAt(t, r, txLSN(1)).Bytes
	must(t, w.Checkpoint(ctx))
	if again := segmentAt(t, r, txLSN(1)).Bytes; again != size {
		t.Errorf("a checkpoint of nothing wrote %d bytes", again-size)
	}
	addTx(t, w, 2, "SELECT 1;", "SELECT 2;")
	w.Add(segment.Stats{Tables: map[string]catalog.TableCount{"public.u": {Updated: 1, Deleted: 2, Truncated: 3}}})
	must(t, w.Checkpoint(ctx))
	a := segmentAt(t, r, txLSN(1))
	if a.End != txLSN(2)+8 || a.Transactions != 2 || a.MinXID != 1 || a.MaxXID != 2 || !a.ReachedAt.Equal(testClock.Add(2*time.Second)) {
		t.Errorf("catalog %+v", a)
	}
	counts, err := r.Catalog().Tables(ctx, a.ID)
	must(t, err)
	if want := []catalog.TableCount{{Table: "public.t", Inserted: 3}, {Table: "public.u", Updated: 1, Deleted: 2, Truncated: 3}}; !slices.Equal(counts, want) {
		t.Errorf("counts %v, want %v", counts, want)
	}
	inv, err := r.Catalog().Inventory(ctx)
	must(t, err)
	points := inv.Points
	gaps, err := r.Catalog().Gaps(ctx)
	must(t, err)
	if len(points) != 1 || points[0].Name != "p" || len(gaps) != 1 || gaps[0].Reason != "why" {
		t.Errorf("points %v, gaps %v", points, gaps)
	}
	must(t, w.Seal(ctx))
	checkSealed(t, r, segmentAt(t, r, txLSN(1)))
}

func TestLongLines(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		long := strings.Repeat("0123456789abcdef", 3<<16) // 3 MB
		insert := "INSERT INTO t VALUES ('" + long + "');"
		text := copyBegin(nil, `"t"`, `"a"`)
		text = copyRow(text, long)
		text = copyRow(text, "short")
		text = segment.AppendCopyEnd(text)
		text = segment.AppendDDL(text, "COMMENT", "COMMENT ON TABLE t IS\n'"+long+"'")
		addTx(t, w, 1, insert, strings.TrimSuffix(string(text), "\n"))
		must(t, w.Seal(ctx))
		got, err := readItems(t, r, segmentAt(t, r, txLSN(1)))
		must(t, err)
		want := []string{"sql " + insert, "COPY \"t\" (\"a\") FROM stdin;\n" + long + "\nshort\n", "ddl COMMENT: COMMENT ON TABLE t IS\n'" + long + "';"}
		if !slices.Equal(got[1:4], want) {
			t.Error("the long lines differ")
		}
	})
}

// CopyData hands out the same rows whatever the sizes of the reads and of the
// pieces that come from below.
func TestCopyDataInPieces(t *testing.T) {
	rows := "a\tb\n\n\\\\.\nx\\\\.\n\\N\n\\.x\n.\n" + strings.Repeat("y", 300) + "\n"
	text := "-- pg_scribe segment\n-- format: 1\n-- start: 0/1\n--\n-- pg_scribe stream\n" +
		"BEGIN; -- xid 1 commit 0/1 at 2026-01-01T00:00:00Z\nCOPY t (a) FROM stdin;\n" + rows + "\\.\nSELECT 1;\nCOMMIT; -- 0/2\n"
	for size := 1; size < 12; size++ {
		for piece := 1; piece < 12; piece++ {
			for stop := range len(rows) / size {
				reader, err := segment.NewReader("file", &pieces{text, piece}, true)
				must(t, err)
				reader.Next()
				item, err := reader.Next()
				if err != nil || item.Kind != segment.CopyBlock {
					t.Fatalf("%v, %v", item.Kind, err)
				}
				var got []byte
				data, buf := reader.CopyData(), make([]byte, size)
				for range stop {
					n, err := data.Read(buf)
					must(t, err)
					got = append(got, buf[:n]...)
				}
				if stop == 0 { // once, to the end
					if got, err = io.ReadAll(data); err != nil || string(got) != rows {
						t.Fatalf("%q, error %v", got, err)
					}
				}
				if !strings.HasPrefix(rows, string(got)) {
					t.Fatalf("size %d, pieces of %d: %q", size, piece, got)
				}
				next, err := reader.Next() // passes over the rest
				if err != nil || string(next.SQL) != "SELECT 1;" || next.Line != int64(strings.Count(text[:strings.Index(text, "SELECT")], "\n")+1) {
					t.Fatalf("size %d, pieces of %d, %d reads: next is %q in line %d, error %v", size, piece, stop, next.SQL, next.Line, err)
				}
				if string(item.SQL) != "COPY t (a) FROM stdin;" {
					t.Fatalf("the COPY statement became %q", item.SQL)
				}
			}
		}
	}
}

// pieces hands out a text few bytes at a time.
type pieces struct {
	text string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.text)
	p.text = p.text[n:]
	return n, nil
}

func TestSegmentNamesSort(t *testing.T) {
	var names []string
	for _, l := range []catalog.LSN{0, 1, 0xFF, 0x1_0000_0000, 0xFFFF_FFFF_FFFF_FFFF} {
		names = append(names, SegmentName(l, filter.Default))
	}
	if !slices.IsSorted(names) || names[2] != "incremental-00000000000000FF.sql.zst" {
		t.Errorf("names %v", names)
	}
}

func TestStatsAdd(t *testing.T) {
	var s segment.Stats
	s.Add(segment.Stats{})
	if s.Transactions != 0 || s.Tables != nil {
		t.Errorf("nothing and nothing is %+v", s)
	}
	early, late := testClock, testClock.Add(time.Hour)
	s.Add(segment.Stats{End: 5, Reached: late, Transactions: 1, FirstCommit: late, LastCommit: late, MinXID: 7, MaxXID: 7})
	s.Add(segment.Stats{End: 9, Reached: early, Transactions: 2, FirstCommit: early, LastCommit: early, MinXID: 3, MaxXID: 5,
		Tables: map[string]catalog.TableCount{"t": {Inserted: 1}}})
	s.Add(segment.Stats{Transactions: 1, MinXID: 9, MaxXID: 9, Tables: map[string]catalog.TableCount{"t": {Inserted: 2, Updated: 3}}}) // no commit time of its own
	if s.End != 9 || !s.Reached.Equal(late) || s.Transactions != 4 || s.MinXID != 3 || s.MaxXID != 9 ||
		!s.FirstCommit.Equal(early) || !s.LastCommit.Equal(late) || s.Tables["t"] != (catalog.TableCount{Table: "t", Inserted: 3, Updated: 3}) {
		t.Errorf("sum %+v", s)
	}
}
