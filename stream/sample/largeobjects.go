package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// Large objects are in no row change and, but for their owner, privileges and
// comment, in no event. A sample of them is taken at a snapshot, compared with
// the one before by the server (folder capture), and sent in transactions of
// moderate size: a target locks every large object that one changes.
const (
	largeObjectsAtOnce = 200
	rangesAtOnce       = 4 // of 256 large objects
)

// thoroughBytes is the size of pg_largeobject up to which a sample that has to
// be exact reads it whatever the statistics say.
const thoroughBytes = 1 << 30

// largeObjectSample is what is kept of one.
type largeObjectSample struct {
	Gate   string          `json:"gate"`   // the server's counters before it
	Sample json.RawMessage `json:"sample"` // what scribe.large_object_sample returned
}

const largeObjectState = "state large objects"

// largeObjectGate is text that differs if large objects changed. Counters come
// late, by seconds, so that a change may show at the next sample only.
var largeObjectGate = query("large_object_gate.sql")

// reconcileLargeObjects emits the large objects that differ from the last
// sample, and returns how many do. A thorough one does not trust the server's
// counters.
func (s Sampling) reconcileLargeObjects(ctx context.Context, conn *pgx.Conn, thorough bool) (changed int, err error) {
	var before *largeObjectSample
	if text, known, err := s.Store.Setting(ctx, largeObjectState); err != nil {
		return 0, err
	} else if known {
		if err := json.Unmarshal([]byte(text), &before); err != nil {
			return 0, err
		}
	}
	var gate string
	var size int64
	if err := conn.QueryRow(ctx, largeObjectGate).Scan(&gate, &size); err != nil {
		return 0, err
	}
	if before != nil && before.Gate == gate && strings.HasPrefix(gate, "on ") && !(thorough && size <= thoroughBytes) {
		return 0, nil
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var since any
	if before != nil {
		since = before.Sample
	}
	now := largeObjectSample{Gate: gate}
	var snapshot string
	var touched []uint32
	var ranges []int64
	err = tx.QueryRow(ctx, "SELECT sample, coalesce(touched, '{}'), ranges, pg_export_snapshot() FROM scribe.large_object_sample($1)",
		since).Scan(&now.Sample, &touched, &ranges, &snapshot)
	if err != nil {
		return 0, err
	}
	if before == nil || len(touched)+len(ranges) > 0 {
		if err := s.emitLargeObjects(ctx, snapshot, touched, ranges, since, now.Sample); err != nil {
			return 0, err
		}
	}
	return len(touched), now.keep(ctx, s.Store)
}

func (s largeObjectSample) keep(ctx context.Context, store Store) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return store.SetSetting(ctx, largeObjectState, string(text))
}

// emitLargeObjects emits, as the snapshot shows them.
func (s Sampling) emitLargeObjects(ctx context.Context, snapshot string, touched []uint32, ranges []int64, since any, now json.RawMessage) error {
	conn, err := source.Connect(ctx, s.ConnString)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	emit := func(send func(pgx.Tx) error) error {
		tx, err := source.BeginAt(ctx, conn, snapshot, pgx.ReadWrite)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		if err := send(tx); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	call := func(sql string, args ...any) error {
		return emit(func(tx pgx.Tx) error {
			if err := capture.EmitState(ctx, tx, s.Slot, []event.State{}); err != nil { // whose sample the rest of the transaction is
				return err
			}
			_, err := tx.Exec(ctx, sql, args...)
			return err
		})
	}
	for part := range slices.Chunk(touched, largeObjectsAtOnce) {
		if err := call("SELECT scribe.emit_large_objects($1, $2, $3)", part, since, now); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(ranges, rangesAtOnce) {
		if err := call("SELECT scribe.emit_large_object_ranges($1)", part); err != nil {
			return err
		}
	}
	if since != nil {
		return nil
	}
	// What the sample before held is not known, as after a rebuild of the
	// catalog: these are all the ranges that there are.
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ranges), " ", ","), "[]")
	return emit(func(tx pgx.Tx) error {
		return capture.EmitStates(ctx, tx, s.Slot, []event.State{{Tag: segment.TagLargeObject, SQL: "DO " + sqltext.Literal(
			"BEGIN PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid::bigint / 256 <> ALL ('{"+list+"}'); END")}})
	})
}

// baselineLargeObjects keeps a sample that a base which is about to be taken
// holds.
func baselineLargeObjects(ctx context.Context, tx pgx.Tx, store Store) error {
	var now largeObjectSample
	if err := tx.QueryRow(ctx, largeObjectGate).Scan(&now.Gate, nil); err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, "SELECT sample FROM scribe.large_object_sample(NULL)").Scan(&now.Sample); err != nil {
		return err
	}
	return now.keep(ctx, store)
}
