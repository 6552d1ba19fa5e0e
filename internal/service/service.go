// Package service runs a backup that goes on: it streams into a repository, and
// meanwhile brings what is stored to the repository's storages and stops when too
// much waits for them.
//
// What it guarantees: when Run returns, no upload is at work any more. It prints
// nothing, and knows no flag and no exit code.
package service

import (
	"context"
	"errors"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/upload"
	"pg_scribe/stream"
)

// Options say how to run.
type Options struct {
	Stream stream.RunOptions // but Durable and Stored, which are set here
	// Storages are those of the catalog as they are now, by their IDs.
	Storages   func(ctx context.Context) (map[int64]storage.Storage, error)
	Relies     bool  // the server may forget only what the first storage holds
	SpoolLimit int64 // of bytes that may wait for the storages; 0: there is no limit

	Began  func(from catalog.LSN) // the repository is in order, and the stream begins
	Notice func(text string)      // of the uploads
	Behind func(err error)        // not everything is on the storages at the end
}

// ErrNoStorage says that the server is to rely on a storage where there is none.
var ErrNoStorage = errors.New("the repository has no storage")

// lastUploads is how long the uploads go on behind the stream's end; the next
// start, full-backup or copy sends the rest.
const lastUploads = 20 * time.Second

// Run puts in order what an earlier run left, and streams until ctx ends or the
// stream does. It returns up to where everything is stored. The caller holds the
// streamer's lock.
func Run(ctx context.Context, r *repo.Repository, opts Options) (end catalog.LSN, err error) {
	if err := r.Recover(ctx); err != nil {
		return 0, err
	}
	if end, err = r.End(ctx); err != nil {
		return 0, err
	}
	opts.Began(end)
	storages, err := opts.Storages(ctx)
	if err != nil {
		return 0, err
	}
	if len(storages) == 0 && opts.Relies {
		return 0, ErrNoStorage
	}
	if err := upload.RelyOn(ctx, r.Catalog(), opts.Relies); err != nil {
		return 0, err
	}
	uploader := upload.New(r, storages, opts.Notice)
	uploader.Follow(opts.Storages)
	if opts.Relies {
		opts.Stream.Durable = uploader.Durable
	}
	opts.Stream.Stored = func(ctx context.Context) error {
		uploader.Wake()
		return upload.CheckBacklog(ctx, r, opts.SpoolLimit)
	}
	if err := beside(ctx, uploader, opts.Behind, func() error { return stream.Run(ctx, r, opts.Stream) }); err != nil {
		return 0, err
	}
	return r.End(context.WithoutCancel(ctx))
}

// beside does something while the uploads are at work, and then gives them some
// time to send the rest.
func beside(ctx context.Context, uploader *upload.Uploader, behind func(error), do func() error) error {
	ctx = context.WithoutCancel(ctx)
	uploads, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		uploader.Run(uploads)
	}()
	err := do()
	stop()
	<-done
	last, cancel := context.WithTimeout(ctx, lastUploads)
	defer cancel()
	if rest := uploader.Drain(last); rest != nil {
		behind(rest)
	}
	return err
}
