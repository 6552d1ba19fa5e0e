package catalog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CopyStorage is a place beside the repository's directory that its files are sent to.
type Storage struct {
	ID          int64
	Spec        string // as package repo/storage reads it; holds no secret
	AddedAt     time.Time
	SeenAt      time.Time // when it was last found in order
	FailedSince time.Time // zero: the last attempt succeeded
	Error       string    // of the last attempt
	// What is there and what is not yet, of sealed artifacts.
	Copies, Pending           int
	CopiesBytes, PendingBytes int64
	PendingSince              time.Time // when the oldest of them was complete
}

// AddStorage records a storage and returns its ID. The first one is the primary.
func (c *Catalog) AddStorage(ctx context.Context, spec string, now time.Time) (int64, error) {
	var id int64
	err := c.write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "INSERT INTO target (spec, added_at) VALUES (?, ?) RETURNING id", spec, micros(now)).Scan(&id)
	})
	if err != nil {
		return 0, fmt.Errorf("record storage %q: %w", spec, err)
	}
	return id, nil
}

// Storages lists the storages, the primary one first, with how far each is.
func (c *Catalog) Storages(ctx context.Context) ([]Storage, error) {
	return list(ctx, c.db, func(rows *sql.Rows) (t Storage, err error) {
		err = rows.Scan(&t.ID, &t.Spec, stamp{&t.AddedAt}, stamp{&t.SeenAt}, stamp{&t.FailedSince}, &t.Error,
			&t.Copies, &t.CopiesBytes, &t.Pending, &t.PendingBytes, stamp{&t.PendingSince})
		return t, err
	}, `SELECT t.id, t.spec, t.added_at, t.seen_at, t.failed_since, t.error,
		count(a.id) FILTER (WHERE c.artifact_id IS NOT NULL), coalesce(sum(a.bytes) FILTER (WHERE c.artifact_id IS NOT NULL), 0),
		count(a.id) FILTER (WHERE c.artifact_id IS NULL), coalesce(sum(a.bytes) FILTER (WHERE c.artifact_id IS NULL), 0),
		min(a.finished_at) FILTER (WHERE c.artifact_id IS NULL)
		FROM target t LEFT JOIN artifact a ON a.state = 'sealed' LEFT JOIN copy c ON c.artifact_id = a.id AND c.target_id = t.id
		GROUP BY t.id ORDER BY t.id`)
}

// StorageIDs lists the IDs of the storages, the primary one first. An ID is never given again.
func (c *Catalog) StorageIDs(ctx context.Context) ([]int64, error) {
	return list(ctx, c.db, func(rows *sql.Rows) (id int64, err error) { return id, rows.Scan(&id) }, "SELECT id FROM target ORDER BY id")
}

