package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/service"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/storage"
	"pg_scribe/stream"
	"pg_scribe/stream/source"
)

type startCmd struct {
	connFlags
	keyFlags
	File           string      `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository; - writes SQL to standard output."`
	Slot           string      `short:"S" placeholder:"NAME" help:"Replication slot (default: that of the repository)."`
	Publication    string      `placeholder:"NAME" help:"Publication, with -f - only (default: pg_scribe)."`
	StatusInterval interval    `short:"s" default:"10s" placeholder:"TIME" help:"Time between progress lines and status packets (default: ${default})."`
	FsyncInterval  interval    `short:"F" default:"10s" placeholder:"TIME" help:"Time between checkpoints; 0 only when a segment ends (default: ${default})."`
	SegmentSize    size        `default:"128MB" placeholder:"SIZE" help:"SQL text after which a new segment begins; 0 never (default: ${default})."`
	SegmentAge     interval    `default:"1h" placeholder:"TIME" help:"Time after which a new segment begins; 0 never (default: ${default})."`
	StateInterval  interval    `default:"1m" placeholder:"TIME" help:"Time between samples of sequences, roles and the like; 0 never (default: ${default})."`
	Endpos         catalog.LSN `placeholder:"LSN" help:"Stop behind the last transaction that commits at or before this LSN."`
	Durability     string      `enum:"local,storage,target" default:"local" placeholder:"WHERE" help:"What the server may forget: what is stored here (local), or what the first storage holds with its catalog (storage)."`
	SpoolLimit     size        `default:"0" placeholder:"SIZE" help:"Stop when more than this waits for the storages; 0 never (default: ${default})."`
	NoLoop         bool        `help:"Stop when the connection breaks, instead of connecting again."`
}

func (*startCmd) shows() bool { return true }

// Run streams until it is stopped.
func (c *startCmd) Run(ctx context.Context, a *app) error {
	if c.File == "-" {
		return c.toStdout(ctx, a)
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Keys(keys)
	err = c.intoRepository(ctx, a, r)
	if failed(ctx, err) && !r.StreamerRunning() { // another one's record is its own
		if kept := stream.KeepLastError(context.WithoutCancel(ctx), r, problemOf(err, false)); kept != nil {
			a.words.warn("the error is not in the catalog: %v", kept)
		}
	}
	return err
}

// failed says whether the streamer met an error that somebody who looks later
// has to know of: not one of the command line alone.
func failed(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.As(err, new(*usageError)) && !errors.As(err, new(*source.IdentityError)) &&
		!errors.As(err, new(*source.MismatchError))
}

// intoRepository streams into a repository until it is stopped.
func (c *startCmd) intoRepository(ctx context.Context, a *app, r *repo.Repository) error {
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	info := inv.Repository
	slot := c.Slot
	if slot == "" {
		slot = info.Slot
	} else if slot != info.Slot {
		return &source.MismatchError{What: "slot", Repository: info.Slot, Source: slot}
	}
	opts, err := c.options(ctx, a, slot, info.Publication)
	if err != nil {
		return err
	}
	its, err := source.CheckIdentity(ctx, opts.ConnString, inv)
	if err != nil {
		return err
	}
	release, err := r.LockStreamer()
	if err != nil {
		return err
	}
	defer release()
	a.words.log(a.now)
	return a.operation(ctx, r, "start", func() error {
		end, err := service.Run(ctx, r, service.Options{
			Stream: opts, Relies: c.Durability != "local", SpoolLimit: int64(c.SpoolLimit),
			Storages: func(ctx context.Context) (map[int64]storage.Storage, error) {
				storages, _, err := a.storagesOf(ctx, r)
				return storages, err
			},
			Began: func(from catalog.LSN) {
				a.words.say("streaming database %q through slot %s into %s from %s", its.Database, slot, r.Dir(), from)
			},
			Notice: func(text string) { a.words.say("%s", text) },
			Behind: func(err error) { a.words.warn("not everything is on the storages yet: %v", err) },
		})
		switch {
		case errors.Is(err, service.ErrNoStorage):
			return &usageError{"--durability storage, but the repository has no storage",
				"add one: " + commandLine("pg_scribe", "copy", "-f", r.Dir(), "--storage", "WHERE")}
		case err == nil:
			a.words.say("stopped; everything up to %s is stored", end)
		}
		return err
	})
}

// open finds the repository, also by the path of a file inside it, as a
// program that streams into one file would be given.
func (c *startCmd) open(ctx context.Context, a *app) (*repo.Repository, error) {
	r, err := a.openRepository(ctx, c.File)
	parent := filepath.Dir(c.File)
	if info, serr := os.Stat(c.File); err == nil || errors.Is(err, fs.ErrPermission) || serr == nil && info.IsDir() || parent == c.File {
		return r, err
	}
	inside, perr := a.openRepository(ctx, parent)
	if perr != nil {
		a.hintContext.dir = c.File
		return nil, err
	}
	a.words.say("%s is inside the repository %s: streaming into segments there", c.File, parent)
	return inside, nil
}

// toStdout streams without a repository.
func (c *startCmd) toStdout(ctx context.Context, a *app) error {
	slot, publication := c.Slot, c.Publication
	if slot == "" {
		slot = stream.DefaultSlot
	}
	if publication == "" {
		publication = stream.DefaultPublication
	}
	opts, err := c.options(ctx, a, slot, publication)
	if err != nil {
		return err
	}
	opts.Text = a.stdout
	a.words.log(a.now)
	return stream.Run(ctx, nil, opts)
}

// options connects and says how to stream.
func (c *startCmd) options(ctx context.Context, a *app, slot, publication string) (stream.RunOptions, error) {
	a.hintContext.slot = slot
	if err := checkSlotName(slot); err != nil {
		return stream.RunOptions{}, err
	}
	conn, err := a.connect(ctx, c.connFlags)
	if err != nil {
		return stream.RunOptions{}, err
	}
	return stream.RunOptions{ConnString: conn, Slot: slot, Publication: publication,
		StatusInterval: time.Duration(c.StatusInterval), FsyncInterval: time.Duration(c.FsyncInterval),
		SegmentSize: int64(c.SegmentSize), SegmentAge: time.Duration(c.SegmentAge), StateInterval: time.Duration(c.StateInterval), Endpos: c.Endpos, NoLoop: c.NoLoop,
		Rotate: rotations(ctx, a), Report: reporter(a), Notice: func(s string) { a.words.say("%s", s) }}, nil
}

// rotations turns SIGHUP into requests for a new segment.
func rotations(ctx context.Context, a *app) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	rotate := make(chan struct{}, 1)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-signals:
				a.step("SIGHUP: a new segment")
				select {
				case rotate <- struct{}{}:
				default: // one is asked for already
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return rotate
}

// reporter prints the progress line.
func reporter(a *app) func(stream.Progress) {
	var before stream.Progress
	return func(p stream.Progress) {
		seconds := p.Elapsed.Seconds()
		rate := func(n int64) float64 {
			if seconds <= 0 {
				return 0
			}
			return float64(n) / seconds
		}
		a.words.say("%s, lag %s, stored to %s, %s (%.0f/s), %s", p.Position, show.Bytes(p.LagBytes), p.Confirmed,
			show.Plural(p.Transactions, "transaction"), rate(p.Transactions-before.Transactions),
			fmt.Sprintf("%.1f MB/s", rate(p.TextBytes-before.TextBytes)/(1<<20)))
		before = p
	}
}
