package repo

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
)

// A repository of format 1 goes on with segments of format 2 in one chain, also
// when the segment of format 1 was still open when its program ended.
func TestFormat1GoesOn(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		info, err := r.cat.Repository(ctx)
		must(t, err)
		info.Format = 1
		must(t, r.cat.SetRepository(ctx, info))
		r.older = 1
		w := createSegment(t, r, txLSN(1))
		addTx(t, w, 1, `INSERT INTO "public"."t" ("a") OVERRIDING SYSTEM VALUE VALUES ('1');`)
		w, err = w.Next(ctx)
		must(t, err)
		addTx(t, w, 2, `INSERT INTO "public"."t" ("a") OVERRIDING SYSTEM VALUE VALUES ('2');`)
		must(t, w.Checkpoint(ctx))
		must(t, w.Close())
		if info, err := r.cat.Repository(ctx); err != nil || info.Format != 1 {
			t.Fatalf("%+v %v", info, err)
		}
		dir := r.dir
		must(t, r.Close())

		r = reopen(t, dir)
		end, err := r.End(ctx)
		must(t, err)
		w = createSegment(t, r, end)
		addTx(t, w, 3, `INSERT INTO "public"."t" ("a") OVERRIDING SYSTEM VALUE VALUES ('3');`)
		must(t, w.Seal(ctx))
		if info, err := r.cat.Repository(ctx); err != nil || info.Format != segment.FormatVersion {
			t.Errorf("%+v %v", info, err)
		}
		segments, err := r.cat.Artifacts(ctx, catalog.KindSegment)
		must(t, err)
		if holes := catalog.Holes(segments); len(holes) > 0 || len(segments) != 3 {
			t.Errorf("%d segments, holes %v", len(segments), holes)
		}
		var formats []string
		for _, a := range segments {
			reader, err := r.OpenSegment(a)
			must(t, err)
			list, err := items(reader)
			must(t, err)
			formats = append(formats, fmt.Sprint(reader.Header.Format, len(reader.Trailer.Frames), xids(list)))
			mustIndex(t, r, a)
			p, err := r.OpenPart(ctx, a, Wanted{Tables: []string{`"public"."t"`}})
			must(t, err)
			for {
				if _, err = p.Next(); err != nil {
					break
				}
			}
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
		if want := []string{"1 0 [1]", "1 0 [2]", "2 1 [3]"}; !slices.Equal(formats, want) {
			t.Errorf("%q, want %q", formats, want)
		}
	})
}
