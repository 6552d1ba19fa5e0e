package upload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/storage"
)

// worker is one storage's.
type worker struct {
	*Uploader
	id      int64
	storage storage.Storage
	wake    chan struct{}
	stop    func()        // ends run; nil before Run has begun it
	end     atomic.Uint64 // up to where the storage alone could restore

	session  storage.Session
	sequence uint64      // of the newest snapshot
	reached  catalog.LSN // up to where it restores
	stale    bool        // the newest snapshot lacks something
	sent     uint64      // the newest snapshot that this process has sent whole
	told     []string    // what had been forgotten by then, and could not be removed since
	failing  bool
	noted    time.Time // when the catalog was last told that all is well
}

func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	delay := retryMin
	for {
		err := w.pass(ctx)
		if ctx.Err() != nil || errors.Is(err, errForgotten) {
			return
		}
		w.seen(ctx, err)
		pause := pollEvery
		if err == nil {
			delay = retryMin
		} else {
			w.hangUp()
			pause = delay
			delay = min(2*delay, retryMax)
		}
		wake := w.wake
		if err != nil {
			wake = nil // a new file does not repair a storage
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(pause):
		}
	}
}

// seen keeps in the catalog how the storage is, for status, and says it when it
// changes.
func (w *worker) seen(ctx context.Context, err error) {
	switch {
	case err != nil && !w.failing:
		w.notice(fmt.Sprintf("%v; trying again", err))
	case err == nil && w.failing:
		w.notice(fmt.Sprintf("storage %s is in order again", w.storage))
	}
	if err == nil && !w.failing && time.Since(w.noted) < time.Minute {
		return // each note is a write to the disk
	}
	if w.failing = err != nil; !w.failing {
		w.noted = time.Now()
	}
	if cerr := w.repo.Catalog().StorageSeen(context.WithoutCancel(ctx), w.id, w.repo.Now(), err); cerr != nil {
		w.notice(fmt.Sprintf("the state of storage %s is not in the catalog: %v", w.storage, cerr))
	}
}

func (w *worker) hangUp() {
	if w.session != nil {
		w.session.End()
		w.session = nil
	}
}

// errForgotten says that the catalog does not have the storage any more.
var errForgotten = errors.New("the storage was forgotten")

// pass brings the storage up to the catalog. It fails with errForgotten if that
// does not have it, or has lost it meanwhile.
func (w *worker) pass(ctx context.Context) error {
	err := w.forgotten(ctx)
	if err == nil {
		err = w.bring(ctx)
		if err != nil && errors.Is(w.forgotten(context.WithoutCancel(ctx)), errForgotten) {
			err = errForgotten
		}
	}
	return err
}

func (w *worker) forgotten(ctx context.Context) error {
	known, err := w.repo.Catalog().StorageIDs(ctx)
	if err == nil && !slices.Contains(known, w.id) {
		err = errForgotten
	}
	return err
}

