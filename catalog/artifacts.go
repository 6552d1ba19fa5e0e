package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The columns of an artifact without its id, in the order of artifactValues and scanArtifact.
const artifactColumns = `kind, state, name, system_id, timeline, database, start_lsn, end_lsn, created_at, finished_at,
	first_commit_at, last_commit_at, reached_at, transactions, min_xid, max_xid, bytes, text_bytes, sha256, text_sha256,
	filters, server_version, pair, format, pinned_reason`

const insertArtifact = `INSERT INTO artifact (` + artifactColumns + `)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`

func artifactValues(a Artifact) []any {
	pair := sql.NullInt64{Int64: a.Pair, Valid: a.Pair != 0}
	return []any{
		string(a.Kind), string(a.State), a.Name, a.SystemID, a.Timeline, a.Database, a.Start, a.End,
		micros(a.CreatedAt), micros(a.FinishedAt), micros(a.FirstCommitAt), micros(a.LastCommitAt), micros(a.ReachedAt),
		a.Transactions, a.MinXID, a.MaxXID, a.Bytes, a.TextBytes, a.SHA256, a.TextSHA256,
		a.Filters, a.ServerVersion, pair, a.Format, a.PinnedReason,
	}
}

func scanArtifact(rows *sql.Rows) (Artifact, error) {
	var a Artifact
	var pair sql.NullInt64
	err := rows.Scan(&a.ID,
		&a.Kind, &a.State, &a.Name, &a.SystemID, &a.Timeline, &a.Database, &a.Start, &a.End,
		stamp{&a.CreatedAt}, stamp{&a.FinishedAt}, stamp{&a.FirstCommitAt}, stamp{&a.LastCommitAt}, stamp{&a.ReachedAt},
		&a.Transactions, &a.MinXID, &a.MaxXID, &a.Bytes, &a.TextBytes, &a.SHA256, &a.TextSHA256,
		&a.Filters, &a.ServerVersion, &pair, &a.Format, &a.PinnedReason)
	a.Pair = pair.Int64
	return a, err
}

