package repo

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// filled is a repository with two bases, one of them a directory, three sealed
// segments with a mark, a gap and a foreign transaction, and an open one.
func filled(t testing.TB, spec string) *Repository {
	t.Helper()
	r := testRepository(t, spec)
	tick := testClock
	r.now = func() time.Time { tick = tick.Add(time.Second); return tick }
	must(t, r.cat.SetRepository(ctx, catalog.Repository{Format: segment.FormatVersion, SystemID: "7", Timeline: 1, Database: "customers_db", DatabaseOID: 16384,
		Encoding: "UTF8", Collate: "C.UTF-8", CType: "C.UTF-8", LocaleProvider: "libc", ServerVersion: "15.18", Slot: "shop",
		Publication: "a \"name\"", Compression: chain(t, r).String(), Mode: "guarded", CreatedAt: testClock, StreamStart: 8}))
	must(t, r.cat.AddSwitches(ctx, []catalog.Switch{{SystemID: "7", Timeline: 2, Parent: 1, At: 0x999999}, {SystemID: "7", Timeline: 3, Parent: 2, At: 0xFF}}))
	writeBase(t, r, chain(t, r))
	h := segmentHeader(0x10)
	h.Created = r.now()
	w, err := r.CreateSegment(ctx, h)
	must(t, err)
	for n := 2; n < 14; n++ {
		if n%4 != 1 {
			addTx(t, w, n, fmt.Sprintf(`INSERT INTO "public"."t" ("id") OVERRIDING SYSTEM VALUE VALUES ('%d');`, n))
			continue
		}
		addSpecial(t, w, n)
		w, err = w.Next(ctx)
		must(t, err)
		if n == 5 {
			writeDirBase(t, r)
		}
	}
	t.Cleanup(func() { w.Close() })
	addTx(t, w, 300, `INSERT INTO "public"."t" ("id") OVERRIDING SYSTEM VALUE VALUES ('300');`, `INSERT INTO "public"."t" ("id") OVERRIDING SYSTEM VALUE `+
		`VALUES ('301');`)
	must(t, w.Checkpoint(ctx))
	must(t, r.WriteMetadata(ctx, Metadata{Server: "15.18", Encoding: "UTF8"}))
	return r
}

// addSpecial writes a transaction of another server with a mark and a gap.
func addSpecial(t testing.TB, w *SegmentWriter, n int) {
	t.Helper()
	commit, at := txLSN(n), testClock.Add(-time.Hour)
	text := segment.AppendBegin(nil, uint32(n), commit, at)
	text = segment.AppendOrigin(text, "elsewhere", 7)
	text = segment.AppendRestorePoint(text, fmt.Sprint("mark ", n))
	text = segment.AppendGap(text, "lost")
	text = segment.AppendCommit(text, commit+8)
	must(t, w.Write(text))
	w.Add(segment.Stats{End: commit + 8, Transactions: 1, MinXID: uint32(n), MaxXID: uint32(n),
		Points: []catalog.RestorePoint{{Name: fmt.Sprint("mark ", n), LSN: commit, XID: uint32(n), At: at}},
		Gaps:   []catalog.Gap{{Kind: catalog.GapSchema, From: commit, To: commit, DetectedAt: at, Reason: "lost"}}})
}

func writeDirBase(t testing.TB, r *Repository) {
	t.Helper()
	stamp, err := r.Stamp()
	must(t, err)
	h := baseHeader(catalog.KindBase)
	h.Start = 0x58
	w, err := r.CreateDumpDir(h, stamp, append(parseChain(t, "gzip"), chain(t, r).Sealing()...))
	must(t, err)
	defer w.Close()
	for _, name := range []string{"toc.dat", "1.dat.gz", DirListName, DirSettingsIn} {
		must(t, os.WriteFile(filepath.Join(w.Path(), name), []byte("contents of "+name), 0o600))
	}
	base, err := w.Finish(segment.Trailer{Fence: 0x60})
	must(t, err)
	h.Kind = catalog.KindGlobals
	g, err := r.CreateDump(h, stamp, GlobalsChain(chain(t, r)))
	must(t, err)
	defer g.Close()
	_, err = g.Write([]byte(fixture(t, "pg_dumpall-15.sql")))
	must(t, err)
	globals, err := g.Finish(segment.Trailer{})
	must(t, err)
	must(t, r.AddBase(ctx, base, globals))
}

