package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// A reader that knows a segment as open reads it up to that point, whatever
// has become of it since.
func TestReadSegmentSealedMeanwhile(t *testing.T) {
	for _, spec := range append(slices.Clone(allCodecs), "lz4+age", "shell") {
		t.Run(spec, func(t *testing.T) {
			r := testRepository(t, spec)
			w := createSegment(t, r, txLSN(1))
			addTx(t, w, 1, "SELECT 1;")
			must(t, w.Checkpoint(ctx))
			stale := segmentAt(t, r, txLSN(1))
			addTx(t, w, 2, "SELECT 2;")
			must(t, w.Seal(ctx))
			must(t, r.Check(stale))
			list, err := readItems(t, r, stale)
			must(t, err)
			if got := xids(list); !slices.Equal(got, []string{"1"}) {
				t.Errorf("transactions %v", got)
			}
		})
	}
}

// A segment of another chain stands in the way as well.
func TestCreateSegmentSeesEveryEnding(t *testing.T) {
	for _, name := range []string{"incremental-0000000000000010.sql", "incremental-0000000000000010.sql.gz.age", "incremental-0000000000000010-r2.sql.zst"} {
		r := testRepository(t, "zstd")
		must(t, os.WriteFile(r.Path(name), nil, 0o600))
		if _, err := r.CreateSegment(ctx, segmentHeader(txLSN(1))); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetChain(t *testing.T) {
	r := testRepository(t, "zstd")
	must(t, r.SetChain(ctx, parseChain(t, "gzip level=3", "shell write='tr a-z n-za-m' read='tr n-za-m a-z'")))
	if c := chain(t, r); c.String() != "gzip:3+f1" {
		t.Errorf("chain %s", c)
	}
	// A command keeps its number, another one gets its own.
	must(t, r.SetChain(ctx, parseChain(t, "shell write=cat read=cat", "shell write='tr a-z n-za-m' read='tr n-za-m a-z'")))
	if c := chain(t, r); c.String() != "f2+f1" {
		t.Errorf("chain %s", c)
	}
	again, err := OpenReadOnly(ctx, r.dir)
	must(t, err)
	defer again.Close()
	if c := chain(t, again); c.String() != "f2+f1" {
		t.Errorf("opened anew: %s", c)
	}
	// What is refused changes nothing.
	for _, bad := range [][]string{{"zstd", "lz4"}, {"shell write='head -c 5' read=cat"}, {"age recipient=" + otherIdentity.Recipient().String()}} {
		if err := r.SetChain(ctx, parseChain(t, bad...)); err == nil {
			t.Errorf("%v is taken", bad)
		}
		if c := chain(t, r); c.String() != "f2+f1" {
			t.Errorf("after %v: %s", bad, c)
		}
	}
	// A command can be checked only by reading back.
	r.Keys(nil)
	err = r.SetChain(ctx, parseChain(t, "shell write=cat read=cat", "age recipient="+testIdentity.Recipient().String()))
	if e := (*filter.KeyError)(nil); !errors.As(err, &e) || e.Fault != filter.KeyMissing {
		t.Errorf("a command and age without a key: %v", err)
	}
	must(t, r.SetChain(ctx, parseChain(t, "zstd", "age recipient="+testIdentity.Recipient().String())))
}

// A command that cuts its output off and says that all is well loses nothing.
func TestUnfaithfulCommand(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	r := testRepository(t, "none")
	must(t, r.SetChain(ctx, parseChain(t, "shell write='if [ -e "+broken+" ]; then head -c 200; cat >/dev/null; else cat; fi' read=cat")))
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 1;")
	must(t, w.Checkpoint(ctx))
	addTx(t, w, 2, "SELECT 2;")
	must(t, os.WriteFile(broken, nil, 0o600))
	var e *UnfaithfulError
	if err := w.Seal(ctx); !errors.As(err, &e) || e.Read != 200 {
		t.Errorf("Seal gives %v", err)
	}
	d, err := r.CreateDump(baseHeader(catalog.KindBase), "20261122-000000", chain(t, r))
	must(t, err)
	_, err = d.Write(bytes.Repeat([]byte("-- much\n"), 100))
	must(t, err)
	if _, err := d.Finish(segment.Trailer{}); !errors.As(err, &e) {
		t.Errorf("Finish gives %v", err)
	}
	d.Abort()
	again, err := Open(ctx, r.dir, r.now)
	must(t, err)
	defer again.Close()
	if err := again.Recover(ctx); !errors.As(err, &e) {
		t.Errorf("Recover gives %v", err)
	}
	must(t, os.Remove(broken))
	if _, all := recovered(t, r.dir); !slices.Equal(all, []string{"1"}) {
		t.Errorf("transactions %v", all)
	}
	if left, _ := filepath.Glob(r.Path("*.partial")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// encryptedRepository holds a base, globals, a directory base and a segment,
// encrypted for testIdentity.
func encryptedRepository(t *testing.T) *Repository {
	t.Helper()
	r := testRepository(t, "zstd+age")
	writeBase(t, r, chain(t, r))
	writeDir(t, r, chain(t, r))
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 'precious';")
	must(t, w.Seal(ctx))
	return r
}

func writeDir(t testing.TB, r *Repository, c filter.Chain) catalog.Artifact {
	t.Helper()
	w, err := r.CreateDumpDir(baseHeader(catalog.KindBase), "20261124-000000", c)
	must(t, err)
	defer w.Close()
	for name, text := range map[string]string{"toc.dat": "contents", "1.dat": strings.Repeat("precious row\n", 1000), "empty.dat": ""} {
		must(t, os.WriteFile(filepath.Join(w.Path(), name), []byte(text), 0o644))
	}
	a, err := w.Finish(segment.Trailer{})
	must(t, err)
	must(t, r.AddBase(ctx, a, catalog.Artifact{}))
	return artifact(t, r, func(b catalog.Artifact) bool { return b.Name == a.Name })
}

// texts is what every file of a repository says, by kind and place.
func texts(t testing.TB, r *Repository) map[string]string {
	t.Helper()
	all, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	found := map[string]string{}
	for _, a := range all {
		must(t, r.Check(a))
		key := fmt.Sprintf("%s %s %s", a.Kind, a.Format, a.Start)
		if a.Format == "directory" {
			d, err := r.OpenDir(a)
			must(t, err)
			dir := t.TempDir()
			must(t, d.Unpack(ctx, dir))
			names, err := fileNames(dir)
			must(t, err)
			for _, name := range names {
				b, err := os.ReadFile(filepath.Join(dir, name))
				must(t, err)
				found[key] += name + "\n" + string(b)
			}
			continue
		}
		text, closers, err := r.openText(a)
		must(t, err)
		b, err := io.ReadAll(text)
		must(t, err)
		closeAll(closers)
		found[key] = string(b)
	}
	return found
}

// Nothing of the database can be read in a repository with age, but for what
// is local by design.
func TestEncryptedRepositoryIsOpaque(t *testing.T) {
	r := encryptedRepository(t)
	must(t, r.WriteMetadata(ctx, Metadata{Server: "15.18", Encoding: "UTF8", Collate: "de_DE.UTF-8", Extensions: []string{"precious 1.0"}}))
	must(t, filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == CatalogName {
			return err
		}
		b, err := os.ReadFile(path)
		for _, word := range []string{"precious", "customers_db", "CREATE TABLE", "de_DE", "pg_dump database"} {
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s holds %q", path, word)
			}
		}
		if !strings.HasSuffix(path, ".age") && d.Name() != MetadataName {
			t.Errorf("%s is not encrypted", path)
		}
		return err
	}))
}

func TestKeysOfFiles(t *testing.T) {
	r := encryptedRepository(t)
	all, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	for name, c := range map[string]struct {
		keys  *filter.Keys
		fault filter.KeyFault
	}{"right": {keysOf(t, testIdentity), ""}, "both": {keysOf(t, otherIdentity, testIdentity), ""}, "missing": {nil, filter.KeyMissing},
		"wrong": {keysOf(t, otherIdentity), filter.KeyWrong}} {
		r.Keys(c.keys)
		for _, a := range all {
			err := r.Readable(a)
			var e *filter.KeyError
			if (err == nil) != (c.fault == "") || err != nil && (!errors.As(err, &e) || e.Fault != c.fault || !strings.Contains(err.Error(), a.Name)) {
				t.Errorf("%s key, %s: %v", name, a.Name, err)
			}
		}
	}
	// A damaged file is told from a wrong key.
	r.Keys(keysOf(t, testIdentity))
	for name, damage := range map[string]func([]byte) []byte{
		"not age": func([]byte) []byte { return []byte(strings.Repeat("SELECT 1;\n", 100)) },
		"short":   func(b []byte) []byte { return b[:len(b)-20] }, "empty": func([]byte) []byte { return nil },
		"flipped": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	} {
		for _, a := range all {
			path := r.Path(a.Name)
			if a.Format == "directory" {
				path = filepath.Join(path, "1.dat.age")
			}
			whole, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, damage(bytes.Clone(whole)), 0o600))
			var e *FormatError
			if err := r.Check(a); !errors.As(err, &e) {
				t.Errorf("%s, %s: %v", name, a.Name, err)
			}
			if err := r.Readable(a); name == "not age" && a.Format != "directory" && !errors.As(err, &e) {
				t.Errorf("%s, %s: Readable gives %v", name, a.Name, err)
			}
			must(t, os.WriteFile(path, whole, 0o600))
		}
	}
}

