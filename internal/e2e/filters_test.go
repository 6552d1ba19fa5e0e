package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// keyFile writes a new age identity and returns its recipient.
func keyFile(t *testing.T) (path, recipient string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(path, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, id.Recipient().String()
}

// gpgFilter is a filter of the shell with a key of its own.
func gpgFilter(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") // the path of its socket must be short
	if err != nil {
		t.Fatal(err)
	}
	gpg := "gpg --homedir " + home + " --batch --quiet --yes --trust-model always"
	out, err := exec.Command("sh", "-c", gpg+" --pinentry-mode loopback --passphrase '' --quick-gen-key test@example.com default default never").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	return "shell write='" + gpg + " -e -r test@example.com' read='" + gpg + " -d'"
}

// streamNow streams everything up to now by the program.
func (tr *trip) streamNow(flags ...string) {
	tr.t.Helper()
	tr.mustScribe(append([]string{"start", "-d", tr.conn(), "-f", tr.dir, "--endpos", tr.lsn().String()}, flags...)...)
}

// rescue restores by the program, and compares.
func (tr *trip) rescue(flags ...string) {
	tr.t.Helper()
	name := fmt.Sprintf("back_%d", time.Now().UnixNano())
	tr.mustScribe(append([]string{"restore", "-f", tr.dir, "-C", "-d", tr.target.ConnString(name)}, flags...)...)
	tr.restored = name
	tr.t.Cleanup(func() { tr.target.Exec(tr.t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	tr.equal()
}

func initTrip(t *testing.T, flags ...string) *trip {
	t.Helper()
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: filepath.Join(t.TempDir(), "repo")}
	tr.slot = tr.db
	tr.run(`CREATE TABLE people (id serial PRIMARY KEY, name text, note text);
	  INSERT INTO people (name, note) SELECT 'precious' || g, repeat(md5(g::text), 20) FROM generate_series(1, 3000) g;
	  CREATE TABLE bare (a int, b bytea); ALTER TABLE bare REPLICA IDENTITY FULL;
	  INSERT INTO bare SELECT g, sha256(g::text::bytea) FROM generate_series(1, 500) g`)
	tr.mustScribe(append([]string{"init", "-d", tr.conn(), "-f", tr.dir, "-S", tr.slot}, flags...)...)
	return tr
}

// Whatever the bytes went through, the database that comes back is equal.
func TestFilters(t *testing.T) {
	key, to := keyFile(t)
	for name, c := range map[string]struct {
		filters, keys []string
		ending        string
	}{
		"none":    {[]string{"-Z", "none"}, nil, ".sql"},
		"zstd":    {[]string{"--filter", "zstd level=5 threads=2"}, nil, ".sql.zst"},
		"lz4+age": {[]string{"--filter", "lz4", "--filter", "age recipient=" + to}, []string{"-i", key}, ".sql.lz4.age"},
		"shell":   {[]string{"-Z", "zstd:3", "--filter", gpgFilter(t)}, nil, ".sql.zst.f1"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := initTrip(t, c.filters...)
			first := tr.artifacts()[0].Name
			tr.run(`UPDATE people SET name = upper(name) WHERE id % 3 = 0; DELETE FROM bare WHERE a > 400; CREATE TABLE later (x int PRIMARY KEY)`)
			tr.streamNow(c.keys...)
			tr.mustScribe(append([]string{"full-backup", "-d", tr.conn(), "-f", tr.dir}, c.keys...)...)
			tr.run(`INSERT INTO later SELECT generate_series(1, 2000); ALTER TABLE people ADD COLUMN extra text DEFAULT 'x'`)
			tr.streamNow(append(c.keys, "--segment-size", "16kB")...)
			for _, a := range tr.artifacts() {
				if ending := c.ending; !strings.HasSuffix(a.Name, ending) && !(a.Kind == catalog.KindGlobals && name == "zstd" && strings.HasSuffix(a.Name, ".sql")) {
					t.Errorf("%s: its name does not end with %s", a.Name, ending)
				}
			}
			tr.rescue(c.keys...)
			tr.rescue(append(c.keys, "--base-backup", first)...)
		})
	}
}

// Bases of several sessions are encrypted too.
func TestEncryptedDirectoryBase(t *testing.T) {
	key, to := keyFile(t)
	tr := initTrip(t, "-Z", "zstd", "--filter", "age recipient="+to)
	tr.run(`UPDATE people SET name = 'before' WHERE id < 10; ALTER DATABASE ` + tr.db + ` SET work_mem = '9MB'`)
	tr.streamNow()
	tr.mustScribe("full-backup", "-d", tr.conn(), "-f", tr.dir, "--jobs", "2")
	tr.run(`UPDATE people SET name = 'after' WHERE id < 5`)
	tr.streamNow()
	tr.opaque("precious", tr.db)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	tr.rescue("-i", key)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("the restore left %s in clear", left[0].Name())
	}
}

// opaque looks for words in all files that leave the machine.
func (tr *trip) opaque(words ...string) {
	tr.t.Helper()
	filepath.WalkDir(tr.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), repo.CatalogName) {
			return err
		}
		b, err := os.ReadFile(path)
		for _, w := range words {
			if strings.Contains(string(b), w) {
				tr.t.Errorf("%s holds %q", path, w)
			}
		}
		return err
	})
}

