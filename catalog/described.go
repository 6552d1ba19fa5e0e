package catalog

import (
	"context"
	"database/sql"
	"fmt"
)

// A DescribedKey names an object of the source, as pg_identify_object does.
type DescribedKey struct{ Class, Identity string }

// A Described is an object of which the stream, or the base that it began with, has a description.
type Described struct {
	Catalog, OID uint32   // of the object's catalog, and its own
	Sum          string   // SHA-256 of the description, as bytes; empty: it does not count any more
	Indexes      []string // of a table, as pg_identify_object names them; not returned by Described
}

// Described returns the objects with these OIDs, of whatever catalog; with none all objects.
func (c *Catalog) Described(ctx context.Context, oids ...uint32) (map[DescribedKey]Described, error) {
	known := map[DescribedKey]Described{}
	scan := func(rows *sql.Rows) (struct{}, error) {
		var k DescribedKey
		var d Described
		var sum []byte
		err := rows.Scan(&k.Class, &k.Identity, &d.Catalog, &d.OID, &sum)
		d.Sum = string(sum)
		known[k] = d
		return struct{}{}, err
	}
	const query = "SELECT class, identity, catalog, oid, sum FROM described"
	err := c.read(ctx, func(tx *sql.Tx) error {
		if len(oids) == 0 {
			_, err := list(ctx, tx, scan, query)
			return err
		}
		for _, oid := range oids {
			if _, err := list(ctx, tx, scan, query+" WHERE oid = ?", oid); err != nil {
				return err
			}
		}
		return nil
	})
	return known, err
}

// Describe records what objects are, after forgetting those that are gone. With anew it forgets all before.
func (c *Catalog) Describe(ctx context.Context, anew bool, set map[DescribedKey]Described, gone []DescribedKey) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		if anew {
			if _, err := tx.ExecContext(ctx, "DELETE FROM described; DELETE FROM described_index"); err != nil {
				return err
			}
		}
		for _, k := range gone {
			if _, err := tx.ExecContext(ctx, "DELETE FROM described WHERE class = ? AND identity = ?", k.Class, k.Identity); err != nil {
				return err
			}
		}
		insert, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO described (class, identity, catalog, oid, sum) VALUES (?,?,?,?,?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		for k, d := range set {
			if _, err := insert.ExecContext(ctx, k.Class, k.Identity, d.Catalog, d.OID, []byte(d.Sum)); err != nil {
				return err
			}
			if err := describeIndexes(ctx, tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record descriptions of %d objects: %w", len(set)+len(gone), err)
	}
	return nil
}

func describeIndexes(ctx context.Context, tx *sql.Tx, d Described) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM described_index WHERE oid = ?", d.OID); err != nil {
		return err
	}
	for _, name := range d.Indexes {
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO described_index (name, oid) VALUES (?,?)", name, d.OID); err != nil {
			return err
		}
	}
	return nil
}

// TablesOf returns the OIDs of the tables that had indexes of these names when they were described.
func (c *Catalog) TablesOf(ctx context.Context, indexes []string) (oids []uint32, err error) {
	err = c.read(ctx, func(tx *sql.Tx) error {
		for _, name := range indexes {
			found, err := list(ctx, tx, func(rows *sql.Rows) (oid uint32, err error) { return oid, rows.Scan(&oid) },
				"SELECT oid FROM described_index WHERE name = ?", name)
			if err != nil {
				return err
			}
			oids = append(oids, found...)
		}
		return nil
	})
	return oids, err
}

// DescribedInBase takes what a further base says of all objects. What was recorded of those of which it says something else, or that only one of both
// has, does not count any more: a restore that begins at the base knows what the base says of them.
func (c *Catalog) DescribedInBase(ctx context.Context, said map[DescribedKey]Described) error {
	known, err := c.Described(ctx)
	if err != nil {
		return err
	}
	differ := map[DescribedKey]Described{}
	for k, was := range known {
		if now, there := said[k]; !there {
			was.Sum = ""
			differ[k] = was
		} else if now.Sum != was.Sum {
			now.Sum = ""
			differ[k] = now
		}
	}
	for k, now := range said {
		if _, there := known[k]; !there {
			now.Sum = ""
			differ[k] = now
		}
	}
	return c.Describe(ctx, false, differ, nil)
}

// Undescribe has the objects described again: what was recorded of them does not count any more.
func (c *Catalog) Undescribe(ctx context.Context, keys []DescribedKey) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		for _, k := range keys {
			_, err := tx.ExecContext(ctx, `INSERT INTO described (class, identity, catalog, oid, sum) VALUES (?,?,0,0,x'')
				ON CONFLICT (class, identity) DO UPDATE SET sum = x''`, k.Class, k.Identity)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("have %d objects described again: %w", len(keys), err)
	}
	return nil
}
