package repo

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// longDump is the text of pg_dump of some tables with so many rows, and rows that look
// like what ends them.
func longDump(rows ...int) string {
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, "CREATE TABLE public.t%d (\n    i integer\n);\n\n", i)
	}
	for i, n := range rows {
		fmt.Fprintf(&b, "COPY public.t%d (i, v) FROM stdin;\n", i)
		for row := range n {
			fmt.Fprintf(&b, "%d\tsome text that is not %x the same\\n\\\\.\n", row, row*row*7919)
		}
		b.WriteString("\\.\n\n")
	}
	b.WriteString("CREATE INDEX i ON public.t0 (i);\n\n-- PostgreSQL database dump complete\n")
	return b.String()
}

// readDump returns the items of a base, each with its line.
func readDump(t *testing.T, r *dump.Reader) (items []string) {
	t.Helper()
	defer r.Close()
	for {
		item, err := r.Next()
		if errors.Is(err, io.EOF) {
			return items
		}
		must(t, err)
		items = append(items, fmt.Sprintf("%d %d %s", item.Line, item.Kind, item.SQL))
	}
}

// What defines something is read at its place, and of long tables a megabyte each.
func TestOpenSchema(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, "zstd")
		chain, err := filter.ParseShorthand(spec)
		must(t, err)
		_, simple := chain.Codec()
		for name, rows := range map[string][]int{"short": {10, 0, 20}, "long": {150_000, 5, 0, 120_000}, "one": {150_000}} {
			stamp, err := r.Stamp()
			must(t, err)
			w, err := r.CreateDump(baseHeader(catalog.KindBase), stamp, chain)
			must(t, err)
			counts, err := dump.Filter(w, strings.NewReader(longDump(rows...)), func(s []byte) []byte { return s })
			must(t, err)
			a, err := w.Finish(segment.Trailer{Tables: counts})
			must(t, err)
			must(t, w.Close())
			must(t, r.AddBase(ctx, a, catalog.Artifact{Name: "globals-" + stamp, Kind: catalog.KindGlobals}))
			must(t, r.Check(a))
			whole, err := r.OpenDump(a)
			must(t, err)
			want := readDump(t, whole)
			s, err := r.OpenSchema(ctx, a)
			must(t, err)
			if got := readDump(t, s.Reader); fmt.Sprint(got) != fmt.Sprint(want) || !s.Complete {
				t.Errorf("%s: %d items, want %d; %q", name, len(got), len(want), got[len(got)-1])
			}
			share := float64(s.Stored()) / float64(a.Bytes)
			if long := name != "short"; simple && long && share > 0.6 || share > 1.01 || whole.Trailer.Rows == nil == (long && simple) {
				t.Errorf("%s: %.3f of %d bytes were read; %v", name, share, a.Bytes, whole.Trailer.Rows)
			}
		}
	})
}
