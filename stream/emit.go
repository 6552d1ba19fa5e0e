package stream

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

// emitGap says in the stream, where it is now, what it lacks.
func emitGap(ctx context.Context, q Execer, reason string) error {
	_, err := q.Exec(ctx, "SELECT scribe.emit(jsonb_build_object('ev', 'gap', 'reason', $1::text)::text)", reason)
	return err
}

// emitStates sends statements of a slot's sample in messages of moderate size.
func emitStates(ctx context.Context, q Execer, slot string, sql []event.State) error {
	for part := range slices.Chunk(sql, 500) {
		if err := emitState(ctx, q, slot, part); err != nil {
			return err
		}
	}
	return nil
}

// emitState sends one message, which says too whose sample what follows in the
// transaction is.
func emitState(ctx context.Context, q Execer, slot string, sql []event.State) error {
	payload, err := json.Marshal(map[string]any{"ev": "state", "slot": slot, "states": sql})
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, "SELECT scribe.emit($1)", string(payload))
	return err
}
