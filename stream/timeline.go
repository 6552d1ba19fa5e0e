package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// TimelineError says that the source went over to another timeline and that
// the stream cannot go on there without a new slot and a new base.
type TimelineError struct {
	Repository, Source uint32      // timelines
	At                 catalog.LSN // where the source's history leaves the repository's; 0: not known
	End                catalog.LSN // of the repository
	Behind             bool        // start can go over to it, and has not yet
	Slot               error       // why the slot there does not do; nil if the repository went on behind At
}

func (e *TimelineError) Error() string {
	switch {
	case e.At == 0:
		return fmt.Sprintf("the source is on timeline %d, whose history does not tell where it left timeline %d of the repository", e.Source, e.Repository)
	case e.Slot != nil:
		return fmt.Sprintf("the source went over to timeline %d at %s, and the stream cannot go on there from %s: %v", e.Source, e.At, e.End, e.Slot)
	}
	return fmt.Sprintf("the source went over to timeline %d at %s, and the repository holds timeline %d up to %s: what lies in between, the source has lost",
		e.Source, e.At, e.Repository, e.End)
}

func (e *TimelineError) Unwrap() error { return e.Slot }

// StandbyError says that the source is a standby.
type StandbyError struct{}

func (*StandbyError) Error() string {
	return "the source is a standby: it can only be read from when it is promoted"
}

// timelineHistory asks the source how its timeline came about.
func timelineHistory(ctx context.Context, conn *pgconn.PgConn, src server) ([]catalog.Switch, error) {
	if src.Timeline == 1 {
		return nil, nil // it has no history file
	}
	h, err := pglogrepl.TimelineHistory(ctx, conn, int32(src.Timeline))
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", src.Timeline, err)
	}
	return parseHistory(string(h.Content), src)
}

// parseHistory reads a history file: for each timeline before, a line with
// its number, the position where it was left, and a reason.
func parseHistory(text string, src server) ([]catalog.Switch, error) {
	var list []catalog.Switch
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		parent, err := strconv.ParseUint(fields[0], 10, 32)
		var at catalog.LSN
		if len(fields) < 2 {
			err = errors.New("no position")
		}
		if err == nil {
			at, err = catalog.ParseLSN(fields[1])
		}
		if err != nil {
			return nil, fmt.Errorf("history of timeline %d: %q: %w", src.Timeline, strings.TrimSpace(line), err)
		}
		if n := len(list); n > 0 {
			list[n-1].Timeline = uint32(parent)
		}
		list = append(list, catalog.Switch{SystemID: src.SystemID, Timeline: src.Timeline, Parent: uint32(parent), At: at})
	}
	for _, s := range list {
		if s.Parent >= s.Timeline {
			return nil, fmt.Errorf("history of timeline %d: timeline %d does not follow %d", src.Timeline, s.Timeline, s.Parent)
		}
	}
	return list, nil
}

// branch is how the source's timeline relates to the repository's.
type branch struct {
	known []catalog.Switch // from the source
	end   catalog.LSN      // of the repository
	err   *TimelineError   // what is wrong with going on there; nil: nothing
}

// compareTimelines finds out whether the source's history holds all that the
// repository has. What it learns is recorded, so that others see it. The
// source's timeline is another one than the repository's.
func compareTimelines(ctx context.Context, r *repo.Repository, connString string, src server) (b branch, err error) {
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return b, err
	}
	info := inv.Repository
	if src.Timeline < info.Timeline {
		// An old primary that came back.
		return b, &MismatchError{"timeline", fmt.Sprint(info.Timeline), fmt.Sprint(src.Timeline)}
	}
	conn, err := connectReplication(ctx, connString, src.Encoding, slotLockTimeout)
	if err != nil {
		return b, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := src.same(ctx, conn, 0); err != nil {
		return b, err
	}
	if b.known, err = timelineHistory(ctx, conn, src); err != nil {
		return b, err
	}
	if err := r.Catalog().AddSwitches(ctx, b.known); err != nil {
		return b, err
	}
	b.end, _ = inv.End()
	at, known := catalog.Leaves(append(b.known, inv.Switches...), src.SystemID, info.Timeline, src.Timeline)
	if !known || b.end > at {
		b.err = &TimelineError{Repository: info.Timeline, Source: src.Timeline, At: at, End: b.end}
	}
	return b, nil
}

// follow goes over to the source's timeline if the stream can go on there
// without a break: the repository holds nothing that the source has lost, and
// the slot goes back far enough.
func (s *streamer) follow(ctx context.Context, info catalog.Repository, src server) error {
	b, err := compareTimelines(ctx, s.repo, s.opts.ConnString, src)
	if err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	slot, err := ReadSlot(ctx, s.opts.ConnString, s.opts.Slot)
	if err == nil {
		err = errors.Join(slot.usable(src), slot.covers(b.end))
	}
	var unfit *SlotError
	if errors.As(err, &unfit) && unfit.Problem != SlotBusy {
		return &TimelineError{Repository: info.Timeline, Source: src.Timeline, At: switchPoint(b.known, info.Timeline), End: b.end, Slot: unfit}
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
