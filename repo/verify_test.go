package repo_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	. "pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/verify"
)

func verified(t testing.TB, r *Repository, opts verify.Options) verify.Report {
	t.Helper()
	report, err := verify.Run(ctx, r, opts)
	must(t, err)
	return report
}

// findings are the names of files that are not in order, with what is wrong.
func findings(v verify.Report) (list []string) {
	for _, f := range v.Reports {
		if f.Outcome != catalog.OutcomeOK {
			list = append(list, f.Outcome+" "+f.Name+": "+f.Reason)
		}
	}
	return list
}

func TestVerify(t *testing.T) {
	eachChain(t, func(t *testing.T, spec string) {
		r := filled(t, spec)
		v := verified(t, r, verify.Options{})
		if v.Outcome != catalog.OutcomeOK || v.Files != 9 || v.FilesRead != 9 || len(v.Strays) != 0 || len(v.Others) != 0 || !v.Recorded {
			t.Errorf("%+v\n%v", v, findings(v))
		}
		last, err := r.Catalog().LastVerification(ctx)
		must(t, err)
		if v.ID = last.ID; last != v.Verification {
			t.Errorf("recorded %+v, reported %+v", last, v.Verification)
		}
	})
}

func TestVerifyFindsDamage(t *testing.T) {
	names := func(r *Repository) (base, dir, segment, open string) {
		all, err := r.Catalog().Artifacts(ctx)
		must(t, err)
		for _, a := range all {
			switch {
			case a.Kind == catalog.KindBase && a.Format == "directory":
				dir = a.Name
			case a.Kind == catalog.KindBase:
				base = a.Name
			case a.State == catalog.StateOpen:
				open = a.Name
			case a.Kind == catalog.KindSegment && segment == "":
				segment = a.Name
			}
		}
		return
	}
	cases := []struct {
		name string
		harm func(t *testing.T, r *Repository)
		want string
	}{
		{"a segment is gone", func(t *testing.T, r *Repository) { _, _, s, _ := names(r); must(t, os.Remove(r.Path(s))) }, "is missing"},
		{"the open segment is cut", func(t *testing.T, r *Repository) { _, _, _, o := names(r); must(t, os.Truncate(r.Path(o), 100)) }, "it has 100 bytes"},
		{"a base is longer", func(t *testing.T, r *Repository) {
			b, _, _, _ := names(r)
			f, err := os.OpenFile(r.Path(b), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("x")
			must(t, errors.Join(err, f.Close()))
		}, "were stored"},
		{"a file of a directory is gone", func(t *testing.T, r *Repository) {
			_, d, _, _ := names(r)
			must(t, os.Remove(filepath.Join(r.Path(d), "1.dat.gz")))
		}, "is missing"},
		{"a file of a directory is another", func(t *testing.T, r *Repository) {
			_, d, _, _ := names(r)
			must(t, os.WriteFile(filepath.Join(r.Path(d), "toc.dat"), []byte("other"), 0o600))
		}, "checksum mismatch of toc.dat"},
		{"the directory's description is another", func(t *testing.T, r *Repository) {
			_, d, _, _ := names(r)
			flip(t, filepath.Join(r.Path(d), DirDescribes), 99)
		}, "checksum mismatch of pg_scribe.txt"},
		{"the metadata file", func(t *testing.T, r *Repository) { flip(t, r.Path(MetadataName), 77) }, "is damaged"},
		{"the last line of the metadata file", func(t *testing.T, r *Repository) {
			text, err := os.ReadFile(r.Path(MetadataName))
			must(t, err)
			flip(t, r.Path(MetadataName), 8*int64(len(text)-3))
		}, "is damaged"},
		{"the catalog counts other rows", func(t *testing.T, r *Repository) {
			s := segmentAt(t, r, 0x10)
			must(t, r.Catalog().DeleteArtifact(ctx, s.ID))
			must(t, r.Catalog().Fill(ctx, catalog.Repository{Format: 1, SystemID: "7", Timeline: 1, Compression: "zstd"},
				[]catalog.Record{{Artifact: s, Tables: []catalog.TableCount{{Table: "public.t", Inserted: 1}}}}))
		}, "rows by table"},
		{"the catalog knows another end", func(t *testing.T, r *Repository) {
			s := segmentAt(t, r, 0x10)
			must(t, r.Catalog().DeleteArtifact(ctx, s.ID))
			s.End++
			must(t, r.Catalog().Fill(ctx, catalog.Repository{Format: 1, SystemID: "7", Timeline: 1, Compression: "zstd"}, []catalog.Record{{Artifact: s}}))
		}, "end is"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := filled(t, "zstd")
			c.harm(t, r)
			v := verified(t, r, verify.Options{})
			list := findings(v)
			if v.Outcome != catalog.OutcomeFailed || v.Failed != 1 || len(list) != 1 || !strings.Contains(list[0], c.want) {
				t.Errorf("outcome %s, %q, want %q", v.Outcome, list, c.want)
			}
			if v.Detail == "" {
				t.Error("no detail is recorded")
			}
		})
	}
}

