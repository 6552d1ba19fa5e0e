package repo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// rowsOf writes a transaction that changes rows of one table.
func rowsOf(t testing.TB, w *SegmentWriter, n int, table string, rows int) {
	t.Helper()
	commit, end, at := txLSN(n), txLSN(n)+8, testClock
	text := segment.AppendBegin(nil, uint32(n), commit, at)
	for i := range rows {
		text = segment.AppendChange(text, &segment.Change{Op: segment.Insert, Table: []byte(table), Columns: [][]byte{[]byte(`"a"`), []byte(`"b"`)},
			New: []segment.Value{{Form: segment.Text, Text: fmt.Append(nil, n)}, {Form: segment.Text, Text: fmt.Appendf(nil, "some text of row %d, 80 bytes or so %x",
				i, i*i*7919+n)}}})
	}
	must(t, w.Write(segment.AppendCommit(text, end)))
	w.Add(segment.Stats{End: end, Reached: at, Transactions: 1, FirstCommit: at, LastCommit: at, MinXID: uint32(n), MaxXID: uint32(n),
		Tables: map[string]catalog.TableCount{table: {Table: table, Inserted: int64(rows)}}})
}

const rareTable, commonTable = `"public"."rare"`, `"public"."common"`

// rare says which transactions of framed are of the rare table.
func rare(n int) bool { return n%23 == 7 }

// framed writes a segment of 100 transactions and many frames, and seals it.
func framed(t testing.TB, r *Repository) catalog.Artifact {
	t.Helper()
	w := createSegment(t, r, txLSN(1))
	w.index.Bytes = 8 << 10
	for n := 1; n <= 100; n++ {
		table := commonTable
		if rare(n) {
			table = rareTable
		}
		rowsOf(t, w, n, table, 20)
		switch {
		case n%10 == 0:
			must(t, w.Checkpoint(ctx))
		case n == 35: // and what was written is forgotten
			must(t, w.Checkpoint(ctx))
			for m := 36; m < 60; m++ {
				rowsOf(t, w, m, `"public"."gone"`, 20)
			}
			must(t, w.Rollback())
		}
	}
	must(t, w.Seal(ctx))
	return segmentAt(t, r, txLSN(1))
}

// partXIDs reads a part and returns its transactions, and for each item its place in
// the text.
func partXIDs(t testing.TB, p *Part) (xids []int, places map[string]bool) {
	t.Helper()
	places = map[string]bool{}
	defer p.Close()
	for {
		item, err := p.Next()
		if errors.Is(err, io.EOF) {
			return xids, places
		}
		must(t, err)
		if item.Kind == segment.Begin {
			xids = append(xids, int(item.Tx.XID))
		}
		places[fmt.Sprintf("%d %d %s", item.Line, item.Offset, item)] = true
	}
}

// What is wanted is read, with its right place in the text, and little else.
func TestOpenPart(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		a := framed(t, r)
		whole, err := r.OpenSegment(a)
		must(t, err)
		all, places := partXIDs(t, &Part{Reader: whole})
		must(t, r.Check(a))
		chain, err := r.FileChain(ctx, a.Filters)
		must(t, err)
		_, simple := chain.Codec()
		for _, c := range []struct {
			name  string
			want  Wanted
			needs func(n int) bool
			share float64 // of the stored bytes, at most
		}{
			{"all", Wanted{}, func(int) bool { return true }, 1.1},
			{"a table", Wanted{Tables: []string{rareTable}}, rare, 0.5},
			{"two tables", Wanted{Tables: []string{rareTable, commonTable}}, func(int) bool { return true }, 1.1},
			{"another table", Wanted{Tables: []string{`"public"."t"`}}, func(int) bool { return false }, 0.25},
			{"from", Wanted{From: txLSN(90)}, func(n int) bool { return n >= 90 }, 0.4},
			{"up to", Wanted{To: txLSN(10)}, func(n int) bool { return n < 10 }, 0.4},
			{"one", Wanted{From: txLSN(50), To: txLSN(50) + 1}, func(n int) bool { return n == 50 }, 0.3},
			{"behind", Wanted{From: txLSN(101)}, func(n int) bool { return n >= 100 }, 0.3},
		} {
			p, err := r.OpenPart(ctx, a, c.want)
			must(t, err)
			got, at := partXIDs(t, p)
			for _, n := range all {
				if c.needs(n) && n < 100 && !slices.Contains(got, n) {
					t.Errorf("%s: transaction %d is missing", c.name, n)
				}
			}
			if !slices.IsSorted(got) {
				t.Errorf("%s: %v", c.name, got)
			}
			for place := range at {
				if !places[place] && !strings.Contains(place, " end ") {
					t.Errorf("%s: %s is not so in the segment", c.name, place)
				}
			}
			if share := float64(p.Stored()) / float64(a.Bytes); simple && share > c.share || !simple && share != 1 {
				t.Errorf("%s: %.3f of %d bytes were read", c.name, share, a.Bytes)
			}
		}
	})
}