// A key that is missing or wrong, and a file that is none of age's, show
// before anything in the target is touched.
func TestRestoreRefusesWithoutKey(t *testing.T) {
	key, to := keyFile(t)
	wrong, _ := keyFile(t)
	tr := initTrip(t, "-Z", "zstd", "--filter", "age recipient="+to)
	tr.run(`DELETE FROM people WHERE id < 10`)
	tr.streamNow()
	base := filepath.Join(tr.dir, tr.artifacts()[0].Name)
	whole, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		flags []string
		file  []byte
		code  int
		words []string
	}{
		"missing":    {nil, whole, 5, []string{"no key was given", "--identity FILE"}},
		"wrong":      {[]string{"-i", wrong}, whole, 5, []string{"for another key"}},
		"unreadable": {[]string{"-i", "/nowhere/key"}, whole, 5, []string{"/nowhere/key"}},
		"no key":     {[]string{"-i", base}, whole, 5, []string{"itself encrypted"}},
		"not age":    {[]string{"-i", key}, []byte(strings.Repeat("SELECT 1;\n", 1000)), 4, []string{"not an age file"}},
		"truncated":  {[]string{"-i", key}, whole[:len(whole)-1000], 4, []string{"damaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(base, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			db := "untouched_" + strings.ReplaceAll(name, " ", "_")
			out, code := tr.program(append([]string{"restore", "-f", tr.dir, "-C", "-d", tr.target.ConnString(db)}, c.flags...)...)
			if code != c.code {
				t.Errorf("exit %d", code)
			}
			for _, w := range append(c.words, "hint:") {
				if !strings.Contains(strings.ToLower(out), strings.ToLower(w)) {
					t.Errorf("it does not say %q:\n%s", w, out)
				}
			}
			if got := tr.target.Query(t, "postgres", "SELECT count(*) FROM pg_database WHERE datname = '"+db+"'"); got != "0" {
				t.Error("the target was touched")
			}
		})
	}
}

