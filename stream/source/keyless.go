package source

import (
	"context"
	_ "embed"

	"github.com/jackc/pgx/v5"
)

// A KeylessTable is a table whose replica identity does not say which row was
// updated or deleted. While it is published, its UPDATEs and DELETEs fail.
type KeylessTable struct {
	Name   string
	Full   bool     // REPLICA IDENTITY FULL would help
	Listed []string // the publications that name the table
}

//go:embed keyless.sql
var keylessSQL string

// Keyless lists these tables in the order of their names.
func Keyless(ctx context.Context, conn *pgx.Conn) ([]KeylessTable, error) {
	rows, err := conn.Query(ctx, keylessSQL)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[KeylessTable])
}

// AddKey is what helps a table that cannot have REPLICA IDENTITY FULL.
const AddKey = "add a primary key or a unique index, on columns that are NOT NULL and not generated"