func TestReencrypt(t *testing.T) {
	r := encryptedRepository(t)
	want := texts(t, r)
	old, err := r.Catalog().Artifacts(ctx)
	must(t, err)
	to := parseChain(t, "zstd", "age recipient="+otherIdentity.Recipient().String())
	r.Keys(nil)
	must(t, r.SetChain(ctx, to))
	// Without the old key nothing is touched.
	var e *filter.KeyError
	if err := r.Reencrypt(ctx, func(Rewritten) { t.Error("a file was written") }); !errors.As(err, &e) {
		t.Errorf("without a key: %v", err)
	}
	both := keysOf(t, testIdentity, otherIdentity)
	r.Keys(keysOf(t, testIdentity)) // the new one may be elsewhere
	count := 0
	must(t, r.Reencrypt(ctx, func(f Rewritten) {
		if count++; f.Old == f.New || f.Done != count || f.Total != len(old) {
			t.Errorf("%+v", f)
		}
	}))
	if count != len(old) {
		t.Errorf("%d of %d files", count, len(old))
	}
	must(t, r.Reencrypt(ctx, func(f Rewritten) { t.Errorf("once more: %+v", f) }))
	r.Keys(both)
	for _, a := range old {
		if _, err := os.Stat(r.Path(a.Name)); err == nil {
			t.Errorf("%s is still there", a.Name)
		}
		if now, err := r.Catalog().Artifact(ctx, a.ID); err != nil || now.TextSHA256 != a.TextSHA256 || now.Start != a.Start || now.Name == a.Name {
			t.Errorf("%+v became %+v", a, now)
		}
	}
	// Who still has the catalog's old rows finds the files.
	for _, a := range old {
		must(t, r.Check(a))
		must(t, r.Readable(a))
	}
	r.Keys(keysOf(t, testIdentity))
	if err := r.Readable(old[0]); !errors.As(err, &e) || e.Fault != filter.KeyWrong {
		t.Errorf("with the old key: %v", err)
	}
	r.Keys(keysOf(t, otherIdentity))
	if got := texts(t, r); !equalMaps(got, want) {
		t.Error("the texts differ")
	}
	// The stream joins.
	w := createSegment(t, r, txLSN(1)+8)
	addTx(t, w, 2, "SELECT 1;")
	must(t, w.Seal(ctx))
	must(t, r.Check(segmentAt(t, r, txLSN(1)+8)))
	// And out of the encryption again, and back under the names of before.
	r.Keys(both)
	must(t, r.SetChain(ctx, parseChain(t, "lz4")))
	must(t, r.Reencrypt(ctx, func(Rewritten) {}))
	r.Keys(nil)
	if got := texts(t, r); !equalMaps(cut(got, want), want) {
		t.Error("in clear the texts differ")
	}
	r.Keys(both)
	must(t, r.SetChain(ctx, to))
	must(t, r.Reencrypt(ctx, func(Rewritten) {}))
	if got := texts(t, r); !equalMaps(cut(got, want), want) {
		t.Error("encrypted again the texts differ")
	}
}

