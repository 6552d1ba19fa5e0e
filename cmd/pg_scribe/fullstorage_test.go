package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pg_scribe/internal/pgtest"
)

// limitedPlaces are storages that take so many bytes and no more.
var limitedPlaces = map[string]func(t *testing.T) (dir, spec string, limit func(bytes int64)){
	"shell": func(t *testing.T) (string, string, func(int64)) {
		dir := filepath.Join(t.TempDir(), "place")
		quota := dir + ".quota"
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.Mkdir(dir, 0o700))
		script := dir + ".sh"
		must(os.WriteFile(script, fmt.Appendf(nil, `set -e
new=%[1]s.new.$$
trap 'rm -f $new' EXIT
cat > $new
exec 9> %[1]s.lock
flock 9
used=$(find %[1]s -type f -printf '%%s\n' | awk '{ n += $1 } END { print n + 0 }')
size=$(stat -c %%s $new)
[ $((used + size)) -le "$(cat %[2]s)" ] || { echo "quota exceeded" >&2; exit 1; }
mkdir -p "$(dirname %[1]s/$1)"
mv $new %[1]s/$1
`, dir, quota), 0o700))
		limit := func(bytes int64) { must(os.WriteFile(quota, fmt.Append(nil, bytes), 0o600)) }
		limit(1 << 30)
		spec := fmt.Sprintf(`shell write="sh %[2]s %%f" read="cat %[1]s/%%f" list="cd %[1]s && find . -type f -printf '%%%%s %%%%P\n'" remove="rm %[1]s/%%f"`, dir,
			script)
		return dir, spec, limit
	},
	"tmpfs": func(t *testing.T) (string, string, func(int64)) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1g"); err != nil {
			t.Skip("tmpfs: ", err)
		}
		t.Cleanup(func() { syscall.Unmount(dir, 0) })
		return dir, "file:" + dir, func(bytes int64) {
			if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)); err != nil {
				t.Fatal(err)
			}
		}
	},
}