func insert(ctx context.Context, tx *sql.Tx, a Artifact) (int64, error) {
	if a.Format == "" {
		a.Format = "plain"
	}
	r, err := tx.ExecContext(ctx, insertArtifact, artifactValues(a)...)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// AddBase records a base and the globals taken with it, both or neither, and returns the ID of the base. It sets kind,
// state, the pairing and, from Start, End. Globals with an empty name are not recorded: the base has none.
func (c *Catalog) AddBase(ctx context.Context, base, globals Artifact) (int64, error) {
	var id int64
	err := c.write(ctx, func(tx *sql.Tx) error {
		base.Kind, base.State, base.Pair, base.End = KindBase, StateSealed, 0, base.Start
		var err error
		if id, err = insert(ctx, tx, base); err != nil || globals.Name == "" {
			return err
		}
		globals.Kind, globals.State, globals.Pair, globals.End = KindGlobals, StateSealed, id, globals.Start
		_, err = insert(ctx, tx, globals)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("record base %q: %w", base.Name, err)
	}
	return id, nil
}

// OpenSegment records a segment that is about to be written and returns its ID. It sets kind and state; an End before
// Start is taken as Start. It fails while another segment is open.
func (c *Catalog) OpenSegment(ctx context.Context, a Artifact) (int64, error) {
	a.Kind, a.State, a.Pair, a.End = KindSegment, StateOpen, 0, max(a.Start, a.End)
	var id int64
	err := c.write(ctx, func(tx *sql.Tx) error {
		var err error
		id, err = insert(ctx, tx, a)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("record segment %q: %w", a.Name, err)
	}
	return id, nil
}

// Checkpoint records that an open segment is complete up to p.End. The bytes must be on disk before. When it returns
// nil the server may be told that position. It may be repeated with the same or an overlapping progress: totals
// replace totals, a restore point or gap that is known already is not doubled, and of two restore points of one name
// the one with the higher LSN stays. It fails with ErrNotFound, ErrNotOpen or ErrBackwards.
func (c *Catalog) Checkpoint(ctx context.Context, id int64, p Progress) error {
	err := c.write(ctx, func(tx *sql.Tx) error { return checkpoint(ctx, tx, id, p) })
	if err != nil {
		return fmt.Errorf("checkpoint of segment %d at %s: %w", id, p.End, err)
	}
	return nil
}

// SealSegment records that an open segment has been completed under its final name: a last checkpoint, the name, the
// filters that made the file, the checksums, and the state in one transaction. It fails as Checkpoint does.
func (c *Catalog) SealSegment(ctx context.Context, id int64, name, filters string, p Progress, sha256, textSHA256 string, finished time.Time) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		if err := checkpoint(ctx, tx, id, p); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE artifact SET state = 'sealed', name = ?, filters = ?, sha256 = ?, text_sha256 = ?,
			finished_at = ? WHERE id = ?`, name, filters, sha256, textSHA256, micros(finished), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("seal segment %d as %q: %w", id, name, err)
	}
	return nil
}

func checkpoint(ctx context.Context, tx *sql.Tx, id int64, p Progress) error {
	var state State
	var end LSN
	var timeline uint32
	err := tx.QueryRowContext(ctx, "SELECT state, end_lsn, timeline FROM artifact WHERE id = ?", id).
		Scan(&state, &end, &timeline)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return err
	case state != StateOpen:
		return ErrNotOpen
	case p.End < end:
		return ErrBackwards
	}
	_, err = tx.ExecContext(ctx, `UPDATE artifact SET end_lsn = ?, reached_at = ?, first_commit_at = ?, last_commit_at = ?,
		transactions = ?, min_xid = ?, max_xid = ?, bytes = ?, text_bytes = ?, sha256 = ?, text_sha256 = ? WHERE id = ?`,
		p.End, micros(p.ReachedAt), micros(p.FirstCommitAt), micros(p.LastCommitAt),
		p.Transactions, p.MinXID, p.MaxXID, p.Bytes, p.TextBytes, p.SHA256, p.TextSHA256, id)
	if err != nil {
		return err
	}
	if err := setCounts(ctx, tx, id, p.Tables); err != nil {
		return err
	}
	for _, r := range p.Points {
		r.Timeline = timeline
		if err := addPoint(ctx, tx, id, r); err != nil {
			return err
		}
	}
	if p.State != nil {
		if err := setState(ctx, tx, p.End, p.State); err != nil {
			return err
		}
	}
	for _, g := range p.Gaps {
		g.Timeline = timeline
		if _, err := addGap(ctx, tx, g); err != nil {
			return err
		}
	}
	return nil
}

func setCounts(ctx context.Context, tx *sql.Tx, id int64, counts []TableCount) error {
	if len(counts) == 0 {
		return nil
	}
	// A segment may touch ten thousand tables.
	stmt, err := tx.PrepareContext(ctx, `INSERT INTO table_count (segment_id, name, inserted, updated, deleted, truncated)
		VALUES (?,?,?,?,?,?) ON CONFLICT (segment_id, name) DO UPDATE SET inserted = excluded.inserted,
		updated = excluded.updated, deleted = excluded.deleted, truncated = excluded.truncated`)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, t := range counts {
		if _, err := stmt.ExecContext(ctx, id, t.Table, t.Inserted, t.Updated, t.Deleted, t.Truncated); err != nil {
			return err
		}
	}
	return nil
}

// ReplaceArtifact records that a sealed file has been written anew under another name, with the same text: the name,
// the filters, the size and checksum of the stored bytes, and, until Forget, the old name, whose file is to be removed.
// It fails with ErrNotFound.
func (c *Catalog) ReplaceArtifact(ctx context.Context, id int64, now Artifact) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		var old string
		err := tx.QueryRowContext(ctx, "SELECT name FROM artifact WHERE id = ? AND state = 'sealed'", id).Scan(&old)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE artifact SET name = ?, filters = ?, bytes = ?, sha256 = ? WHERE id = ?",
			now.Name, now.Filters, now.Bytes, now.SHA256, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM setting WHERE key = ?", obsoletePrefix+now.Name); err != nil {
			return err
		}
		// Storages have the old file: they get the new one, and then lose the old.
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO copy_removal (target_id, name)
			SELECT target_id, ? FROM copy WHERE artifact_id = ?`, old, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM copy WHERE artifact_id = ?", id); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO setting (key, value) VALUES (?, '')", obsoletePrefix+old)
		return err
	})
	if err != nil {
		return fmt.Errorf("replace artifact %d by %q: %w", id, now.Name, err)
	}
	return nil
}

// obsoletePrefix begins the setting that keeps the name of a file to be removed.
const obsoletePrefix = "obsolete/"

// MarkObsolete records the name of a file that is about to be written, so that it is known for what it is if nothing
// comes of it. ReplaceArtifact takes the mark away.
func (c *Catalog) MarkObsolete(ctx context.Context, name string) error {
	return c.SetSetting(ctx, obsoletePrefix+name, "")
}

// Obsolete lists the files that ReplaceArtifact replaced or that were marked, and that were not removed yet.
func (c *Catalog) Obsolete(ctx context.Context) ([]string, error) {
	return list(ctx, c.db, func(rows *sql.Rows) (name string, err error) {
		err = rows.Scan(&name)
		return strings.TrimPrefix(name, obsoletePrefix), err
	}, "SELECT key FROM setting WHERE substr(key, 1, ?) = ? ORDER BY key", len(obsoletePrefix), obsoletePrefix)
}

// Forget ends the memory of an obsolete file, which is gone.
func (c *Catalog) Forget(ctx context.Context, name string) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM setting WHERE key = ?", obsoletePrefix+name)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget %q: %w", name, err)
	}
	return nil
}

