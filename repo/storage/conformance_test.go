package storage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pg_scribe/internal/s3test"
	"pg_scribe/repo/storage"
)

func environment(pairs ...string) storage.Env {
	return storage.Env{Home: "/nonexistent", Lookup: func(name string) (string, bool) {
		for _, p := range slices.Backward(pairs) {
			if key, value, _ := strings.Cut(p, "="); key == name {
				return value, true
			}
		}
		return "", false
	}}
}

func credentials() storage.Env {
	return environment("AWS_ACCESS_KEY_ID="+s3test.AccessKey, "AWS_SECRET_ACCESS_KEY="+s3test.SecretKey)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, spec string, env storage.Env) storage.Session {
	t.Helper()
	tgt, err := storage.Parse(spec, env)
	must(t, err)
	s, err := tgt.Begin(context.Background())
	must(t, err)
	t.Cleanup(func() { s.End() })
	return s
}

// shellSpec keeps files in a directory by commands of the shell.
func shellSpec(dir string) string {
	q := "'" + dir + "'"
	return fmt.Sprintf(`shell write="set -C; mkdir -p $(dirname %s/%%f) && cat > %s/%%f" read="cat %s/%%f" list="cd %s && find . -type f -printf '%%%%s `+
		`%%%%P\n'" `+
		`remove="rm %s/%%f && find %s -mindepth 1 -type d -empty -delete"`, q, q, q, q, q, q)
}

// places are a spec of every kind, and the directory where the files lie.
func places(t *testing.T) map[string]func(t *testing.T) (spec string, env storage.Env, dir string) {
	return map[string]func(t *testing.T) (string, storage.Env, string){
		"directory": func(t *testing.T) (string, storage.Env, string) {
			dir := t.TempDir()
			return "file:" + dir, environment(), dir
		},
		"shell": func(t *testing.T) (string, storage.Env, string) {
			dir := t.TempDir()
			return shellSpec(dir), environment(), dir
		},
		"s3": func(t *testing.T) (string, storage.Env, string) {
			server := s3test.Start(t)
			return server.URL("hosts/db1") + "&part-size=5MB", credentials(), filepath.Join(server.Root, "backups", "hosts", "db1")
		},
		"sftp": func(t *testing.T) (string, storage.Env, string) {
			server := startSSH(t)
			dir := t.TempDir()
			return server.url(dir), environment("USER=root"), dir
		},
	}
}

func store(s storage.Session, name string, content []byte, size int64) error {
	f, err := s.Create(context.Background(), name, size)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(content, 300_000) {
		if _, err := f.Write(piece); err != nil {
			f.Abort()
			return err
		}
	}
	return f.Commit()
}

func fetch(s storage.Session, name string) ([]byte, error) {
	r, err := s.Open(context.Background(), name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func names(t testing.TB, s storage.Session, prefix string) []string {
	t.Helper()
	list := []string{}
	for info, err := range s.List(context.Background(), prefix) {
		must(t, err)
		list = append(list, info.Name)
	}
	slices.Sort(list)
	return list
}

func noise(n int) []byte {
	b := make([]byte, n)
	chacha := rand.NewChaCha8([32]byte{1})
	chacha.Read(b)
	return b
}

func TestConformance(t *testing.T) {
	for kind, place := range places(t) {
		t.Run(kind, func(t *testing.T) {
			spec, env, dir := place(t)
			tgt, err := storage.Parse(spec, env)
			must(t, err)
			if tgt.String() == "" {
				t.Error("the storage has no name")
			}
			s := begin(t, spec, env)
			t.Run("sizes", func(t *testing.T) { conformSizes(t, s) })
			t.Run("names", func(t *testing.T) { conformNames(t, s) })
			t.Run("collision", func(t *testing.T) { conformCollision(t, s) })
			t.Run("several at once", func(t *testing.T) { conformParallel(t, s) })
			t.Run("abort", func(t *testing.T) { conformAbort(t, s, dir) })
			t.Run("missing", func(t *testing.T) { conformMissing(t, s) })
			t.Run("remove", func(t *testing.T) { conformRemove(t, s, dir) })
			t.Run("another session", func(t *testing.T) {
				must(t, store(s, "base-1.sql", []byte("kept"), -1))
				again := begin(t, spec, env)
				if got, err := fetch(again, "base-1.sql"); err != nil || string(got) != "kept" {
					t.Errorf("read %q, error %v", got, err)
				}
			})
		})
	}
}

func conformSizes(t *testing.T, s storage.Session) {
	for _, n := range []int{0, 1, 65_536, 5<<20 - 1, 5 << 20, 5<<20 + 1, 17_000_000} {
		for _, known := range []bool{true, false} {
			name, size := fmt.Sprintf("incremental-%d-%v.sql.zst", n, known), int64(-1)
			if known {
				size = int64(n)
			}
			content := noise(n)
			must(t, store(s, name, content, size))
			got, err := fetch(s, name)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %d bytes are back, error %v", name, len(got), err)
			}
			info, err := s.Stat(context.Background(), name)
			if err != nil || info.Name != name || info.Size != int64(n) {
				t.Errorf("stat %s: %+v, error %v", name, info, err)
			}
			must(t, s.Remove(context.Background(), name))
		}
	}
	// A reader may stop early.
	must(t, store(s, "early", noise(3_000_000), -1))
	r, err := s.Open(context.Background(), "early")
	must(t, err)
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Error(err)
	}
	r.Close()
	must(t, s.Remove(context.Background(), "early"))
}

