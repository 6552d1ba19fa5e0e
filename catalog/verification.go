package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// OutcomeInconclusive: a file could not be judged, for example because it may not be read. The other outcomes of a
// verification are OutcomeOK and OutcomeFailed.
const OutcomeInconclusive = "inconclusive"

// Verification is one run of verify.
type Verification struct {
	ID                    int64
	StartedAt, FinishedAt time.Time
	Outcome               string
	Subset                string // which part of the data was read, as it was asked for; empty: all
	Files, FilesRead      int
	BytesRead             int64
	Failed, Inconclusive  int
	Detail                string // the first finding
}

// ReadOutcome is what reading one file whole has shown.
type ReadOutcome struct {
	Artifact int64 // ID
	At       time.Time
	Outcome  string
	Detail   string
}

// AddVerification records a run and the outcome of each file that it read. Files that the catalog has forgotten since are
// passed over.
func (c *Catalog) AddVerification(ctx context.Context, v Verification, reads []ReadOutcome) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO verification (started_at, finished_at, outcome, subset, files, files_read,
			bytes_read, failed, inconclusive, detail) VALUES (?,?,?,?,?,?,?,?,?,?)`, micros(v.StartedAt), micros(v.FinishedAt),
			v.Outcome, v.Subset, v.Files, v.FilesRead, v.BytesRead, v.Failed, v.Inconclusive, v.Detail)
		for _, r := range reads {
			if err == nil {
				_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO artifact_read (artifact_id, read_at, outcome, detail)
					SELECT id, ?, ?, ? FROM artifact WHERE id = ?`, micros(r.At), r.Outcome, r.Detail, r.Artifact)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record verification: %w", err)
	}
	return nil
}

// LastVerification returns the latest run. It fails with ErrNotFound when there is none.
func (c *Catalog) LastVerification(ctx context.Context) (Verification, error) {
	runs, err := list(ctx, c.db, func(rows *sql.Rows) (v Verification, err error) {
		err = rows.Scan(&v.ID, stamp{&v.StartedAt}, stamp{&v.FinishedAt}, &v.Outcome, &v.Subset, &v.Files, &v.FilesRead,
			&v.BytesRead, &v.Failed, &v.Inconclusive, &v.Detail)
		return v, err
	}, `SELECT id, started_at, finished_at, outcome, subset, files, files_read, bytes_read, failed, inconclusive, detail
		FROM verification ORDER BY id DESC LIMIT 1`)
	if err == nil && len(runs) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Verification{}, err
	}
	return runs[0], nil
}

// LastReads returns, by artifact ID, what reading each file whole has shown last. Files that were never read are not in it.
func (c *Catalog) LastReads(ctx context.Context) (map[int64]ReadOutcome, error) {
	rows, err := list(ctx, c.db, func(rows *sql.Rows) (r ReadOutcome, err error) {
		err = rows.Scan(&r.Artifact, stamp{&r.At}, &r.Outcome, &r.Detail)
		return r, err
	}, "SELECT artifact_id, read_at, outcome, detail FROM artifact_read")
	reads := make(map[int64]ReadOutcome, len(rows))
	for _, r := range rows {
		reads[r.Artifact] = r
	}
	return reads, err
}

// SetPin makes retention leave a base alone, or, with an empty reason, no longer. It fails with ErrNotFound when no base
// has the name.
func (c *Catalog) SetPin(ctx context.Context, base, reason string) error {
	err := c.updateOne(ctx, "UPDATE artifact SET pinned_reason = ? WHERE kind = 'base' AND name = ?", reason, base)
	if err != nil {
		return fmt.Errorf("pin %q: %w", base, err)
	}
	return nil
}

// IsDamaged says whether an error says that the catalog's file is not a whole catalog.
func IsDamaged(err error) bool {
	return errors.Is(err, ErrNotCatalog) || isCode(err, sqlite3.SQLITE_CORRUPT) || isCode(err, sqlite3.SQLITE_NOTADB) ||
		errors.Is(err, errNoRepository)
}

// IntegrityCheck reads the whole catalog and lists what SQLite finds wrong with it; empty: nothing.
func (c *Catalog) IntegrityCheck(ctx context.Context) ([]string, error) {
	faults, err := list(ctx, c.db, func(rows *sql.Rows) (s string, err error) { return s, rows.Scan(&s) },
		"SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'")
	if err != nil && !IsDamaged(err) {
		return nil, err
	}
	if err != nil {
		return append(faults, err.Error()), nil
	}
	loose, err := list(ctx, c.db, func(rows *sql.Rows) (s string, err error) { return s, rows.Scan(&s) },
		`SELECT "table" || ' refers to a row of ' || "parent" || ' that is not there' FROM pragma_foreign_key_check`)
	return append(faults, loose...), err
}

// Record is all that the catalog knows of one artifact.
type Record struct {
	Artifact Artifact // a segment's is sealed; IDs are given anew
	Globals  Artifact // of a base; with an empty name it has none
	Tables   []TableCount
	Points   []RestorePoint
	Gaps     []Gap
}

// Fill writes a whole repository into a new catalog, in one transaction.
func (c *Catalog) Fill(ctx context.Context, info Repository, records []Record) error {
	if err := c.SetRepository(ctx, info); err != nil {
		return err
	}
	return c.write(ctx, func(tx *sql.Tx) error {
		for _, r := range records {
			if err := fill(ctx, tx, r); err != nil {
				return fmt.Errorf("record %q: %w", r.Artifact.Name, err)
			}
		}
		return nil
	})
}

