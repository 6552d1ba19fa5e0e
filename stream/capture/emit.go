package capture

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/stream/event"
)

// An Execer is a connection or a transaction.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// EmitGap says in the stream, where it is now, what it lacks.
func EmitGap(ctx context.Context, q Execer, reason string) error {
	_, err := q.Exec(ctx, "SELECT scribe.emit(jsonb_build_object('ev', 'gap', 'reason', $1::text)::text)", reason)
	return err
}

// EmitStates sends statements of a slot's sample in messages of moderate size.
func EmitStates(ctx context.Context, q Execer, slot string, sql []event.State) error {
	for part := range slices.Chunk(sql, 500) {
		if err := EmitState(ctx, q, slot, part); err != nil {
			return err
		}
	}
	return nil
}

// EmitState sends one message, which says too whose sample what follows in the
// transaction is.
func EmitState(ctx context.Context, q Execer, slot string, sql []event.State) error {
	payload, err := json.Marshal(map[string]any{"ev": "state", "slot": slot, "states": sql})
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, "SELECT scribe.emit($1)", string(payload))
	return err
}

// HashLeaves is a query for the partitions that may be written through another
// table: their OIDs, and the names of these tables or NULL.
const HashLeaves = `SELECT c.oid, scribe.hash_root(c.oid) AS root FROM pg_class c
  WHERE c.relispartition AND c.relkind = 'r' AND EXISTS (SELECT FROM pg_partitioned_table WHERE partstrat = 'h')`
