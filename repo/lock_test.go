package repo

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

func TestLockStreamer(t *testing.T) {
	r := testRepository(t, "zstd")
	release, err := r.LockStreamer()
	must(t, err)
	var busy *BusyError
	if _, err := r.LockStreamer(); !errors.As(err, &busy) || busy.Dir != r.dir {
		t.Errorf("a second lock: %v", err)
	}
	release()
	release, err = r.LockStreamer()
	must(t, err)
	release()
}

// Asking whether somebody streams never keeps anybody from it.
func TestStreamerRunning(t *testing.T) {
	r := testRepository(t, "zstd")
	if r.StreamerRunning() {
		t.Error("running before there was one")
	}
	stop := make(chan struct{})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for {
			select {
			case <-stop:
				return
			default:
				r.StreamerRunning()
			}
		}
	}()
	for range 200 {
		release, err := r.LockStreamer()
		must(t, err)
		release()
	}
	close(stop)
	<-asked
	release, err := r.LockStreamer()
	must(t, err)
	if !r.StreamerRunning() {
		t.Error("not running while the lock is held")
	}
	release()
	if r.StreamerRunning() {
		t.Error("running after its end")
	}
}

func TestLockIsFreedWhenItsHolderDies(t *testing.T) {
	r := testRepository(t, "zstd")
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "PG_SCRIBE_TEST_HOLD="+r.dir)
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	defer holder.Process.Kill()
	answer := make([]byte, 5)
	if _, err := io.ReadFull(out, answer); err != nil || string(answer) != "held\n" {
		t.Fatalf("the holder says %q, error %v", answer, err)
	}
	var busy *BusyError
	if _, err := r.LockStreamer(); !errors.As(err, &busy) {
		t.Errorf("while another process streams: %v", err)
	}
	must(t, holder.Process.Kill())
	holder.Wait()
	release, err := r.LockStreamer()
	if err != nil {
		t.Fatalf("after it was killed: %v", err)
	}
	release()
}

func TestSweep(t *testing.T) {
	r := testRepository(t, "zstd")
	base, globals := writeBase(t, r, filter.Default)
	live, err := r.CreateDump(baseHeader(catalog.KindBase), "20261122-000000", filter.Default)
	must(t, err)
	defer live.Abort()
	dead := []string{"base-20261123-000000.sql.zst.partial", "globals-20261123-000000.sql.partial", MetadataName + ".123.partial",
		"incremental-0000000000000010.sql.zst.open"}
	stay := []string{base.Name, globals.Name, CatalogName, "base-20261122-000000.sql.zst.partial", "notes.partial", "notes.open",
		"base-20261120-000000.sql.zst", "incremental-0000000000000001.sql.zst"}
	for _, name := range append(dead, stay[4:]...) {
		must(t, os.WriteFile(r.Path(name), []byte("x"), 0o600))
	}
	must(t, os.Mkdir(r.Path("base-20261124-000000.partial"), 0o700))
	must(t, os.WriteFile(r.Path("base-20261124-000000.partial/toc.dat"), nil, 0o600))
	must(t, r.Recover(ctx))
	for _, name := range append(dead, "base-20261124-000000.partial") {
		if _, err := os.Stat(r.Path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	for _, name := range stay {
		if _, err := os.Stat(r.Path(name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := live.Finish(segment.Trailer{}); err != nil {
		t.Errorf("the one that was being written: %v", err)
	}
}

// A sweep beside writers that begin and end files never takes one of theirs.
func TestSweepBesideWriters(t *testing.T) {
	r := testRepository(t, "none")
	done := make(chan error)
	go func() {
		for i := range 200 {
			stamp := testClock.Add(time.Duration(i) * time.Second).Format(stampLayout)
			w, err := r.CreateDump(baseHeader(catalog.KindBase), stamp, filter.Chain{})
			if err == nil {
				_, err = w.Finish(segment.Trailer{})
				w.Abort()
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("a writer beside the sweep: %v", err)
			}
			return
		default:
			must(t, r.sweep(ctx))
		}
	}
}

// The lock is the process's until it is released, even when nothing refers to
// it any more.
func TestLockOutlivesItsRelease(t *testing.T) {
	r := testRepository(t, "zstd")
	if _, err := r.LockStreamer(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
	}
	var busy *BusyError
	if _, err := r.LockStreamer(); !errors.As(err, &busy) {
		t.Errorf("after a collection: %v", err)
	}
}
