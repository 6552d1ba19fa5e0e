package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// BaseOptions say how a base is taken.
type BaseOptions struct {
	ConnString  string
	Publication string
	Filters     filter.Chain // of Repository.Adopt; nil: those of the repository
	Jobs        int          // more than 1: a directory archive, dumped by as many sessions
	Attempts    int          // times to try again when DDL gets in the way; 0: 10
	NewSlot     bool         // FullBackup makes the slot anew and begins the stream again at this base
	Force       bool         // also if nothing is wrong with the slot
	Command     source.Commander
	Report      func(base.Progress)
	Notice      func(string)
}

// dumper takes a base as the options say.
func (o BaseOptions) dumper(r *repo.Repository, conn *pgx.Conn, src source.Server) *base.Dumper {
	return &base.Dumper{Repo: r, Conn: conn, Server: src, Options: base.Options{ConnString: o.ConnString, Publication: o.Publication, Filters: o.Filters,
		Jobs: o.Jobs, Command: o.Command, Report: o.Report, Notice: o.Notice}}
}

// FullBackup takes a further base and globals, whether or not a streamer
// runs: a temporary slot gives the point and the snapshot.
func FullBackup(ctx context.Context, r *repo.Repository, opts BaseOptions) (base.Result, error) {
	conn, err := source.Connect(ctx, opts.ConnString)
	if err != nil {
		return base.Result{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := capture.RefuseCopy(ctx, conn); err != nil {
		return base.Result{}, err
	}
	src, err := source.Inspect(ctx, conn)
	if err != nil {
		return base.Result{}, err
	}
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return base.Result{}, err
	}
	info := inv.Repository
	end, _ := inv.End()
	proven, err := source.SameDatabase(ctx, conn, info, src.Identity(), end)
	if err != nil {
		return base.Result{}, err
	}
	version, err := base.CheckTools(ctx, opts.Command, src)
	if err != nil {
		return base.Result{}, err
	}
	if src.InRecovery {
		return base.Result{}, &source.StandbyError{}
	}
	if opts.Notice == nil {
		opts.Notice = func(string) {}
	}
	// Without its slot a base is one all the same. With a slot of another
	// database of that name, none would ever follow it.
	slot, err := source.ReadSlot(ctx, conn, info.Slot)
	if err == nil {
		err = slot.Belongs(src)
	} else if none := (*source.SlotError)(nil); errors.As(err, &none) && none.Problem == source.SlotMissing {
		err = nil
	}
	if err != nil {
		return base.Result{}, err
	}
	if err := adopt(ctx, r, info, src.Identity(), proven, opts.Notice); err != nil {
		return base.Result{}, err
	}
	b := backup{repo: r, conn: conn, info: info, src: src, version: version, opts: opts}
	if opts.NewSlot {
		lost, err := keeper(r, info.Publication, opts.Notice).Lost(ctx, conn, info.Mode)
		if err != nil {
			return base.Result{}, err
		}
		if lost != nil { // there is nothing to watch before it is installed again
			return b.again(ctx, lost)
		}
	}
	watch, err := keeper(r, opts.Publication, opts.Notice).Watch(ctx, conn)
	if err != nil {
		return base.Result{}, err
	}
	var base base.Result
	if opts.NewSlot {
		base, err = b.again(ctx, nil)
	} else {
		base, err = b.another(ctx)
	}
	if err != nil {
		return base, err
	}
	base.Fault, err = watch.Fault(ctx, base.Base)
	return base, err
}

// A backup is a further base of a repository, on its way.
type backup struct {
	repo    *repo.Repository
	conn    *pgx.Conn // an ordinary session
	info    catalog.Repository
	src     source.Server
	version string // of pg_dump
	opts    BaseOptions
}

// keeper is what keeps the capture of a repository complete.
func keeper(r *repo.Repository, publication string, notice func(string)) capture.Keeper {
	return capture.Keeper{Catalog: r.Catalog(), Now: r.Now, Publication: publication, Notice: notice}
}

// streamPatience is how long a base waits for a streamer to come to it.
const streamPatience = 10 * time.Second

// AwaitStream lets a streamer that runs come to a base's point, so that the
// repository leads there when full-backup ends. One that lags goes on alone.
func AwaitStream(ctx context.Context, r *repo.Repository, point catalog.LSN, notice func(string)) error {
	for deadline := time.Now().Add(streamPatience); r.StreamerRunning(); {
		end, err := r.End(ctx)
		if err != nil || end >= point {
			return err
		}
		if time.Now().After(deadline) {
			notice(fmt.Sprintf("the stream has come to %s; it joins the base when it is at %s", end, point))
			return nil
		}
		select {
		case <-ctx.Done():
			return nil // the base is complete
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// another takes a base on the stream's line.
func (b backup) another(ctx context.Context) (base.Result, error) {
	if b.src.Timeline != b.info.Timeline {
		at, err := compareTimelines(ctx, b.repo, b.opts.ConnString, b.src)
		if err == nil && at.err == nil {
			at.err = &source.TimelineError{Repository: b.info.Timeline, Source: b.src.Timeline, At: switchPoint(at.known, b.info.Timeline), End: at.end,
				Behind: true, Slot: errors.New("start has not gone over to it yet")}
		}
		if err == nil {
			err = at.err
		}
		return base.Result{}, err
	}
	attempts := b.opts.Attempts
	if attempts == 0 {
		attempts = 10
	}
	for attempt := 1; ; attempt++ {
		made, err := b.once(ctx)
		var fence *base.FenceError
		if !errors.As(err, &fence) || attempt == attempts {
			return made, err
		}
		pause := time.Duration(attempt*attempt) * 200 * time.Millisecond
		b.opts.Notice(fmt.Sprintf("%v; taking it again in %s", err, pause))
		select {
		case <-ctx.Done():
			return base.Result{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// once takes a base at a temporary slot's point.
func (b backup) once(ctx context.Context) (base.Result, error) {
	slotConn, err := source.ConnectReplication(ctx, b.opts.ConnString, b.src.Encoding, source.SlotLockTimeout)
	if err != nil {
		return base.Result{}, err
	}
	name := fmt.Sprintf("pg_scribe_base_%d_%d", os.Getpid(), time.Now().UnixNano()%1e9)
	defer func() {
		clean := context.WithoutCancel(ctx)
		slotConn.Close(clean)
		source.AwaitSlotEnd(clean, b.opts.ConnString, name)
	}()
	changes := b.sampleBefore(ctx)
	slot, err := source.CreateSlot(ctx, slotConn, b.src, source.SlotOptions{Name: name, Temporary: true})
	names, kerr := sample.KeptRoleNames(ctx, b.repo.Catalog())
	sample.Unlock(ctx, b.conn)
	if err != nil {
		return base.Result{}, source.WithBlockers(ctx, err, b.opts.ConnString)
	}
	if kerr != nil {
		return base.Result{}, kerr
	}
	if err := sample.KeepUnpublished(ctx, b.repo.Catalog(), slot.Point, changes); err != nil {
		return base.Result{}, err
	}
	d := b.opts.dumper(b.repo, b.conn, b.src)
	d.Slot, d.Created, d.Version, d.Names = name, slot, b.version, names
	return d.Take(ctx, slotConn)
}

// sampleBefore takes a sample for the stream that leads up to the base. What goes
// wrong with it does not concern the base.
func (b backup) sampleBefore(ctx context.Context) *sample.Unpublished {
	all := sample.Sampling{ConnString: b.opts.ConnString, Slot: b.info.Slot, Server: b.src, Store: b.repo.Catalog(), Stale: &sample.Stale{}}
	changes, err := all.Before(ctx, b.conn, b.opts.Publication, b.repo.Catalog())
	if err != nil {
		b.opts.Notice("no sample was taken before the base: " + err.Error())
	}
	return changes
}
