package source

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
)

// Querier is a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Inserted is the end of the source's WAL, whether written out or not.
func Inserted(ctx context.Context, q Querier) (catalog.LSN, error) {
	var text string
	if err := q.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return 0, err
	}
	return catalog.ParseLSN(text)
}

// Flushed makes the server write out its WAL and returns the position up to
// which it did. A commit of another session that ended before is before it;
// without the flush, the stream of a server that is otherwise idle could take
// a quarter of a minute to get there.
func Flushed(ctx context.Context, conn *pgx.Conn) (catalog.LSN, error) {
	if _, err := conn.Exec(ctx, "SET synchronous_commit = local"); err != nil {
		return 0, err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'pg_scribe.flush', '')"); err != nil {
		return 0, err
	}
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		return 0, err
	}
	return catalog.ParseLSN(text)
}
