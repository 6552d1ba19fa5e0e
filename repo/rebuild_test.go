package repo_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
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
	"pg_scribe/repo/rebuild"
	"pg_scribe/repo/verify"
)

// comparable is a catalog without what IDs it gave.
func comparableCatalog(t testing.TB, r *Repository) string {
	t.Helper()
	inv, err := r.Catalog().Inventory(ctx)
	must(t, err)
	names := map[int64]string{}
	for _, a := range inv.Artifacts {
		names[a.ID] = a.Name
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n", inv.Repository)
	for _, a := range inv.Artifacts {
		counts, err := r.Catalog().Tables(ctx, a.ID)
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

func rebuildIn(t testing.TB, dir string, force bool) rebuild.Report {
	t.Helper()
	report, err := rebuild.Run(ctx, dir, func() time.Time { return testClock }, rebuild.Options{Force: force, Keys: keysOf(t, testIdentity)})
	must(t, err)
	return report
}

func TestRebuildEqualsTheLostCatalog(t *testing.T) {
	eachChain(t, func(t *testing.T, spec string) {
		r := filled(t, spec)
		must(t, r.Close())
		r = mended(t, r.Dir())
		want := comparableCatalog(t, r)
		wantIDs, err := r.Catalog().Artifacts(ctx)
		must(t, err)
		must(t, r.Close())
		for _, lose := range []func(path string) error{
			os.Remove,
			func(path string) error { return os.Truncate(path, 0) },
			func(path string) error { return os.Truncate(path, 20000) },
			func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("noise"), 5000), 0o600) },
		} {
			must(t, lose(r.Path(CatalogName)))
			_, err := Open(ctx, r.Dir(), time.Now)
			if damaged := (*DamagedCatalogError)(nil); !errors.As(err, &damaged) {
				t.Fatalf("open: %v", err)
			}
			report := rebuildIn(t, r.Dir(), false)
			if len(report.LeftOut) > 0 || len(report.Assumed) > 0 {
				t.Errorf("%+v", report)
			}
			again, err := Open(ctx, r.Dir(), time.Now)
			must(t, err)
			again.Keys(keysOf(t, testIdentity))
			if got := comparableCatalog(t, again); got != want {
				t.Errorf("rebuilt:\n%s\nwas:\n%s", got, want)
			}
			gotIDs, err := again.Catalog().Artifacts(ctx)
			must(t, err)
			if !reflect.DeepEqual(gotIDs, wantIDs) {
				t.Errorf("rows\n%+v\nwere\n%+v", gotIDs, wantIDs)
			}
			if v := verified(t, again, verify.Options{}); v.Outcome != catalog.OutcomeOK {
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
		recovered := mended(t, copyDir(t, r.Dir()))
		must(t, os.Remove(r.Path(CatalogName)))
		report := rebuildIn(t, r.Dir(), false)
		rebuilt, err := Open(ctx, r.Dir(), time.Now)
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
		gotRows, err := rebuilt.Catalog().Tables(ctx, got.ID)
		must(t, err)
		if wantRows, err := recovered.Catalog().Tables(ctx, want.ID); err != nil || !slices.Equal(gotRows, wantRows) {
			t.Errorf("rows %+v, want %+v, %v", gotRows, wantRows, err)
		}
		if v := verified(t, rebuilt, verify.Options{}); v.Outcome != catalog.OutcomeOK || len(v.Strays) > 0 {
			t.Errorf("verify: %v, strays %v", findings(v), v.Strays)
		}
	})
}

// Nothing is left out for want of a key, and nothing goes on in clear because
// nobody says for whom it was encrypted.
func TestRebuildOfWhatIsEncrypted(t *testing.T) {
	r := filled(t, "zstd+age")
	must(t, r.Close())
	r = mended(t, r.Dir())
	want := chain(t, r)
	must(t, r.Close())
	must(t, os.Remove(r.Path(CatalogName)))
	for fault, keys := range map[filter.KeyFault]*filter.Keys{filter.KeyMissing: nil, filter.KeyWrong: keysOf(t, otherIdentity)} {
		_, err := rebuild.Run(ctx, r.Dir(), time.Now, rebuild.Options{Keys: keys})
		if key := (*filter.KeyError)(nil); !errors.As(err, &key) || key.Fault != fault {
			t.Errorf("%s: %v", fault, err)
		}
	}
	rebuildIn(t, r.Dir(), false)
	again := mended(t, r.Dir())
	if got := chain(t, again); !reflect.DeepEqual(got, want) {
		t.Errorf("by the metadata file: %v, want %v", got, want)
	}
	must(t, again.Close())
	for _, name := range []string{CatalogName, MetadataName} {
		must(t, os.Remove(r.Path(name)))
	}
	_, err := rebuild.Run(ctx, r.Dir(), time.Now, rebuild.Options{Keys: keysOf(t, testIdentity)})
	if unknown := (*rebuild.FiltersUnknownError)(nil); !errors.As(err, &unknown) || unknown.Filters != want.String() {
		t.Errorf("without: %v", err)
	}
	_, err = rebuild.Run(ctx, r.Dir(), time.Now, rebuild.Options{Chain: want})
	if key := (*filter.KeyError)(nil); !errors.As(err, &key) || key.Fault != filter.KeyMissing {
		t.Errorf("without a key: %v", err)
	}
	if left, _ := filepath.Glob(r.Path(CatalogName + "*")); slices.ContainsFunc(left, func(path string) bool { return !strings.Contains(path, ".old-") }) {
		t.Errorf("left: %q", left)
	}
	_, err = rebuild.Run(ctx, r.Dir(), time.Now, rebuild.Options{Keys: keysOf(t, testIdentity), Chain: want})
	must(t, err)
	again = mended(t, r.Dir())
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
		r = mended(t, r.Dir())
		must(t, r.SetChain(ctx, parseChain(t, Chains["zstd+age"]...)))
		must(t, r.RefreshMetadata(ctx))
		died := errors.New("died")
		n := 0
		r.SetFailpoint(func(s string) error {
			if s == step {
				if n++; n == 3 { // the directory base
					return died
				}
			}
			return nil
		})
		if err := r.Reencrypt(ctx, func(Rewritten) {}); !errors.Is(err, died) {
			t.Fatal(err)
		}
		before := len(mustArtifacts(t, r))
		must(t, r.Close())
		must(t, os.Remove(r.Path(CatalogName)))
		if report := rebuildIn(t, r.Dir(), false); len(report.LeftOut) > 0 || len(report.Artifacts) != before {
			t.Errorf("%s: %+v", step, report)
		}
		again := mended(t, r.Dir())
		must(t, again.Reencrypt(ctx, func(Rewritten) {}))
		if v := verified(t, again, verify.Options{}); v.Outcome != catalog.OutcomeOK || len(v.Strays)+len(v.Others) > 1 {
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

func TestRebuildRefusesAndKeeps(t *testing.T) {
	r := filled(t, "zstd")
	must(t, r.Catalog().SetPin(ctx, artifact(t, r, func(a catalog.Artifact) bool { return a.Kind == catalog.KindBase && a.Start == 0x10 }).Name, "audit"))
	must(t, r.Catalog().SetSetting(ctx, "state role", "{}"))
	must(t, r.Close())
	db, err := sql.Open("sqlite", r.Path(CatalogName))
	must(t, err)
	_, err = db.Exec("UPDATE gap SET acknowledged_at = 1")
	must(t, errors.Join(err, db.Close()))
	r = mended(t, r.Dir())
	want, dir := comparableCatalog(t, r), r.Dir()
	must(t, r.Close())
	release, err := r.LockStreamer()
	must(t, err)
	if _, err := rebuild.Run(ctx, dir, time.Now, rebuild.Options{}); !errors.As(err, new(*BusyError)) {
		t.Fatalf("beside a streamer: %v", err)
	}
	release()
	if _, err := rebuild.Run(ctx, dir, time.Now, rebuild.Options{}); !errors.As(err, new(*rebuild.HealthyCatalogError)) {
		t.Fatalf("a catalog that is whole: %v", err)
	}
	flipName := segmentAt(t, mustOpen(t, dir), txLSN(5)+8).Name
	report := rebuildIn(t, dir, true)
	rebuilt := mustOpen(t, dir)
	if got := comparableCatalog(t, rebuilt); got != want {
		t.Errorf("rebuilt:\n%s\nwas:\n%s", got, want)
	}
	if v, known, err := rebuilt.Catalog().Setting(ctx, "state role"); v != "{}" || !known || err != nil {
		t.Errorf("settings are lost: %q, %v", v, err)
	}
	if _, err := os.Stat(filepath.Join(dir, report.Old)); report.Old == "" || err != nil {
		t.Errorf("the old catalog %q: %v", report.Old, err)
	}
	// A damaged file is left out, and stays.
	flip(t, filepath.Join(dir, flipName), 800)
	must(t, rebuilt.Close())
	report = rebuildIn(t, dir, true)
	if len(report.LeftOut) != 1 || report.LeftOut[0].Name != flipName {
		t.Errorf("left out: %+v", report.LeftOut)
	}
	if _, err := os.Stat(filepath.Join(dir, flipName)); err != nil {
		t.Error(err)
	}
	if v := verified(t, mustOpen(t, dir), verify.Options{}); !slices.Equal(v.Strays, []string{flipName}) || len(v.Holes) != 1 {
		t.Errorf("strays %v, holes %v", v.Strays, v.Holes)
	}
	// A base that is being written is not to be lost.
	live, err := mustOpen(t, dir).CreateDump(baseHeader(catalog.KindBase), "20261122-000000", filter.Default)
	must(t, err)
	defer live.Abort()
	if _, err := rebuild.Run(ctx, dir, time.Now, rebuild.Options{Force: true}); !errors.As(err, new(*BeingWrittenError)) {
		t.Errorf("beside a dump: %v", err)
	}
	if _, err := rebuild.Run(ctx, t.TempDir(), time.Now, rebuild.Options{Force: true}); !errors.As(err, new(*NotRepositoryError)) {
		t.Errorf("an empty directory: %v", err)
	}
}
