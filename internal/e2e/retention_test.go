package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/verify"
	"pg_scribe/restore"
	"pg_scribe/stream"
)

// further takes another base.
func (tr *trip) further(jobs int) string {
	tr.t.Helper()
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	base, err := stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Jobs: jobs, Command: tr.command, Notice: func(s string) { tr.t.Log(s) }})
	if err != nil {
		tr.t.Fatal(err)
	}
	return base.Base.Name
}

type expiry struct {
	Artifacts []struct {
		Name, Kind, Why string
		Keep            bool
	}
	Remove, Removed int
	InUse           []string `json:"in_use"`
	WindowsBefore   []window `json:"windows_before"`
	WindowsAfter    []window `json:"windows_after"`
}

type window struct {
	From string `json:"from_lsn"`
	To   string `json:"to_lsn"`
}

func begunWithBases(t *testing.T) (tr *trip, first, second string) {
	t.Helper()
	tr = begin(t, `CREATE TABLE shop (id int PRIMARY KEY, name text); INSERT INTO shop SELECT i, 'item ' || i FROM generate_series(1, 50) i`)
	tr.run(`UPDATE shop SET name = name || '!' WHERE id < 10`)
	tr.capture()
	second = tr.further(2)
	tr.run(`DELETE FROM shop WHERE id > 40; CREATE TABLE note (id serial PRIMARY KEY, body text); INSERT INTO note (body) VALUES ('one')`)
	tr.capture()
	return tr, tr.bases()[0], second
}

