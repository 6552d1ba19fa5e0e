package sample

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// The server's statistics tell that rows of an unlisted table were updated or
// deleted, though not which: the stream then gets a mark, once until a base
// has the rows again.

// Settings in which the catalog keeps what the statistics said: at the last
// sample, and before the last base's point.
const (
	unlistedSetting     = "unlisted tables"
	unlistedBaseSetting = "unlisted tables before base"
)

// Unlisted is what the statistics of unlisted tables said.
type Unlisted struct {
	Base   catalog.LSN                `json:"base,omitempty"` // whose point they precede
	Epoch  string                     `json:"epoch"`          // differs once statistics were lost
	Tables map[uint32]unlistedChanges `json:"tables"`
}

type unlistedChanges struct {
	Changes int64       `json:"changes"`
	Marked  catalog.LSN `json:"marked,omitempty"` // the mark is behind it; 0: none that counts
}

// unlistedNow is an unlisted table as the source has it.
type unlistedNow struct {
	OID     uint32
	Name    string
	Changes int64
	Since   int64 // what Changes was when the table left the list, or was made
}

// readUnlisted reads the tables that a list lacks. Without the collection of
// statistics every table may have changed.
func readUnlisted(ctx context.Context, conn *pgx.Conn, publication string) (tables []unlistedNow, epoch string, collected bool, err error) {
	err = conn.QueryRow(ctx, `SELECT concat_ws(' ', pg_stat_get_db_stat_reset_time(oid), pg_stat_get_bgwriter_stat_reset_time()),
	    current_setting('track_counts')::bool FROM pg_database WHERE datname = current_database()`).Scan(&epoch, &collected)
	if err != nil {
		return nil, "", false, err
	}
	rows, err := conn.Query(ctx, query("unpublished.sql"), capture.ListName(publication))
	if err != nil {
		return nil, "", false, err
	}
	tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[unlistedNow])
	return tables, epoch, collected, err
}

// watchUnlisted marks the stream for the unlisted tables that changed since
// the last sample, or may have. It returns what the statistics say; nil in the
// guarded mode. The caller holds the sampling lock.
func watchUnlisted(ctx context.Context, conn *pgx.Conn, publication string, store *catalog.Catalog) (*Unlisted, error) {
	if mode, err := capture.Mode(ctx, conn); err != nil || mode != capture.ModeNoHarm {
		return nil, err
	}
	var last, atBase Unlisted
	if err := readUnlistedState(ctx, store, unlistedSetting, &last); err != nil {
		return nil, err
	}
	if err := readUnlistedState(ctx, store, unlistedBaseSetting, &atBase); err != nil {
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
	tables, epoch, collected, err := readUnlisted(ctx, conn, publication)
	if err != nil {
		return nil, err
	}
	now := &Unlisted{Epoch: epoch, Tables: make(map[uint32]unlistedChanges, len(tables))}
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
	return now, saveUnlistedState(ctx, store, unlistedSetting, now)
}

// baselineUnlisted records what the statistics say before a stream begins.
func baselineUnlisted(ctx context.Context, conn *pgx.Conn, publication string, store *catalog.Catalog) error {
	if mode, err := capture.Mode(ctx, conn); err != nil || mode != capture.ModeNoHarm {
		return err
	}
	tables, epoch, _, err := readUnlisted(ctx, conn, publication)
	if err != nil {
		return err
	}
	now := &Unlisted{Epoch: epoch, Tables: make(map[uint32]unlistedChanges, len(tables))}
	for _, t := range tables {
		now.Tables[t.OID] = unlistedChanges{Changes: t.Changes}
	}
	return saveUnlistedState(ctx, store, unlistedSetting, now)
}

// KeepUnlisted records what the statistics said before the base of that point.
func KeepUnlisted(ctx context.Context, store *catalog.Catalog, point catalog.LSN, changes *Unlisted) error {
	if changes == nil {
		return nil
	}
	kept := *changes
	kept.Base = point
	return saveUnlistedState(ctx, store, unlistedBaseSetting, &kept)
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

func readUnlistedState(ctx context.Context, store *catalog.Catalog, key string, state *Unlisted) error {
	text, known, err := store.Setting(ctx, key)
	if err != nil || !known {
		return err
	}
	return json.Unmarshal([]byte(text), state)
}

func saveUnlistedState(ctx context.Context, store *catalog.Catalog, key string, state *Unlisted) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return store.SetSetting(ctx, key, string(text))
}
