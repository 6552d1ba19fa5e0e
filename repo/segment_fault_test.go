package repo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pg_scribe/catalog"
)

// A name that is taken is never written over.
func TestSealedSegmentIsNotOverwritten(t *testing.T) {
	r := testRepository(t, "none")
	must(t, os.WriteFile(r.Path(SegmentName(txLSN(1), chain(t, r))), []byte("precious"), 0o600))
	if _, err := r.CreateSegment(ctx, segmentHeader(txLSN(1))); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateSegment gives %v", err)
	}
	w := createSegment(t, r, txLSN(2))
	addTx(t, w, 2)
	must(t, os.WriteFile(r.Path(SegmentName(txLSN(2), chain(t, r))), []byte("precious"), 0o600))
	if err := w.Seal(ctx); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Seal gives %v", err)
	}
	for _, n := range []int{1, 2} {
		if b, err := os.ReadFile(r.Path(SegmentName(txLSN(n), chain(t, r)))); string(b) != "precious" {
			t.Errorf("the file now holds %q, error %v", b, err)
		}
	}
	if _, err := r.CreateSegment(ctx, segmentHeader(txLSN(3))); err == nil {
		t.Error("a second open segment")
	} else if files, _ := filepath.Glob(r.Path("*0030*")); len(files) > 0 {
		t.Errorf("it left %v", files)
	}
}

var errBoom = errors.New("boom")

func TestWriterAfterFailedWrite(t *testing.T) {
	r := testRepository(t, "none")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1)
	must(t, w.Checkpoint(ctx))
	w.stored.w = failing{errBoom}
	if err := w.Write([]byte("half a")); !errors.Is(err, errBoom) {
		t.Fatalf("Write gives %v", err)
	}
	w.stored.w = w.file
	for name, f := range map[string]func() error{"Write": func() error { return w.Write([]byte("x")) }, "Checkpoint": func() error { return w.Checkpoint(ctx) }} {
		if err := f(); !errors.Is(err, errBoom) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	must(t, w.Rollback())
	addTx(t, w, 2)
	must(t, w.Seal(ctx))
	checkSealed(t, r, segmentAt(t, r, txLSN(1)))
}

func TestSealAfterFailedWrite(t *testing.T) {
	r := testRepository(t, "none")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1)
	must(t, w.Checkpoint(ctx))
	w.failed = errBoom
	if err := w.Seal(ctx); !errors.Is(err, errBoom) {
		t.Fatalf("Seal gives %v", err)
	}
	again := reopen(t, r.dir)
	checkSealed(t, again, segmentAt(t, again, txLSN(1)))
}

func TestWriterAfterFailedFsync(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1)
	must(t, w.Checkpoint(ctx))
	addTx(t, w, 2)
	r.hook = func(step string) error {
		if step == "fsync" {
			return errBoom
		}
		return nil
	}
	if err := w.Checkpoint(ctx); !errors.Is(err, errBoom) {
		t.Fatalf("Checkpoint gives %v", err)
	}
	r.hook = nil
	for name, f := range map[string]func() error{"Checkpoint": func() error { return w.Checkpoint(ctx) }, "Rollback": w.Rollback,
		"Seal": func() error { return w.Seal(ctx) }} {
		if err := f(); !errors.Is(err, errBoom) && !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	must(t, w.Close())
	if a := segmentAt(t, reopen(t, r.dir), txLSN(1)); a.End != txLSN(1)+8 || a.State != catalog.StateSealed {
		t.Errorf("recovered %+v", a)
	}
}

func TestWriterAfterFailedCheckpoint(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := w.Checkpoint(cancelled); !errors.Is(err, context.Canceled) {
		t.Fatalf("Checkpoint gives %v", err)
	}
	if err := w.Rollback(); !errors.Is(err, context.Canceled) {
		t.Errorf("Rollback gives %v", err)
	}
	must(t, w.Checkpoint(ctx))
	must(t, w.Rollback())
	must(t, w.Seal(ctx))
	checkSealed(t, r, segmentAt(t, r, txLSN(1)))
}

func TestClosedWriter(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1)
	must(t, w.Seal(ctx))
	for name, err := range map[string]error{"Write": w.Write([]byte("x")), "Checkpoint": w.Checkpoint(ctx), "Rollback": w.Rollback()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write(p []byte) (int, error) { return len(p) / 2, f.err }

func TestCheckNoticesDamage(t *testing.T) {
	r := testRepository(t, "zstd")
	w := createSegment(t, r, txLSN(1))
	addTx(t, w, 1)
	must(t, w.Seal(ctx))
	a := segmentAt(t, r, txLSN(1))
	stored, err := os.ReadFile(r.Path(a.Name))
	must(t, err)
	flipped := bytes.Clone(stored)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"flipped": flipped, "short": stored[:len(stored)-1], "long": append(bytes.Clone(stored), 0), "empty": nil} {
		must(t, os.WriteFile(r.Path(a.Name), content, 0o600))
		var e *FormatError
		if err := r.Check(a); !errors.As(err, &e) || e.File != a.Name {
			t.Errorf("%s: Check gives %v", name, err)
		}
	}
	must(t, os.Remove(r.Path(a.Name)))
	var missing *MissingFileError
	if err := r.Check(a); !errors.As(err, &missing) {
		t.Errorf("removed: Check gives %v", err)
	}
	if _, err := r.OpenSegment(a); !errors.As(err, &missing) {
		t.Errorf("removed: OpenSegment gives %v", err)
	}
}
