package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// running is a pg_scribe in the background.
type running struct {
	cmd  *exec.Cmd
	text bytes.Buffer
}

func (tr *trip) launch(args ...string) *running {
	tr.t.Helper()
	r := &running{cmd: exec.Command(binary, args...)}
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = tr.source.Env(), &r.text, &r.text
	if err := r.cmd.Start(); err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
	return r
}

// launchStart streams into one segment that stays open.
func (tr *trip) launchStart(flags ...string) *running {
	tr.t.Helper()
	return tr.launch(append([]string{"start", "-d", tr.conn(), "-f", tr.dir, "-F", "100ms", "-s", "100ms", "--state-interval", "0"}, flags...)...)
}

func (r *running) kill(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("%v\n%s", err, r.text.String())
	}
	r.cmd.Wait()
}

// stop ends it as a user would.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cmd.Process.Signal(os.Interrupt)
	if err := r.cmd.Wait(); err != nil && r.cmd.ProcessState.ExitCode() != 0 {
		t.Fatalf("%v\n%s", err, r.text.String())
	}
	t.Logf("%s said:\n%s", r.cmd.Args[1], r.text.String())
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in time", what)
		}
	}
}

// acknowledged waits until the server was told that everything up to now is
// stored.
func (tr *trip) acknowledged() {
	tr.t.Helper()
	end := tr.lsn()
	await(tr.t, "acknowledgement", func() bool {
		return tr.source.Query(tr.t, "postgres", fmt.Sprintf("SELECT confirmed_flush_lsn >= '%s' FROM pg_replication_slots WHERE slot_name = '%s'", end,
			tr.slot)) == "t"
	})
}

// opaqueAlways looks at a directory all the time, until the returned function
// is called: nothing in it is ever anything but encrypted.
func opaqueAlways(t *testing.T, dirs ...string) (end func()) {
	t.Helper()
	const encrypted = "age-encryption.org/v1"
	stop, done := make(chan struct{}), make(chan struct{})
	seen, rounds := map[string]bool{}, 0
	look := func() {
		rounds++
		for _, dir := range dirs {
			filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return nil // gone since
				}
				b, err := os.ReadFile(path)
				if err != nil {
					return nil
				}
				name := d.Name()
				told := name == repo.SpoolName || strings.HasPrefix(name, "pg_scribe_metadata") || strings.HasPrefix(name, "pg_scribe_repository.txt")
				plain := len(b) > 0 && !strings.HasPrefix(string(b), encrypted) && !strings.HasPrefix(encrypted, string(b)) && !told
				if (plain || bytes.Contains(b, []byte("precious"))) && !seen[path] {
					seen[path] = true
					t.Errorf("%s can be read: %.60q", path, b)
				}
				return nil
			})
		}
	}
	go func() {
		defer close(done)
		for {
			look()
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		look()
		if rounds < 20 {
			t.Errorf("looked %d times only", rounds)
		}
	}
}

// spoolOf is the folder that a repository's directory leads to.
func (tr *trip) spool() string {
	tr.t.Helper()
	text, err := os.ReadFile(filepath.Join(tr.dir, repo.SpoolName))
	if err != nil {
		tr.t.Fatal(err)
	}
	path, _, _ := strings.Cut(string(text), "\n")
	return path
}