func TestVerifyStrays(t *testing.T) {
	r := filled(t, "zstd")
	live, err := r.CreateDump(baseHeader(catalog.KindBase), "20261122-000000", filter.Default)
	must(t, err)
	defer live.Abort()
	_, err = live.Write([]byte("-- PostgreSQL database dump complete\n"))
	must(t, err)
	_, err = live.Finish(segment.Trailer{}) // its globals are still being written
	must(t, err)
	for _, name := range []string{"base-20261120-000000.sql.zst", "notes.txt", "base-20261123-000000.sql.zst.partial"} {
		must(t, os.WriteFile(r.Path(name), []byte("x"), 0o600))
	}
	v := verified(t, r, verify.Options{})
	if !slices.Equal(v.Strays, []string{"base-20261120-000000.sql.zst"}) || !slices.Equal(v.Others, []string{"notes.txt"}) || v.Outcome != catalog.OutcomeOK {
		t.Errorf("strays %v, others %v, %s", v.Strays, v.Others, v.Outcome)
	}
}

// A file that was changed and sealed again, with a trailer that fits, is not
// the one that the catalog knows.
func TestTamperedSegmentIsFound(t *testing.T) {
	r := filled(t, "none")
	a := segmentAt(t, r, 0x10)
	text, err := os.ReadFile(r.Path(a.Name))
	must(t, err)
	body, _, _ := strings.Cut(string(text), segment.TrailerLine)
	body = strings.Replace(body, "VALUES ('3')", "VALUES ('9')", 1)
	reader, err := r.OpenSegment(a)
	must(t, err)
	defer reader.Close()
	for err == nil {
		_, err = reader.Next()
	}
	forged, _ := sealed(body, reader.Trailer)
	must(t, os.WriteFile(r.Path(a.Name), []byte(body+forged), 0o600))
	if c, err := verify.Inspect(ctx, r, a.Name, ""); err != nil || c.Record.Artifact.Bytes != a.Bytes {
		t.Fatalf("the forgery is not whole by itself: %v", err)
	}
	v := verified(t, r, verify.Options{})
	if v.Failed != 1 || !strings.Contains(v.Detail, "checksum") {
		t.Errorf("%v", findings(v))
	}
	if err := r.Check(a); !errors.As(err, new(*FormatError)) {
		t.Errorf("Check: %v", err)
	}
}

func TestVerifySubset(t *testing.T) {
	r := filled(t, "zstd")
	all, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	read := func(opts verify.Options) (names []string) {
		for _, f := range verified(t, r, opts).Reports {
			if f.Read && f.Kind != "" {
				names = append(names, f.Name)
			}
		}
		return names
	}
	seen := map[string]int{}
	for part := 1; part <= 3; part++ {
		first, again := read(verify.Options{Subset: verify.Subset{Part: part, Parts: 3}}), read(verify.Options{Subset: verify.Subset{Part: part, Parts: 3}})
		if !slices.Equal(first, again) {
			t.Errorf("part %d is %v, then %v", part, first, again)
		}
		for _, name := range first {
			seen[name]++
		}
	}
	for _, a := range all {
		if seen[a.Name] != 1 {
			t.Errorf("%s is in %d parts", a.Name, seen[a.Name])
		}
	}
	// Run after run goes round: nothing twice before everything once.
	for _, subset := range []verify.Subset{{Percent: 30}, {Bytes: 1500}} {
		r := filled(t, "zstd")
		counts, rounds := map[string]int{}, 0
		for ; len(counts) < len(all) && rounds < 50; rounds++ {
			for _, f := range verified(t, r, verify.Options{Subset: subset}).Reports {
				if f.Read && f.Kind != "" {
					counts[f.Name]++
				}
			}
		}
		if len(counts) != len(all) || rounds < 2 {
			t.Errorf("%s: %v after %d runs", subset, counts, rounds)
		}
		for name, n := range counts {
			if n > 2 {
				t.Errorf("%s: %s was read %d times", subset, name, n)
			}
		}
	}
}

