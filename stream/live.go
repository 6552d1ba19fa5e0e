package stream

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/event"
	"pg_scribe/stream/schema"
	"pg_scribe/stream/source"
)

// readSchema asks the source what it has now, and takes it for what it had
// where the slot begins: a table counts as one that no dump has only if it was
// that before everything that the slot still sends.
func readSchema(ctx context.Context, conn *pgx.Conn, slot string) (*schema.State, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	live, err := readLive(ctx, tx)
	if err != nil {
		return nil, err
	}
	// A snapshot does not tell what runs beyond it.
	if err := tx.QueryRow(ctx, "SELECT pg_current_xact_id()::text::int8").Scan(&live.Next); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT u.relid FROM scribe.unsaved u LEFT JOIN pg_replication_slots s ON s.slot_name = $1
	    WHERE coalesce(age(u.since) BETWEEN 0 AND age(s.catalog_xmin), true) -- below 0 it is frozen long since`, slot)
	if err != nil {
		return nil, err
	}
	since, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, err
	}
	rows, err = tx.Query(ctx, `SELECT a.attrelid, a.xmin::text::int8 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	    WHERE a.attnum = -6 AND c.relkind = 'r' AND c.oid >= 16384`) // a system column, which nothing ever changes
	if err != nil {
		return nil, err
	}
	var oid uint32
	var xid int64
	_, err = pgx.ForEachRow(rows, []any{&oid, &xid}, func() error { live.Made[oid] = uint32(xid); return nil })
	return schema.Now(live, since), err
}

// readLive reads the state in the snapshot of a transaction that has begun.
func readLive(ctx context.Context, tx source.Querier) (*schema.Live, error) {
	l := schema.NewLive()
	var oid uint32
	var name string
	each := func(sql string, into []any, take func(t *schema.Table)) error {
		rows, err := tx.Query(ctx, sql)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, into, func() error {
			t := l.Tables[oid]
			take(&t)
			l.Tables[oid] = t
			return nil
		})
		return err
	}
	err := each("SELECT attrelid, attname FROM (SELECT attrelid, attname, attnum FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "+
		"WHERE attidentity = 'a' AND NOT attisdropped AND c.relkind IN ('r', 'p') UNION "+
		"SELECT x.oid, a.attname, a.attnum FROM ("+capture.HashLeaves+") x JOIN pg_attribute a ON a.attrelid = pg_partition_root(x.oid) "+
		"WHERE x.root IS NOT NULL AND a.attidentity = 'a' AND NOT a.attisdropped) y ORDER BY attrelid, attnum",
		[]any{&oid, &name}, func(t *schema.Table) { t.Always = append(t.Always, name) })
	if err != nil {
		return nil, err
	}
	if err := each("SELECT * FROM ("+capture.HashLeaves+") x WHERE root IS NOT NULL", []any{&oid, &name}, func(t *schema.Table) { t.Root = name }); err != nil {
		return nil, err
	}
	if err := each("SELECT relid FROM scribe.unsaved", []any{&oid}, func(t *schema.Table) { t.Unsaved = true }); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT f FROM (SELECT DISTINCT atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	    WHERE c.relkind = 'r' AND a.atttypid >= 16384 AND NOT a.attisdropped) a, scribe.type_facts(a.atttypid) f WHERE f IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	types, err := pgx.CollectRows(rows, pgx.RowTo[event.Type])
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		l.Types[t.OID] = t
	}
	if rows, err = tx.Query(ctx, "SELECT scribe.loose_types()"); err != nil {
		return nil, err
	}
	if _, err = pgx.ForEachRow(rows, []any{&oid}, func() error { l.Loose[oid] = true; return nil }); err != nil {
		return nil, err
	}
	var snapshot string
	err = tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, "+
		"(extract(epoch FROM clock_timestamp()) * 1000000)::int8").Scan(&snapshot, &name, &l.At)
	if err != nil {
		return nil, err
	}
	for i, part := range strings.FieldsFunc(snapshot, func(r rune) bool { return r == ':' || r == ',' }) {
		xid, err := strconv.ParseUint(part, 10, 64)
		switch {
		case err != nil:
			return nil, err
		case i == 0:
			l.Xmin = xid
		case i == 1:
			l.Xmax = uint32(xid)
		case i > 1:
			l.Running[uint32(xid)] = true
		}
	}
	l.From, err = catalog.ParseLSN(name)
	return l, err
}

// beginStream keeps, of a stream that begins at a slot's point, what is known of the
// source there: also if another base has to be taken, at a later point.
func beginStream(r *repo.Repository, src source.Server, point catalog.LSN) func(ctx context.Context, at *pgx.Conn, names map[string]string) error {
	return func(ctx context.Context, at *pgx.Conn, names map[string]string) error {
		live, err := readLive(ctx, at)
		if err != nil {
			return err
		}
		if err := r.Catalog().SetStreamState(ctx, point, schema.At(live, names)); err != nil {
			return err
		}
		return r.Catalog().Follow(ctx, src.Timeline, nil, point)
	}
}
