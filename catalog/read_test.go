package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// What only tests read and write one by one.

// RestorePoints lists the restore points by LSN.
func (c *Catalog) RestorePoints(ctx context.Context) ([]RestorePoint, error) {
	return points(ctx, c.db)
}

// AcknowledgeGap records that somebody knows of the gap. It fails with ErrNotFound.
func (c *Catalog) AcknowledgeGap(ctx context.Context, id int64, at time.Time) error {
	if err := c.updateOne(ctx, "UPDATE gap SET acknowledged_at = ? WHERE id = ?", micros(at), id); err != nil {
		return fmt.Errorf("acknowledge gap %d: %w", id, err)
	}
	return nil
}

// Operations lists the latest operations, newest first; a limit of 0 lists all.
func (c *Catalog) Operations(ctx context.Context, limit int) ([]Operation, error) {
	if limit <= 0 {
		limit = -1 // SQLite's word for no limit
	}
	return list(ctx, c.db, func(rows *sql.Rows) (o Operation, err error) {
		err = rows.Scan(&o.ID, &o.Command, &o.PID, stamp{&o.StartedAt}, stamp{&o.FinishedAt}, &o.Outcome, &o.Detail)
		return o, err
	}, "SELECT id, command, pid, started_at, finished_at, outcome, detail FROM operation ORDER BY id DESC LIMIT ?", limit)
}
