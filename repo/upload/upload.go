package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/storage"
)

// shipLockName is held by the process that sends files to the storages.
const shipLockName = "pg_scribe.ship.lock"

// A Shipper brings every sealed file of a repository to its storages, each
// followed by a snapshot of the catalog, and takes away what the catalog has
// forgotten. It goes on where it or another process stopped: what a storage
// holds is known from the catalog and from a listing, never from memory.
type Shipper struct {
	repo   *Repository
	notice func(string)
	more   func(context.Context) (map[int64]storage.Storage, error)
	newest int64 // ID of the newest storage that was asked about

	mu    sync.Mutex
	lanes []*lane // by ID
}

// How a Shipper waits: for new files, and after a failure.
const (
	shipPoll     = 2 * time.Second
	shipRetryMin = time.Second
	shipRetryMax = time.Minute
	shipParallel = 3 // files in progress at once, on one storage
)

// StorageTakenError says that a storage belongs to another repository.
type StorageTakenError struct{ Storage string }

func (e *StorageTakenError) Error() string {
	return fmt.Sprintf("target %s holds the files of another repository", e.Storage)
}

// StorageLostError says that a storage does not show that it is this
// repository's: it was emptied, or another disk is mounted there.
type StorageLostError struct{ Storage string }

func (e *StorageLostError) Error() string {
	return fmt.Sprintf("target %s does not hold %s, by which it would be known", e.Storage, identityName)
}

// CollisionError says that a storage has another file of a name.
type CollisionError struct{ Storage, Name string }

func (e *CollisionError) Error() string {
	return fmt.Sprintf("target %s has another file of the name %s", e.Storage, e.Name)
}

// ShipBusyError says that another process sends files to the storages.
type ShipBusyError struct{ Dir string }

func (e *ShipBusyError) Error() string {
	return fmt.Sprintf("another process sends the files of %s to its targets", e.Dir)
}

// SpoolFullError says that too much waits for the storages.
type SpoolFullError struct{ Bytes, Limit int64 }

func (e *SpoolFullError) Error() string {
	return fmt.Sprintf("%d bytes wait for the targets, more than the limit of %d", e.Bytes, e.Limit)
}

// NewShipper makes a Shipper for storages of the catalog, by their IDs.
func (r *Repository) NewShipper(storages map[int64]storage.Storage, notice func(string)) *Shipper {
	s := &Shipper{repo: r, notice: notice}
	s.add(storages)
	return s
}

// Follow makes Run serve the storages too that are added while it runs, and no
// longer those that are forgotten. more tells all of the catalog.
func (s *Shipper) Follow(more func(context.Context) (map[int64]storage.Storage, error)) {
	s.more = more
}

func (s *Shipper) add(storages map[int64]storage.Storage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(storages)) {
		s.newest = max(s.newest, id)
		if !slices.ContainsFunc(s.lanes, func(l *lane) bool { return l.id == id }) {
			s.lanes = append(s.lanes, &lane{Shipper: s, id: id, storage: storages[id], wake: make(chan struct{}, 1)})
		}
	}
}

// keep drops the lanes of all other storages.
func (s *Shipper) keep(known []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes = slices.DeleteFunc(s.lanes, func(l *lane) bool {
		gone := !slices.Contains(known, l.id)
		if gone && l.stop != nil {
			l.stop()
		}
		return gone
	})
}

func (s *Shipper) served() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lanes)
}

// follow looks whether a storage was added or forgotten.
func (s *Shipper) follow(ctx context.Context) {
	if s.more == nil {
		return
	}
	known, err := s.repo.cat.StorageIDs(ctx)
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
		s.notice(fmt.Sprintf("a target that was added is not served: %v", err))
		return
	}
	s.add(storages)
}

// hold makes this process the one that ships.
func (s *Shipper) hold() (release func(), err error) {
	release, err = s.repo.lock(shipLockName)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, &ShipBusyError{s.repo.dir}
	}
	if err != nil {
		return nil, err
	}
	// What a process that died was about to send.
	names, err := s.repo.names()
	for _, name := range names {
		if strings.HasPrefix(name, snapshotScratch) {
			err = errors.Join(err, os.RemoveAll(s.repo.Path(name)))
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// snapshotScratch begins the names of directories for snapshots that are made.
const snapshotScratch = ".snapshot-"

// Wake makes Run look for new files at once.
func (s *Shipper) Wake() {
	for _, l := range s.served() {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Durable is the position up to which the first storage alone could restore, as
// far as is known; 0 without a storage.
func (s *Shipper) Durable() catalog.LSN {
	for _, l := range s.served() {
		return catalog.LSN(l.end.Load())
	}
	return 0
}

// Run ships until ctx ends. A storage that fails is tried again and again, and
// never keeps the others waiting. While another process ships, it waits.
func (s *Shipper) Run(ctx context.Context) {
	var wait sync.WaitGroup
	var release func()
	for ctx.Err() == nil {
		s.follow(ctx)
		lanes := s.served()
		if release == nil && len(lanes) > 0 {
			release, _ = s.hold() // on an error it is tried again
		}
		if release != nil {
			for _, l := range lanes {
				if l.stop == nil {
					var own context.Context
					own, l.stop = context.WithCancel(ctx)
					wait.Go(func() { l.run(own) })
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(shipPoll):
		}
	}
	for _, l := range s.served() {
		if l.stop != nil {
			l.stop()
		}
	}
	wait.Wait()
	if release != nil {
		release()
	}
}

// Drain ships what is there and returns when every storage has it, or has
// failed. It fails with ShipBusyError while another process ships.
func (s *Shipper) Drain(ctx context.Context) error {
	lanes := s.served()
	if len(lanes) == 0 {
		return nil
	}
	release, err := s.hold()
	if err != nil {
		return err
	}
	defer release()
	errs := make([]error, len(lanes))
	var wait sync.WaitGroup
	for i, l := range lanes {
		wait.Go(func() {
			if errs[i] = l.pass(ctx); errors.Is(errs[i], errForgotten) {
				errs[i] = nil
			} else {
				l.seen(ctx, errs[i])
			}
			l.hangUp()
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
