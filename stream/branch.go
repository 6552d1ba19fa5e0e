package stream

import (
	"context"
	"errors"
	"fmt"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// branch is how the source's timeline relates to the repository's.
type branch struct {
	known []catalog.Switch      // from the source
	end   catalog.LSN           // of the repository
	err   *source.TimelineError // what is wrong with going on there; nil: nothing
}

// compareTimelines finds out whether the source's history holds all that the
// repository has. What it learns is recorded, so that others see it. The
// source's timeline is another one than the repository's.
func compareTimelines(ctx context.Context, r *repo.Repository, connString string, src source.Server) (b branch, err error) {
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return b, err
	}
	info := inv.Repository
	if src.Timeline < info.Timeline {
		// An old primary that came back.
		return b, &source.MismatchError{What: "timeline", Repository: fmt.Sprint(info.Timeline), Source: fmt.Sprint(src.Timeline)}
	}
	conn, err := source.ConnectReplication(ctx, connString, src.Encoding, source.SlotLockTimeout)
	if err != nil {
		return b, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := src.CheckConnection(ctx, conn, 0); err != nil {
		return b, err
	}
	if b.known, err = source.TimelineHistory(ctx, conn, src); err != nil {
		return b, err
	}
	if err := r.Catalog().AddSwitches(ctx, b.known); err != nil {
		return b, err
	}
	b.end, _ = inv.End()
	at, known := catalog.Leaves(append(b.known, inv.Switches...), src.SystemID, info.Timeline, src.Timeline)
	if !known || b.end > at {
		b.err = &source.TimelineError{Repository: info.Timeline, Source: src.Timeline, At: at, End: b.end}
	}
	return b, nil
}

// follow goes over to the source's timeline if the stream can go on there
// without a break: the repository holds nothing that the source has lost, and
// the slot goes back far enough.
func (s *streamer) follow(ctx context.Context, info catalog.Repository, src source.Server) error {
	b, err := compareTimelines(ctx, s.repo, s.opts.ConnString, src)
	if err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	slot, err := source.FindSlot(ctx, s.opts.ConnString, s.opts.Slot)
	if err == nil {
		err = errors.Join(slot.Usable(src), slot.Covers(b.end))
	}
	var unfit *source.SlotError
	if errors.As(err, &unfit) && unfit.Problem != source.SlotBusy {
		return &source.TimelineError{Repository: info.Timeline, Source: src.Timeline, At: switchPoint(b.known, info.Timeline), End: b.end, Slot: unfit}
	}
	if err != nil {
		return err
	}
	if err := s.finish(); err != nil { // a segment is of one timeline
		return err
	}
	s.opts.Notice(fmt.Sprintf("the source went over to timeline %d; the stream goes on there from %s", src.Timeline, b.end))
	return s.repo.Catalog().Follow(ctx, src.Timeline, b.known, 0)
}

// switchPoint is where a history leaves a timeline.
func switchPoint(known []catalog.Switch, timeline uint32) catalog.LSN {
	for _, s := range known {
		if s.Parent == timeline {
			return s.At
		}
	}
	return 0
}