// Of a segment that is full of rows and samples, the commands are read and little else.
func TestOpenPartOfDefinitions(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	w.index.Bytes = 8 << 10
	for n := 1; n <= 300; n++ {
		if n%100 != 50 {
			rowsOf(t, w, n, commonTable, 20)
			continue
		}
		commit, end := txLSN(n), txLSN(n)+8
		text := segment.AppendDDL(segment.AppendBegin(nil, uint32(n), commit, testClock), segment.TagSequence, "DO 'x'")
		if n == 150 {
			text = segment.AppendDDL(text, "CREATE TABLE", "CREATE TABLE t ()")
		}
		must(t, w.Write(segment.AppendCommit(text, end)))
		w.Add(segment.Stats{End: end, Transactions: 1, MinXID: uint32(n), MaxXID: uint32(n)})
	}
	must(t, w.Seal(ctx))
	a := segmentAt(t, r, txLSN(1))
	for from, want := range map[int]bool{1: true, 150: true, 200: false} {
		p, err := r.OpenPart(ctx, a, Wanted{Definitions: true, From: txLSN(from)})
		must(t, err)
		got, _ := partXIDs(t, p)
		if slices.Contains(got, 150) != want || len(got) > 20 || !want && len(got) > 0 {
			t.Errorf("from %d: %v", from, got)
		}
		if share := float64(p.Stored()) / float64(a.Bytes); share > 0.2 {
			t.Errorf("from %d: %.3f of %d bytes were read", from, share, a.Bytes)
		}
	}
}