// ForgetStorage forgets a storage, with what is known of its files. If heir is not 0, that storage has to hold all that
// this one does: else nothing changes, and lacks is how many artifacts it is short of. It fails with ErrNotFound.
func (c *Catalog) ForgetStorage(ctx context.Context, id, heir int64) (lacks int, err error) {
	err = c.write(ctx, func(tx *sql.Tx) error {
		if heir != 0 {
			err := tx.QueryRowContext(ctx, `SELECT count(*) FROM copy c WHERE target_id = ?
				AND NOT EXISTS (SELECT 1 FROM copy h WHERE h.artifact_id = c.artifact_id AND h.target_id = ?)`, id, heir).Scan(&lacks)
			if err != nil || lacks > 0 {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM setting WHERE key = ?", snapshotSetting+strconv.FormatInt(id, 10)); err != nil {
			return err
		}
		err := tx.QueryRowContext(ctx, "DELETE FROM target WHERE id = ? RETURNING id", id).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("forget storage %d: %w", id, err)
	}
	return lacks, err
}

// StorageSeen records that a storage was found in order, or what is wrong with it. The moment of the first of several
// failures in a row is kept.
func (c *Catalog) StorageSeen(ctx context.Context, id int64, now time.Time, problem error) error {
	if problem == nil {
		return c.updateOne(ctx, "UPDATE target SET seen_at = ?, failed_since = NULL, error = '' WHERE id = ?", micros(now), id)
	}
	return c.updateOne(ctx, "UPDATE target SET failed_since = coalesce(failed_since, ?), error = ? WHERE id = ?",
		micros(now), problem.Error(), id)
}

// Pending lists the sealed artifacts that a storage lacks, in the order in which they should get there: globals before
// their base, so that no base is ever there without them, and bases before segments.
func (c *Catalog) Pending(ctx context.Context, storage int64) ([]Artifact, error) {
	return list(ctx, c.db, scanArtifact, "SELECT id, "+artifactColumns+` FROM artifact a WHERE state = 'sealed'
		AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.artifact_id = a.id AND c.target_id = ?)
		ORDER BY CASE kind WHEN 'globals' THEN 1 WHEN 'base' THEN 2 ELSE 3 END, start_lsn, id`, storage)
}

// Copies lists the artifacts that a storage has, by start LSN.
func (c *Catalog) Copies(ctx context.Context, storage int64) ([]Artifact, error) {
	return list(ctx, c.db, scanArtifact, "SELECT id, "+artifactColumns+` FROM artifact a WHERE EXISTS
		(SELECT 1 FROM copy c WHERE c.artifact_id = a.id AND c.target_id = ?) ORDER BY start_lsn, id`, storage)
}

// AddCopy records that a storage has stored an artifact for good. It fails with ErrNotFound if the artifact has been
// forgotten, or written anew under another name, meanwhile.
func (c *Catalog) AddCopy(ctx context.Context, a Artifact, storage int64, now time.Time) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		var known bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM artifact WHERE id = ? AND name = ?)", a.ID, a.Name).Scan(&known)
		if err == nil && !known {
			err = ErrNotFound
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO copy (artifact_id, target_id, stored_at) VALUES (?, ?, ?)",
				a.ID, storage, micros(now))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record copy of artifact %d: %w", a.ID, err)
	}
	return nil
}

// DropCopy records that a storage does not have an artifact, contrary to what was recorded.
func (c *Catalog) DropCopy(ctx context.Context, artifact, storage int64) error {
	return c.updateOne(ctx, "DELETE FROM copy WHERE artifact_id = ? AND target_id = ?", artifact, storage)
}

// CopyRemovals lists the names of files that a storage still holds although the catalog has forgotten them.
func (c *Catalog) CopyRemovals(ctx context.Context, storage int64) ([]string, error) {
	return list(ctx, c.db, func(rows *sql.Rows) (name string, err error) {
		err = rows.Scan(&name)
		return name, err
	}, "SELECT name FROM copy_removal WHERE target_id = ? ORDER BY name", storage)
}

// AwaitsRemoval says whether some storage still holds a forgotten file of the name.
func (c *Catalog) AwaitsRemoval(ctx context.Context, name string) (bool, error) {
	var found bool
	err := c.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM copy_removal WHERE name = ?)", name).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("read catalog: %w", err)
	}
	return found, nil
}

// RemovalsAwait says whether some storage still holds a forgotten file.
func (c *Catalog) RemovalsAwait(ctx context.Context) (bool, error) {
	var found bool
	err := c.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM copy_removal)").Scan(&found)
	if err != nil {
		return false, fmt.Errorf("read catalog: %w", err)
	}
	return found, nil
}

// AddCopyRemoval records that a file has to be removed from a storage.
func (c *Catalog) AddCopyRemoval(ctx context.Context, storage int64, name string) error {
	return c.updateOne(ctx, "INSERT OR REPLACE INTO copy_removal (target_id, name) VALUES (?, ?)", storage, name)
}

// CopyRemovalDone records that a storage no longer holds a file.
func (c *Catalog) CopyRemovalDone(ctx context.Context, storage int64, name string) error {
	return c.updateOne(ctx, "DELETE FROM copy_removal WHERE target_id = ? AND name = ?", storage, name)
}

// DurableEnd is the position up to which a storage alone could restore: 0 while it has no base.
func (c *Catalog) DurableEnd(ctx context.Context, storage int64) (LSN, error) {
	inv, err := c.Inventory(ctx)
	if err != nil {
		return 0, err
	}
	copies, err := c.Copies(ctx, storage)
	if err != nil {
		return 0, err
	}
	there := map[int64]bool{}
	for _, a := range copies {
		there[a.ID] = true
	}
	all := inv.Artifacts
	inv.Artifacts = copies
	end, ok := inv.End()
	if !ok || !slices.ContainsFunc(copies, func(a Artifact) bool { return a.Kind == KindBase }) {
		return 0, nil
	}
	for _, a := range all {
		if a.Kind == KindSegment && !there[a.ID] {
			end = min(end, a.Start)
		}
	}
	return end, nil
}

