// Package upload brings the files of a repository to its storages: one worker for
// each storage, which sends what is new, each time followed by a catalog of what is
// there, and removes what was forgotten.
//
// What it guarantees: a storage alone restores up to where its newest catalog says.
// What it holds is known from the catalog and from a listing, never from memory, so
// that any process can go on where another one stopped. The package changes no file
// of the repository.
package upload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/storage"
)

// An Uploader brings every sealed file of a repository to its storages, each
// followed by a snapshot of the catalog, and takes away what the catalog has
// forgotten. It goes on where it or another process stopped: what a storage
// holds is known from the catalog and from a listing, never from memory.
type Uploader struct {
	repo   *repo.Repository
	notice func(string)
	more   func(context.Context) (map[int64]storage.Storage, error)
	newest int64 // ID of the newest storage that was asked about

	mu      sync.Mutex
	workers []*worker // by ID
}

// How an Uploader waits: for new files, and after a failure.
const (
	pollEvery = 2 * time.Second
	retryMin  = time.Second
	retryMax  = time.Minute
	parallel  = 3 // files in progress at once, on one storage
)

// CollisionError says that a storage has another file of a name.
type CollisionError struct{ Storage, Name string }

func (e *CollisionError) Error() string {
	return fmt.Sprintf("storage %s has another file of the name %s", e.Storage, e.Name)
}

// BusyError says that another process sends files to the storages.
type BusyError struct{ Dir string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("another process sends the files of %s to its storages", e.Dir)
}

// BacklogError says that too much waits for the storages.
type BacklogError struct{ Bytes, Limit int64 }

func (e *BacklogError) Error() string {
	return fmt.Sprintf("%d bytes wait for the storages, more than the limit of %d", e.Bytes, e.Limit)
}

// New makes an Uploader for storages of the catalog, by their IDs.
func New(r *repo.Repository, storages map[int64]storage.Storage, notice func(string)) *Uploader {
	s := &Uploader{repo: r, notice: notice}
	s.add(storages)
	return s
}

// CheckBacklog fails with BacklogError when more than limit bytes are in the
// directory alone; 0: there is no limit.
func CheckBacklog(ctx context.Context, r *repo.Repository, limit int64) error {
	n, err := r.Catalog().SpoolBytes(ctx)
	if err == nil && limit > 0 && n > limit {
		err = &BacklogError{n, limit}
	}
	return err
}

// Follow makes Run serve the storages too that are added while it runs, and no
// longer those that are forgotten. more returns all of the catalog.
func (s *Uploader) Follow(more func(context.Context) (map[int64]storage.Storage, error)) {
	s.more = more
}

func (s *Uploader) add(storages map[int64]storage.Storage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(storages)) {
		s.newest = max(s.newest, id)
		if !slices.ContainsFunc(s.workers, func(w *worker) bool { return w.id == id }) {
			s.workers = append(s.workers, &worker{Uploader: s, id: id, storage: storages[id], wake: make(chan struct{}, 1)})
		}
	}
}

// keep drops the workers of all other storages.
func (s *Uploader) keep(known []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = slices.DeleteFunc(s.workers, func(w *worker) bool {
		gone := !slices.Contains(known, w.id)
		if gone && w.stop != nil {
			w.stop()
		}
		return gone
	})
}

func (s *Uploader) served() []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.workers)
}

// refresh looks whether a storage was added or forgotten.
func (s *Uploader) refresh(ctx context.Context) {
	if s.more == nil {
		return
	}
	known, err := s.repo.Catalog().StorageIDs(ctx)
	if err != nil {
		return
	}
	s.keep(known)
	if len(known) == 0 || known[len(known)-1] <= s.newest {
		return
	}
	s.newest = known[len(known)-1]
	storages, err := s.more(ctx)
	if err != nil {
		s.notice(fmt.Sprintf("a storage that was added is not served: %v", err))
		return
	}
	s.add(storages)
}

// hold makes this process the one that sends.
func (s *Uploader) hold() (release func(), err error) {
	release, err = s.repo.LockUploads()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = &BusyError{s.repo.Dir()}
	}
	return release, err
}

// Wake makes Run look for new files at once.
func (s *Uploader) Wake() {
	for _, w := range s.served() {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Durable is the position up to which the first storage alone could restore, as
// far as is known; 0 without a storage.
func (s *Uploader) Durable() catalog.LSN {
	for _, w := range s.served() {
		return catalog.LSN(w.end.Load())
	}
	return 0
}

// Run ships until ctx ends. A storage that fails is tried again and again, and
// never keeps the others waiting. While another process ships, it waits.
func (s *Uploader) Run(ctx context.Context) {
	var wait sync.WaitGroup
	var release func()
	for ctx.Err() == nil {
		s.refresh(ctx)
		workers := s.served()
		if release == nil && len(workers) > 0 {
			release, _ = s.hold() // on an error it is tried again
		}
		if release != nil {
			for _, w := range workers {
				if w.stop == nil {
					var own context.Context
					own, w.stop = context.WithCancel(ctx)
					wait.Go(func() { w.run(own) })
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
	for _, w := range s.served() {
		if w.stop != nil {
			w.stop()
		}
	}
	wait.Wait()
	if release != nil {
		release()
	}
}

// Drain ships what is there and returns when every storage has it, or has
// failed. It fails with BusyError while another process ships.
func (s *Uploader) Drain(ctx context.Context) error {
	workers := s.served()
	if len(workers) == 0 {
		return nil
	}
	release, err := s.hold()
	if err != nil {
		return err
	}
	defer release()
	errs := make([]error, len(workers))
	var wait sync.WaitGroup
	for i, w := range workers {
		wait.Go(func() {
			if errs[i] = w.pass(ctx); errors.Is(errs[i], errForgotten) {
				errs[i] = nil
			} else {
				w.seen(ctx, errs[i])
			}
			w.hangUp()
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
