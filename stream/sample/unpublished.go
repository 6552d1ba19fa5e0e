package sample

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// The server's statistics tell that rows of an unpublished table were updated or
// deleted, though not which: the stream then gets a mark, once until a base
// has the rows again.

// Settings in which the catalog keeps what the statistics said: at the last
// sample, and before the last base's point.
const (
	unpublishedSetting     = "unlisted tables"
	unpublishedBaseSetting = "unlisted tables before base"
)

// Unpublished is what the statistics of unpublished tables said.
type Unpublished struct {
	Base   catalog.LSN                   `json:"base,omitempty"` // whose point they precede
	Epoch  string                        `json:"epoch"`          // differs once statistics were lost
	Tables map[uint32]unpublishedChanges `json:"tables"`
}

type unpublishedChanges struct {
	Changes int64       `json:"changes"`
	Marked  catalog.LSN `json:"marked,omitempty"` // the mark is behind it; 0: none that counts
}

// unpublishedNow is an unpublished table as the source has it.
type unpublishedNow struct {
	OID     uint32
	Name    string
	Changes int64
	Since   int64 // what Changes was when the table left the list, or was made
}

// readUnpublished reads the tables that a list lacks. Without the collection of
// statistics every table may have changed.
func readUnpublished(ctx context.Context, conn *pgx.Conn, publication string) (tables []unpublishedNow, epoch string, collected bool, err error) {
	err = conn.QueryRow(ctx, `SELECT concat_ws(' ', pg_stat_get_db_stat_reset_time(oid), pg_stat_get_bgwriter_stat_reset_time()),
	    current_setting('track_counts')::bool FROM pg_database WHERE datname = current_database()`).Scan(&epoch, &collected)
	if err != nil {
		return nil, "", false, err
	}
	rows, err := conn.Query(ctx, query("unpublished.sql"), capture.ListName(publication))
	if err != nil {
		return nil, "", false, err
	}
	tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[unpublishedNow])
	return tables, epoch, collected, err
}

// watchUnpublished marks the stream for the unpublished tables that changed since
// the last sample, or may have. It returns what the statistics say; nil in the
// guarded mode. The caller holds the sampling lock.
func watchUnpublished(ctx context.Context, conn *pgx.Conn, publication string, store *catalog.Catalog) (*Unpublished, error) {
	if mode, err := capture.Mode(ctx, conn); err != nil || mode != capture.ModeNoHarm {
		return nil, err
	}
	var last, atBase Unpublished
	if err := readUnpublishedState(ctx, store, unpublishedSetting, &last); err != nil {
		return nil, err
	}
	if err := readUnpublishedState(ctx, store, unpublishedBaseSetting, &atBase); err != nil {
		return nil, err
	}
	base, err := newestBase(ctx, store)
	if err != nil {
		return nil, err
	}
	position, err := source.Inserted(ctx, conn)
	if err != nil {
		return nil, err
	}
	tables, epoch, collected, err := readUnpublished(ctx, conn, publication)
	if err != nil {
		return nil, err
	}
	now := &Unpublished{Epoch: epoch, Tables: make(map[uint32]unpublishedChanges, len(tables))}
	for _, t := range tables {
		before, known := last.Tables[t.OID]
		certain := collected && last.Epoch == epoch
		if before.Marked != 0 && base > before.Marked {
			// What was marked is healed; what counts is what changed since the base.
			certain = collected && atBase.Base == base && atBase.Epoch == epoch
			before, known = atBase.Tables[t.OID]
			before.Marked = 0
		}
		if !known {
			before.Changes = t.Since
		}
		if before.Marked == 0 && (!certain || before.Changes != t.Changes) {
			if err := capture.EmitGap(ctx, conn, "rows of "+t.Name+" were updated or deleted without a replica identity"); err != nil {
				return nil, err
			}
			before.Marked = position
		}
		before.Changes = t.Changes
		now.Tables[t.OID] = before
	}
	return now, saveUnpublishedState(ctx, store, unpublishedSetting, now)
}

// baselineUnpublished records what the statistics say before a stream begins.
func baselineUnpublished(ctx context.Context, conn *pgx.Conn, publication string, store *catalog.Catalog) error {
	if mode, err := capture.Mode(ctx, conn); err != nil || mode != capture.ModeNoHarm {
		return err
	}
	tables, epoch, _, err := readUnpublished(ctx, conn, publication)
	if err != nil {
		return err
	}
	now := &Unpublished{Epoch: epoch, Tables: make(map[uint32]unpublishedChanges, len(tables))}
	for _, t := range tables {
		now.Tables[t.OID] = unpublishedChanges{Changes: t.Changes}
	}
	return saveUnpublishedState(ctx, store, unpublishedSetting, now)
}

// KeepUnpublished records what the statistics said before the base of that point.
func KeepUnpublished(ctx context.Context, store *catalog.Catalog, point catalog.LSN, changes *Unpublished) error {
	if changes == nil {
		return nil
	}
	kept := *changes
	kept.Base = point
	return saveUnpublishedState(ctx, store, unpublishedBaseSetting, &kept)
}

// newestBase is the point of the last base; 0 without one.
func newestBase(ctx context.Context, store *catalog.Catalog) (point catalog.LSN, err error) {
	inv, err := store.Inventory(ctx)
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase {
			point = max(point, a.Start)
		}
	}
	return point, err
}

func readUnpublishedState(ctx context.Context, store *catalog.Catalog, key string, state *Unpublished) error {
	text, known, err := store.Setting(ctx, key)
	if err != nil || !known {
		return err
	}
	return json.Unmarshal([]byte(text), state)
}

func saveUnpublishedState(ctx context.Context, store *catalog.Catalog, key string, state *Unpublished) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return store.SetSetting(ctx, key, string(text))
}