// A repository whose keys and filters changed restores as a whole, before and
// after the old files were written anew.
func TestReencrypt(t *testing.T) {
	key1, to1 := keyFile(t)
	key2, to2 := keyFile(t)
	tr := initTrip(t, "-Z", "gzip")
	first := tr.artifacts()[0]
	step := func(n int) {
		tr.run(fmt.Sprintf(`UPDATE people SET note = 'step %d' WHERE id %% 10 = %d`, n, n))
		tr.streamNow()
	}
	from := func() string {
		for _, a := range tr.artifacts() {
			if a.ID == first.ID {
				return a.Name
			}
		}
		return ""
	}
	step(1)
	tr.mustScribe("reencrypt", "-f", tr.dir, "--new-only", "-Z", "zstd", "--filter", "age recipient="+to1)
	step(2)
	tr.rescue("-i", key1, "--base-backup", from()) // some files in clear
	tr.mustScribe("reencrypt", "-f", tr.dir, "-i", key1, "--new-only", "-Z", "lz4", "--filter", "age recipient="+to2)
	step(3)
	tr.rescue("-i", key1, "-i", key2, "--base-backup", from())
	if out, code := tr.program("restore", "-f", tr.dir, "--dry-run", "-i", key2, "--base-backup", from()); code != 5 {
		t.Errorf("with one of the keys: exit %d\n%s", code, out)
	}
	var report struct {
		Filters string
		Files   []struct{ Old, New string }
	}
	out := tr.mustScribe("reencrypt", "-f", tr.dir, "-i", key1, "--output", "json")
	if i := strings.Index(out, "{"); i < 0 || json.Unmarshal([]byte(out[i:]), &report) != nil || len(report.Files) < 4 || !strings.HasPrefix(report.Filters,
		"lz4+age@") {
		t.Errorf("the report is %s", out)
	}
	tr.opaque("precious", "step 1", "step 2", `"`+tr.db+`"`, "Encoding:")
	tr.rescue("-i", key2, "--base-backup", from())
	step(4)
	tr.rescue("-i", key2, "--base-backup", from())
	if out := tr.mustScribe("reencrypt", "-f", tr.dir); !strings.Contains(out, "0 files written anew") {
		t.Errorf("once more:\n%s", out)
	}
}

// What cannot be used is refused, and nothing is left of it.
func TestInitRefusesFilters(t *testing.T) {
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: filepath.Join(t.TempDir(), "repo")}
	_, to := keyFile(t)
	wrong, _ := keyFile(t)
	for name, c := range map[string]struct {
		flags []string
		words string
	}{
		"lossy":   {[]string{"--filter", "shell write='head -c 100' read=cat"}, "returned 100"},
		"missing": {[]string{"--filter", "shell write='no-such-thing' read=cat"}, "status 127"},
		"key":     {[]string{"--filter", "age recipient=" + to, "-i", wrong}, "another key"},
		"grammar": {[]string{"--filter", "zstd -19"}, "KEY=VALUE"},
		"twice":   {[]string{"-Z", "zstd", "--filter", "lz4"}, "do not shrink again"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := tr.program(append([]string{"init", "-d", tr.conn(), "-f", tr.dir, "-S", tr.db}, c.flags...)...)
			if code != 5 || !strings.Contains(out, c.words) || !strings.Contains(strings.ToLower(out), "hint") {
				t.Errorf("exit %d:\n%s", code, out)
			}
			if _, err := os.Stat(tr.dir); err == nil {
				t.Error("the directory is left")
			}
			if got := source.Query(t, tr.db, "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'scribe'), (SELECT count(*) FROM pg_replication_slots WHERE "+
				"slot_name = '"+tr.db+"')"); got != "0|0" {
				t.Errorf("the source has %s", got)
			}
		})
	}
}

// A command that dies while the stream runs ends it with an error, and the
// next start goes on without loss.
func TestShellFilterDies(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	tr := initTrip(t, "--filter", "shell write='if [ -e "+broken+" ]; then echo no such key >&2; exit 2; fi; gzip -c' read='gzip -dc'")
	tr.run(`UPDATE people SET note = 'one' WHERE id = 1`)
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out, code := tr.program("start", "-d", tr.conn(), "-f", tr.dir, "--endpos", tr.lsn().String())
		if code != 4 || !strings.Contains(out, "ended with status 2: no such key") {
			t.Errorf("exit %d:\n%s", code, out)
		}
		tr.run(`UPDATE people SET note = 'two' WHERE id = 2`)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	tr.streamNow()
	tr.rescue()
}