// otherFileSystem is a directory that no rename reaches from the test's own
// ones, where the machine has such a place.
func otherFileSystem(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pg_scribe-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// With encryption and a folder for the working files elsewhere, nothing in the
// repository and on its storage can be read at any moment, whoever dies when,
// and the database that comes back is equal.
func TestNothingInClearWithSpoolDir(t *testing.T) {
	key, to := keyFile(t)
	place, target := otherFileSystem(t), t.TempDir()
	tr := &trip{t: t}
	tr.source, tr.target = clusters(t)
	tr.db, tr.dir = tr.source.CreateDB(t, "src"), filepath.Join(t.TempDir(), "repo")
	tr.slot = tr.db
	tr.run(`CREATE TABLE people (id serial PRIMARY KEY, name text, note text);
	  INSERT INTO people (name, note) SELECT 'precious' || g, repeat(md5(g::text), 20) FROM generate_series(1, 30000) g;
	  CREATE TABLE more AS SELECT g AS a, 'precious' || md5(g::text) AS b FROM generate_series(1, 30000) g; ALTER TABLE more ADD PRIMARY KEY (a)`)
	end := opaqueAlways(t, tr.dir, target)
	tr.mustScribe("init", "-d", tr.conn(), "-f", tr.dir, "-S", tr.slot, "-Z", "zstd", "--filter", "age recipient="+to, "--spool-dir", place, "--target", target)
	if filepath.Dir(tr.spool()) != place {
		t.Fatalf("the folder is %s", tr.spool())
	}

	work := func(n int) {
		tr.run(fmt.Sprintf(`UPDATE people SET name = 'precious %d ' || id WHERE id %% 50 = %d;
		  CREATE TABLE precious_%d AS SELECT * FROM people WHERE id < 100; ALTER TABLE precious_%d ADD PRIMARY KEY (id)`, n, n, n, n))
		tr.acknowledged()
	}
	streamer := tr.launchStart()
	work(1)
	open, _ := filepath.Glob(filepath.Join(tr.spool(), "incremental-*.open"))
	if len(open) != 1 {
		t.Fatalf("open segments in the folder: %q", open)
	}
	streamer.kill(t)

	streamer = tr.launchStart("--segment-size", "256kB")
	work(2)
	// pg_dump has begun to write.
	dump := tr.launch("full-backup", "-d", tr.conn(), "-f", tr.dir, "--jobs", "2")
	clear := func() []string {
		found, err := filepath.Glob(filepath.Join(tr.spool(), "base-*.clear.partial", "*.dat*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	await(t, "dump", func() bool { return len(clear()) > 0 })
	dump.kill(t)
	await(t, "end of pg_dump", func() bool { // it notices that it is alone
		return tr.source.Query(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND datname = '"+tr.db+"'") == "0"
	})
	work(3)
	streamer.kill(t)

	streamer = tr.launchStart()
	await(t, "sweep", func() bool { return len(clear()) == 0 })
	tr.mustScribe("full-backup", "-d", tr.conn(), "-f", tr.dir, "--jobs", "2")
	work(4)
	status, code := tr.program("status", "-f", tr.dir)
	if !strings.Contains(status, "spool          "+tr.spool()) {
		t.Errorf("status (%d) does not show the folder:\n%s", code, status)
	}
	tr.rescue("-i", key) // the open segment too
	streamer.stop(t)
	if out, code := tr.program("verify", "-f", tr.dir, "-i", key); code != 0 && code != 10 || !strings.Contains(out, "\nOK\n") {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
	tr.mustScribe("reencrypt", "-f", tr.dir, "-i", key)
	end()
	tr.rescue("-i", key)
	tr.rescue("-i", key, "--base-backup", tr.artifacts()[0].Name)
	names, err := os.ReadDir(tr.spool())
	if err != nil || len(names) != 2 { // the catalog, and whose the folder is
		t.Errorf("the folder holds %v %v", names, err)
	}
}

// A folder for working files that does not survive, such as one in memory,
// takes with it what the server was told is stored. That is said by start, and
// stays visible as a break in the chain; never a restore that lacks it.
func TestSpoolDirLostWithAcknowledgedChanges(t *testing.T) {
	key, to := keyFile(t)
	place := t.TempDir()
	tr := initTrip(t, "--filter", "age recipient="+to, "--spool-dir", place)
	tr.run(`UPDATE people SET note = 'sealed' WHERE id < 100`)
	tr.streamNow()
	streamer := tr.launchStart()
	tr.run(`UPDATE people SET note = 'lost' WHERE id < 200`)
	inside := tr.lsn()
	tr.acknowledged()
	streamer.kill(t)
	if err := os.RemoveAll(tr.spool()); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"start", "-d", tr.conn()}, {"status"}, {"list"}, {"verify"}, {"full-backup", "-d", tr.conn()}} {
		tr.saysAll(4, []string{"is not there", "catalog rebuild", "--spool-dir " + place}, append(command, "-f", tr.dir)...)
	}
	tr.saysAll(5, []string{"no such directory"}, "catalog", "rebuild", "-f", tr.dir, "-i", key, "--spool-dir", filepath.Join(place, "absent"))
	tr.mustScribe("catalog", "rebuild", "-f", tr.dir, "-i", key, "--spool-dir", place)
	tr.saysAll(3, []string{"changes in between are lost", "--new-slot"}, "start", "-d", tr.conn(), "-f", tr.dir)
	tr.saysAll(10, []string{"changes in between are lost"}, "status", "-d", tr.conn(), "-f", tr.dir)
	tr.mustScribe("full-backup", "-d", tr.conn(), "-f", tr.dir, "--new-slot")
	tr.run(`UPDATE people SET note = 'behind' WHERE id < 50`)
	tr.streamNow()
	tr.saysAll(10, []string{"break"}, "status", "-f", tr.dir)
	tr.saysAll(4, []string{"hint"}, "restore", "-f", tr.dir, "-i", key, "--dry-run", "--target-lsn", inside.String())
	tr.rescue("-i", key)
}

// An open segment that is gone is told by status and start, wherever it lay.
func TestOpenSegmentLostIsTold(t *testing.T) {
	for name, flags := range map[string][]string{"in the repository": nil, "in a SpoolDir": {"--spool-dir", t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			tr := initTrip(t, flags...)
			streamer := tr.launchStart()
			tr.run(`UPDATE people SET note = 'lost' WHERE id < 200`)
			tr.acknowledged()
			tr.saysAll(0, []string{"OK"}, "status", "-f", tr.dir)
			streamer.kill(t)
			place := tr.dir
			if flags != nil {
				place = tr.spool()
			}
			open, err := filepath.Glob(filepath.Join(place, "*.open"))
			if err != nil || len(open) != 1 || os.Remove(open[0]) != nil {
				t.Fatalf("%q %v", open, err)
			}
			tr.saysAll(10, []string{"ERROR: missing: " + filepath.Base(open[0])}, "status", "-f", tr.dir)
			tr.saysAll(4, []string{"is missing", "catalog rebuild --force"}, "start", "-d", tr.conn(), "-f", tr.dir)
			tr.mustScribe("catalog", "rebuild", "--force", "-f", tr.dir)
			tr.saysAll(3, []string{"changes in between are lost"}, "start", "-d", tr.conn(), "-f", tr.dir)
		})
	}
}

// saysAll fails unless the program ends so and says all the words.
func (tr *trip) saysAll(code int, words []string, args ...string) {
	tr.t.Helper()
	out, got := tr.program(args...)
	for _, w := range words {
		if !strings.Contains(out, w) {
			tr.t.Errorf("%q does not say %q:\n%s", args, w, out)
		}
	}
	if got != code {
		tr.t.Fatalf("%q: exit %d\n%s", args, got, out)
	}
}

// With --durability storage the server keeps what the folder alone holds: when
// that is lost, nothing is.
func TestSpoolDirLostWithDurableTarget(t *testing.T) {
	key, to := keyFile(t)
	place, target := t.TempDir(), t.TempDir()
	tr := initTrip(t, "--filter", "age recipient="+to, "--spool-dir", place, "--target", target)
	tr.run(`UPDATE people SET note = 'sealed' WHERE id < 100`)
	tr.streamNow("--durability", "storage")
	streamer := tr.launchStart("--durability", "storage")
	tr.run(`UPDATE people SET note = 'only in the folder' WHERE id < 200; CREATE TABLE made (a int PRIMARY KEY); INSERT INTO made VALUES (1)`)
	end := tr.lsn()
	await(t, "checkpoint", func() bool {
		r, err := repo.OpenReadOnly(t.Context(), tr.dir)
		if err != nil {
			return false
		}
		defer r.Close()
		at, err := r.End(t.Context())
		return err == nil && at >= end
	})
	streamer.kill(t)
	if err := os.RemoveAll(tr.spool()); err != nil {
		t.Fatal(err)
	}
	tr.mustScribe("catalog", "rebuild", "-f", tr.dir, "-i", key, "--spool-dir", place, "--target", target)
	tr.streamNow("--durability", "storage")
	r, err := repo.OpenReadOnly(t.Context(), tr.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := r.Catalog().Artifacts(t.Context())
	if holes := catalog.Holes(all); err != nil || len(holes) > 0 {
		t.Errorf("holes %v (%v)", holes, err)
	}
	tr.rescue("-i", key)
}

// What init is given for the working files is tried before anything is made.
func TestInitRefusesSpoolDir(t *testing.T) {
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: filepath.Join(t.TempDir(), "repo")}
	file := filepath.Join(t.TempDir(), "file")
	open := t.TempDir()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for dir, words := range map[string]string{"/nowhere/at/all": "no such directory", file: "no directory", open: "everybody"} {
		out, code := tr.program("init", "-d", tr.conn(), "-f", tr.dir, "-S", tr.db, "--spool-dir", dir)
		if code != 5 || !strings.Contains(out, words) || !strings.Contains(out, "--spool-dir an existing directory") {
			t.Errorf("%s: exit %d:\n%s", dir, code, out)
		}
	}
	if _, err := os.Stat(tr.dir); err == nil {
		t.Error("the directory is left")
	}
	// Whatever fails later, nothing is left in the folder's place either.
	place := t.TempDir()
	if out, code := tr.program("init", "-d", tr.conn(), "-f", tr.dir, "-S", tr.db, "--spool-dir", place, "--filter",
		"shell write='head -c 100' read=cat"); code != 5 {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if left, err := os.ReadDir(place); len(left) > 0 || err != nil {
		t.Errorf("left: %v %v", left, err)
	}
}
