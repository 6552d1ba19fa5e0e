package repo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"pg_scribe/catalog"
)

// Hold keeps expire from removing a file while it is read, until release is
// called or the process ends. As segments are removed from the oldest on,
// holding the first one of a chain holds the chain. It fails with
// MissingFileError when the file is gone already.
func (r *Repository) Hold(a catalog.Artifact) (release func(), err error) {
	if r.remote != nil { // no lock reaches there
		return func() {}, nil
	}
	f, err := r.openLock(a)
	if err != nil {
		return nil, err
	}
	// A file system without locks is none that expire removes from.
	_ = flock(f, syscall.LOCK_SH)
	if !same(f, f.Name()) && a.State == catalog.StateSealed {
		f.Close()
		return nil, &MissingFileError{a.Name}
	}
	return func() { f.Close() }, nil
}

func (r *Repository) openLock(a catalog.Artifact) (*os.File, error) {
	f, a, err := r.openLocal(a) // under its present name
	if err != nil || a.Format != "directory" {
		return f, err
	}
	f.Close()
	f, err = os.Open(filepath.Join(r.Path(a.Name), describedBy(a.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		err = &MissingFileError{a.Name}
	}
	return f, err
}

// removeBatch is how many artifacts are forgotten in one transaction of the
// catalog.
const removeBatch = 100

// Removal is what Remove has done.
type Removal struct {
	Removed []catalog.Artifact
	InUse   []catalog.Artifact // left, because a restore reads them
}

// Remove forgets artifacts and removes their files, in the given order: in the
// catalog first, and then on disk, so that whatever the catalog knows is there.
// What a crash leaves on disk in between the next one to call it, or to stream,
// removes. Bases are given with their globals.
//
// A file that is held by a reader stays, and with a segment all later ones of
// its system: segments are removed from the oldest on, and a chain may lead
// from one timeline to the next.
func (r *Repository) Remove(ctx context.Context, list []catalog.Artifact) (done Removal, err error) {
	if err := r.finishRemovals(ctx); err != nil {
		return done, err
	}
	held := map[string]bool{} // systems, of which a segment is in use
	pairs := map[int64]catalog.Artifact{}
	for _, a := range list {
		if a.Kind == catalog.KindGlobals {
			pairs[a.Pair] = a
		}
	}
	var batch []catalog.Artifact
	var locks []*os.File
	flush := func() error {
		defer func() {
			for _, f := range locks {
				f.Close()
			}
			batch, locks = nil, nil
		}()
		if len(batch) == 0 {
			return nil
		}
		var ids []int64
		for _, a := range batch {
			if a.Kind != catalog.KindGlobals { // they go with their base
				ids = append(ids, a.ID)
			}
		}
		if err := r.cat.RemoveArtifacts(ctx, ids...); err != nil {
			return err
		}
		if err := r.reach("forgotten"); err != nil {
			return err
		}
		done.Removed = append(done.Removed, batch...)
		return r.finishRemovals(ctx)
	}
	for _, a := range list {
		if err := ctx.Err(); err != nil {
			return done, errors.Join(err, flush())
		}
		group := []catalog.Artifact{a}
		switch {
		case a.Kind == catalog.KindGlobals:
			continue
		case a.Kind == catalog.KindBase && pairs[a.ID].Name != "":
			group = append(group, pairs[a.ID])
		}
		var files []*os.File
		busy := a.Kind == catalog.KindSegment && held[a.SystemID]
		for _, member := range group {
			f, inUse, err := r.lockAlone(member)
			if err != nil {
				return done, errors.Join(err, flush())
			}
			busy = busy || inUse
			if f != nil {
				files = append(files, f)
			}
		}
		if busy {
			for _, f := range files {
				f.Close()
			}
			held[a.SystemID] = held[a.SystemID] || a.Kind == catalog.KindSegment
			done.InUse = append(done.InUse, group...)
			continue
		}
		batch, locks = append(batch, group...), append(locks, files...)
		if len(batch) >= removeBatch {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	return done, flush()
}

// lockAlone takes a file's lock for one who removes it. A file that is gone
// needs none.
func (r *Repository) lockAlone(a catalog.Artifact) (f *os.File, inUse bool, err error) {
	f, err = r.openLock(a)
	if errors.As(err, new(*MissingFileError)) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		f.Close()
		f = nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, true, nil
	}
	return f, false, err
}

// finishRemovals removes the files of artifacts that the catalog has
// forgotten. It is the one place where stored files are deleted for good.
func (r *Repository) finishRemovals(ctx context.Context) error {
	names, err := r.cat.Removals(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range names {
		if _, _, ours := kindOfName(name); !ours {
			continue // never anything else, whatever the catalog says
		}
		if err := os.RemoveAll(r.Path(name)); err != nil {
			return err
		}
		if err := r.reach("removed " + name); err != nil {
			return err
		}
	}
	if err := errors.Join(syncDir(r.dir), r.forgetBases(ctx, names)); err != nil {
		return err
	}
	return r.cat.Removed(ctx, names...)
}
