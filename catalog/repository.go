package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// SetRepository writes the repository row, replacing the one there is.
func (c *Catalog) SetRepository(ctx context.Context, r Repository) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO repository (id, format, system_id, timeline, database,
			database_oid, encoding, collate_name, ctype, locale_provider, locale, server_version, slot, publication,
			compression, mode, created_at, stream_start) VALUES (1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			r.Format, r.SystemID, r.Timeline, r.Database, r.DatabaseOID, r.Encoding, r.Collate, r.CType, r.LocaleProvider,
			r.Locale, r.ServerVersion, r.Slot, r.Publication, r.Compression, r.Mode, micros(r.CreatedAt), r.StreamStart)
		return err
	})
	if err != nil {
		return fmt.Errorf("record repository: %w", err)
	}
	return nil
}

// errNoRepository: a catalog without its one row of settings, as after an interrupted Create.
var errNoRepository = fmt.Errorf("repository row: %w", ErrNotFound)

// Repository reads the repository row. It fails with ErrNotFound before SetRepository.
func (c *Catalog) Repository(ctx context.Context) (Repository, error) {
	return repository(ctx, c.db)
}

func repository(ctx context.Context, q querier) (Repository, error) {
	rows, err := list(ctx, q, func(rows *sql.Rows) (r Repository, err error) {
		err = rows.Scan(&r.Format, &r.SystemID, &r.Timeline, &r.Database, &r.DatabaseOID, &r.Encoding, &r.Collate,
			&r.CType, &r.LocaleProvider, &r.Locale, &r.ServerVersion, &r.Slot, &r.Publication, &r.Compression, &r.Mode,
			stamp{&r.CreatedAt}, &r.StreamStart)
		return r, err
	}, `SELECT format, system_id, timeline, database, database_oid, encoding, collate_name, ctype, locale_provider,
		locale, server_version, slot, publication, compression, mode, created_at,
		stream_start FROM repository`)
	if err != nil {
		return Repository{}, err
	}
	if len(rows) == 0 {
		return Repository{}, errNoRepository
	}
	return rows[0], nil
}

// Inventory reads all that the planning functions need, in one consistent snapshot.
func (c *Catalog) Inventory(ctx context.Context) (Inventory, error) {
	var inv Inventory
	err := c.read(ctx, func(tx *sql.Tx) (err error) {
		if inv.Repository, err = repository(ctx, tx); err != nil {
			return err
		}
		if inv.Artifacts, err = artifacts(ctx, tx, nil); err != nil {
			return err
		}
		if inv.Points, err = points(ctx, tx); err != nil {
			return err
		}
		if inv.Switches, err = switches(ctx, tx); err != nil {
			return err
		}
		inv.Gaps, err = gaps(ctx, tx)
		return err
	})
	if err != nil {
		return Inventory{}, err
	}
	return inv, nil
}

func points(ctx context.Context, q querier) ([]RestorePoint, error) {
	return list(ctx, q, func(rows *sql.Rows) (r RestorePoint, err error) {
		err = rows.Scan(&r.Name, &r.LSN, &r.XID, stamp{&r.At}, &r.Timeline)
		return r, err
	}, "SELECT name, lsn, xid, at, timeline FROM restore_point ORDER BY lsn, name")
}

func addPoint(ctx context.Context, tx *sql.Tx, segment int64, r RestorePoint) error {
	// A later timeline may have branched off before the LSN of the older mark, so the timeline counts first.
	_, err := tx.ExecContext(ctx, `INSERT INTO restore_point (name, segment_id, timeline, lsn, xid, at) VALUES (?,?,?,?,?,?)
		ON CONFLICT (name) DO UPDATE SET segment_id = excluded.segment_id, timeline = excluded.timeline,
			lsn = excluded.lsn, xid = excluded.xid, at = excluded.at
		WHERE (excluded.timeline, excluded.lsn) > (restore_point.timeline, restore_point.lsn)`,
		r.Name, segment, r.Timeline, r.LSN, r.XID, micros(r.At))
	return err
}

// Gaps lists the gaps by their position.
func (c *Catalog) Gaps(ctx context.Context) ([]Gap, error) {
	return gaps(ctx, c.db)
}

func gaps(ctx context.Context, q querier) ([]Gap, error) {
	return list(ctx, q, func(rows *sql.Rows) (g Gap, err error) {
		err = rows.Scan(&g.ID, &g.Kind, &g.From, &g.To, stamp{&g.DetectedAt}, &g.Reason, stamp{&g.AcknowledgedAt}, &g.Timeline)
		return g, err
	}, "SELECT id, kind, from_lsn, to_lsn, detected_at, reason, acknowledged_at, timeline FROM gap ORDER BY from_lsn, id")
}