// init, start, full-backup, expire, restore: what the policy leaves restores to
// the source, streaming goes on, and a base that only its pin holds restores to
// its own point.
func TestExpireThenRestore(t *testing.T) {
	tr, first, second := begunWithBases(t)
	files := len(tr.artifacts())
	tr.scribe(0, "keep", first, "--reason", "audit")
	shown := report[expiry](tr, 0, "expire", "--keep-last", "1", "--keep-incremental", "0")
	if shown.Removed != 0 || shown.Remove == 0 || len(tr.artifacts()) != files {
		t.Fatalf("without --confirm: %+v", shown)
	}
	for _, a := range shown.Artifacts {
		switch {
		case a.Name == first && (!a.Keep || a.Why != "pinned: audit"),
			a.Name == second && (!a.Keep || a.Why != "the newest base"):
			t.Errorf("%+v", a)
		}
	}
	done := report[expiry](tr, 0, "expire", "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	if done.Removed != shown.Remove || len(done.InUse) > 0 || len(done.WindowsBefore) != 1 || len(done.WindowsAfter) != 2 ||
		done.WindowsBefore[0].To != done.WindowsAfter[1].To {
		t.Errorf("%+v", done)
	}
	left := tr.artifacts()
	entries, err := os.ReadDir(tr.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		known := slices.ContainsFunc(left, func(a catalog.Artifact) bool { return a.Name == e.Name() })
		if strings.Contains(e.Name(), ".sql") && !known {
			t.Errorf("%s is still there", e.Name())
		}
	}
	tr.scribe(0, "verify")
	tr.back()
	tr.equal()
	if again := report[expiry](tr, 0, "expire", "--keep-last", "1", "--keep-incremental", "0", "--confirm"); again.Removed != 0 {
		t.Errorf("a second run removes more: %+v", again)
	}

	// The stream goes on as if nothing had been removed.
	tr.run(`INSERT INTO note (body) VALUES ('two'); UPDATE shop SET name = 'last' WHERE id = 1`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()

	// The pinned base alone.
	point := left[slices.IndexFunc(left, func(a catalog.Artifact) bool { return a.Name == first })].Start
	target := fmt.Sprintf("pinned_%d", time.Now().UnixNano())
	tr.scribe(0, "restore", "-C", "-d", tr.target.ConnString(target), "--base-backup", first, "--target-lsn", point.String())
	defer tr.target.Exec(t, "postgres", "DROP DATABASE "+target)
	if got := tr.target.Query(t, target, "SELECT count(*), count(*) FILTER (WHERE name LIKE '%!') FROM shop"); got != "50|0" {
		t.Errorf("the pinned base restores to %s", got)
	}
	if out := tr.scribe(4, "restore", "--dry-run", "--base-backup", first); !strings.Contains(out, "missing") {
		t.Errorf("behind its point: %s", out)
	}
	tr.scribe(0, "unkeep", first)
	if done := report[expiry](tr, 0, "expire", "--keep-last", "1", "--confirm"); done.Removed != 2 || slices.Contains(tr.bases(), first) {
		t.Errorf("without the pin: %+v", done)
	}
	status := report[struct {
		Repository struct{ Verification struct{ Outcome string } }
	}](tr, 0, "status")
	if status.Repository.Verification.Outcome != "ok" {
		t.Errorf("status: %+v", status)
	}
}

// Streaming, bases, expiry and verification at once: nothing is lost, and verify never raises a false alarm.
func TestExpireBesideStart(t *testing.T) {
	tr := begin(t, `CREATE TABLE shop (id serial PRIMARY KEY, name text)`)
	cmd := exec.Command(binary, "start", "-d", tr.conn(), "-f", tr.dir, "-F", "100ms", "-s", "1s", "--segment-size", "4kB")
	cmd.Env = tr.source.Env()
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	removed := 0
	for range 5 {
		for range 10 {
			tr.run(`INSERT INTO shop (name) SELECT 'item ' || i FROM generate_series(1, 30) i; UPDATE shop SET name = name || '.' WHERE id % 7 = 0`)
			tr.scribe(0, "verify")
		}
		tr.further(1)
		done := report[expiry](tr, 0, "expire", "--keep-last", "1", "--keep-incremental", "0", "--confirm")
		removed += done.Removed
		tr.scribe(0, "verify")
	}
	end := tr.lsn()
	for deadline := time.Now().Add(5 * time.Minute); lastEnd(tr.artifacts()) < end; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the stream does not reach %s\n%s", end, &log)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if bases := tr.bases(); len(bases) != 1 || removed < 15 {
		t.Errorf("%d files removed, bases %v", removed, bases)
	}
	tr.scribe(0, "verify")
	tr.noGap()
	tr.back()
	tr.equal()
}

// What a restore reads stays until it is done.
func TestExpireBesideARestore(t *testing.T) {
	tr, first, _ := begunWithBases(t)
	ctx := context.Background()
	r, err := repo.OpenReadOnly(ctx, tr.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := restore.Prepare(ctx, r, catalog.Request{Base: first})
	if err != nil {
		t.Fatal(err)
	}
	done := report[expiry](tr, 10, "expire", "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	if done.Removed != 0 || !slices.Contains(done.InUse, first) {
		t.Errorf("%+v", done)
	}
	tr.restored = fmt.Sprintf("beside_%d", time.Now().UnixNano())
	defer tr.target.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+tr.restored)
	if _, err := p.Execute(ctx, restore.Options{TargetConn: tr.target.ConnString(tr.restored), MaintenanceConn: tr.target.ConnString("postgres"),
		CreateDatabase: true, SyncSequences: true}); err != nil {
		t.Fatal(err)
	}
	tr.equal()
	p.Close()
	if done := report[expiry](tr, 0, "expire", "--keep-last", "1", "--keep-incremental", "0", "--confirm"); done.Removed == 0 || len(done.InUse) > 0 {
		t.Errorf("afterwards: %+v", done)
	}
}

// A catalog that is gone, cut, or noise: every command says how to get it back,
// and then the restore is equal to the source and the stream goes on.
func TestLostCatalog(t *testing.T) {
	tr, _, _ := begunWithBases(t)
	path := filepath.Join(tr.dir, repo.CatalogName)
	noise := make([]byte, 30000)
	for i := range noise {
		noise[i] = byte(i * 7)
	}
	for name, lose := range map[string]func() error{
		"deleted":   func() error { return os.Remove(path) },
		"truncated": func() error { return os.Truncate(path, 5000) },
		"noise":     func() error { return os.WriteFile(path, noise, 0o600) },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"list"}, {"status"}, {"verify"}, {"expire"}, {"keep", "base-x"}, {"catalog", "check"},
			{"start", "-d", tr.conn()}, {"full-backup", "-d", tr.conn()}, {"restore", "-C", "-d", "x"}, {"drop", "--yes", "-d", tr.conn()}} {
			if out := tr.scribe(4, command...); !strings.Contains(out, "hint: make it again from the files: pg_scribe catalog rebuild -f ") {
				t.Errorf("%s, %v: %s", name, command, out)
			}
		}
		tr.scribe(0, "catalog", "rebuild")
		tr.scribe(0, "catalog", "check")
		tr.scribe(0, "verify")
		tr.run(fmt.Sprintf(`INSERT INTO note (body) VALUES ('%s')`, name))
		tr.capture()
		tr.noGap()
		tr.back()
		tr.equal()
	}
	if out := tr.scribe(5, "catalog", "rebuild"); !strings.Contains(out, "--force") {
		t.Errorf("a whole catalog: %s", out)
	}
	tr.scribe(0, "catalog", "rebuild", "--force")
	tr.back()
	tr.equal()
}

