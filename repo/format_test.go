package repo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
)

// The repository in testdata has all that format 2 brought: an index of several
// frames, who ran commands, fingerprints, and a line of a later version.
func TestSecondFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	must(t, os.CopyFS(dir, os.DirFS("testdata/format-2")))
	r := mustOpen(t, dir)
	if v := verify(t, r, VerifyOptions{}); v.Outcome != catalog.OutcomeOK || v.Files != 9 || v.FilesRead != 9 || len(v.Holes)+len(v.Strays)+len(v.Others) > 0 {
		t.Errorf("%+v\n%v", v, findings(v))
	}
	kinds := map[segment.Kind]int{}
	frames := 0
	segments, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	for _, a := range segments {
		x, err := r.openIndexed(ctx, a, new(atomic.Int64))
		must(t, err)
		must(t, x.file.Close())
		frames += len(x.trailer.Frames)
		reader, err := r.OpenSegment(a)
		for err == nil {
			var item segment.Item
			item, err = reader.Next()
			kinds[item.Kind]++
		}
		if !errors.Is(err, io.EOF) || reader.Header.Format != 2 {
			t.Errorf("%s of format %d: %v", a.Name, reader.Header.Format, err)
		}
	}
	if frames != 6 || kinds[segment.Author] < 4 || kinds[segment.Object] != 3 || kinds[segment.FrameStart] != 3 || kinds[segment.RestorePoint] != 1 {
		t.Errorf("%d frames, items %v", frames, kinds)
	}
	p, err := r.OpenPart(ctx, segments[3], Wanted{From: segments[3].Start + 32, To: segments[3].Start + 33})
	must(t, err)
	if got, _ := partXIDs(t, p); !slices.Equal(got, []int{900_001}) {
		t.Errorf("transactions %v", got)
	}
	old, err := r.cat.Repository(ctx)
	must(t, err)
	known, err := r.cat.Artifacts(ctx)
	must(t, err)
	must(t, r.Close())
	must(t, os.Remove(r.Path(CatalogName)))
	report := rebuild(t, dir, false)
	if len(report.LeftOut)+len(report.Assumed) > 0 || report.Repository != old || !reflect.DeepEqual(report.Artifacts, known) {
		t.Errorf("rebuilt\n%+v\nfrom %+v\n%+v", report, old, known)
	}
}

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
			if _, err := r.inspect(ctx, a.Name, a.Filters, -1); err != nil {
				t.Error(err)
			}
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
