package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
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

// TimelineHistory asks the source how its timeline came about.
func TimelineHistory(ctx context.Context, conn *pgconn.PgConn, src Server) ([]catalog.Switch, error) {
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
func parseHistory(text string, src Server) ([]catalog.Switch, error) {
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
