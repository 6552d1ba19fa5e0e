// Package simple runs SQL by the simple query protocol (PostgreSQL
// documentation, "Message Flow"): several statements in one string, and rows as
// text. It knows no statement.
package simple

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Query runs statements and returns the rows of all of them as text, null as
// an empty string.
func Query(ctx context.Context, conn *pgconn.PgConn, sql string) (rows [][]string, err error) {
	err = Each(ctx, conn, sql, func(values [][]byte) error {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Each runs statements and hands over the rows of all of them, null as nil. The
// values are valid until row returns; behind an error of it the rest is read and
// not handed over.
func Each(ctx context.Context, conn *pgconn.PgConn, sql string, row func(values [][]byte) error) error {
	results := conn.Exec(ctx, sql)
	var failed error
	for results.NextResult() {
		rows := results.ResultReader()
		for rows.NextRow() {
			if failed == nil {
				failed = row(rows.Values())
			}
		}
		if _, err := rows.Close(); err != nil && failed == nil {
			failed = err
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	return failed
}