// Whichever bit of whichever file is not what it was, verify names the file,
// and restore refuses before it touches a server.
func TestEveryFlippedBitIsFound(t *testing.T) {
	t.Run("zstd", func(t *testing.T) { flipBits(t, 500) })
	key, recipient := keyFile(t)
	t.Run("age", func(t *testing.T) { flipBits(t, 300, key, "zstd", "age recipient="+recipient) })
}

// flipBits flips bits of a repository whose files went through the given
// filters, if any, which take the key to read.
func flipBits(t *testing.T, flips int, keyAndChain ...string) {
	tr, first, second := begunWithBases(t)
	ctx := context.Background()
	r, err := repo.Open(ctx, tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(keyAndChain) > 0 {
		r.Keys(&filter.Keys{IdentityFiles: keyAndChain[:1]})
		var chain filter.Chain
		for _, spec := range keyAndChain[1:] {
			f, err := filter.ParseFilter(spec)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, f)
		}
		err := errors.Join(r.SetChain(ctx, chain), r.Reencrypt(ctx, func(repo.Rewritten) {}), r.RefreshMetadata(ctx))
		if err != nil {
			t.Fatal(err)
		}
		bases := tr.bases()
		first, second = bases[0], bases[1]
	}
	open, err := r.CreateSegment(ctx, segment.Header{SystemID: tr.artifacts()[0].SystemID, Timeline: 1, Database: tr.db, Slot: tr.slot,
		Server: "15", Encoding: "UTF8", Start: lastEnd(tr.artifacts()), Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	at := time.Now().UTC().Truncate(time.Microsecond)
	text := segment.AppendBegin(nil, 999999, open.Start()+8, at)
	text = segment.AppendCommit(append(text, "SELECT 1;\n"...), open.Start()+16)
	if err := open.Write(text); err != nil {
		t.Fatal(err)
	}
	open.Add(segment.Stats{End: open.Start() + 16, Transactions: 1, MinXID: 999999, MaxXID: 999999, FirstCommit: at, LastCommit: at})
	if err := open.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	all := tr.artifacts()
	var files []string
	total := int64(0)
	sizes := map[string]int64{}
	err = filepath.WalkDir(tr.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), repo.CatalogName) || strings.HasSuffix(d.Name(), ".lock") {
			return err
		}
		info, err := d.Info()
		files = append(files, path)
		sizes[path] = info.Size()
		total += info.Size()
		return err
	})
	if err != nil || len(files) < 12 {
		t.Fatalf("%v, %v", files, err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	hits := map[string]int{}
	for i := range flips {
		path := files[i%len(files)]
		bit := rng.Int64N(8 * sizes[path])
		flipBit(t, path, bit)
		name, _, _ := strings.Cut(strings.TrimPrefix(path, tr.dir+"/"), "/")
		v, err := verify.Run(ctx, r, verify.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var failed []string
		for _, f := range v.Reports {
			if f.Outcome == catalog.OutcomeFailed {
				failed = append(failed, f.Name)
			}
		}
		if !slices.Equal(failed, []string{name}) || v.Outcome != catalog.OutcomeFailed {
			t.Errorf("bit %d of %s: verify says %v", bit, path, failed)
		}
		if name != repo.MetadataName { // it is for people, nothing reads it
			base := first
			if name == second || strings.HasPrefix(name, "globals") && name != globalsOf(all, first) {
				base = second
			}
			p, err := restore.Prepare(ctx, r, catalog.Request{Base: base, AcceptGaps: true})
			var damage *repo.FormatError
			if !errors.As(err, &damage) || !strings.HasPrefix(damage.File, name) {
				t.Errorf("bit %d of %s: restore says %v", bit, path, err)
			}
			if p != nil {
				p.Close()
			}
		}
		hits[name]++
		flipBit(t, path, bit)
	}
	if v, err := verify.Run(ctx, r, verify.Options{}); err != nil || v.Outcome != catalog.OutcomeOK {
		t.Errorf("put right again: %+v, %v", v, err)
	}
	t.Log(hits)
}

func globalsOf(all []catalog.Artifact, base string) string {
	for _, a := range all {
		for _, g := range all {
			if a.Name == base && g.Pair == a.ID {
				return g.Name
			}
		}
	}
	return ""
}

func lastEnd(all []catalog.Artifact) (end catalog.LSN) {
	for _, a := range all {
		end = max(end, a.End)
	}
	return end
}

func flipBit(t *testing.T, path string, bit int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, bit/8); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b, bit/8); err != nil {
		t.Fatal(err)
	}
}