// usedIn is what the files of a directory take, in whole pages.
func usedIn(t *testing.T, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, ierr := d.Info()
			n, err = n+(info.Size()+4095)/4096*4096, ierr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func held(dir, kind string) int {
	found, _ := filepath.Glob(filepath.Join(dir, kind+"-*"))
	return len(found)
}

// onLimitedPlaces runs a test with a source of which a base and a segment are
// on a storage that can be made small.
func onLimitedPlaces(t *testing.T, test func(t *testing.T, s *sourceDB, dir, spec string, limit func(bytes int64))) {
	c := pgtest.Shared(t)
	for name, place := range limitedPlaces {
		t.Run(name, func(t *testing.T) {
			dir, spec, limit := place(t)
			s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, md5(g::text) || md5((-g)::text) FROM generate_series(1, "+
				"3000) g", spec)
			s.c.Exec(t, s.db, "INSERT INTO t SELECT g, md5(g::text) || md5((-g)::text) FROM generate_series(3001, 6000) g")
			s.catchUp()
			test(t, s, dir, spec, limit)
		})
	}
}

// What expire removes makes room for what waits, though the storage is full.
func TestExpireRelievesAFullTarget(t *testing.T) {
	onLimitedPlaces(t, func(t *testing.T, s *sourceDB, dir, spec string, limit func(bytes int64)) {
		s.must("full-backup", "-d", s.conn, "-f", s.dir)
		s.c.Exec(t, s.db, "UPDATE t SET v = md5((id * 3)::text) || md5((id * 5)::text) WHERE id % 2 = 0")
		limit(usedIn(t, dir) + 80<<10)
		before := held(dir, "incremental")
		if o := s.run("start", "-d", s.conn, "-f", s.dir, "--endpos", s.c.Query(t, s.db, "SELECT pg_current_wal_flush_lsn()"), "--no-loop"); o.code != exitOK ||
			!strings.Contains(o.errors, "not everything is on the storages yet") {
			t.Fatalf("%d\n%s", o.code, o.errors)
		}
		if n := held(dir, "incremental"); n != before {
			t.Fatalf("the segment has room: %d files", n)
		}
		o := s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
		if held(dir, "base") != 1 || held(dir, "incremental") != held(s.dir, "incremental") {
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			t.Errorf("the storage holds %q\n%s", left, o.errors)
		}
		if d := decode[statusRead](t, s.run("status", "-f", s.dir, "--output", "json")); d.Repository.Targets[0].Pending != 0 ||
			d.Repository.Targets[0].FailedSince != "" {
			t.Errorf("status shows %+v", d.Repository.Targets)
		}
		if got, want := s.restoredFrom(spec), s.content(); got != want {
			t.Errorf("restored %s, want %s", got, want)
		}
	})
}

// A storage keeps what expire has removed as long as it could not restore
// without.
func TestFullTargetStaysRestorable(t *testing.T) {
	onLimitedPlaces(t, func(t *testing.T, s *sourceDB, dir, spec string, limit func(bytes int64)) {
		// The pinned base alone leads less far.
		bases, _ := filepath.Glob(filepath.Join(s.dir, "base-*"))
		s.must("keep", filepath.Base(bases[0]), "-f", s.dir)
		s.must("full-backup", "-d", s.conn, "-f", s.dir)
		s.c.Exec(t, s.db, "INSERT INTO t VALUES (-1, 'small')")
		s.catchUp()
		old := s.content()
		limit(usedIn(t, dir) + 80<<10)
		s.must("full-backup", "-d", s.conn, "-f", s.dir)
		s.c.Exec(t, s.db, "INSERT INTO t VALUES (0, 'small')")
		s.catchUp()
		for range 2 {
			o := s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
			if held(s.dir, "base") != 2 {
				t.Fatalf("expire says\n%s", o.out)
			}
			s.run("copy", "-f", s.dir)
			if got := s.restoredFrom(spec); got != old {
				t.Errorf("the full storage restores %s, want %s", got, old)
			}
		}
		limit(64 << 20)
		s.must("copy", "-f", s.dir)
		if held(dir, "base") != 2 || held(dir, "incremental") != held(s.dir, "incremental") {
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			t.Errorf("the storage holds %q", left)
		}
		if got, want := s.restoredFrom(spec), s.content(); got != want {
			t.Errorf("restored %s, want %s", got, want)
		}
	})
}

// What reencrypt has written anew goes only when the new file is there, also
// where it is not needed to reach the end.
func TestFullTargetKeepsWhatIsNotReplaced(t *testing.T) {
	onLimitedPlaces(t, func(t *testing.T, s *sourceDB, dir, spec string, limit func(bytes int64)) {
		s.must("full-backup", "-d", s.conn, "-f", s.dir)
		there := decode[struct {
			Bases    []struct{ Name string }
			Segments []struct {
				End string `json:"end_lsn"`
			}
		}](t, s.must("list", "-f", spec, "--output", "json"))
		first, end := there.Bases[0].Name, there.Segments[0].End
		used := usedIn(t, dir)
		limit(used)
		s.run("reencrypt", "-f", s.dir, "-Z", "gzip")
		room := int64(0)
		for _, pattern := range []string{"base-*.gz", "globals-*"} {
			found, _ := filepath.Glob(filepath.Join(s.dir, pattern))
			for _, path := range found {
				if info, err := os.Stat(path); err == nil {
					room += (info.Size() + 4095) / 4096 * 4096
				}
			}
		}
		limit(used + room + 80<<10)
		s.run("copy", "-f", s.dir)
		if n := held(dir, "base"); n != 4 {
			t.Errorf("%d bases are there, the old and the new ones have room", n)
		}
		if got, want := s.restoredFrom(spec, "--base-backup", first, "--target-lsn", end), s.content(); got != want {
			t.Errorf("the full storage restores %s, want %s", got, want)
		}
		limit(64 << 20)
		s.must("copy", "-f", s.dir)
		if held(dir, "base") != 2 || held(dir, "incremental") != 1 {
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			t.Errorf("the storage holds %q", left)
		}
		if got, want := s.restoredFrom(spec), s.content(); got != want {
			t.Errorf("restored %s, want %s", got, want)
		}
	})
}