// cut leaves of a map what another one has.
func cut(m, like map[string]string) map[string]string {
	found := map[string]string{}
	for k := range like {
		found[k] = m[k]
	}
	return found
}

func equalMaps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// Reencrypt is stopped at each step and runs again.
func TestCrashOfReencrypt(t *testing.T) {
	r := encryptedRepository(t)
	want := texts(t, r)
	both := keysOf(t, testIdentity, otherIdentity)
	r.Keys(both)
	must(t, r.SetChain(ctx, parseChain(t, "zstd", "age recipient="+otherIdentity.Recipient().String())))
	copies := snapshots(t, r)
	must(t, r.Reencrypt(ctx, func(Rewritten) {}))
	r.hook = nil
	if len(copies) != 4*3+3 { // of the four, the directory has no step "filtered"
		t.Errorf("%d steps: %v", len(copies), copies)
	}
	for step, dir := range copies {
		t.Run(step, func(t *testing.T) {
			again, err := Open(ctx, dir, r.now)
			must(t, err)
			defer again.Close()
			again.Keys(both)
			if got := texts(t, again); !equalMaps(got, want) {
				t.Error("before it runs again the texts differ")
			}
			must(t, again.Reencrypt(ctx, func(Rewritten) {}))
			again.Keys(keysOf(t, otherIdentity))
			if got := texts(t, again); !equalMaps(got, want) {
				t.Error("the texts differ")
			}
			names, err := fileNames(dir)
			must(t, err)
			all, err := again.Catalog().Artifacts(ctx)
			must(t, err)
			for _, name := range names {
				known := slices.ContainsFunc(all, func(a catalog.Artifact) bool { return a.Name == name })
				if !known && !slices.Contains([]string{CatalogName, MetadataName, rewriteLockName}, name) && !strings.HasSuffix(name, partialSuffix) {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// A file that Reencrypt did not make is neither overwritten nor removed.
func TestReencryptLeavesUnknownFiles(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 1;")
	must(t, w.Seal(ctx))
	must(t, os.WriteFile(r.Path("incremental-0000000000000010.sql.gz"), []byte("precious"), 0o600))
	must(t, r.SetChain(ctx, parseChain(t, "gzip")))
	must(t, r.Reencrypt(ctx, func(Rewritten) {}))
	if b, err := os.ReadFile(r.Path("incremental-0000000000000010.sql.gz")); string(b) != "precious" {
		t.Errorf("it holds %q, %v", b, err)
	}
	if a := segmentAt(t, r, txLSN(1)); a.Name != "incremental-0000000000000010-r2.sql.gz" {
		t.Errorf("the new name is %s", a.Name)
	}
	must(t, r.Check(segmentAt(t, r, txLSN(1))))
}

// A text that is not the catalog's is not passed on.
func TestReencryptRefusesDamage(t *testing.T) {
	r := testRepository(t, "none")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1, "SELECT 'precious';")
	must(t, w.Seal(ctx))
	a := segmentAt(t, r, txLSN(1))
	text, err := os.ReadFile(r.Path(a.Name))
	must(t, err)
	for name, bad := range map[string][]byte{"changed": bytes.Replace(text, []byte("precious"), []byte("worthless"[:8]), 1), "cut": text[:len(text)-5],
		"last line": bytes.Replace(text, []byte(" sha256 "), []byte(" sha257 "), 1), "empty": nil} {
		must(t, os.WriteFile(r.Path(a.Name), bad, 0o600))
		must(t, r.SetChain(ctx, parseChain(t, "zstd")))
		var e *FormatError
		if err := r.Reencrypt(ctx, func(Rewritten) {}); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
		if now := segmentAt(t, r, txLSN(1)); now.Name != a.Name {
			t.Errorf("%s: the catalog has %s", name, now.Name)
		}
	}
	must(t, os.WriteFile(r.Path(a.Name), text, 0o600))
	must(t, r.Reencrypt(ctx, func(Rewritten) {}))
	must(t, r.Check(segmentAt(t, r, txLSN(1))))
}

// Two at once would remove each other's files.
func TestReencryptAlone(t *testing.T) {
	r := encryptedRepository(t)
	release, err := r.lock(rewriteLockName)
	must(t, err)
	defer release()
	var e *BusyError
	if err := r.Reencrypt(ctx, func(Rewritten) {}); !errors.As(err, &e) || !e.Rewriting {
		t.Errorf("beside another: %v", err)
	}
}

// A person restores an encrypted repository with the text of the metadata
// file alone.
func TestRestoreEncryptedByHand(t *testing.T) {
	for _, name := range []string{"age", "zstd", "gpg"} {
		need(t, name)
	}
	home := t.TempDir()
	must(t, os.Chmod(home, 0o700))
	gpg := "gpg --homedir " + home + " --batch --quiet --yes --trust-model always"
	if out, err := exec.Command("sh", "-c", gpg+" --pinentry-mode loopback --passphrase '' --quick-gen-key test@example.com default default "+
		"never").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	key := filepath.Join(t.TempDir(), "key.txt")
	must(t, os.WriteFile(key, []byte(testIdentity.String()+"\n"), 0o644))
	c := pgtest.Shared(t)
	for name, specs := range map[string][]string{
		"age": {"zstd", "age recipient=" + testIdentity.Recipient().String()},
		"gpg": {"lz4", "shell write='" + gpg + " -e -r test@example.com' read='" + gpg + " -d'"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRepository(t, "zstd")
			must(t, r.SetChain(ctx, parseChain(t, specs...)))
			writeBase(t, r, chain(t, r)) // at 0/10
			w := createSegment(t, r, 8)
			must(t, w.Write(segment.AppendCommit(append(segment.AppendBegin(nil, 5, 0x10, testClock), "INSERT INTO public.plain VALUES (100, 'new', NULL);\n"...),
				0x11)))
			w.Add(segment.Stats{End: 0x11, Transactions: 1})
			must(t, w.Seal(ctx))
			must(t, r.WriteMetadata(ctx, Metadata{}))
			b, err := os.ReadFile(r.Path(MetadataName))
			must(t, err)
			if spec := parseChain(t, specs[1])[0].Spec(); name == "gpg" && !strings.Contains(string(b), "\nFilter f1:          "+spec+"\n") {
				t.Errorf("the metadata file does not tell of %s", spec)
			}
			text := strings.ReplaceAll(string(b), "KEY_FILE", key)
			_, base, ok := strings.Cut(text, "  3. Base:     ")
			base, _, ok2 := strings.Cut(base, "\n")
			_, changes, ok3 := strings.Cut(text, "\n     P=0/3829A018\n")
			changes, _, ok4 := strings.Cut(changes, "\n\n")
			if !ok || !ok2 || !ok3 || !ok4 {
				t.Fatalf("no recipe:\n%s", text)
			}
			db := c.CreateDB(t, "by_hand_"+name)
			script := strings.NewReplacer("base-DATE-TIME", "base-20261121-015758", "-d restored", "-d "+db).
				Replace("set -e -o pipefail\ncd " + r.dir + "\n" + strings.Replace(base, "psql -X", "psql -X -q -o /dev/null", 1) + "\nP=0/10\n" + changes)
			cmd := exec.Command("bash", "-c", script)
			cmd.Env = c.Env()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, script, out)
			}
			if got := c.Query(t, db, "SELECT count(*), max(id) FROM public.plain"); got != "8|100" {
				t.Errorf("rows %s", got)
			}
		})
	}
}

// The age command and the library read each other's files.
func TestAgeCommandReads(t *testing.T) {
	need(t, "age")
	r := encryptedRepository(t)
	key := filepath.Join(t.TempDir(), "key.txt")
	must(t, os.WriteFile(key, []byte(testIdentity.String()+"\n"), 0o600))
	a := segmentAt(t, r, txLSN(1))
	out, err := exec.Command("sh", "-c", strings.ReplaceAll(chainOf(t, r, a).Command(r.Path(a.Name)), "KEY_FILE", key)).Output()
	if err != nil || !bytes.Contains(out, []byte("SELECT 'precious';")) {
		t.Errorf("%v: %s", err, out)
	}
	var b bytes.Buffer
	cmd := exec.Command("age", "-r", testIdentity.Recipient().String())
	cmd.Stdin, cmd.Stdout = strings.NewReader("from the command"), &b
	must(t, cmd.Run())
	plain, err := age.Decrypt(&b, testIdentity)
	must(t, err)
	if text, err := io.ReadAll(plain); err != nil || string(text) != "from the command" {
		t.Errorf("%q, %v", text, err)
	}
}
