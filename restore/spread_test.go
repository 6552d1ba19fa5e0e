package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"pg_scribe/catalog"
)

// TestSpread: large COPY blocks of a base arrive whole, by one session or two.
func TestSpread(t *testing.T) {
	const rows = 100000
	var sql strings.Builder
	sql.WriteString("SET client_encoding = 'UTF8';\nCREATE TABLE public.a (id int, v text);\nCREATE TABLE public.b (id int, v text);\n")
	for _, table := range []string{"a", "b"} {
		fmt.Fprintf(&sql, "COPY public.%s (id, v) FROM stdin;\n", table)
		for i := range rows {
			fmt.Fprintf(&sql, "%d\t%s\\n%d\n", i, strings.Repeat("x", i%100), i)
		}
		fmt.Fprintf(&sql, "%d\t%s\n", rows, strings.Repeat("y", 1<<20))
		sql.WriteString("\\.\n")
	}
	sql.WriteString("ALTER TABLE ONLY public.a\n    ADD CONSTRAINT a_pkey PRIMARY KEY (id);\nALTER TABLE ONLY public.b\n    ADD CONSTRAINT b_pkey PRIMARY KEY " +
		"(id);\n")
	b := build(t)
	base := b.base(100, 5, sql.String(), "")
	p := b.prepare(catalog.Target{})
	for _, jobs := range []int{0, 1, 3} {
		c, o := target(t, "spread")
		o.Jobs = jobs
		report := execute(t, p, o)
		if report.Tables[0].Inserted != rows+1 || report.Tables[1].Inserted != rows+1 {
			t.Errorf("%d jobs: %+v", jobs, report.Tables)
		}
		for _, table := range []string{"a", "b"} {
			got := c.Query(t, "spread", fmt.Sprintf("SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE v = repeat('x', id %% 100) || E'\\n' || id), "+
				"max(length(v)) FROM public.%s", table))
			if want := fmt.Sprintf("%d|%d|%d|%d", rows+1, rows+1, rows, 1<<20); got != want {
				t.Errorf("%d jobs, table %s: %s, want %s", jobs, table, got, want)
			}
		}
		c.Exec(t, "postgres", "DROP DATABASE spread")
	}

	// A bad row is found, whoever gets it.
	for _, bad := range []string{"99990", "60000"} {
		b := build(t)
		base = b.base(100, 5, strings.Replace(sql.String(), "\n"+bad+"\t", "\nbad\t", 1), "")
		c, o := target(t, "spread")
		var s *StatementError
		if _, err := b.prepare(catalog.Target{}).Execute(context.Background(), o); !errors.As(err, &s) || s.SQL != "COPY public.a (id, v) FROM stdin;" ||
			s.File != base.Name || state(err) != "22P02" {
			t.Errorf("row %s: %v", bad, err)
		}
		if exists(t, c, "spread") {
			t.Error("the database is still there")
		}
	}
}

// TestDealer: pieces hold whole rows, in order.
func TestDealer(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for range 20 {
		var text bytes.Buffer
		for range rng.Intn(2000) {
			text.WriteString(strings.Repeat("r", rng.Intn(2000)) + "\n")
			if rng.Intn(500) == 0 {
				text.WriteString(strings.Repeat("R", 1<<20) + "\n")
			}
		}
		d := &dealer{rows: iotest.HalfReader(bytes.NewReader(text.Bytes())), read: new(atomic.Int64)}
		var got bytes.Buffer
		var total int64
		for first := rng.Intn(2) == 0; ; first = false {
			var b batch
			lines, err := d.piece(&b, first)
			if errors.Is(err, io.EOF) {
				break
			}
			if b.wire[0] != 'd' || b.wire[len(b.wire)-1] != '\n' || int64(bytes.Count(b.wire[5:], []byte{'\n'})) != lines || first && lines != 1 {
				t.Fatalf("piece of %d lines: %q…", lines, b.wire[:20])
			}
			total += lines
			got.Write(b.wire[5:])
		}
		if !bytes.Equal(got.Bytes(), text.Bytes()) || d.read.Load() != int64(text.Len()) {
			t.Fatal("the pieces are not the text")
		}
	}
}