// AddGap records a gap and returns its ID. A gap of the same kind, timeline, interval and reason is not recorded
// again; its ID is returned.
func (c *Catalog) AddGap(ctx context.Context, g Gap) (int64, error) {
	var id int64
	err := c.write(ctx, func(tx *sql.Tx) (err error) {
		id, err = addGap(ctx, tx, g)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("record gap at %s: %w", g.From, err)
	}
	return id, nil
}

func addGap(ctx context.Context, tx *sql.Tx, g Gap) (int64, error) {
	g.To = max(g.From, g.To)
	var id int64
	// The update changes nothing; it makes RETURNING answer for a known gap too.
	err := tx.QueryRowContext(ctx, `INSERT INTO gap (kind, from_lsn, to_lsn, detected_at, reason, acknowledged_at, timeline)
		VALUES (?,?,?,?,?,?,?) ON CONFLICT (kind, timeline, from_lsn, to_lsn, reason) DO UPDATE SET reason = gap.reason
		RETURNING id`,
		g.Kind, g.From, g.To, micros(g.DetectedAt), g.Reason, micros(g.AcknowledgedAt), g.Timeline).Scan(&id)
	return id, err
}

// BeginOperation records that a command has started and returns the ID for EndOperation.
func (c *Catalog) BeginOperation(ctx context.Context, command string, pid int, now time.Time) (int64, error) {
	var id int64
	err := c.write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO operation (command, pid, started_at, outcome, detail)
			VALUES (?,?,?,?,'') RETURNING id`, command, pid, micros(now), OutcomeRunning).Scan(&id)
	})
	if err != nil {
		return 0, fmt.Errorf("record start of %q: %w", command, err)
	}
	return id, nil
}

// EndOperation records how an operation ended: OutcomeOK or OutcomeFailed. It fails with ErrNotFound.
func (c *Catalog) EndOperation(ctx context.Context, id int64, now time.Time, outcome, detail string) error {
	err := c.updateOne(ctx, "UPDATE operation SET finished_at = ?, outcome = ?, detail = ? WHERE id = ?",
		micros(now), outcome, detail, id)
	if err != nil {
		return fmt.Errorf("record end of operation %d: %w", id, err)
	}
	return nil
}

// SetSetting writes a value of the repository's configuration, replacing the one there is.
func (c *Catalog) SetSetting(ctx context.Context, key, value string) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO setting (key, value) VALUES (?,?)", key, value)
		return err
	})
	if err != nil {
		return fmt.Errorf("record setting %q: %w", key, err)
	}
	return nil
}

// SetSettings writes several values as SetSetting does, all or none.
func (c *Catalog) SetSettings(ctx context.Context, values map[string]string) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		for key, value := range values {
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO setting (key, value) VALUES (?,?)", key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record %d settings: %w", len(values), err)
	}
	return nil
}

// SetChain records the filters of new files: their short form in the repository row, and a setting that says all.
func (c *Catalog) SetChain(ctx context.Context, short, key, value string) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO setting (key, value) VALUES (?,?)", key, value)
		if err == nil {
			_, err = tx.ExecContext(ctx, "UPDATE repository SET compression = ?", short)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record filters: %w", err)
	}
	return nil
}

// SetDatabase records what the repository's database is called now, and its OID.
func (c *Catalog) SetDatabase(ctx context.Context, name string, oid uint32) error {
	if err := c.updateOne(ctx, "UPDATE repository SET database = ?, database_oid = ?", name, oid); err != nil {
		return fmt.Errorf("record database %q: %w", name, err)
	}
	return nil
}

// SetFormat records the version of the file formats that new files have.
func (c *Catalog) SetFormat(ctx context.Context, format int) error {
	if err := c.updateOne(ctx, "UPDATE repository SET format = ?", format); err != nil {
		return fmt.Errorf("record format %d: %w", format, err)
	}
	return nil
}

// Setting reads a value; the second result says whether it was ever set.
func (c *Catalog) Setting(ctx context.Context, key string) (string, bool, error) {
	var value string
	err := c.db.QueryRowContext(ctx, "SELECT value FROM setting WHERE key = ?", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read setting %q: %w", key, err)
	}
	return value, true, nil
}

// updateOne runs a statement that must hit a row.
func (c *Catalog) updateOne(ctx context.Context, statement string, args ...any) error {
	return c.write(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNotFound)
		}
		return nil
	})
}
