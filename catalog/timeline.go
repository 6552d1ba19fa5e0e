package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// Switch is where a timeline of a system branched off from its parent: positions below At are common to both.
type Switch struct {
	SystemID         string
	Timeline, Parent uint32
	At               LSN
}

// Switches lists the known branchings, by system and timeline.
func (c *Catalog) Switches(ctx context.Context) ([]Switch, error) {
	return switches(ctx, c.db)
}

func switches(ctx context.Context, q querier) ([]Switch, error) {
	return list(ctx, q, func(rows *sql.Rows) (s Switch, err error) {
		err = rows.Scan(&s.SystemID, &s.Timeline, &s.Parent, &s.At)
		return s, err
	}, "SELECT system_id, timeline, parent, switch_lsn FROM timeline ORDER BY system_id, timeline")
}

// AddSwitches records branchings; known ones stay as they are.
func (c *Catalog) AddSwitches(ctx context.Context, known []Switch) error {
	err := c.write(ctx, func(tx *sql.Tx) error { return addSwitches(ctx, tx, known) })
	if err != nil {
		return fmt.Errorf("record timelines: %w", err)
	}
	return nil
}

func addSwitches(ctx context.Context, tx *sql.Tx, known []Switch) error {
	for _, s := range known {
		_, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO timeline (system_id, timeline, parent, switch_lsn) VALUES (?,?,?,?)",
			s.SystemID, s.Timeline, s.Parent, s.At)
		if err != nil {
			return err
		}
	}
	return nil
}

// Follow records that the stream goes on on a timeline of the source, with what is known of its history. A start other
// than 0 says that it begins anew there, from a slot made at that position.
func (c *Catalog) Follow(ctx context.Context, timeline uint32, known []Switch, start LSN) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		if err := addSwitches(ctx, tx, known); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE repository SET timeline = ?, stream_start = CASE WHEN ? > 0 THEN ? ELSE stream_start END",
			timeline, start, start)
		return err
	})
	if err != nil {
		return fmt.Errorf("record timeline %d: %w", timeline, err)
	}
	return nil
}

// Leaves tells where the history of timeline "from" leaves that of timeline "to" of the same system: what lies on
// "from" at or behind that position is not part of "to". known is false when the branchings do not tell, or when it
// never leaves it.
func Leaves(list []Switch, system string, from, to uint32) (at LSN, known bool) {
	if from == to {
		return 0, false
	}
	// How far each timeline of the history of "to" belongs to it.
	limits := map[uint32]LSN{}
	limit := ^LSN(0)
	for t := to; ; {
		limits[t] = limit
		s, ok := parentOf(list, system, t)
		if !ok {
			break
		}
		limit = min(limit, s.At)
		t = s.Parent
	}
	limit = ^LSN(0)
	for t := from; ; {
		if common, ok := limits[t]; ok {
			return min(limit, common), true
		}
		s, ok := parentOf(list, system, t)
		if !ok {
			return 0, false
		}
		limit = min(limit, s.At)
		t = s.Parent
	}
}

func parentOf(list []Switch, system string, timeline uint32) (Switch, bool) {
	i := slices.IndexFunc(list, func(s Switch) bool { return s.SystemID == system && s.Timeline == timeline })
	if i < 0 {
		return Switch{}, false
	}
	return list[i], true
}

// End is the position up to which the repository holds the stream of its source's present timeline and slot: the end
// of the last segment, or, when nothing was streamed, where the slot begins or the first base stands. ok is false when
// there is neither.
func (inv Inventory) End() (end LSN, ok bool) {
	info := inv.Repository
	for _, l := range linesOf(inv) {
		if l.system == info.SystemID && l.streamed > 0 {
			return l.streamed, true
		}
	}
	return 0, false
}