// Reach is the furthest position to which a base and the segments behind it lead: of those that a storage has, and of all.
func (c *Catalog) Reach(ctx context.Context, storage int64) (there, all LSN, err error) {
	inv, err := c.Inventory(ctx)
	if err != nil {
		return 0, 0, err
	}
	all = reach(inv)
	inv.Artifacts, err = c.Copies(ctx, storage)
	return reach(inv), all, err
}

// SpoolBytes is how much lies in the directory alone: what some storage lacks, and the open segment. It is 0 without
// storages.
func (c *Catalog) SpoolBytes(ctx context.Context) (int64, error) {
	var n int64
	err := c.db.QueryRowContext(ctx, `SELECT coalesce(sum(bytes), 0) FROM artifact a WHERE EXISTS (SELECT 1 FROM target t
		WHERE NOT EXISTS (SELECT 1 FROM copy c WHERE c.artifact_id = a.id AND c.target_id = t.id))`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read catalog: %w", err)
	}
	return n, nil
}

// snapshotSetting begins the settings that hold each storage's newest snapshot.
const snapshotSetting = "snapshot-"

// SnapshotState says in short what a snapshot for a storage would hold now, apart from the history of commands: two that
// are equal hold the same.
func (c *Catalog) SnapshotState(ctx context.Context, storage int64) (string, error) {
	h := sha256.New()
	err := c.read(ctx, func(tx *sql.Tx) error {
		// Counts and restore points belong to their segments and never change.
		for _, query := range []string{
			"SELECT * FROM repository",
			"SELECT * FROM artifact a WHERE state = 'sealed' AND EXISTS (SELECT 1 FROM copy c WHERE c.artifact_id = a.id AND c.target_id = ?1) ORDER BY id",
			"SELECT * FROM gap ORDER BY id",
			"SELECT * FROM timeline ORDER BY system_id, timeline",
			"SELECT * FROM setting WHERE key NOT GLOB '" + snapshotSetting + "*' ORDER BY key",
			"SELECT id, spec FROM target ORDER BY id",
			"SELECT max(id) FROM verification",
		} {
			if err := hashRows(ctx, tx, h, query, storage); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read catalog: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashRows(ctx context.Context, tx *sql.Tx, h io.Writer, query string, args ...any) error {
	if !strings.Contains(query, "?") {
		args = nil
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		fmt.Fprintf(h, "%q\n", values)
	}
	fmt.Fprintln(h, "end")
	return rows.Err()
}

// SnapshotSent records which snapshot of what state a storage has whole.
func (c *Catalog) SnapshotSent(ctx context.Context, storage int64, sequence uint64, state string) error {
	return c.SetSetting(ctx, snapshotSetting+strconv.FormatInt(storage, 10), fmt.Sprintf("%016X %s", sequence, state))
}

// SnapshotIs says whether a storage's snapshot of that number is of that state.
func (c *Catalog) SnapshotIs(ctx context.Context, storage int64, sequence uint64, state string) (bool, error) {
	text, _, err := c.Setting(ctx, snapshotSetting+strconv.FormatInt(storage, 10))
	return text == fmt.Sprintf("%016X %s", sequence, state), err
}

// Snapshot writes a catalog of what one storage holds to a file that must not exist: with it and the storage's files
// alone, everything that is there can be restored. It fails with ErrNotFound if the storage has been forgotten meanwhile:
// the catalog would be empty.
func (c *Catalog) Snapshot(ctx context.Context, path string, storage int64) error {
	if _, err := c.db.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return fmt.Errorf("snapshot of the catalog: %w", err)
	}
	s, err := connect(path, "rw")
	if err != nil {
		return fmt.Errorf("snapshot of the catalog: %w", err)
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		var known bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM target WHERE id = ?)", storage).Scan(&known)
		if err == nil && !known {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM artifact WHERE state = 'open'
			OR NOT EXISTS (SELECT 1 FROM copy c WHERE c.artifact_id = artifact.id AND c.target_id = ?)`, storage)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM removal; DELETE FROM copy_removal; DELETE FROM fact; DELETE FROM fact_position")
		}
		return err
	})
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("snapshot of the catalog: %w", err)
	}
	return nil
}
