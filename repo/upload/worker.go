package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/storage"
)

// lane is one storage's.
type lane struct {
	*Shipper
	id      int64
	storage storage.Storage
	wake    chan struct{}
	stop    func()        // ends run; nil before Run has begun it
	end     atomic.Uint64 // up to where the storage alone could restore

	session  storage.Session
	sequence uint64      // of the newest snapshot
	reached  catalog.LSN // up to where it restores
	stale    bool        // the newest snapshot does not tell all
	sent     uint64      // the newest snapshot that this process has sent whole
	told     []string    // what had been forgotten by then, and could not be removed since
	failing  bool
	noted    time.Time // when the catalog was last told that all is well
}

func (l *lane) run(ctx context.Context) {
	defer l.hangUp()
	delay := shipRetryMin
	for {
		err := l.pass(ctx)
		if ctx.Err() != nil || errors.Is(err, errForgotten) {
			return
		}
		l.seen(ctx, err)
		pause := shipPoll
		if err == nil {
			delay = shipRetryMin
		} else {
			l.hangUp()
			pause = delay
			delay = min(2*delay, shipRetryMax)
		}
		wake := l.wake
		if err != nil {
			wake = nil // a new file does not mend a storage
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
func (l *lane) seen(ctx context.Context, err error) {
	switch {
	case err != nil && !l.failing:
		l.notice(fmt.Sprintf("%v; trying again", err))
	case err == nil && l.failing:
		l.notice(fmt.Sprintf("target %s is in order again", l.storage))
	}
	if err == nil && !l.failing && time.Since(l.noted) < time.Minute {
		return // each note is a write to the disk
	}
	if l.failing = err != nil; !l.failing {
		l.noted = time.Now()
	}
	if cerr := l.repo.cat.StorageSeen(context.WithoutCancel(ctx), l.id, l.repo.now(), err); cerr != nil {
		l.notice(fmt.Sprintf("the state of target %s is not in the catalog: %v", l.storage, cerr))
	}
}

func (l *lane) hangUp() {
	if l.session != nil {
		l.session.End()
		l.session = nil
	}
}

// errForgotten says that the catalog does not have the storage any more.
var errForgotten = errors.New("the target was forgotten")

// pass brings the storage up to the catalog. It fails with errForgotten if that
// does not have it, or has lost it meanwhile.
func (l *lane) pass(ctx context.Context) error {
	err := l.forgotten(ctx)
	if err == nil {
		err = l.bring(ctx)
		if err != nil && errors.Is(l.forgotten(context.WithoutCancel(ctx)), errForgotten) {
			err = errForgotten
		}
	}
	return err
}

func (l *lane) forgotten(ctx context.Context) error {
	known, err := l.repo.cat.StorageIDs(ctx)
	if err == nil && !slices.Contains(known, l.id) {
		err = errForgotten
	}
	return err
}

// bring sends and removes. What is removed may make room for what could not be
// sent.
func (l *lane) bring(ctx context.Context) error {
	if l.session == nil {
		if err := l.begin(ctx); err != nil {
			return err
		}
	}
	for {
		removed, err := l.exchange(ctx)
		if err == nil || removed == 0 || ctx.Err() != nil {
			return err
		}
	}
}

// exchange sends, and then removes, and tells how many files it has removed.
// The order is that of the local directory: bytes, then the catalog's snapshot;
// and for what was forgotten the snapshot first. As long as the storage would
// restore less without the forgotten files, because it lacks what makes up for
// them, it keeps them and the snapshot that knows them.
func (l *lane) exchange(ctx context.Context) (removed int, err error) {
	pending, err := l.repo.cat.Pending(ctx, l.id)
	if err != nil {
		return 0, err
	}
	gone, err := l.repo.cat.CopyRemovals(ctx, l.id)
	if err != nil {
		return 0, err
	}
	// What cannot be removed is tried again and again. That alone is no reason
	// for another snapshot: where nothing can be removed, each one stays.
	if untold := func(name string) bool { return !slices.Contains(l.told, name) }; len(pending) > 0 || slices.ContainsFunc(gone, untold) {
		l.stale, l.told = true, nil
	}
	sendErr := l.sendAll(ctx, pending)
	if len(gone) > 0 {
		needed, err := l.needed(ctx, gone)
		if err != nil || needed {
			return 0, errors.Join(sendErr, err)
		}
	}
	if l.stale {
		// Also after a failure: what did arrive can be found.
		if err := l.snapshot(ctx); err != nil {
			return 0, errors.Join(sendErr, err)
		}
		if !l.stale {
			l.told = gone
		}
	}
	if sendErr != nil && (l.stale || errors.Is(sendErr, storage.Unreachable)) {
		return 0, sendErr
	}
	for _, name := range gone {
		if err := l.remove(ctx, name); err != nil {
			return removed, errors.Join(sendErr, err)
		}
		removed++
	}
	l.told = nil
	return removed, sendErr
}

// needed tells whether the storage restores less without files that the catalog
// has forgotten: it lacks some of what is stored, and by what it has it does
// not reach as far as its newest snapshot, or one of the files was written anew
// and it does not have the new one.
func (l *lane) needed(ctx context.Context, gone []string) (bool, error) {
	lacking, err := l.repo.cat.Pending(ctx, l.id)
	if err != nil || len(lacking) == 0 {
		return false, err
	}
	there, all, err := l.repo.cat.Reach(ctx, l.id)
	if err != nil || there < min(l.reached, all) {
		return true, err
	}
	return slices.ContainsFunc(gone, func(name string) bool {
		return slices.ContainsFunc(lacking, func(a catalog.Artifact) bool { return stemOf(a.Name) == stemOf(name) })
	}), nil
}

// begin connects and compares what the catalog believes with what is there.
func (l *lane) begin(ctx context.Context) error {
	session, err := l.storage.Begin(ctx)
	if err != nil {
		return err
	}
	l.session = session
	if err := l.repo.identify(ctx, l.session, l.storage); err != nil {
		l.hangUp()
		return err
	}
	sizes := map[string]int64{}
	newest, told, explained := uint64(0), uint64(0), uint64(0) // of all, of the catalogs, of the metadata files
	reached := catalog.LSN(0)
	for info, err := range session.List(ctx, "") {
		if err != nil {
			l.hangUp()
			return err
		}
		sizes[info.Name] = info.Size
		if n, ok := sequenceOf(info.Name); ok {
			newest = max(newest, n)
			if strings.HasPrefix(info.Name, snapshotPrefix) {
				if n >= told {
					told, reached = n, endOf(info.Name)
				}
			} else {
				explained = max(explained, n)
			}
		}
	}
	err = l.reconcile(ctx, sizes)
	if err == nil {
		err = session.Sweep(ctx)
	}
	if errors.Is(err, storage.ReadOnly) || errors.Is(err, storage.Denied) {
		err = nil // those who may not sweep may still write
	}
	if err != nil {
		l.hangUp()
		return err
	}
	l.sequence, l.reached = newest, reached
	// Unless it is there whole, what became of the last one is not known.
	if newest > 0 && newest != l.sent && !l.stale && explained == newest {
		err = l.recognise(ctx)
	}
	l.stale = l.stale || newest == 0 || newest != l.sent || told != newest
	return err
}

// recognise finds out whether the newest snapshot, of another process, tells
// all that there is to tell.
func (l *lane) recognise(ctx context.Context) error {
	state, err := l.repo.cat.SnapshotState(ctx, l.id)
	if err != nil {
		return err
	}
	same, err := l.repo.cat.SnapshotIs(ctx, l.id, l.sequence, state)
	if err != nil || !same {
		return err
	}
	end, err := l.repo.cat.DurableEnd(ctx, l.id)
	if err == nil {
		l.sent = l.sequence
		l.end.Store(uint64(end))
	}
	return err
}

// identify makes sure that a storage is the one that was bound.
func (r *Repository) identify(ctx context.Context, s storage.Session, t storage.Storage) error {
	want, err := r.Identity(ctx)
	if err != nil {
		return err
	}
	have, err := readIdentity(ctx, s)
	if errors.Is(err, storage.NotFound) {
		return &StorageLostError{t.String()}
	}
	if err == nil && have != want {
		err = &StorageTakenError{t.String()}
	}
	return err
}

// reconcile makes the catalog forget copies that are not there any more, so
// that they are sent again.
func (l *lane) reconcile(ctx context.Context, sizes map[string]int64) error {
	copies, err := l.repo.cat.Copies(ctx, l.id)
	if err != nil {
		return err
	}
	for _, a := range copies {
		name, bytes := a.Name, a.Bytes
		if a.Format == "directory" {
			name, bytes = a.Name+"/"+describedBy(a.Name), -1
		}
		size, there := sizes[name]
		if there && (size == bytes || size < 0 || bytes < 0) {
			continue
		}
		if there {
			return &CollisionError{l.storage.String(), a.Name}
		}
		l.notice(fmt.Sprintf("target %s has lost %s", l.storage, a.Name))
		if err := l.repo.cat.DropCopy(ctx, a.ID, l.id); err != nil {
			return err
		}
	}
	return nil
}

// snapshot sends the catalog, and the metadata file if it is new, and then
// takes away older ones.
func (l *lane) snapshot(ctx context.Context) error {
	// A disk may have been unmounted under the session.
	if err := l.repo.identify(ctx, l.session, l.storage); err != nil {
		return err
	}
	end, err := l.repo.cat.DurableEnd(ctx, l.id)
	if err != nil {
		return err
	}
	if end == 0 { // nothing could be restored yet
		l.end.Store(0)
		return nil
	}
	chain, err := l.repo.Chain(ctx)
	if err != nil {
		return err
	}
	state, err := l.repo.cat.SnapshotState(ctx, l.id) // before it is made: what changes meanwhile asks for another
	if err != nil {
		return err
	}
	l.sequence++
	catalogs := snapshotChain(chain)
	name := snapshotName(l.sequence, end, catalogs)
	err = l.repo.sendSnapshot(ctx, l.session, l.storage, l.id, catalogs, name)
	if errors.Is(err, storage.Full) { // the older one has room for it
		if err = l.removeOld(ctx, nil); err == nil {
			err = l.repo.sendSnapshot(ctx, l.session, l.storage, l.id, catalogs, name)
		}
	}
	if err != nil {
		return err
	}
	if err := l.sendMetadata(ctx); err != nil {
		return err
	}
	if err := l.repo.reach("snapshot sent"); err != nil {
		return err
	}
	if err := l.repo.cat.SnapshotSent(ctx, l.id, l.sequence, state); err != nil {
		return err
	}
	l.stale, l.sent, l.reached = false, l.sequence, end
	l.end.Store(uint64(end))
	_, ending, _ := strings.Cut(name, snapshotSuffix)
	opaque := chain.Opaque()
	return l.removeOld(ctx, func(name string) bool {
		_, other, isSnapshot := strings.Cut(name, snapshotSuffix)
		return isSnapshot && other != ending || !isSnapshot && opaque
	})
}

// removeOld keeps two snapshots: somebody may be about to read the last one.
// But one that other filters made goes at once, and so does a metadata file if
// nothing is to be said in clear any more; unfit, if given, knows them. What
// cannot be removed stays for a later time; that is no reason to stop.
func (l *lane) removeOld(ctx context.Context, unfit func(name string) bool) error {
	for _, prefix := range []string{snapshotPrefix, metadataPrefix} {
		for info, err := range l.session.List(ctx, prefix) {
			if err != nil {
				return err
			}
			n, ok := sequenceOf(info.Name)
			if ok && (n+1 < l.sequence || n < l.sequence && unfit != nil && unfit(info.Name)) {
				err := l.session.Remove(ctx, info.Name)
				if errors.Is(err, storage.Unreachable) {
					return err
				}
			}
		}
	}
	return nil
}

func (l *lane) remove(ctx context.Context, name string) error {
	err := l.session.Remove(ctx, name)
	if errors.Is(err, storage.NotFound) { // a directory, or done already
		err = nil
		for info, lerr := range l.session.List(ctx, name+"/") {
			if lerr != nil {
				return lerr
			}
			if rerr := l.session.Remove(ctx, info.Name); rerr != nil && !errors.Is(rerr, storage.NotFound) {
				err = rerr
			}
		}
	}
	if err != nil {
		return err
	}
	if err := l.repo.reach("removed from target"); err != nil {
		return err
	}
	return l.repo.cat.CopyRemovalDone(ctx, l.id, name)
}
