package stream

import (
	"context"

	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// Mark emits a named restore point into the stream and returns once it is
// committed.
func Mark(ctx context.Context, connString, name string) error {
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := capture.Usable(ctx, conn); err != nil {
		return err
	}
	var read bool
	if err := conn.QueryRow(ctx, "SELECT scribe.active()").Scan(&read); err != nil {
		return err
	}
	if !read {
		return &capture.Error{Reason: "this database has no replication slot: nobody would read the mark", Gone: true}
	}
	_, err = conn.Exec(ctx, "SELECT scribe.mark($1)", name)
	return err
}