// The index tells every table that is in a frame; a trailer that does not is found.
func TestIndexIsChecked(t *testing.T) {
	r := testRepository(t, "none")
	a := framed(t, r)
	text, err := os.ReadFile(r.Path(a.Name))
	must(t, err)
	body, end, _ := strings.Cut(string(text), segment.TrailerLine)
	trailer, err := segment.ReadTrailer(a.Name, strings.NewReader(segment.TrailerLine+end))
	must(t, err)
	read := func(change func(*segment.Trailer)) error {
		forged := trailer
		forged.Frames = slices.Clone(trailer.Frames)
		change(&forged)
		end, _ := sealed(body, forged)
		reader, err := segment.NewReader("file", strings.NewReader(body+end), false)
		must(t, err)
		reader.Collect(new(segment.Index))
		_, err = items(reader)
		return err
	}
	if err := read(func(*segment.Trailer) {}); err != nil || len(trailer.Frames) < 10 {
		t.Fatalf("%d frames, %v", len(trailer.Frames), err)
	}
	mixed := slices.IndexFunc(trailer.Frames, func(f segment.Frame) bool { return len(f.Tables) > 1 })
	for want, change := range map[string]func(*segment.Trailer){
		"frames, the text":   func(t *segment.Trailer) { t.Frames = t.Frames[1:] },
		"the text has it at": func(t *segment.Trailer) { t.Frames[3].Offset++ },
		"line":               func(t *segment.Trailer) { t.Frames[3].Line++ },
		"LSN":                func(t *segment.Trailer) { t.Frames[3].LSN++ },
		"changes rows of":    func(t *segment.Trailer) { t.Frames[mixed].Tables = t.Frames[mixed].Tables[1:] },
	} {
		var e *FormatError
		if err := read(change); !errors.As(err, &e) || !strings.Contains(e.Reason, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := read(func(t *segment.Trailer) { t.Frames[mixed].All = true; t.Frames[mixed].Tables = nil }); err != nil {
		t.Errorf("an index may say more than there is: %v", err)
	}
}

// After a crash the index is made from the text, as it would have been.
func TestIndexSurvivesACrash(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		w := createSegment(t, r, txLSN(1))
		w.index.Bytes = 8 << 10
		for n := 1; n <= 60; n++ {
			rowsOf(t, w, n, map[bool]string{true: rareTable, false: commonTable}[rare(n)], 20)
		}
		must(t, w.Checkpoint(ctx))
		want := w.index.Frames(w.saved.stats.Counts())
		for n := 61; n <= 90; n++ {
			rowsOf(t, w, n, commonTable, 20)
		}
		dir := r.dir
		must(t, w.file.Close())
		must(t, r.Close())
		r = reopen(t, dir)
		a := segmentAt(t, r, txLSN(1))
		mustIndex(t, r, a)
		reader, err := r.OpenSegment(a)
		must(t, err)
		_, err = items(reader)
		must(t, err)
		if got := reader.Trailer.Frames; len(got) < 5 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("frames\n%v\nwere\n%v", got, want)
		}
		p, err := r.OpenPart(ctx, a, Wanted{Tables: []string{rareTable}})
		must(t, err)
		got, _ := partXIDs(t, p)
		for n := 1; n <= 60; n++ {
			if rare(n) && !slices.Contains(got, n) {
				t.Errorf("transaction %d is missing", n)
			}
		}
	})
}

// A clock that is noted within a large transaction begins no frame there.
func TestFramesBeginBetweenTransactions(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	w.index.Bytes = 1 << 10
	rowsOf(t, w, 1, commonTable, 5)
	row := segment.AppendChange(nil, &segment.Change{Op: segment.Insert, Table: []byte(commonTable), Columns: [][]byte{[]byte(`"a"`)},
		New: []segment.Value{{Form: segment.Text, Text: []byte("1")}}})
	must(t, w.Write(segment.AppendBegin(nil, 2, txLSN(2), testClock)))
	for range 100 {
		must(t, w.Write(row))
		w.Add(segment.Stats{Reached: testClock})
	}
	must(t, w.Write(segment.AppendCommit(nil, txLSN(2)+8)))
	w.Add(segment.Stats{End: txLSN(2) + 8, Reached: testClock, Transactions: 1, FirstCommit: testClock, LastCommit: testClock, MinXID: 2, MaxXID: 2,
		Tables: map[string]catalog.TableCount{commonTable: {Table: commonTable, Inserted: 100}}})
	rowsOf(t, w, 3, commonTable, 5)
	must(t, w.Seal(ctx))
	reader, err := r.OpenSegment(segmentAt(t, r, txLSN(1)))
	must(t, err)
	defer reader.Close()
	if _, err := items(reader); err != nil || len(reader.Trailer.Frames) < 2 {
		t.Errorf("%v, %d frames", err, len(reader.Trailer.Frames))
	}
}

// A file that tells where reading may begin is read by the command of its method as before.
func TestStartsArePassedOver(t *testing.T) {
	for _, spec := range []string{"zstd", "lz4", "gzip"} {
		r := testRepository(t, spec)
		a := framed(t, r)
		codec, err := filter.ParseCodec(spec)
		must(t, err)
		f, err := os.Open(r.Path(a.Name))
		must(t, err)
		starts, err := codec.ReadStarts(f, a.Bytes)
		must(t, err)
		f.Close()
		if len(starts) < 10 {
			t.Errorf("%s: %d starts", spec, len(starts))
		}
		need(t, spec)
		args := strings.Fields(codec.Command())
		cmd := exec.Command(args[0], append(args[1:], filepath.Join(r.dir, a.Name))...)
		text, err := cmd.Output()
		must(t, err)
		reader, err := segment.NewReader(a.Name, strings.NewReader(string(text)), false)
		must(t, err)
		_, err = items(reader)
		must(t, err)
	}
}

