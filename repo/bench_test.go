package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
)

var benchValues = map[string][]byte{
	"short":   []byte("4711"),
	"plain":   []byte("A sentence of some length, as columns of text hold it, 80 bytes more or less now"),
	"escaped": []byte("It's two\nlines, a tab\tand a back\\slash: the kind of text that needs many escapes"),
	"long":    bytes.Repeat([]byte("0123456789abcdef"), 4096),
}

func benchEach(b *testing.B, f func(dst, value []byte) []byte) {
	for _, name := range []string{"short", "plain", "escaped", "long"} {
		value := benchValues[name]
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			dst := make([]byte, 0, 1<<20)
			for b.Loop() {
				dst = f(dst[:0], value)
			}
		})
	}
}

func BenchmarkAppendLiteral(b *testing.B) { benchEach(b, sqltext.AppendLiteral) }

func BenchmarkAppendRow(b *testing.B) {
	row := []segment.Value{{Form: segment.Text}}
	benchEach(b, func(dst, value []byte) []byte {
		row[0].Text = value
		return segment.AppendRow(dst, row)
	})
}

func BenchmarkAppendBegin(b *testing.B) {
	b.ReportAllocs()
	dst := make([]byte, 0, 1<<10)
	for b.Loop() {
		dst = segment.AppendCommit(segment.AppendBegin(dst[:0], 743, 0x1_3829A018, testClock), 0x1_3829A048)
	}
}

func BenchmarkAppendDDL(b *testing.B) {
	sql := "CREATE TABLE public.t (\n" + strings.Repeat("  column_name text NOT NULL DEFAULT 'x''y', -- a comment\n", 30) + "  last int\n);"
	b.SetBytes(int64(len(sql)))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = segment.AppendDDL(dst[:0], "CREATE TABLE", sql)
	}
}

// benchText is the text of a segment of which most is of one kind.
func benchText(kind string) string {
	text := []byte(textHeader + textStream)
	lsn := txLSN(1)
	begin := func() { text = segment.AppendBegin(text, 1, lsn, testClock) }
	commit := func() { text, lsn = segment.AppendCommit(text, lsn+8), lsn+16 }
	for i := range 20_000 {
		switch {
		case kind == "transactions" || i%10_000 == 0:
			begin()
		}
		switch kind {
		case "statements", "transactions":
			text = fmt.Appendf(text, "UPDATE ONLY \"public\".\"t\" SET \"a\" = '%d', \"b\" = 'some text of a row' WHERE \"id\" = '%d';\n", i, i)
		case "rows":
			if i%10_000 == 0 {
				text = copyBegin(text, `"public"."t"`, `"id"`, `"a"`, `"b"`)
			}
			text = fmt.Appendf(text, "%d\t%d\tsome text of a row that is as long as rows are\n", i, i)
			if i%10_000 == 9_999 {
				text = segment.AppendCopyEnd(text)
			}
		}
		if kind == "transactions" || i%10_000 == 9_999 {
			commit()
		}
	}
	return string(text)
}

func BenchmarkSegmentReader(b *testing.B) {
	for _, kind := range []string{"statements", "transactions", "rows"} {
		text := benchText(kind)
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			buf := make([]byte, 64<<10)
			for b.Loop() {
				r, err := segment.NewReader("file", strings.NewReader(text), true)
				for err == nil {
					var item segment.Item
					if item, err = r.Next(); item.Kind == segment.CopyBlock && err == nil {
						_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.CopyData()}, buf)
					}
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSegmentWriter(b *testing.B) {
	text := []byte(benchText("statements")[len(textHeader+textStream):])
	for _, spec := range []string{"none", "zstd", "lz4"} {
		b.Run(spec, func(b *testing.B) {
			r := testRepository(b, spec)
			w := createSegment(b, r, txLSN(1))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				must(b, w.Write(text))
			}
		})
	}
}

// BenchmarkFrames is what the frames of the index cost in time and room: the same
// transactions with them and, as if a frame were larger than any segment, without.
func BenchmarkFrames(b *testing.B) {
	text := pgbenchText(20_000)
	for _, spec := range []string{"zstd", "lz4", "gzip"} {
		for _, frame := range []int64{1 << 40, 0} {
			name := map[bool]string{true: "frames", false: "one"}[frame == 0]
			b.Run(spec+"/"+name, func(b *testing.B) {
				r := testRepository(b, spec)
				w := createSegment(b, r, txLSN(1))
				w.index.Bytes = frame
				b.SetBytes(int64(len(text) * len(text[0])))
				for b.Loop() {
					for _, tx := range text {
						must(b, w.Write(tx))
						w.Add(segment.Stats{Transactions: 1, MinXID: 1, MaxXID: 1, Tables: benchTables})
					}
				}
				must(b, w.endFrame())
				b.ReportMetric(100*float64(w.stored.n.Load())/float64(w.text.n.Load()), "stored%")
			})
		}
	}
}

var benchTables = map[string]catalog.TableCount{`"public"."pgbench_accounts"`: {Updated: 1}, `"public"."pgbench_tellers"`: {Updated: 1},
	`"public"."pgbench_branches"`: {Updated: 1}, `"public"."pgbench_history"`: {Inserted: 1}}

// pgbenchText is transactions as pgbench gives them.
func pgbenchText(n int) (list [][]byte) {
	random := rand.New(rand.NewSource(1))
	lsn := txLSN(1)
	for i := range n {
		at := testClock.Add(time.Duration(i) * 731 * time.Microsecond)
		aid, tid, bid, delta := random.Intn(1_000_000)+1, random.Intn(100)+1, random.Intn(10)+1, random.Intn(10_000)-5000
		b := segment.AppendBegin(nil, uint32(i+743), lsn, at)
		b = fmt.Appendf(b, "UPDATE ONLY \"public\".\"pgbench_accounts\" SET \"bid\" = '%d', \"abalance\" = '%d', \"filler\" = '%084d' WHERE \"aid\" = '%d';\n", bid,
			random.Intn(100_000)-50_000, 0, aid)
		b = fmt.Appendf(b, "UPDATE ONLY \"public\".\"pgbench_tellers\" SET \"bid\" = '%d', \"tbalance\" = '%d', \"filler\" = NULL WHERE \"tid\" = '%d';\n", bid,
			random.Intn(1_000_000), tid)
		b = fmt.Appendf(b, "UPDATE ONLY \"public\".\"pgbench_branches\" SET \"bbalance\" = '%d', \"filler\" = NULL WHERE \"bid\" = '%d';\n", random.Intn(10_000_000),
			bid)
		b = fmt.Appendf(b, "INSERT INTO \"public\".\"pgbench_history\" (\"tid\", \"bid\", \"aid\", \"delta\", \"mtime\", \"filler\") OVERRIDING SYSTEM VALUE "+
			"VALUES ('%d', '%d', '%d', '%d', '%s', NULL);\n",
			tid, bid, aid, delta, at.Format("2006-01-02 15:04:05.000000"))
		list = append(list, segment.AppendCommit(b, lsn+8))
		lsn += 400
	}
	return list
}
