package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pg_scribe/catalog"
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

// flip changes one bit of a file.
func flip(t testing.TB, path string, bit int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	b[bit/8] ^= 1 << (bit % 8)
	must(t, os.WriteFile(path, b, 0o600))
}

// eachChain is eachCodec with other filters too.
func eachChain(t *testing.T, test func(t *testing.T, spec string)) {
	eachCodec(t, test)
	for _, spec := range []string{"zstd+age", "zstd+f1", "zstd" + apart, "zstd+age" + apart} {
		t.Run(spec, func(t *testing.T) { test(t, spec) })
	}
}

func mustArtifacts(t testing.TB, r *Repository) []catalog.Artifact {
	t.Helper()
	all, err := r.cat.Artifacts(ctx)
	must(t, err)
	return all
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