func fill(ctx context.Context, tx *sql.Tx, r Record) error {
	r.Artifact.State, r.Artifact.Pair = StateSealed, 0
	id, err := insert(ctx, tx, r.Artifact)
	if err != nil {
		return err
	}
	if r.Globals.Name != "" {
		r.Globals.State, r.Globals.Pair = StateSealed, id
		if _, err := insert(ctx, tx, r.Globals); err != nil {
			return err
		}
	}
	if r.Artifact.Kind != KindSegment {
		return nil
	}
	if err := setCounts(ctx, tx, id, r.Tables); err != nil {
		return err
	}
	for _, p := range r.Points {
		p.Timeline = r.Artifact.Timeline
		if err := addPoint(ctx, tx, id, p); err != nil {
			return err
		}
	}
	for _, g := range r.Gaps {
		g.Timeline = r.Artifact.Timeline
		if _, err := addGap(ctx, tx, g); err != nil {
			return err
		}
	}
	return nil
}

// Salvage copies from an older catalog what no file knows, as far as it can be read: storages with their copies, pins, settings, recorded and
// acknowledged gaps, operations, runs of verify, the last rehearsal, the state of the stream. It returns how many rows each part gave, and
// never fails because of the old file.
func (c *Catalog) Salvage(ctx context.Context, path string) (map[string]int, error) {
	old, err := OpenReadOnly(path)
	if err != nil {
		return nil, nil
	}
	defer old.Close()
	found := map[string]int{}
	// Part of the state would pass for all of them.
	if at, known, err := old.StreamState(ctx); err == nil && at > 0 {
		if err := c.SetStreamState(ctx, at, known); err != nil {
			return found, err
		}
	}
	copyTable := func(what, table, columns, insert string, n int) error {
		rows, _ := list(ctx, old.db, func(rows *sql.Rows) (row []any, err error) {
			row = make([]any, n)
			into := make([]any, n)
			for i := range row {
				into[i] = &row[i]
			}
			return row, rows.Scan(into...)
		}, "SELECT "+columns+" FROM "+table)
		err := c.write(ctx, func(tx *sql.Tx) error {
			for _, row := range rows {
				r, err := tx.ExecContext(ctx, insert, row...)
				if err != nil {
					return err
				}
				if k, err := r.RowsAffected(); err == nil {
					found[what] += int(k)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("take over %s: %w", what, err)
		}
		return nil
	}
	return found, errors.Join(
		copyTable("targets", "target ORDER BY id", "spec, added_at", "INSERT OR IGNORE INTO target (spec, added_at) VALUES (?,?)", 2),
		copyTable("copies", "copy c JOIN artifact a ON a.id = c.artifact_id JOIN target t ON t.id = c.target_id",
			"t.spec, c.stored_at, a.name, a.sha256",
			`INSERT OR IGNORE INTO copy (artifact_id, target_id, stored_at)
			 SELECT a.id, t.id, ?2 FROM artifact a, target t WHERE t.spec = ?1 AND a.name = ?3 AND a.sha256 = ?4`, 4),
		copyTable("removals", "copy_removal c JOIN target t ON t.id = c.target_id", "t.spec, c.name",
			"INSERT OR IGNORE INTO copy_removal (target_id, name) SELECT id, ?2 FROM target WHERE spec = ?1 AND NOT EXISTS (SELECT 1 FROM artifact WHERE name = ?2)", 2),
		copyTable("pins", "artifact WHERE pinned_reason <> ''", "pinned_reason, name",
			"UPDATE artifact SET pinned_reason = ? WHERE name = ?", 2),
		copyTable("settings", "setting", "key, value", "INSERT OR IGNORE INTO setting (key, value) VALUES (?,?)", 2),
		copyTable("gaps", "gap", "kind, timeline, from_lsn, to_lsn, detected_at, reason, acknowledged_at",
			`INSERT INTO gap (kind, timeline, from_lsn, to_lsn, detected_at, reason, acknowledged_at) VALUES (?,?,?,?,?,?,?)
			 ON CONFLICT (kind, timeline, from_lsn, to_lsn, reason) DO UPDATE SET acknowledged_at = excluded.acknowledged_at`, 7),
		copyTable("timelines", "timeline", "system_id, timeline, parent, switch_lsn",
			"INSERT OR IGNORE INTO timeline (system_id, timeline, parent, switch_lsn) VALUES (?,?,?,?)", 4),
		copyTable("operations", "operation", "command, pid, started_at, finished_at, outcome, detail",
			"INSERT INTO operation (command, pid, started_at, finished_at, outcome, detail) VALUES (?,?,?,?,?,?)", 6),
		copyTable("verifications", "verification", "started_at, finished_at, outcome, subset, files, files_read, bytes_read, failed, inconclusive, detail",
			`INSERT INTO verification (started_at, finished_at, outcome, subset, files, files_read, bytes_read, failed, inconclusive, detail)
			 VALUES (?,?,?,?,?,?,?,?,?,?)`, 10),
		copyTable("rehearsals", "rehearsal", "*", "INSERT OR REPLACE INTO rehearsal VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", 16))
}