// A repository that the first version wrote goes on with segments of the present
// format, and restores across them.
func TestFirstFormatGoesOn(t *testing.T) {
	source, target := clusters(t)
	dir := filepath.Join(t.TempDir(), "repo")
	if err := os.CopyFS(dir, os.DirFS("../../repo/testdata/format-1")); err != nil {
		t.Fatal(err)
	}
	tr := &trip{t: t, source: source, target: target, dir: dir}
	ctx := context.Background()
	r, err := repo.Open(ctx, dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	info, err := r.Catalog().Repository(ctx)
	if err != nil || info.Format != 1 {
		t.Fatalf("%+v %v", info, err)
	}
	w, err := r.CreateSegment(ctx, segment.Header{SystemID: info.SystemID, Timeline: 1, Database: info.Database, Slot: info.Slot,
		Server: "15", Encoding: "UTF8", Start: lastEnd(tr.artifacts()), Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		lsn, at := w.Start()+16+16*catalog.LSN(i), time.Now().UTC().Truncate(time.Microsecond)
		text := segment.AppendBegin(nil, 900_000, lsn, at)
		text = segment.AppendAuthor(text, segment.Identity{User: "app", Application: "psql"})
		text = segment.AppendDDL(text, "CREATE TABLE", fmt.Sprintf("CREATE TABLE public.later_%d (a int)", i))
		text = segment.AppendObject(text, segment.Fingerprint{Class: "table", Identity: "public.later", SHA256: strings.Repeat("0f", 32)})
		text = append(text, "-- pg_scribe + NEWS from a later version\n"...)
		text = segment.AppendChange(text, &segment.Change{Op: segment.Insert, Table: fmt.Appendf(nil, "public.later_%d", i),
			Columns: [][]byte{[]byte("a")}, New: []segment.Value{{Form: segment.Text, Text: []byte("1")}}})
		if err := w.Write(segment.AppendFrame(segment.AppendCommit(text, lsn+8))); err != nil {
			t.Fatal(err)
		}
		table := fmt.Sprintf("public.later_%d", i)
		w.Add(segment.Stats{End: lsn + 8, Reached: at, Transactions: 1, MinXID: 900_000, MaxXID: 900_000, FirstCommit: at, LastCommit: at,
			Tables: map[string]catalog.TableCount{table: {Table: table, Inserted: 1}}})
	}
	if err := errors.Join(w.Seal(ctx), r.Close()); err != nil {
		t.Fatal(err)
	}
	tr.scribe(0, "verify")
	db := fmt.Sprintf("frozen_on_%d", time.Now().UnixNano())
	tr.scribe(0, "restore", "-C", "-d", target.ConnString(db))
	got := target.Query(t, db, "SELECT (SELECT count(*) FROM shop), (SELECT count(*) FROM later_0), (SELECT count(*) FROM later_2)")
	target.Exec(t, "postgres", "DROP DATABASE "+db)
	if got != "230|1|1" {
		t.Error(got)
	}
}

// A repository that an earlier version wrote restores as it did then.
func TestFrozenFormatsRestore(t *testing.T) {
	source, target := clusters(t)
	for format, wants := range map[string]map[string]string{
		"format-1": {"latest": "0|230|24429.75", "mark": "3|200|25145.00"},
		"format-2": {"latest": "0|220|25314.25", "mark": "3|200|25175.00"},
	} {
		dir := filepath.Join(t.TempDir(), "repo")
		if err := os.CopyFS(dir, os.DirFS("../../repo/testdata/"+format)); err != nil {
			t.Fatal(err)
		}
		tr := &trip{t: t, source: source, target: target, dir: dir}
		tr.scribe(0, "verify")
		for name, want := range wants {
			db := fmt.Sprintf("frozen_%s_%d", name, time.Now().UnixNano())
			args := []string{"restore", "-C", "-d", target.ConnString(db)}
			if name == "mark" {
				args = append(args, "--target-name", "half way")
			}
			tr.scribe(0, args...)
			got := target.Query(t, db, "SELECT (SELECT count(*) FROM note), count(*), sum(price) FROM shop")
			target.Exec(t, "postgres", "DROP DATABASE "+db)
			if got != want {
				t.Errorf("%s, %s: %s, want %s", format, name, got, want)
			}
		}
	}
}