// DeleteArtifact forgets an artifact; the caller removes the bytes afterwards. A base takes its globals with it, a
// segment its counts and restore points. Globals cannot be deleted alone, as their base would no longer restore. It
// fails with ErrNotFound.
func (c *Catalog) DeleteArtifact(ctx context.Context, id int64) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := deleteArtifact(ctx, tx, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete artifact %d: %w", id, err)
	}
	return nil
}

// RemoveArtifacts forgets artifacts, all or none, as DeleteArtifact does, and notes the names of their files, globals
// included, as those to be removed: see Removals. One that the catalog does not know any more is passed over.
func (c *Catalog) RemoveArtifacts(ctx context.Context, ids ...int64) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			names, err := deleteArtifact(ctx, tx, id)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			for _, name := range names {
				if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO removal (name) VALUES (?)", name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove artifacts: %w", err)
	}
	return nil
}

func deleteArtifact(ctx context.Context, tx *sql.Tx, id int64) (names []string, err error) {
	names, err = list(ctx, tx, func(rows *sql.Rows) (name string, err error) { return name, rows.Scan(&name) },
		"SELECT name FROM artifact WHERE id = ? OR pair = ? ORDER BY id", id, id)
	if err != nil {
		return nil, err
	}
	var kind Kind
	err = tx.QueryRowContext(ctx, "DELETE FROM artifact WHERE id = ? RETURNING kind", id).Scan(&kind)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrNotFound
	case err == nil && kind == KindGlobals:
		return nil, errors.New("globals go with their base only")
	}
	return names, err
}

// Removals lists the files that RemoveArtifacts has left to be removed.
func (c *Catalog) Removals(ctx context.Context) ([]string, error) {
	return list(ctx, c.db, func(rows *sql.Rows) (name string, err error) { return name, rows.Scan(&name) },
		"SELECT name FROM removal WHERE name NOT IN (SELECT name FROM artifact) ORDER BY name")
}

// Removed records that the files are gone for good.
func (c *Catalog) Removed(ctx context.Context, names ...string) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		for _, name := range names {
			if _, err := tx.ExecContext(ctx, "DELETE FROM removal WHERE name = ?", name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record removal: %w", err)
	}
	return nil
}

// Artifacts lists the artifacts of the given kinds, or all, ordered by start LSN, then ID.
func (c *Catalog) Artifacts(ctx context.Context, kinds ...Kind) ([]Artifact, error) {
	return artifacts(ctx, c.db, kinds)
}

func artifacts(ctx context.Context, q querier, kinds []Kind) ([]Artifact, error) {
	query := "SELECT id, " + artifactColumns + " FROM artifact"
	var args []any
	if len(kinds) > 0 {
		query += " WHERE kind IN (SELECT value FROM json_each(?))"
		args = append(args, jsonList(kinds))
	}
	return list(ctx, q, scanArtifact, query+" ORDER BY start_lsn, id", args...)
}

// NewestBase returns the point of the newest base on the repository's present timeline; 0 when there is none.
func (c *Catalog) NewestBase(ctx context.Context) (point LSN, err error) {
	err = c.db.QueryRowContext(ctx, `SELECT coalesce(max(start_lsn), 0) FROM artifact JOIN repository r USING (system_id, timeline)
		WHERE kind = 'base'`).Scan(&point)
	if err != nil {
		return 0, fmt.Errorf("read catalog: %w", err)
	}
	return point, nil
}

// Artifact reads one. It fails with ErrNotFound.
func (c *Catalog) Artifact(ctx context.Context, id int64) (Artifact, error) {
	found, err := list(ctx, c.db, scanArtifact, "SELECT id, "+artifactColumns+" FROM artifact WHERE id = ?", id)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("artifact %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Artifact{}, err
	}
	return found[0], nil
}

// Tables returns the row changes by table, summed over the given segments, or all, and ordered by table.
func (c *Catalog) Tables(ctx context.Context, ids ...int64) ([]TableCount, error) {
	query := "SELECT name, sum(inserted), sum(updated), sum(deleted), sum(truncated) FROM table_count"
	var args []any
	if len(ids) > 0 {
		query += " WHERE segment_id IN (SELECT value FROM json_each(?))"
		args = append(args, jsonList(ids))
	}
	return list(ctx, c.db, func(rows *sql.Rows) (t TableCount, err error) {
		err = rows.Scan(&t.Table, &t.Inserted, &t.Updated, &t.Deleted, &t.Truncated)
		return t, err
	}, query+" GROUP BY name ORDER BY name", args...)
}

// jsonList passes a list as one parameter, because SQLite limits their number.
func jsonList[T int64 | Kind](list []T) string {
	b, _ := json.Marshal(list) // integers and strings always marshal
	return string(b)
}

// querier is *sql.DB or *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func list[T any](ctx context.Context, q querier, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	return all, nil
}
