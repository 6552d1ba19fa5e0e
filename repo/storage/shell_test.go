package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/repo/storage"
)

// commands makes a shell storage over dir of which some commands are others.
func commands(dir string, replace map[string]string) string {
	list := map[string]string{"write": "cat > " + dir + "/%f", "read": "cat " + dir + "/%f", "list": "ls " + dir, "remove": "rm " + dir + "/%f", "timeout": "10s"}
	for key, value := range replace {
		list[key] = value
	}
	spec := "shell"
	for key, value := range list {
		spec += " " + key + "='" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	return spec
}

// A command that dies, hangs, or does less than it says is an error, and
// leaves no file that could be taken for whole.
func TestShellCommandsThatFail(t *testing.T) {
	big := noise(1 << 20)
	cases := []struct {
		name    string
		replace func(dir string) map[string]string
		says    string
	}{
		{"exit status", func(dir string) map[string]string {
			return map[string]string{"write": "cat > " + dir + "/%f; echo the disk is on fire >&2; exit 3"}
		}, "the disk is on fire"},
		{"killed", func(dir string) map[string]string {
			return map[string]string{"write": "head -c 100 > " + dir + "/%f; kill -9 $$"}
		}, ""},
		{"stops reading", func(dir string) map[string]string {
			return map[string]string{"write": "head -c 100 > " + dir + "/%f"}
		}, ""},
		{"loses bytes", func(dir string) map[string]string {
			return map[string]string{"write": "head -c 100 > " + dir + "/%f; cat > /dev/null"}
		}, "read back"},
		{"loses bytes, listing with sizes", func(dir string) map[string]string {
			return map[string]string{"write": "head -c 100 > " + dir + "/%f; cat > /dev/null", "list": "cd " + dir + " && find . -type f -printf '%%s %%P\n'"}
		}, "listing shows 100"},
		{"changes bytes", func(dir string) map[string]string {
			return map[string]string{"write": "tr a b > " + dir + "/%f"}
		}, "read back"},
		{"stores nothing", func(dir string) map[string]string {
			return map[string]string{"write": "cat %f /dev/stdin > /dev/null 2>&1; cat > /dev/null; true"}
		}, "does not show the file"},
		{"hangs", func(dir string) map[string]string {
			return map[string]string{"write": "sleep 1000; cat > " + dir + "/%f", "timeout": "300ms"}
		}, "no progress"},
		{"hangs after reading", func(dir string) map[string]string {
			return map[string]string{"write": "cat > " + dir + "/%f; sleep 1000", "timeout": "300ms"}
		}, "no progress"},
		{"is missing", func(dir string) map[string]string {
			return map[string]string{"write": "/nonexistent/program %f"}
		}, "not found"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := begin(t, commands(dir, c.replace(dir)), environment())
			began := time.Now()
			err := store(s, "file", big, -1)
			var e *storage.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want an error with %q", err, c.says)
			}
			if time.Since(began) > 8*time.Second {
				t.Errorf("it took %s", time.Since(began))
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
	t.Run("what fits into the pipe", func(t *testing.T) {
		dir := t.TempDir()
		s := begin(t, commands(dir, map[string]string{"write": "true > " + dir + "/%f"}), environment())
		if err := store(s, "file", []byte("small"), -1); !errors.Is(err, storage.Broken) {
			t.Errorf("a command that read nothing: %v", err)
		}
	})
}

func TestShellReadsThatFail(t *testing.T) {
	for name, c := range map[string]struct{ command, says string }{
		"exit status": {"head -c 1000 %s/%%f; exit 7", "exit status 7"},
		"hangs":       {"head -c 1000 %s/%%f; sleep 1000", "no progress"},
	} {
		dir := t.TempDir()
		s := begin(t, commands(dir, map[string]string{"read": fmt.Sprintf(c.command, dir), "list": "cd " + dir + " && find . -type f -printf '%%s %%P\n'",
			"timeout": "300ms"}), environment())
		must(t, store(s, "file", noise(10_000), -1))
		if got, err := fetch(s, "file"); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d bytes, error %v", name, len(got), err)
		}
	}
	dir := t.TempDir()
	for name, list := range map[string]string{"fails": "ls " + dir + "; exit 2", "hangs": "sleep 1000"} {
		tgt, err := storage.Parse(commands(dir, map[string]string{"list": list, "timeout": "300ms"}), environment())
		must(t, err)
		if _, err := tgt.Begin(context.Background()); err == nil {
			t.Errorf("a listing that %s begins a session", name)
		}
	}
}

// What was started is ended with its children when the caller gives up.
func TestShellEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, commands(dir, map[string]string{"write": "sleep 987 & wait; cat > " + dir + "/%f", "timeout": "1h"}), environment())
	ctx, cancel := context.WithCancel(context.Background())
	f, err := s.Create(ctx, "file", -1)
	must(t, err)
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	_, err = f.Write(noise(10 << 20))
	f.Abort()
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// A directory that cannot be written, or is not there, is told from others.
func TestDirectoryRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{filepath.Join(dir, "missing"), file} {
		tgt, err := storage.Parse(path, environment())
		must(t, err)
		if _, err := tgt.Begin(context.Background()); !errors.Is(err, storage.NoPlace) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat("/sys/kernel"); err == nil { // where not even root may write
		s := begin(t, "/sys/kernel", environment())
		if err := store(s, "file", []byte("x"), -1); !errors.Is(err, storage.ReadOnly) {
			t.Errorf("a read-only directory: %v", err)
		}
	}
	// Reading notices a file that is a link or no file.
	s := begin(t, dir, environment())
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	if _, err := s.Stat(context.Background(), "link"); !errors.Is(err, storage.NotFound) {
		t.Errorf("a link: %v", err)
	}
	if _, err := fetch(s, "link"); err == nil {
		t.Error("a link is read")
	}
	if err := store(s, "link", []byte("x"), -1); !errors.Is(err, storage.Exists) {
		t.Errorf("a link: %v", err)
	}
}

// A listing that never ends is an error before it takes all memory, and one
// that is long in coming is none.
func TestShellListings(t *testing.T) {
	list := func(timeout, command string) (n int, err error) {
		tgt, err := storage.Parse("shell write='cat > %f' read='cat %f' remove='rm %f' timeout="+timeout+" list='"+command+"'", storage.Env{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := tgt.Begin(context.Background())
		if err != nil {
			return 0, err
		}
		for _, err := range s.List(context.Background(), "") {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	if _, err := list("1m", "yes 12 some-file"); !errors.Is(err, storage.Broken) || !strings.Contains(err.Error(), "more than 256 MB") {
		t.Errorf("an endless listing: %v", err)
	}
	if n, err := list("2s", "for i in 1 2 3 4; do echo 1 file-$i; sleep 0.7; done"); n != 4 || err != nil {
		t.Errorf("a slow listing: %d files, %v", n, err)
	}
}