func verify(t testing.TB, r *Repository, opts VerifyOptions) VerifyReport {
	t.Helper()
	report, err := r.Verify(ctx, opts)
	must(t, err)
	return report
}

// findings are the names of files that are not in order, with what is wrong.
func findings(v VerifyReport) (list []string) {
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
		v := verify(t, r, VerifyOptions{})
		if v.Outcome != catalog.OutcomeOK || v.Files != 9 || v.FilesRead != 9 || len(v.Strays) != 0 || len(v.Others) != 0 || !v.Recorded {
			t.Errorf("%+v\n%v", v, findings(v))
		}
		last, err := r.cat.LastVerification(ctx)
		must(t, err)
		if v.ID = last.ID; last != v.Verification {
			t.Errorf("recorded %+v, reported %+v", last, v.Verification)
		}
	})
}

func TestVerifyFindsDamage(t *testing.T) {
	names := func(r *Repository) (base, dir, segment, open string) {
		all, err := r.cat.Artifacts(ctx)
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
			flip(t, filepath.Join(r.Path(d), dirDescribes), 99)
		}, "checksum mismatch of pg_scribe.txt"},
		{"the metadata file", func(t *testing.T, r *Repository) { flip(t, r.Path(MetadataName), 77) }, "is damaged"},
		{"the last line of the metadata file", func(t *testing.T, r *Repository) {
			text, err := os.ReadFile(r.Path(MetadataName))
			must(t, err)
			flip(t, r.Path(MetadataName), 8*int64(len(text)-3))
		}, "is damaged"},
		{"the catalog counts other rows", func(t *testing.T, r *Repository) {
			s := segmentAt(t, r, 0x10)
			must(t, r.cat.DeleteArtifact(ctx, s.ID))
			must(t, r.cat.Fill(ctx, catalog.Repository{Format: 1, SystemID: "7", Timeline: 1, Compression: "zstd"},
				[]catalog.Record{{Artifact: s, Tables: []catalog.TableCount{{Table: "public.t", Inserted: 1}}}}))
		}, "rows by table"},
		{"the catalog knows another end", func(t *testing.T, r *Repository) {
			s := segmentAt(t, r, 0x10)
			must(t, r.cat.DeleteArtifact(ctx, s.ID))
			s.End++
			must(t, r.cat.Fill(ctx, catalog.Repository{Format: 1, SystemID: "7", Timeline: 1, Compression: "zstd"}, []catalog.Record{{Artifact: s}}))
		}, "end is"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := filled(t, "zstd")
			c.harm(t, r)
			v := verify(t, r, VerifyOptions{})
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

// flip changes one bit of a file.
func flip(t testing.TB, path string, bit int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	b[bit/8] ^= 1 << (bit % 8)
	must(t, os.WriteFile(path, b, 0o600))
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
	v := verify(t, r, VerifyOptions{})
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
	if c, err := r.inspect(ctx, a.Name, "", -1); err != nil || c.record.Artifact.Bytes != a.Bytes {
		t.Fatalf("the forgery is not whole by itself: %v", err)
	}
	v := verify(t, r, VerifyOptions{})
	if v.Failed != 1 || !strings.Contains(v.Detail, "checksum") {
		t.Errorf("%v", findings(v))
	}
	if err := r.Check(a); !errors.As(err, new(*FormatError)) {
		t.Errorf("Check: %v", err)
	}
}

func TestVerifySubset(t *testing.T) {
	r := filled(t, "zstd")
	all, err := r.cat.Artifacts(ctx)
	must(t, err)
	read := func(opts VerifyOptions) (names []string) {
		for _, f := range verify(t, r, opts).Reports {
			if f.Read && f.Kind != "" {
				names = append(names, f.Name)
			}
		}
		return names
	}
	seen := map[string]int{}
	for part := 1; part <= 3; part++ {
		first, again := read(VerifyOptions{Subset: Subset{Part: part, Parts: 3}}), read(VerifyOptions{Subset: Subset{Part: part, Parts: 3}})
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
	for _, subset := range []Subset{{Percent: 30}, {Bytes: 1500}} {
		r := filled(t, "zstd")
		counts, rounds := map[string]int{}, 0
		for ; len(counts) < len(all) && rounds < 50; rounds++ {
			for _, f := range verify(t, r, VerifyOptions{Subset: subset}).Reports {
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

// comparable is a catalog without what IDs it gave.
func comparableCatalog(t testing.TB, r *Repository) string {
	t.Helper()
	inv, err := r.cat.Inventory(ctx)
	must(t, err)
	names := map[int64]string{}
	for _, a := range inv.Artifacts {
		names[a.ID] = a.Name
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n", inv.Repository)
	for _, a := range inv.Artifacts {
		counts, err := r.cat.Tables(ctx, a.ID)
		must(t, err)
		pair := names[a.Pair]
		a.Pair = 0
		fmt.Fprintf(&b, "%+v pair %q %+v\n", a, pair, counts)
	}
	fmt.Fprintf(&b, "%+v\n", inv.Switches)
	for _, p := range inv.Points {
		fmt.Fprintf(&b, "%+v\n", p)
	}
	for _, g := range inv.Gaps {
		g.ID = 0
		fmt.Fprintf(&b, "%+v\n", g)
	}
	return b.String()
}

func rebuild(t testing.TB, dir string, force bool) RebuildReport {
	t.Helper()
	report, err := Rebuild(ctx, dir, func() time.Time { return testClock }, RebuildOptions{Force: force, Keys: keysOf(t, testIdentity)})
	must(t, err)
	return report
}

func TestRebuildEqualsTheLostCatalog(t *testing.T) {
	eachChain(t, func(t *testing.T, spec string) {
		r := filled(t, spec)
		must(t, r.Close())
		r = mended(t, r.dir)
		want := comparableCatalog(t, r)
		wantIDs, err := r.cat.Artifacts(ctx)
		must(t, err)
		must(t, r.Close())
		for _, lose := range []func(path string) error{
			os.Remove,
			func(path string) error { return os.Truncate(path, 0) },
			func(path string) error { return os.Truncate(path, 20000) },
			func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("noise"), 5000), 0o600) },
		} {
			must(t, lose(r.Path(CatalogName)))
			_, err := Open(ctx, r.dir, time.Now)
			if damaged := (*DamagedCatalogError)(nil); !errors.As(err, &damaged) {
				t.Fatalf("open: %v", err)
			}
			report := rebuild(t, r.dir, false)
			if len(report.LeftOut) > 0 || len(report.Assumed) > 0 {
				t.Errorf("%+v", report)
			}
			again, err := Open(ctx, r.dir, time.Now)
			must(t, err)
			again.Keys(keysOf(t, testIdentity))
			if got := comparableCatalog(t, again); got != want {
				t.Errorf("rebuilt:\n%s\nwas:\n%s", got, want)
			}
			gotIDs, err := again.cat.Artifacts(ctx)
			must(t, err)
			if !reflect.DeepEqual(gotIDs, wantIDs) {
				t.Errorf("rows\n%+v\nwere\n%+v", gotIDs, wantIDs)
			}
			if v := verify(t, again, VerifyOptions{}); v.Outcome != catalog.OutcomeOK {
				t.Errorf("verify: %v", findings(v))
			}
			must(t, again.Close())
		}
	})
}

// What a dead streamer had left open becomes the sealed segment that the next
// streamer would have made of it.
func TestRebuildSealsTheOpenSegment(t *testing.T) {
	eachChain(t, func(t *testing.T, spec string) {
		r := filled(t, spec)
		w := artifact(t, r, func(a catalog.Artifact) bool { return a.State == catalog.StateOpen })
		f, err := os.OpenFile(r.Path(w.Name), os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("BEGIN; -- xid 9 commit 0/9") // half a transaction, or half a frame
		must(t, errors.Join(err, f.Close(), r.Close()))
		recovered := mended(t, copyDir(t, r.dir))
		must(t, os.Remove(r.Path(CatalogName)))
		report := rebuild(t, r.dir, false)
		rebuilt, err := Open(ctx, r.dir, time.Now)
		must(t, err)
		defer rebuilt.Close()
		rebuilt.Keys(keysOf(t, testIdentity))
		if StemOf(report.Sealed) != StemOf(w.Name) || report.Sealed != segmentAt(t, rebuilt, w.Start).Name || len(report.LeftOut) > 0 {
			t.Errorf("%+v", report)
		}
		text := func(r *Repository) (list []string) {
			list, err := readItems(t, r, segmentAt(t, r, w.Start))
			must(t, err)
			return list
		}
		if got, want := text(rebuilt), text(recovered); !slices.Equal(got, want) {
			t.Errorf("rebuilt\n%q\nrecovered\n%q", got, want)
		}
		got, want := segmentAt(t, rebuilt, w.Start), segmentAt(t, recovered, w.Start)
		got.Bytes, got.SHA256, got.FinishedAt, got.TextBytes, got.TextSHA256 = want.Bytes, want.SHA256, want.FinishedAt, want.TextBytes, want.TextSHA256
		if !reflect.DeepEqual(got, want) {
			t.Errorf("rebuilt\n%+v\nrecovered\n%+v", got, want)
		}
		gotRows, err := rebuilt.cat.Tables(ctx, got.ID)
		must(t, err)
		if wantRows, err := recovered.cat.Tables(ctx, want.ID); err != nil || !slices.Equal(gotRows, wantRows) {
			t.Errorf("rows %+v, want %+v, %v", gotRows, wantRows, err)
		}
		if v := verify(t, rebuilt, VerifyOptions{}); v.Outcome != catalog.OutcomeOK || len(v.Strays) > 0 {
			t.Errorf("verify: %v, strays %v", findings(v), v.Strays)
		}
	})
}

// eachChain is eachCodec with other filters too.
func eachChain(t *testing.T, test func(t *testing.T, spec string)) {
	eachCodec(t, test)
	for _, spec := range []string{"zstd+age", "zstd+f1", "zstd" + apart, "zstd+age" + apart} {
		t.Run(spec, func(t *testing.T) { test(t, spec) })
	}
}

// Nothing is left out for want of a key, and nothing goes on in clear because
// nobody says for whom it was encrypted.
func TestRebuildOfWhatIsEncrypted(t *testing.T) {
	r := filled(t, "zstd+age")
	must(t, r.Close())
	r = mended(t, r.dir)
	want := chain(t, r)
	must(t, r.Close())
	must(t, os.Remove(r.Path(CatalogName)))
	for fault, keys := range map[filter.KeyFault]*filter.Keys{filter.KeyMissing: nil, filter.KeyWrong: keysOf(t, otherIdentity)} {
		_, err := Rebuild(ctx, r.dir, time.Now, RebuildOptions{Keys: keys})
		if key := (*filter.KeyError)(nil); !errors.As(err, &key) || key.Fault != fault {
			t.Errorf("%s: %v", fault, err)
		}
	}
	rebuild(t, r.dir, false)
	again := mended(t, r.dir)
	if got := chain(t, again); !reflect.DeepEqual(got, want) {
		t.Errorf("by the metadata file: %v, want %v", got, want)
	}
	must(t, again.Close())
	for _, name := range []string{CatalogName, MetadataName} {
		must(t, os.Remove(r.Path(name)))
	}
	_, err := Rebuild(ctx, r.dir, time.Now, RebuildOptions{Keys: keysOf(t, testIdentity)})
	if unknown := (*FiltersUnknownError)(nil); !errors.As(err, &unknown) || unknown.Filters != want.String() {
		t.Errorf("without: %v", err)
	}
	_, err = Rebuild(ctx, r.dir, time.Now, RebuildOptions{Chain: want})
	if key := (*filter.KeyError)(nil); !errors.As(err, &key) || key.Fault != filter.KeyMissing {
		t.Errorf("without a key: %v", err)
	}
	if left, _ := filepath.Glob(r.Path(CatalogName + "*")); slices.ContainsFunc(left, func(path string) bool { return !strings.Contains(path, ".old-") }) {
		t.Errorf("left: %q", left)
	}
	_, err = Rebuild(ctx, r.dir, time.Now, RebuildOptions{Keys: keysOf(t, testIdentity), Chain: want})
	must(t, err)
	again = mended(t, r.dir)
	defer again.Close()
	if got := chain(t, again); !reflect.DeepEqual(got, want) {
		t.Errorf("by what was given: %v, want %v", got, want)
	}
}

// An interrupted Reencrypt leaves two files of one text. One counts, the other
// goes with the next one.
func TestRebuildTakesOneOfTwo(t *testing.T) {
	for _, step := range []string{"rewritten", "replaced"} {
		r := filled(t, "zstd")
		must(t, r.Close())
		r = mended(t, r.dir)
		must(t, r.SetChain(ctx, parseChain(t, chains["zstd+age"]...)))
		must(t, r.RefreshMetadata(ctx))
		died := errors.New("died")
		n := 0
		r.hook = func(s string) error {
			if s == step {
				if n++; n == 3 { // the directory base
					return died
				}
			}
			return nil
		}
		if err := r.Reencrypt(ctx, func(Rewritten) {}); !errors.Is(err, died) {
			t.Fatal(err)
		}
		before := len(mustArtifacts(t, r))
		must(t, r.Close())
		must(t, os.Remove(r.Path(CatalogName)))
		if report := rebuild(t, r.dir, false); len(report.LeftOut) > 0 || len(report.Artifacts) != before {
			t.Errorf("%s: %+v", step, report)
		}
		again := mended(t, r.dir)
		must(t, again.Reencrypt(ctx, func(Rewritten) {}))
		if v := verify(t, again, VerifyOptions{}); v.Outcome != catalog.OutcomeOK || len(v.Strays)+len(v.Others) > 1 {
			t.Errorf("%s: %v, strays %v, others %v", step, findings(v), v.Strays, v.Others)
		}
		for _, a := range mustArtifacts(t, again) {
			if !strings.HasSuffix(a.Name, ".age") {
				t.Errorf("%s: %s", step, a.Name)
			}
		}
		must(t, again.Close())
	}
}

func mustArtifacts(t testing.TB, r *Repository) []catalog.Artifact {
	t.Helper()
	all, err := r.cat.Artifacts(ctx)
	must(t, err)
	return all
}

func TestRebuildRefusesAndKeeps(t *testing.T) {
	r := filled(t, "zstd")
	must(t, r.cat.SetPin(ctx, artifact(t, r, func(a catalog.Artifact) bool { return a.Kind == catalog.KindBase && a.Start == 0x10 }).Name, "audit"))
	must(t, r.cat.SetSetting(ctx, "state role", "{}"))
	must(t, r.Close())
	db, err := sql.Open("sqlite", r.Path(CatalogName))
	must(t, err)
	_, err = db.Exec("UPDATE gap SET acknowledged_at = 1")
	must(t, errors.Join(err, db.Close()))
	r = mended(t, r.dir)
	want, dir := comparableCatalog(t, r), r.dir
	must(t, r.Close())
	release, err := r.LockStreamer()
	must(t, err)
	if _, err := Rebuild(ctx, dir, time.Now, RebuildOptions{}); !errors.As(err, new(*BusyError)) {
		t.Fatalf("beside a streamer: %v", err)
	}
	release()
	if _, err := Rebuild(ctx, dir, time.Now, RebuildOptions{}); !errors.As(err, new(*HealthyCatalogError)) {
		t.Fatalf("a catalog that is whole: %v", err)
	}
	flipName := segmentAt(t, mustOpen(t, dir), txLSN(5)+8).Name
	report := rebuild(t, dir, true)
	rebuilt := mustOpen(t, dir)
	if got := comparableCatalog(t, rebuilt); got != want {
		t.Errorf("rebuilt:\n%s\nwas:\n%s", got, want)
	}
	if v, known, err := rebuilt.cat.Setting(ctx, "state role"); v != "{}" || !known || err != nil {
		t.Errorf("settings are lost: %q, %v", v, err)
	}
	if _, err := os.Stat(filepath.Join(dir, report.Old)); report.Old == "" || err != nil {
		t.Errorf("the old catalog %q: %v", report.Old, err)
	}
	// A damaged file is left out, and stays.
	flip(t, filepath.Join(dir, flipName), 800)
	must(t, rebuilt.Close())
	report = rebuild(t, dir, true)
	if len(report.LeftOut) != 1 || report.LeftOut[0].Name != flipName {
		t.Errorf("left out: %+v", report.LeftOut)
	}
	if _, err := os.Stat(filepath.Join(dir, flipName)); err != nil {
		t.Error(err)
	}
	if v := verify(t, mustOpen(t, dir), VerifyOptions{}); !slices.Equal(v.Strays, []string{flipName}) || len(v.Holes) != 1 {
		t.Errorf("strays %v, holes %v", v.Strays, v.Holes)
	}
	// A base that is being written is not to be lost.
	live, err := mustOpen(t, dir).CreateDump(baseHeader(catalog.KindBase), "20261122-000000", filter.Default)
	must(t, err)
	defer live.Abort()
	if _, err := Rebuild(ctx, dir, time.Now, RebuildOptions{Force: true}); !errors.As(err, new(*BeingWrittenError)) {
		t.Errorf("beside a dump: %v", err)
	}
	if _, err := Rebuild(ctx, t.TempDir(), time.Now, RebuildOptions{Force: true}); !errors.As(err, new(*NotRepositoryError)) {
		t.Errorf("an empty directory: %v", err)
	}
}

// mended opens a directory as the next streamer does, and lets it go again.
func mended(t testing.TB, dir string) *Repository {
	t.Helper()
	r := mustOpen(t, dir)
	release, err := r.LockStreamer()
	must(t, err)
	defer release()
	must(t, r.Recover(ctx))
	return r
}

func mustOpen(t testing.TB, dir string) *Repository {
	t.Helper()
	r, err := Open(ctx, dir, func() time.Time { return testClock })
	must(t, err)
	t.Cleanup(func() { r.Close() })
	r.Keys(keysOf(t, testIdentity))
	return r
}

// Whenever removing is interrupted, the catalog knows only what is there, and
// the next one to come takes what is left.
func TestRemoveIsCrashSafe(t *testing.T) {
	halted := errors.New("halted")
	for step := 0; ; step++ {
		r := filled(t, "zstd")
		var goes []catalog.Artifact
		all, err := r.cat.Artifacts(ctx)
		must(t, err)
		for _, a := range all {
			if a.Start == 0x10 {
				goes = append(goes, a)
			}
		}
		if len(goes) != 3 {
			t.Fatalf("%+v", goes)
		}
		n := 0
		r.hook = func(string) error {
			if n++; n == step {
				return halted
			}
			return nil
		}
		done, err := r.Remove(ctx, goes)
		if step > 0 && n >= step && !errors.Is(err, halted) {
			t.Fatalf("step %d: %v", step, err)
		}
		r.hook = nil
		if v := verify(t, r, VerifyOptions{}); v.Outcome != catalog.OutcomeOK || len(v.Strays) > 0 {
			t.Errorf("step %d: %v, strays %v", step, findings(v), v.Strays)
		}
		must(t, r.Close())
		r = mended(t, r.dir)
		for _, a := range goes {
			known, err := r.Knows(a.Name)
			must(t, err)
			if _, err := os.Stat(r.Path(a.Name)); known || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("step %d: %s: known %v, %v", step, a.Name, known, err)
			}
		}
		if left, err := r.cat.Removals(ctx); len(left) > 0 || err != nil {
			t.Errorf("step %d: still to remove %v, %v", step, left, err)
		}
		must(t, r.Close())
		if step > n {
			if len(done.Removed) != 3 || n < 4 {
				t.Errorf("removed %+v in %d steps", done, n)
			}
			return
		}
	}
}

func TestRemoveLeavesWhatIsRead(t *testing.T) {
	r := filled(t, "zstd")
	all, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	must(t, err)
	release, err := r.Hold(all[1])
	must(t, err)
	done, err := r.Remove(ctx, all[:3])
	must(t, err)
	if len(done.Removed) != 1 || done.Removed[0].ID != all[0].ID || len(done.InUse) != 2 {
		t.Errorf("%+v", done)
	}
	later := all[2] // the chain may lead on to another timeline
	later.Timeline++
	if done, err = r.Remove(ctx, []catalog.Artifact{all[1], later}); err != nil || len(done.InUse) != 2 {
		t.Errorf("across timelines: %+v, %v", done, err)
	}
	release()
	base := artifact(t, r, func(a catalog.Artifact) bool { return a.Format == "directory" })
	globals := artifact(t, r, func(a catalog.Artifact) bool { return a.Pair == base.ID })
	for _, held := range []catalog.Artifact{base, globals} {
		release, err := r.Hold(held)
		must(t, err)
		if done, err := r.Remove(ctx, []catalog.Artifact{base, globals}); err != nil || len(done.InUse) != 2 {
			t.Errorf("%s held: %+v, %v", held.Name, done, err)
		}
		release()
	}
	done, err = r.Remove(ctx, append(all[1:3], base, globals))
	if err != nil || len(done.Removed) != 4 || len(done.InUse) != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := r.Hold(all[1]); !errors.As(err, new(*MissingFileError)) {
		t.Errorf("held after it was removed: %v", err)
	}
	if v := verify(t, r, VerifyOptions{}); v.Outcome != catalog.OutcomeOK {
		t.Errorf("%v", findings(v))
	}
	text, err := os.ReadFile(r.Path(MetadataName))
	if err != nil || strings.Contains(string(text), base.Name) || !strings.Contains(string(text), "  base-20261121-015759.sql.zst  point 0/10") {
		t.Errorf("%v, the metadata file says\n%s", err, text)
	}
}

// The repository in testdata was written by the first version, before files
// told of their repository and the catalog of verifications.
func TestFirstFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	must(t, os.CopyFS(dir, os.DirFS("testdata/format-1")))
	r := mustOpen(t, dir)
	if v := verify(t, r, VerifyOptions{}); v.Outcome != catalog.OutcomeOK || v.Files != 8 || v.FilesRead != 8 || len(v.Holes)+len(v.Strays)+len(v.Others) > 0 {
		t.Errorf("%+v\n%v", v, findings(v))
	}
	inv, err := r.cat.Inventory(ctx)
	if err != nil || len(inv.Points) != 1 || inv.Points[0].Name != "half way" {
		t.Errorf("%+v, %v", inv.Points, err)
	}
	old, err := r.cat.Repository(ctx)
	must(t, err)
	known, err := r.cat.Artifacts(ctx)
	must(t, err)
	must(t, r.Close())
	must(t, os.Remove(r.Path(CatalogName)))
	report := rebuild(t, dir, false)
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
	if _, err := r.Verify(over, VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := r.cat.LastVerification(ctx); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("a run that was stopped is recorded: %v", err)
	}
}