// The repository in testdata was written by the first version, before files
// told of their repository and the catalog of verifications.
func TestFirstFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	must(t, os.CopyFS(dir, os.DirFS("testdata/format-1")))
	r := mustOpen(t, dir)
	if v := verified(t, r, verify.Options{}); v.Outcome != catalog.OutcomeOK || v.Files != 8 || v.FilesRead != 8 || len(v.Holes)+len(v.Strays)+len(v.Others) > 0 {
		t.Errorf("%+v\n%v", v, findings(v))
	}
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil || len(inv.Points) != 1 || inv.Points[0].Name != "half way" {
		t.Errorf("%+v, %v", inv.Points, err)
	}
	old, err := r.Catalog().Repository(ctx)
	must(t, err)
	known, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	must(t, r.Close())
	must(t, os.Remove(r.Path(CatalogName)))
	report := rebuildIn(t, dir, false)
	if len(report.LeftOut) > 0 || !slices.Equal(report.Assumed, []string{"publication pg_scribe", "capture mode guarded", "compression zstd"}) {
		t.Errorf("%+v", report)
	}
	old.DatabaseOID, old.CreatedAt = 0, time.Time{} // nothing in these files tells
	old.Format = segment.FormatVersion
	if report.Repository != old {
		t.Errorf("repository\n%+v\nwas\n%+v", report.Repository, old)
	}
	for i := range known { // nor the moment when a file was complete
		known[i].FinishedAt = time.Time{}
		report.Artifacts[i].FinishedAt = time.Time{}
	}
	if !reflect.DeepEqual(report.Artifacts, known) {
		t.Errorf("artifacts\n%+v\nwere\n%+v", report.Artifacts, known)
	}
}

func TestVerifyStopsWhenAsked(t *testing.T) {
	r := filled(t, "zstd")
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := verify.Run(over, r, verify.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := r.Catalog().LastVerification(ctx); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("a run that was stopped is recorded: %v", err)
	}
}

// The repository in testdata has all that format 2 brought: an index of several
// frames, who ran commands, fingerprints, and a line of a later version.
func TestSecondFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	must(t, os.CopyFS(dir, os.DirFS("testdata/format-2")))
	r := mustOpen(t, dir)
	if v := verified(t, r, verify.Options{}); v.Outcome != catalog.OutcomeOK || v.Files != 9 || v.FilesRead != 9 || len(v.Holes)+len(v.Strays)+len(v.Others) > 0 {
		t.Errorf("%+v\n%v", v, findings(v))
	}
	kinds := map[segment.Kind]int{}
	frames := 0
	segments, err := r.Catalog().Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	for _, a := range segments {
		reader, err := r.OpenSegment(a)
		for err == nil {
			var item segment.Item
			item, err = reader.Next()
			kinds[item.Kind]++
		}
		frames += len(reader.Trailer.Frames)
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
	old, err := r.Catalog().Repository(ctx)
	must(t, err)
	known, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	must(t, r.Close())
	must(t, os.Remove(r.Path(CatalogName)))
	report := rebuildIn(t, dir, false)
	if len(report.LeftOut)+len(report.Assumed) > 0 || report.Repository != old || !reflect.DeepEqual(report.Artifacts, known) {
		t.Errorf("rebuilt\n%+v\nfrom %+v\n%+v", report, old, known)
	}
}
