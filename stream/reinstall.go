package stream

import (
	"context"
	"errors"

	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// again makes the repository's slot anew and takes a base at its point. The
// stream begins again there: after a failover, or when the slot or the capture
// was lost. The caller holds the streamer's lock.
func (b backup) again(ctx context.Context, lost *capture.Error) (base base.Result, err error) {
	r, info := b.repo, b.info
	var at branch
	if b.src.Timeline != info.Timeline {
		if at, err = compareTimelines(ctx, r, b.opts.ConnString, b.src); err != nil {
			return base, err
		}
	} else if at.end, err = r.End(ctx); err != nil {
		return base, err
	}
	there, err := b.replaceable(ctx, at, lost)
	if err != nil {
		return base, err
	}
	var older []string
	if lost != nil { // before the slot goes: a role that may not do this loses nothing
		if older, err = b.reinstall(ctx, lost); err != nil {
			return base, err
		}
	}
	if there {
		if err := source.DropSlot(ctx, b.opts.ConnString, info.Slot); err != nil {
			return base, err
		}
	}
	kept, _, err := r.Catalog().Setting(ctx, failoverSetting)
	if err != nil {
		return base, err
	}
	if err := sample.Baseline(ctx, b.conn, b.src, info.Publication, r.Catalog()); err != nil {
		return base, err
	}
	b.opts.Notice("creating replication slot " + info.Slot)
	slotConn, err := source.ConnectReplication(ctx, b.opts.ConnString, b.src.Encoding, source.SlotLockTimeout)
	if err != nil {
		return base, err
	}
	defer slotConn.Close(context.WithoutCancel(ctx))
	created, err := source.CreateSlot(ctx, slotConn, b.src, source.SlotOptions{Name: info.Slot, Failover: kept == "on"})
	if err != nil {
		return base, source.WithBlockers(ctx, err, b.opts.ConnString)
	}
	if len(older) > 0 {
		if err := markOlder(ctx, b.conn, older, InitOptions{BaseOptions: b.opts}); err != nil {
			return base, err
		}
	}
	if err := sample.BaselineInventory(ctx, b.conn, r.Catalog(), created.Snapshot); err != nil {
		return base, err
	}
	// From here on the stream begins at the new slot. If the base fails, what is
	// streamed waits for another one, which needs no new slot.
	if err := r.Catalog().Follow(ctx, b.src.Timeline, at.known, created.Point); err != nil {
		return base, err
	}
	d := b.opts.dumper(r, b.conn, b.src)
	d.Slot, d.Created, d.Version, d.AtPoint = info.Slot, created, b.version, beginStream(r, b.src, created.Point)
	return firstBase(ctx, r, d, b.opts, slotConn, b.opts.Notice)
}

// replaceable says whether the repository's slot is there. It is an error if that
// must not be made anew: it is somebody else's, in use, or has all that the
// repository needs.
func (b backup) replaceable(ctx context.Context, at branch, lost *capture.Error) (there bool, err error) {
	slot, err := source.ReadSlot(ctx, b.conn, b.info.Slot)
	var s *source.SlotError
	switch {
	case errors.As(err, &s) && s.Problem == source.SlotMissing:
		return false, nil
	case err != nil:
		return false, err
	}
	unfit := errors.Join(slot.Usable(b.src), slot.Covers(at.end))
	if errors.As(unfit, &s) && (s.Problem == source.SlotForeign || s.Problem == source.SlotBusy) {
		return true, s
	}
	if unfit == nil && at.err == nil && lost == nil && !b.opts.Force {
		return true, &source.SlotError{Slot: b.info.Slot, Problem: source.SlotIntact}
	}
	return true, nil
}

// recordUserSetting is on if the capture sends who ran each command.
const recordUserSetting = "capture.record_user"

// recordUser has a capture that was installed again send who ran each command, if
// init was told so.
func (b backup) recordUser(ctx context.Context) error {
	on, _, err := b.repo.Catalog().Setting(ctx, recordUserSetting)
	if err != nil || on != "on" {
		return err
	}
	_, err = capture.RecordUser(ctx, b.conn, true)
	return err
}

// reinstall installs the capture again for a repository that begins again behind
// it, and notes in the catalog that commands may be missing since it was last
// complete. older are the transactions that may escape it (awaitOlder).
func (b backup) reinstall(ctx context.Context, lost *capture.Error) (older []string, err error) {
	conn, info, opts := b.conn, b.info, b.opts
	keep := keeper(b.repo, info.Publication, opts.Notice)
	if err := keep.NoteLost(ctx, lost); err != nil {
		return nil, err
	}
	opts.Notice("installing the capture of DDL again: " + lost.Reason)
	made, err := capture.Install(ctx, conn, info.Publication, info.Mode)
	if err == nil {
		err = b.recordUser(ctx)
	}
	if err == nil {
		err = keep.Begin(ctx, conn, info.Mode)
	}
	if err == nil && made.Schema {
		older, err = awaitOlder(ctx, conn, InitOptions{BaseOptions: opts, Step: opts.Notice})
	}
	if err != nil {
		return nil, errors.Join(err, removeMade(context.WithoutCancel(ctx), opts.ConnString, made))
	}
	return older, nil
}