// bring sends and removes. What is removed may make room for what could not be
// sent.
func (w *worker) bring(ctx context.Context) error {
	if w.session == nil {
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	for {
		removed, err := w.exchange(ctx)
		if err == nil || removed == 0 || ctx.Err() != nil {
			return err
		}
	}
}

// exchange sends, and then removes, and returns how many files it has removed.
// The order is that of the local directory: bytes, then the catalog's snapshot;
// and for what was forgotten the snapshot first. As long as the storage would
// restore less without the forgotten files, because it lacks what makes up for
// them, it keeps them and the snapshot that knows them.
func (w *worker) exchange(ctx context.Context) (removed int, err error) {
	pending, err := w.repo.Catalog().Pending(ctx, w.id)
	if err != nil {
		return 0, err
	}
	gone, err := w.repo.Catalog().CopyRemovals(ctx, w.id)
	if err != nil {
		return 0, err
	}
	// What cannot be removed is tried again and again. That alone is no reason
	// for another snapshot: where nothing can be removed, each one stays.
	if untold := func(name string) bool { return !slices.Contains(w.told, name) }; len(pending) > 0 || slices.ContainsFunc(gone, untold) {
		w.stale, w.told = true, nil
	}
	sendErr := w.sendAll(ctx, pending)
	if len(gone) > 0 {
		needed, err := w.needed(ctx, gone)
		if err != nil || needed {
			return 0, errors.Join(sendErr, err)
		}
	}
	if w.stale {
		// Also after a failure: what did arrive can be found.
		if err := w.snapshot(ctx); err != nil {
			return 0, errors.Join(sendErr, err)
		}
		if !w.stale {
			w.told = gone
		}
	}
	if sendErr != nil && (w.stale || errors.Is(sendErr, storage.Unreachable)) {
		return 0, sendErr
	}
	for _, name := range gone {
		if err := w.remove(ctx, name); err != nil {
			return removed, errors.Join(sendErr, err)
		}
		removed++
	}
	w.told = nil
	return removed, sendErr
}

// needed says whether the storage restores less without files that the catalog
// has forgotten: it lacks some of what is stored, and by what it has it does
// not reach as far as its newest snapshot, or one of the files was written anew
// and it does not have the new one.
func (w *worker) needed(ctx context.Context, gone []string) (bool, error) {
	lacking, err := w.repo.Catalog().Pending(ctx, w.id)
	if err != nil || len(lacking) == 0 {
		return false, err
	}
	there, all, err := w.repo.Catalog().Reach(ctx, w.id)
	if err != nil || there < min(w.reached, all) {
		return true, err
	}
	return slices.ContainsFunc(gone, func(name string) bool {
		return slices.ContainsFunc(lacking, func(a catalog.Artifact) bool { return repo.StemOf(a.Name) == repo.StemOf(name) })
	}), nil
}

// begin connects and compares what the catalog believes with what is there.
func (w *worker) begin(ctx context.Context) error {
	session, err := w.storage.Begin(ctx)
	if err != nil {
		return err
	}
	w.session = session
	if err := w.identify(ctx); err != nil {
		w.hangUp()
		return err
	}
	sizes := map[string]int64{}
	newest, told, explained := uint64(0), uint64(0), uint64(0) // of all, of the catalogs, of the metadata files
	reached := catalog.LSN(0)
	for info, err := range session.List(ctx, "") {
		if err != nil {
			w.hangUp()
			return err
		}
		sizes[info.Name] = info.Size
		if n, ok := layout.SequenceOf(info.Name); ok {
			newest = max(newest, n)
			if strings.HasPrefix(info.Name, layout.CatalogPrefix) {
				if n >= told {
					told, reached = n, layout.EndOf(info.Name)
				}
			} else {
				explained = max(explained, n)
			}
		}
	}
	err = w.reconcile(ctx, sizes)
	if err == nil {
		err = session.Sweep(ctx)
	}
	if errors.Is(err, storage.ReadOnly) || errors.Is(err, storage.Denied) {
		err = nil // those who may not sweep may still write
	}
	if err != nil {
		w.hangUp()
		return err
	}
	w.sequence, w.reached = newest, reached
	// Unless it is there whole, what became of the last one is not known.
	if newest > 0 && newest != w.sent && !w.stale && explained == newest {
		err = w.recognise(ctx)
	}
	w.stale = w.stale || newest == 0 || newest != w.sent || told != newest
	return err
}

// recognise finds out whether the newest snapshot, of another process, holds
// all that there is to know.
func (w *worker) recognise(ctx context.Context) error {
	state, err := w.repo.Catalog().SnapshotState(ctx, w.id)
	if err != nil {
		return err
	}
	same, err := w.repo.Catalog().SnapshotIs(ctx, w.id, w.sequence, state)
	if err != nil || !same {
		return err
	}
	end, err := w.repo.Catalog().DurableEnd(ctx, w.id)
	if err == nil {
		w.sent = w.sequence
		w.end.Store(uint64(end))
	}
	return err
}

// identify makes sure that the storage is the one that was bound.
func (w *worker) identify(ctx context.Context) error {
	want, err := w.repo.Identity(ctx)
	if err != nil {
		return err
	}
	return layout.Identify(ctx, w.session, w.storage, want)
}

// reconcile makes the catalog forget copies that are not there any more, so
// that they are sent again.
func (w *worker) reconcile(ctx context.Context, sizes map[string]int64) error {
	copies, err := w.repo.Catalog().Copies(ctx, w.id)
	if err != nil {
		return err
	}
	for _, a := range copies {
		bytes := a.Bytes
		if a.Format == "directory" {
			bytes = -1
		}
		size, there := sizes[repo.ProofOf(a)]
		if there && (size == bytes || size < 0 || bytes < 0) {
			continue
		}
		if there {
			return &CollisionError{w.storage.String(), a.Name}
		}
		w.notice(fmt.Sprintf("storage %s has lost %s", w.storage, a.Name))
		if err := w.repo.Catalog().DropCopy(ctx, a.ID, w.id); err != nil {
			return err
		}
	}
	return nil
}

// snapshot sends the catalog, and the metadata file if it is new, and then
// takes away older ones.
func (w *worker) snapshot(ctx context.Context) error {
	// A disk may have been unmounted under the session.
	if err := w.identify(ctx); err != nil {
		return err
	}
	end, err := w.repo.Catalog().DurableEnd(ctx, w.id)
	if err != nil {
		return err
	}
	if end == 0 { // nothing could be restored yet
		w.end.Store(0)
		return nil
	}
	chain, err := w.repo.Chain(ctx)
	if err != nil {
		return err
	}
	state, err := w.repo.Catalog().SnapshotState(ctx, w.id) // before it is made: what changes meanwhile asks for another
	if err != nil {
		return err
	}
	w.sequence++
	catalogs := layout.CatalogChain(chain)
	name := layout.CatalogName(w.sequence, end, catalogs)
	err = w.sendCatalog(ctx, catalogs, name)
	if errors.Is(err, storage.Full) { // the older one has room for it
		if err = w.removeOld(ctx, nil); err == nil {
			err = w.sendCatalog(ctx, catalogs, name)
		}
	}
	if err != nil {
		return err
	}
	if err := w.sendMetadata(ctx); err != nil {
		return err
	}
	if err := w.repo.Failpoint("snapshot sent"); err != nil {
		return err
	}
	if err := w.repo.Catalog().SnapshotSent(ctx, w.id, w.sequence, state); err != nil {
		return err
	}
	w.stale, w.sent, w.reached = false, w.sequence, end
	w.end.Store(uint64(end))
	_, ending, _ := strings.Cut(name, layout.CatalogSuffix)
	opaque := chain.Opaque()
	return w.removeOld(ctx, func(name string) bool {
		_, other, isSnapshot := strings.Cut(name, layout.CatalogSuffix)
		return isSnapshot && other != ending || !isSnapshot && opaque
	})
}

// removeOld keeps two snapshots: somebody may be about to read the last one.
// But one that other filters made goes at once, and so does a metadata file if
// nothing is to be said in clear any more; unfit, if given, knows them. What
// cannot be removed stays for a later time; that is no reason to stop.
func (w *worker) removeOld(ctx context.Context, unfit func(name string) bool) error {
	for _, prefix := range []string{layout.CatalogPrefix, layout.MetadataPrefix} {
		for info, err := range w.session.List(ctx, prefix) {
			if err != nil {
				return err
			}
			n, ok := layout.SequenceOf(info.Name)
			if ok && (n+1 < w.sequence || n < w.sequence && unfit != nil && unfit(info.Name)) {
				err := w.session.Remove(ctx, info.Name)
				if errors.Is(err, storage.Unreachable) {
					return err
				}
			}
		}
	}
	return nil
}

func (w *worker) remove(ctx context.Context, name string) error {
	err := w.session.Remove(ctx, name)
	if errors.Is(err, storage.NotFound) { // a directory, or done already
		err = nil
		for info, lerr := range w.session.List(ctx, name+"/") {
			if lerr != nil {
				return lerr
			}
			if rerr := w.session.Remove(ctx, info.Name); rerr != nil && !errors.Is(rerr, storage.NotFound) {
				err = rerr
			}
		}
	}
	if err != nil {
		return err
	}
	if err := w.repo.Failpoint("removed from storage"); err != nil {
		return err
	}
	return w.repo.Catalog().CopyRemovalDone(ctx, w.id, name)
}