// oneTable is a repository in which few transactions are of one table, and what reading
// them touches.
type oneTable struct {
	segments, transactions, rows int
	every                        int   // so many transactions there is one of the table
	frame                        int64 // 0: as usual

	stored, opened, named, read int64 // bytes of all segments; segments that have the table, and their bytes; bytes that were read
}

func (o *oneTable) run(t testing.TB) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	n, want := 0, []int{}
	for s := range o.segments {
		w.index.Bytes = o.frame
		for range o.transactions {
			if n++; n%o.every == 0 {
				rowsOf(t, w, n, rareTable, o.rows)
				want = append(want, n)
			} else {
				rowsOf(t, w, n, commonTable, o.rows)
			}
		}
		var err error
		if s+1 == o.segments {
			err = w.Seal(ctx)
		} else {
			w, err = w.Next(ctx)
		}
		must(t, err)
	}
	all, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	var got []int
	for _, a := range all {
		o.stored += a.Bytes
		counts, err := r.cat.Tables(ctx, a.ID)
		must(t, err)
		if slices.ContainsFunc(counts, func(c catalog.TableCount) bool { return c.Table == rareTable }) {
			got = append(got, o.readOf(t, r, a)...)
		}
	}
	if len(all) != o.segments || !slices.Equal(got, want) {
		t.Errorf("%d segments, transactions %v, want %v", len(all), got, want)
	}
	t.Logf("%d segments of %d bytes; without the index all of them or, by the catalog's counts, %d of %d bytes are read; with it %d bytes: %.2f %% and %.1f %%",
		len(all), o.stored, o.opened, o.named, o.read, 100*float64(o.read)/float64(o.stored), 100*float64(o.read)/float64(o.named))
}

// readOf returns the transactions of the table in a segment.
func (o *oneTable) readOf(t testing.TB, r *Repository, a catalog.Artifact) (got []int) {
	p, err := r.OpenPart(ctx, a, Wanted{Tables: []string{rareTable}})
	must(t, err)
	defer p.Close()
	var c segment.Change
	for {
		item, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if item.Kind != segment.RowChange {
			continue
		}
		must(t, segment.ParseChange(item.SQL, &c))
		if xid := int(item.Tx.XID); string(c.Table) == rareTable && (len(got) == 0 || got[len(got)-1] != xid) {
			got = append(got, xid)
		}
	}
	o.opened, o.named, o.read = o.opened+1, o.named+a.Bytes, o.read+p.Stored()
	return got
}

func TestOneTableOfManySegments(t *testing.T) {
	o := oneTable{segments: 20, transactions: 1000, rows: 10, every: 1511, frame: 32 << 10}
	o.run(t)
	if o.read*10 > o.stored || o.read*5 > o.named {
		t.Errorf("%+v", o)
	}
}

// BenchmarkOneTableOfAThousandSegments says how many bytes are read for one table's
// changes; time is mostly that of writing them.
func BenchmarkOneTableOfAThousandSegments(b *testing.B) {
	for b.Loop() {
		o := oneTable{segments: 1000, transactions: 600, rows: 100, every: 30_011}
		o.run(b)
		b.ReportMetric(float64(o.stored), "stored-B")
		b.ReportMetric(float64(o.named), "named-B")
		b.ReportMetric(float64(o.read), "read-B")
	}
}

// mustIndex reads a sealed segment, whose index has to be that of its text.
func mustIndex(t testing.TB, r *Repository, a catalog.Artifact) {
	t.Helper()
	reader, err := r.OpenSegment(a)
	must(t, err)
	defer reader.Close()
	reader.Collect(new(segment.Index))
	_, err = items(reader)
	must(t, err)
}
