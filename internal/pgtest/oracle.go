package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pg_scribe/internal/simple"

	"github.com/jackc/pgx/v5/pgconn"
)

// State is what a database holds, for comparison.
type State struct {
	Schema string               // from SchemaDump or NormalSchema; Snapshot leaves it empty
	Tables map[string]TableHash // by quoted qualified name
}

// TableHash stands for the rows of a table, whatever their order.
type TableHash struct {
	Rows int64
	Hash string
}

// pinned are the settings that the text of a value depends on. The client encoding SQL_ASCII leaves all bytes as they are.
const pinned = `SET datestyle = 'ISO, MDY'; SET intervalstyle = postgres; SET extra_float_digits = 3;
SET timezone = 'UTC'; SET bytea_output = hex; SET lc_monetary = 'C'; SET search_path = ''; SET xmlbinary = base64;
SET quote_all_identifiers = off; SET client_encoding = 'SQL_ASCII'; SET standard_conforming_strings = on;
SET row_security = off; SET statement_timeout = 0;`

// listTables finds every permanent, logged table that holds rows itself (partitions, not partitioned tables), and
// materialized views that are filled.
const listTables = `SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated
AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe')`

// Snapshot hashes the rows of each permanent, logged user table, except those of schema scribe. All tables are seen at
// one moment: that of the exported snapshot when snapshotID names one, else now.
func Snapshot(ctx context.Context, connString, snapshotID string) (State, error) {
	conn, err := pgconn.Connect(ctx, connString)
	if err != nil {
		return State{}, err
	}
	state, err := snapshot(ctx, conn, snapshotID)
	return state, errors.Join(err, conn.Close(ctx))
}

func snapshot(ctx context.Context, conn *pgconn.PgConn, snapshotID string) (State, error) {
	if _, err := simple.Query(ctx, conn, pinned); err != nil {
		return State{}, err
	}
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	if snapshotID != "" {
		begin += "; SET TRANSACTION SNAPSHOT " + quoteLiteral(snapshotID)
	}
	if _, err := simple.Query(ctx, conn, begin); err != nil {
		return State{}, err
	}
	names, err := simple.Query(ctx, conn, listTables)
	if err != nil {
		return State{}, err
	}
	state := State{Tables: make(map[string]TableHash, len(names))}
	for _, row := range names {
		name := row[0]
		if state.Tables[name], err = hashTable(ctx, conn, name); err != nil {
			return State{}, fmt.Errorf("table %s: %w", name, err)
		}
	}
	return state, nil
}

func hashTable(ctx context.Context, conn *pgconn.PgConn, name string) (TableHash, error) {
	rows, err := simple.Query(ctx, conn,
		"SELECT count(*), coalesce(sum(hashtextextended(format('%s', t.*), 0)), 0) FROM ONLY "+name+" AS t")
	if err != nil {
		return TableHash{}, err
	}
	count, err := strconv.ParseInt(rows[0][0], 10, 64)
	return TableHash{Rows: count, Hash: rows[0][1]}, err
}

// Diff puts into words where got differs from want, table by table and then the schema. It is empty when they are equal.
func Diff(want, got State) string {
	var b strings.Builder
	names := maps.Clone(want.Tables)
	if names == nil {
		names = map[string]TableHash{}
	}
	maps.Copy(names, got.Tables)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		w, inWant := want.Tables[name]
		g, inGot := got.Tables[name]
		switch {
		case !inGot:
			fmt.Fprintf(&b, "%s: want %s, got no such table\n", name, w)
		case !inWant:
			fmt.Fprintf(&b, "%s: want no such table, got %s\n", name, g)
		case w != g:
			fmt.Fprintf(&b, "%s: want %s, got %s\n", name, w, g)
		}
	}
	b.WriteString(diffLines(want.Schema, got.Schema))
	return b.String()
}

func (h TableHash) String() string { return fmt.Sprintf("%d rows (hash %s)", h.Rows, h.Hash) }

// diffLines shows the part between the common beginning and the common end of two schemas, cut to a readable length.
func diffLines(want, got string) string {
	const before, most = 4, 40
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	start := 0
	for start < len(w) && start < len(g) && w[start] == g[start] {
		start++
	}
	if start == len(w) && start == len(g) {
		return ""
	}
	wEnd, gEnd := len(w), len(g)
	for wEnd > start && gEnd > start && w[wEnd-1] == g[gEnd-1] {
		wEnd, gEnd = wEnd-1, gEnd-1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "schema differs from line %d on (- want, + got):\n", start+1)
	write := func(sign string, lines []string) {
		for _, line := range lines[:min(len(lines), most)] {
			b.WriteString(sign + " " + line + "\n")
		}
		if more := len(lines) - most; more > 0 {
			fmt.Fprintf(&b, "%s … %d more lines\n", sign, more)
		}
	}
	write(" ", w[max(0, start-before):start])
	write("-", w[start:wEnd])
	write("+", g[start:gEnd])
	return b.String()
}
