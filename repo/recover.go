package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/segment"
)

// Recover ends the segments that a streamer left open when it died: each is
// cut at its last checkpoint, read back whole, and sealed. Then it removes the
// stray files of dead processes. The caller holds the streamer's lock. It may
// itself be interrupted at any point and called again.
func (r *Repository) Recover(ctx context.Context) error {
	segments, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	if err != nil {
		return err
	}
	for _, a := range segments {
		if a.State != catalog.StateOpen {
			continue
		}
		if err := r.recoverSegment(ctx, a); err != nil {
			return fmt.Errorf("recover %s: %w", a.Name, err)
		}
	}
	return r.sweep(ctx)
}

func (r *Repository) recoverSegment(ctx context.Context, a catalog.Artifact) error {
	codec, err := filter.ParseCodec(a.Filters)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(r.Path(a.Name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if r.spool == "" {
			// It died between the rename and the catalog: take the rename back.
			err = os.Rename(r.Path(SealedName(a.Name)), r.Path(a.Name))
		}
		if errors.Is(err, fs.ErrNotExist) {
			if a.End == a.Start {
				return r.cat.DeleteArtifact(ctx, a.ID) // nothing is lost with it
			}
			return &MissingFileError{a.Name}
		}
		if err == nil {
			file, err = os.OpenFile(r.Path(a.Name), os.O_RDWR, 0)
		}
	}
	if err == nil {
		err = r.removeUnrecorded(StemOf(a.Name))
	}
	if err != nil {
		return err
	}
	w := &SegmentWriter{repo: r, id: a.ID, codec: codec, name: a.Name, file: file}
	if err := w.resume(ctx, a); err != nil {
		w.Close()
		return err
	}
	return w.Seal(ctx)
}

// removeUnrecorded removes what a sealing made that ended between the rename
// and the catalog, while the open file still stood: that one counts.
func (r *Repository) removeUnrecorded(stem string) error {
	name, err := r.strayOf(stem)
	if err != nil || name == "" {
		return err
	}
	known, err := r.Knows(name)
	if err != nil {
		return err
	}
	if known {
		return &fs.PathError{Op: "recover", Path: r.Path(name), Err: fs.ErrExist}
	}
	return os.Remove(r.Path(name))
}

// resume brings a writer to the state of its last checkpoint by reading the
// text back, which also proves that it is still readable.
func (w *SegmentWriter) resume(ctx context.Context, a catalog.Artifact) error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < a.Bytes {
		return &FormatError{File: a.Name, Reason: fmt.Sprintf("has %d bytes, %d were stored", info.Size(), a.Bytes)}
	}
	if err := w.file.Truncate(a.Bytes); err != nil {
		return err
	}
	w.stored.reset(nil)
	w.text.reset(nil)
	stored := io.TeeReader(w.file, &w.stored)
	text, err := w.codec.NewReader(stored)
	if err != nil {
		return &FormatError{File: a.Name, Reason: err.Error()}
	}
	defer text.Close()
	reader, err := segment.NewReader(a.Name, io.TeeReader(text, &w.text), true)
	if err != nil {
		return err
	}
	reader.Collect(&w.index)
	w.starts = []filter.Start{{}} // of the rest only the reader knows
	for err == nil {
		_, err = reader.Next()
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if w.text.n.Load() != a.TextBytes || w.stored.n.Load() != a.Bytes {
		return &FormatError{File: a.Name, Reason: fmt.Sprintf("holds %d bytes of text, %d were stored", w.text.n.Load(), a.TextBytes)}
	}
	if w.text.sum() != a.TextSHA256 || w.stored.sum() != a.SHA256 {
		return &FormatError{File: a.Name, Reason: "its bytes are not those that were stored"}
	}
	counts, err := w.repo.cat.Tables(ctx, a.ID)
	if err != nil {
		return err
	}
	w.header = reader.Header
	w.saved.stats = segment.Stats{End: a.End, Reached: a.ReachedAt, Transactions: a.Transactions,
		FirstCommit: a.FirstCommitAt, LastCommit: a.LastCommitAt, MinXID: a.MinXID, MaxXID: a.MaxXID,
		Tables: make(map[string]catalog.TableCount, len(counts))}
	for _, c := range counts {
		w.saved.stats.Tables[c.Table] = c
	}
	w.stored.w = w.file
	w.enc, err = w.codec.NewWriter(&w.stored)
	return err
}

// sweep removes what dead processes left: files of an expiry that was
// interrupted, partial dumps whose lock is free, and open segments that the catalog does not know. A file that has its final
// name is whole and stays, even if the catalog does not know it: the catalog
// may have been restored from an older copy.
func (r *Repository) sweep(ctx context.Context) error {
	if err := r.finishRemovals(ctx); err != nil {
		return fmt.Errorf("remove expired file: %w", err)
	}
	known, err := r.cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(known))
	for _, a := range known {
		names[a.Name] = true
	}
	there, err := r.Names()
	if err != nil {
		return err
	}
	for _, name := range there {
		switch {
		case names[name]:
		case strings.HasPrefix(name, segmentPrefix) && strings.HasSuffix(name, openSuffix):
			err = os.RemoveAll(r.Path(name))
		case strings.HasSuffix(name, partialSuffix) && ours(name):
			err = r.removeDead(name)
		}
		if err != nil {
			return fmt.Errorf("remove stray file: %w", err)
		}
	}
	return nil
}

func ours(name string) bool {
	for _, prefix := range []string{"base-", "globals-", segmentPrefix, MetadataName, SpoolName, ownerName} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// removeDead removes a partial file or directory unless a process holds its
// lock. It keeps the lock meanwhile, so that nobody begins to write it.
func (r *Repository) removeDead(name string) error {
	f, err := os.Open(r.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // finished since
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil
		}
		return err
	}
	// Between opening and locking it its writer may have finished and another
	// one begun a file of the same name.
	if !same(f, r.Path(name)) {
		return nil
	}
	return os.RemoveAll(r.Path(name))
}

// createLocked makes a file that did not exist and takes its lock, which
// shows sweep that its writer lives.
func createLocked(path string) (*os.File, error) {
	for {
		f, err := owner.Create(path, os.O_RDWR)
		if err != nil {
			return nil, err
		}
		// sweep may hold the lock for a moment, and take the file with it.
		err = flock(f, syscall.LOCK_EX)
		if err == nil && same(f, path) {
			return f, nil
		}
		f.Close()
		if err != nil {
			os.Remove(path)
			return nil, err
		}
	}
}

// same says whether path still leads to f.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// BeingWritten says whether a process holds the lock of a file, as the writer of a
// dump does until the catalog has it.
func (r *Repository) BeingWritten(name string) bool {
	f, err := os.Open(r.Path(name))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
