package catalog

import (
	"context"
	"database/sql"
	"fmt"
)

// A FactKey names what a fact of the stream is about.
type FactKey struct {
	Kind string
	OID  uint32
}

// FactChanges say how the facts at the end of the stream differ from those at its end before.
type FactChanges struct {
	Anew bool               // all that was known is forgotten first
	Set  map[FactKey]string // empty: forgotten
}

// Add takes up what follows. It may keep next's map.
func (f *FactChanges) Add(next *FactChanges) *FactChanges {
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

// StreamFacts returns what was known of the source's objects at a position of the stream; no facts and position 0: nothing
// is recorded.
func (c *Catalog) StreamFacts(ctx context.Context) (at LSN, known map[FactKey]string, err error) {
	err = c.read(ctx, func(tx *sql.Tx) error {
		positions, err := list(ctx, tx, func(rows *sql.Rows) (l LSN, err error) { return l, rows.Scan(&l) }, "SELECT lsn FROM fact_position")
		if err != nil || len(positions) == 0 {
			return err
		}
		at, known = positions[0], map[FactKey]string{}
		_, err = list(ctx, tx, func(rows *sql.Rows) (struct{}, error) {
			var k FactKey
			var v string
			err := rows.Scan(&k.Kind, &k.OID, &v)
			known[k] = v
			return struct{}{}, err
		}, "SELECT kind, oid, value FROM fact")
		return err
	})
	return at, known, err
}

// SetStreamFacts records all that is known of the source's objects at a position, in place of what was recorded.
func (c *Catalog) SetStreamFacts(ctx context.Context, at LSN, known map[FactKey]string) error {
	err := c.write(ctx, func(tx *sql.Tx) error { return setFacts(ctx, tx, at, &FactChanges{Anew: true, Set: known}) })
	if err != nil {
		return fmt.Errorf("record facts at %s: %w", at, err)
	}
	return nil
}

func setFacts(ctx context.Context, tx *sql.Tx, at LSN, changes *FactChanges) error {
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
