package repo_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	. "pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/rebuild"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/verify"
)

// stepDir calls look with each step that r comes to.
func stepDir(r *Repository, look func(step string)) {
	r.SetFailpoint(func(step string) error { look(step); return nil })
}

// mustBeOpaque fails when anything in a directory, but what leads elsewhere, is
// not encrypted.
func mustBeOpaque(t *testing.T, dir, when string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name := d.Name()
		if bytes.Contains(b, []byte("precious")) {
			t.Errorf("%s: %s is readable", when, path)
		}
		plain := name == SpoolName || strings.HasPrefix(name, MetadataName) || strings.HasSuffix(name, ".lock")
		if !plain && !strings.HasSuffix(strings.TrimSuffix(name, PartialSuffix), ".age") {
			t.Errorf("%s: %s is not encrypted", when, path)
		}
		return err
	}))
}

// With its working files elsewhere, the directory of an encrypted repository
// never holds anything readable, at no step of anything that writes there.
func TestWorkingFilesApart(t *testing.T) {
	r := testRepository(t, "zstd+age"+apart)
	look := func(step string) { mustBeOpaque(t, r.Dir(), step) }
	stepDir(r, look)
	must(t, r.WriteMetadata(ctx, Metadata{Server: "15.18", Encoding: "UTF8", Extensions: []string{"precious 1.0"}}))
	writeBase(t, r, chain(t, r))
	d, err := r.CreateDumpDir(baseHeader(catalog.KindBase), "20261124-000000", chain(t, r))
	must(t, err)
	defer d.Close()
	for _, name := range []string{"toc.dat", "1.dat", DirListName, DirSettingsIn} {
		must(t, os.WriteFile(filepath.Join(d.Path(), name), []byte("precious"), 0o644))
	}
	look("pg_dump has written")
	a, err := d.Finish(segment.Trailer{})
	must(t, err)
	look("the directory is finished")
	must(t, r.AddBase(ctx, a, catalog.Artifact{}))
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 'precious';")
	must(t, w.Checkpoint(ctx))
	w, err = w.Next(ctx)
	must(t, err)
	defer w.Close()
	addTx(t, w, 2, "SELECT 'precious';")
	must(t, w.Checkpoint(ctx))

	info, err := os.Stat(r.SpoolDir())
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %o", r.SpoolDir(), info.Mode())
	}
	names, err := FileNames(r.SpoolDir())
	must(t, err)
	if want := []string{CatalogName, filepath.Base(r.Path(w.Name())), OwnerName}; !slices.Equal(names, want) {
		t.Errorf("the folder holds %q, want %q", names, want)
	}
	r.SetFailpoint(nil)
	if v := verified(t, r, verify.Options{}); v.Outcome != catalog.OutcomeOK || len(v.Strays) > 0 || len(v.Others) > 0 {
		t.Errorf("%v, strays %q, others %q", findings(v), v.Strays, v.Others)
	}
	// What should not be there is not passed over.
	must(t, os.WriteFile(filepath.Join(r.Dir(), w.Name()), nil, 0o600))
	if v := verified(t, r, verify.Options{}); !slices.Equal(v.Others, []string{w.Name()}) {
		t.Errorf("others %q", v.Others)
	}
	must(t, r.Undo())
	for _, dir := range []string{r.Dir(), r.SpoolDir()} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	}
}

// What pg_dump was writing when it died goes; while it lives it stays, and
// nobody rebuilds the catalog.
func TestSweepOfWorkingFiles(t *testing.T) {
	r := testRepository(t, "zstd+age"+apart)
	writeBase(t, r, chain(t, r))
	live, err := r.CreateDumpDir(baseHeader(catalog.KindBase), "20261124-000000", chain(t, r))
	must(t, err)
	defer live.Abort()
	dead := r.Path("base-20261125-000000.dir.age" + ClearSuffix)
	must(t, os.Mkdir(dead, 0o700))
	must(t, os.WriteFile(filepath.Join(dead, "toc.dat"), []byte("precious"), 0o600))
	stray := r.Path("incremental-0000000000000010.sql.zst.open")
	must(t, os.WriteFile(stray, []byte("precious"), 0o600))
	must(t, r.Recover(ctx))
	for _, path := range []string{dead, stray} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
	if _, err := os.Stat(live.Path()); err != nil || filepath.Dir(live.Path()) != r.SpoolDir() {
		t.Errorf("the living one: %v", err)
	}
	var writing *BeingWrittenError
	if _, err := rebuild.Run(ctx, r.Dir(), r.Now, rebuild.Options{Force: true}); !errors.As(err, &writing) || writing.Name != "base-20261124-000000.dir.age" {
		t.Errorf("Rebuild gives %v", err)
	}
}

