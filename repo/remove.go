package repo

import (
	"context"
	"errors"
	"io"
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
	f, a, err := r.OpenLocal(a) // under its present name
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
	globals := map[int64]catalog.Artifact{} // by their bases
	for _, a := range list {
		if a.Kind == catalog.KindGlobals {
			globals[a.Pair] = a
		}
	}
	held := map[string]bool{} // systems, of which a segment is in use
	b := &remover{repo: r, done: &done}
	for _, a := range list {
		if err := ctx.Err(); err != nil {
			return done, errors.Join(err, b.flush(ctx))
		}
		if a.Kind == catalog.KindGlobals {
			continue // they go with their base
		}
		group := []catalog.Artifact{a}
		if g, paired := globals[a.ID]; paired && a.Kind == catalog.KindBase {
			group = append(group, g)
		}
		segment := a.Kind == catalog.KindSegment
		busy := segment && held[a.SystemID]
		if !busy {
			if busy, err = b.add(group); err != nil {
				return done, errors.Join(err, b.flush(ctx))
			}
		}
		if busy {
			held[a.SystemID] = held[a.SystemID] || segment
			done.InUse = append(done.InUse, group...)
		}
		if len(b.batch) >= removeBatch {
			if err := b.flush(ctx); err != nil {
				return done, err
			}
		}
	}
	return done, b.flush(ctx)
}

// remover takes away what goes in one transaction of the catalog; it holds the
// locks of the files.
type remover struct {
	repo  *Repository
	done  *Removal
	batch []catalog.Artifact
	locks []io.Closer
}

// add takes artifacts that go together, unless a reader holds one of them.
func (b *remover) add(group []catalog.Artifact) (busy bool, err error) {
	var files []io.Closer
	for _, a := range group {
		f, inUse, lerr := b.repo.lockAlone(a)
		if f != nil {
			files = append(files, f)
		}
		busy, err = busy || inUse, errors.Join(err, lerr)
	}
	if busy || err != nil {
		closeAll(files)
		return busy, err
	}
	b.batch, b.locks = append(b.batch, group...), append(b.locks, files...)
	return false, nil
}

func (b *remover) flush(ctx context.Context) error {
	defer func() {
		closeAll(b.locks)
		b.batch, b.locks = nil, nil
	}()
	if len(b.batch) == 0 {
		return nil
	}
	var ids []int64
	for _, a := range b.batch {
		if a.Kind != catalog.KindGlobals { // they go with their base
			ids = append(ids, a.ID)
		}
	}
	if err := b.repo.cat.RemoveArtifacts(ctx, ids...); err != nil {
		return err
	}
	if err := b.repo.Failpoint("forgotten"); err != nil {
		return err
	}
	b.done.Removed = append(b.done.Removed, b.batch...)
	return b.repo.finishRemovals(ctx)
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
		if _, _, ours := KindOfName(name); !ours {
			continue // never anything else, whatever the catalog says
		}
		if err := os.RemoveAll(r.Path(name)); err != nil {
			return err
		}
		if err := r.Failpoint("removed " + name); err != nil {
			return err
		}
	}
	if err := errors.Join(syncDir(r.dir), r.forgetBases(ctx, names)); err != nil {
		return err
	}
	return r.cat.Removed(ctx, names...)
}