func conformNames(t *testing.T, s storage.Session) {
	good := []string{"base-20261121-020000.sql.zst", "base-20261121-020000.dir/toc.dat", "base-20261121-020000.dir/3001.dat.gz",
		"globals-20261121-020000.sql", "pg_scribe_metadata.txt", "a+b=c@d,e:f"}
	for _, name := range good {
		must(t, store(s, name, []byte(name), -1))
	}
	for prefix, want := range map[string][]string{"": slices.Sorted(slices.Values(good)), "base-": {good[2], good[1], good[0]},
		"base-20261121-020000.dir/": {good[2], good[1]}, "x": {}} {
		if got := names(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	for _, name := range good {
		if got, err := fetch(s, name); err != nil || string(got) != name {
			t.Errorf("%s: read %q, error %v", name, got, err)
		}
		must(t, s.Remove(context.Background(), name))
	}
	ctx := context.Background()
	for _, name := range []string{"", ".", "..", "../x", "a/../b", "/etc/passwd", "a/b/c", "a//b", "a/", ".hidden", "-rf", "a b", "a'b", "a;b", "$(id)", "a\nb",
		"a\x00b", "a`id`", "ä", "x.partial", "a\\b", "a%2f", strings.Repeat("x", 300)} {
		_, create := s.Create(ctx, name, -1)
		_, open := s.Open(ctx, name)
		_, stat := s.Stat(ctx, name)
		var bad *storage.NameError
		for what, err := range map[string]error{"create": create, "open": open, "stat": stat, "remove": s.Remove(ctx, name)} {
			if !errors.As(err, &bad) {
				t.Errorf("%s %q: %v, want a NameError", what, name, err)
			}
		}
	}
}

func conformCollision(t *testing.T, s storage.Session) {
	must(t, store(s, "taken", []byte("first"), -1))
	if err := store(s, "taken", []byte("other"), -1); !errors.Is(err, storage.Exists) {
		t.Errorf("a second file of the name: %v", err)
	}
	// Several begin before any ends: one wins.
	results := make(chan error, 4)
	var started sync.WaitGroup
	started.Add(4)
	for i := range 4 {
		go func() {
			f, err := s.Create(context.Background(), "race", -1)
			started.Done()
			if err == nil {
				started.Wait()
				_, err = f.Write([]byte{byte('0' + i)})
				err = errors.Join(err, f.Commit())
			}
			results <- err
		}()
	}
	won := 0
	for range 4 {
		if err := <-results; err == nil {
			won++
		} else if !errors.Is(err, storage.Exists) {
			t.Errorf("the losers are told: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 4 have the name", won)
	}
	if got, err := fetch(s, "race"); err != nil || len(got) != 1 {
		t.Errorf("read %q, error %v", got, err)
	}
	if got, err := fetch(s, "taken"); err != nil || string(got) != "first" {
		t.Errorf("read %q, error %v", got, err)
	}
	must(t, s.Remove(context.Background(), "race"))
	must(t, s.Remove(context.Background(), "taken"))
}

func conformParallel(t *testing.T, s storage.Session) {
	content := noise(6 << 20)
	var wait sync.WaitGroup
	files := make([]storage.File, 5)
	for i := range files {
		f, err := s.Create(context.Background(), fmt.Sprintf("many-%d", i), -1)
		must(t, err)
		files[i] = f
	}
	if got := names(t, s, "many-"); kindHides(s) && len(got) != 0 {
		t.Errorf("files are there before their end: %q", got)
	}
	for i, f := range files {
		wait.Go(func() {
			_, err := f.Write(content[i*1000:])
			if err = errors.Join(err, f.Commit()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for i := range files {
		got, err := fetch(s, fmt.Sprintf("many-%d", i))
		if err != nil || sha256.Sum256(got) != sha256.Sum256(content[i*1000:]) {
			t.Errorf("file %d: %d bytes, error %v", i, len(got), err)
		}
		must(t, s.Remove(context.Background(), fmt.Sprintf("many-%d", i)))
	}
}

// kindHides: what commands of the shell do meanwhile is theirs.
func kindHides(s storage.Session) bool { return !strings.Contains(fmt.Sprintf("%T", s), "shell") }

func conformAbort(t *testing.T, s storage.Session, dir string) {
	for _, n := range []int{0, 100, 12 << 20} {
		f, err := s.Create(context.Background(), "given-up", -1)
		must(t, err)
		_, err = f.Write(noise(n))
		must(t, err)
		f.Abort()
		if _, err := s.Stat(context.Background(), "given-up"); !errors.Is(err, storage.NotFound) {
			t.Errorf("a file of %d bytes that was given up: %v", n, err)
		}
	}
	// A process that died leaves what Sweep removes.
	f, err := s.Create(context.Background(), "died", -1)
	must(t, err)
	_, err = f.Write(noise(12 << 20))
	must(t, err)
	if kindHides(s) {
		time.Sleep(500 * time.Millisecond) // nothing of a dead process is still on its way
		must(t, s.Sweep(context.Background()))
		if err := f.Commit(); err == nil {
			t.Error("a file that was swept can be ended")
		}
	} else {
		f.Abort()
	}
	if got := names(t, s, ""); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	left, _ := os.ReadDir(dir)
	for _, e := range left {
		t.Errorf("left in the directory: %s", e.Name())
	}
}

func conformMissing(t *testing.T, s storage.Session) {
	ctx := context.Background()
	_, open := s.Open(ctx, "nowhere")
	_, stat := s.Stat(ctx, "nowhere")
	for what, err := range map[string]error{"open": open, "stat": stat, "remove": s.Remove(ctx, "nowhere")} {
		var e *storage.Error
		if !errors.Is(err, storage.NotFound) || !errors.As(err, &e) || e.Name != "nowhere" {
			t.Errorf("%s: %v", what, err)
		}
		if storage.Temporary(err) {
			t.Errorf("%s: %v counts as temporary", what, err)
		}
	}
}

func conformRemove(t *testing.T, s storage.Session, dir string) {
	must(t, store(s, "base-1.dir/toc.dat", []byte("x"), -1))
	must(t, store(s, "base-1.dir/1.dat", []byte("y"), -1))
	for _, name := range []string{"base-1.dir", "base-1", "base-1.dir/toc"} {
		_, stat := s.Stat(context.Background(), name)
		_, open := s.Open(context.Background(), name)
		for what, err := range map[string]error{"stat": stat, "open": open, "remove": s.Remove(context.Background(), name)} {
			if !errors.Is(err, storage.NotFound) {
				t.Errorf("%s of part of a name: %v", what, err)
			}
		}
	}
	must(t, s.Remove(context.Background(), "base-1.dir/toc.dat"))
	if got := names(t, s, ""); !slices.Equal(got, []string{"base-1.dir/1.dat"}) {
		t.Errorf("left: %q", got)
	}
	must(t, s.Remove(context.Background(), "base-1.dir/1.dat"))
	if got := names(t, s, ""); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}