// Aborted at any moment, nothing of a directory is left, here or there.
func TestAbortOfDirectoryApart(t *testing.T) {
	r := testRepository(t, "zstd+age"+apart)
	before, err := r.Names()
	must(t, err)
	for _, stop := range []string{"written", "finished"} {
		w, err := r.CreateDumpDir(baseHeader(catalog.KindBase), "20261124-000000", chain(t, r))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(w.Path(), "toc.dat"), []byte("precious"), 0o644))
		if stop == "finished" {
			_, err = w.Finish(segment.Trailer{})
			must(t, err)
		}
		w.Abort()
		if after, err := r.Names(); err != nil || !slices.Equal(after, before) {
			t.Errorf("%s: %q, before %q (%v)", stop, after, before, err)
		}
	}
}

// A folder that is not there, because its file system is not mounted, is told
// and not made anew. When it is back, everything is.
func TestSpoolMissing(t *testing.T) {
	r := filled(t, "zstd+age"+apart)
	end, err := r.End(ctx)
	must(t, err)
	must(t, r.Close())
	away := filepath.Join(t.TempDir(), "away")
	must(t, os.Rename(r.SpoolDir(), away))
	for name, open := range map[string]func() error{
		"Open":         func() error { _, err := Open(ctx, r.Dir(), r.Now); return err },
		"OpenReadOnly": func() error { _, err := OpenReadOnly(ctx, r.Dir()); return err },
		"Rebuild":      func() error { _, err := rebuild.Run(ctx, r.Dir(), r.Now, rebuild.Options{Force: true}); return err },
	} {
		var missing *SpoolMissingError
		if err := open(); !errors.As(err, &missing) || missing.Spool != r.SpoolDir() {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if err := CheckEmpty(r.Dir()); err == nil {
		t.Error("the directory counts as empty")
	}
	if _, err := os.Lstat(r.SpoolDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made in its place (%v)", err)
	}
	if names, err := FileNames(r.Dir()); err != nil || slices.ContainsFunc(names, IsWorking) {
		t.Errorf("the directory holds %q (%v)", names, err)
	}
	must(t, os.Rename(away, r.SpoolDir()))
	again := mended(t, r.Dir())
	if got, err := again.End(ctx); got != end || err != nil {
		t.Errorf("End() = %s %v, was %s", got, err, end)
	}
}

// A folder that is lost for good takes the open segment with it: the
// repository ends where the last sealed one does, so that the server's position
// tells what is missing. Nothing takes the old folder's place unasked.
func TestSpoolLost(t *testing.T) {
	r := filled(t, "zstd+age"+apart)
	open := artifact(t, r, func(a catalog.Artifact) bool { return a.State == catalog.StateOpen })
	acknowledged, err := r.End(ctx)
	must(t, err)
	must(t, r.Close())
	must(t, os.RemoveAll(r.SpoolDir()))
	other := t.TempDir()
	// Without the key it ends; then the same again does.
	if _, err := rebuild.Run(ctx, r.Dir(), r.Now, rebuild.Options{Spool: other}); !errors.As(err, new(*filter.KeyError)) {
		t.Errorf("without a key: %v", err)
	}
	report, err := rebuild.Run(ctx, r.Dir(), r.Now, rebuild.Options{Keys: keysOf(t, testIdentity), Spool: other})
	must(t, err)
	if len(report.LeftOut) > 0 {
		t.Errorf("%+v", report)
	}
	again := mended(t, r.Dir())
	if filepath.Dir(again.SpoolDir()) != other {
		t.Errorf("the folder is %s", again.SpoolDir())
	}
	if end, err := again.End(ctx); err != nil || end != open.Start || end >= acknowledged {
		t.Errorf("End() = %s %v, the open segment began at %s and came to %s", end, err, open.Start, acknowledged)
	}
	if made, err := FileNames(other); len(made) != 1 || err != nil {
		t.Errorf("folders %q (%v)", made, err)
	}
	mustBeOpaque(t, again.Dir(), "rebuilt")
	if _, err := rebuild.Run(ctx, r.Dir(), r.Now, rebuild.Options{Keys: keysOf(t, testIdentity), Spool: t.TempDir()}); !errors.As(err, new(*SpoolUnfitError)) {
		t.Errorf("a second time: %v", err)
	}
}

// The open segment alone is lost: never less than was stored, in silence.
func TestOpenSegmentLostApart(t *testing.T) {
	r := filled(t, "zstd"+apart)
	open := artifact(t, r, func(a catalog.Artifact) bool { return a.State == catalog.StateOpen })
	// A sealed one that no catalog knows must not be taken for it.
	must(t, os.WriteFile(r.Path(SealedName(open.Name)), []byte("another"), 0o600))
	must(t, os.Remove(r.Path(open.Name)))
	var missing *MissingFileError
	if err := r.Recover(ctx); !errors.As(err, &missing) || missing.Name != open.Name {
		t.Errorf("Recover gives %v", err)
	}
	if _, err := r.OpenSegment(open); !errors.As(err, &missing) {
		t.Errorf("OpenSegment gives %v", err)
	}
	if b, err := os.ReadFile(r.Path(SealedName(open.Name))); string(b) != "another" || err != nil {
		t.Errorf("the other file: %q %v", b, err)
	}
}

// A copy of the directory leads to the same folder. It may not write there,
// nor may the original after the copy has; one that was moved may.
func TestCopyOfDirectoryWithSpool(t *testing.T) {
	r := filled(t, "zstd"+apart)
	must(t, r.Close())
	copied := filepath.Join(t.TempDir(), "copied")
	must(t, os.CopyFS(copied, os.DirFS(r.Dir())))
	var taken *SpoolTakenError
	if _, err := Open(ctx, copied, r.Now); !errors.As(err, &taken) || taken.Owner != r.Dir() {
		t.Errorf("Open of a copy gives %v", err)
	}
	if _, err := OpenReadOnly(ctx, copied); !errors.As(err, &taken) {
		t.Errorf("OpenReadOnly of a copy gives %v", err)
	}
	if _, err := rebuild.Run(ctx, copied, r.Now, rebuild.Options{Force: true}); !errors.As(err, &taken) {
		t.Errorf("Rebuild of a copy gives %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(r.Dir(), link))
	one, err := Open(ctx, link, r.Now) // the same by another path
	must(t, err)
	must(t, one.Close())
	moved := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(r.Dir(), moved))
	again := mended(t, moved)
	if owner, err := FirstLine(again.Path(OwnerName)); owner != moved || err != nil {
		t.Errorf("the folder is that of %q (%v)", owner, err)
	}
}

func TestUnfitSpool(t *testing.T) {
	place := t.TempDir()
	file := filepath.Join(place, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	open := filepath.Join(place, "open")
	must(t, os.Mkdir(open, 0o700))
	must(t, os.Chmod(open, 0o777))
	dir := filepath.Join(place, "repo")
	must(t, os.MkdirAll(dir, 0o700))
	link := filepath.Join(place, "link")
	must(t, os.Symlink(dir, link))
	info := catalog.Repository{Format: segment.FormatVersion, SystemID: "7", Timeline: 1, Database: "customers_db"}
	for spool, reason := range map[string]string{filepath.Join(place, "absent"): "no such directory", file: "no directory", open: "everybody",
		dir: "inside", link: "inside", place + "/a\nb": "control characters"} {
		var unfit *SpoolUnfitError
		if _, err := CreateWithSpool(ctx, dir, spool, info, time.Now); !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, reason) {
			t.Errorf("%s: %v", spool, err)
		}
		if names, err := FileNames(dir); len(names) > 0 || err != nil {
			t.Errorf("%s: the directory holds %q (%v)", spool, names, err)
		}
	}
	sticky := filepath.Join(place, "sticky")
	must(t, os.Mkdir(sticky, 0o700))
	must(t, os.Chmod(sticky, 0o777|fs.ModeSticky))
	r, err := CreateWithSpool(ctx, dir, sticky, info, time.Now)
	must(t, err)
	must(t, r.Undo())
	if names, err := FileNames(sticky); len(names) > 0 || err != nil {
		t.Errorf("Undo leaves %q (%v)", names, err)
	}
}
