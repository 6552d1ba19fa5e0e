package catalog

import (
	"context"
	"database/sql"
	"fmt"
)

// A StateKey names what a part of the state is about.
type StateKey struct {
	Kind string
	OID  uint32
}

// StateChanges say how the state at the end of the stream differs from that at its end before.
type StateChanges struct {
	Anew bool                // all that was known is forgotten first
	Set  map[StateKey]string // empty: forgotten
}

// Add takes up what follows. It may keep next's map.
func (f *StateChanges) Add(next *StateChanges) *StateChanges {
	if f == nil || next != nil && next.Anew {
		return next
	}
	if next != nil && f.Set == nil {
		f.Set = next.Set
	} else if next != nil {
		for k, v := range next.Set {
			f.Set[k] = v
		}
	}
	return f
}

// StreamState returns what was known of the source's objects at a position of the stream; none and position 0: nothing
// is recorded.
func (c *Catalog) StreamState(ctx context.Context) (at LSN, known map[StateKey]string, err error) {
	err = c.read(ctx, func(tx *sql.Tx) error {
		positions, err := list(ctx, tx, func(rows *sql.Rows) (l LSN, err error) { return l, rows.Scan(&l) }, "SELECT lsn FROM fact_position")
		if err != nil || len(positions) == 0 {
			return err
		}
		at, known = positions[0], map[StateKey]string{}
		_, err = list(ctx, tx, func(rows *sql.Rows) (struct{}, error) {
			var k StateKey
			var v string
			err := rows.Scan(&k.Kind, &k.OID, &v)
			known[k] = v
			return struct{}{}, err
		}, "SELECT kind, oid, value FROM fact")
		return err
	})
	return at, known, err
}

// SetStreamState records all that is known of the source's objects at a position, in place of what was recorded.
func (c *Catalog) SetStreamState(ctx context.Context, at LSN, known map[StateKey]string) error {
	err := c.write(ctx, func(tx *sql.Tx) error { return setState(ctx, tx, at, &StateChanges{Anew: true, Set: known}) })
	if err != nil {
		return fmt.Errorf("record the state at %s: %w", at, err)
	}
	return nil
}

func setState(ctx context.Context, tx *sql.Tx, at LSN, changes *StateChanges) error {
	if changes.Anew {
		if _, err := tx.ExecContext(ctx, "DELETE FROM fact"); err != nil {
			return err
		}
	}
	if len(changes.Set) > 0 {
		set, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO fact (kind, oid, value) VALUES (?,?,?)")
		if err != nil {
			return err
		}
		defer set.Close()
		forget, err := tx.PrepareContext(ctx, "DELETE FROM fact WHERE kind = ? AND oid = ?")
		if err != nil {
			return err
		}
		defer forget.Close()
		for k, v := range changes.Set {
			if v == "" {
				_, err = forget.ExecContext(ctx, k.Kind, k.OID)
			} else {
				_, err = set.ExecContext(ctx, k.Kind, k.OID, v)
			}
			if err != nil {
				return err
			}
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO fact_position (id, lsn) VALUES (1,?)", at)
	return err
}
