package sample

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/event"
	"pg_scribe/stream/render"
	"pg_scribe/stream/source"
)

// The inventory is what the schema is made of. What came or went since the
// last sample must have been reported by a command in the stream, and the stream
// must have brought that by the time when it has passed the sample (ledger). What it
// did not bring is repaired, if that can be done exactly, else marked as a gap.

const (
	inventorySample  = "inventory"
	inventoryAccount = "state inventory account"
)

// Inventory is the ledger with what it reads, writes and says. The stream and
// the sampler share it.
type Inventory struct {
	mu     sync.Mutex
	store  Store
	ledger *ledger
}

func OpenInventory(ctx context.Context, store Store) (*Inventory, error) {
	v := &Inventory{store: store, ledger: newLedger(reading{})}
	text, known, err := store.Setting(ctx, inventoryAccount)
	if err != nil || !known {
		return v, err
	}
	if err := json.Unmarshal([]byte(text), &v.ledger.account); err != nil {
		return v, err
	}
	if v.ledger.Seen.Max > 0 {
		v.ledger.there, err = keptSample(ctx, store, inventorySample)
	}
	return v, err
}

// save keeps the account, with the sample that it belongs to if that is another one.
func (l *ledger) save(ctx context.Context, store Store, sampled bool) error {
	text, err := json.Marshal(l.account)
	if err != nil {
		return err
	}
	settings := map[string]string{inventoryAccount: string(text)}
	if sampled {
		there, err := json.Marshal(l.there)
		if err != nil {
			return err
		}
		settings["state "+inventorySample] = string(there)
	}
	return store.SetSettings(ctx, settings)
}

// explained is what the commands of a transaction explain.
func explained(t render.Told) (keys []string) {
	for _, key := range t.Came {
		keys = append(keys, came(key))
	}
	for _, key := range t.Went {
		keys = append(keys, went(key))
	}
	if t.Unknown {
		keys = append(keys, everything)
	}
	return keys
}

// Note takes what a batch says of objects, before the batch is stored.
func (v *Inventory) Note(ctx context.Context, told []render.Told) error {
	if v == nil || len(told) == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range told {
		v.ledger.tell(t.XID, t.Commit, explained(t))
	}
	return v.ledger.save(ctx, v.store, false)
}

// with uses the ledger, if there is one: without a repository the inventory is nil.
func (v *Inventory) with(use func(*ledger)) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	use(v.ledger)
}

func (v *Inventory) Connected(from catalog.LSN) { v.with(func(l *ledger) { l.connected(from) }) }
func (v *Inventory) Reached(lsn catalog.LSN)    { v.with(func(l *ledger) { l.reached(lsn) }) }
func (v *Inventory) Stored(lsn catalog.LSN)     { v.with(func(l *ledger) { l.stored(lsn) }) }

// Unexplained are how many objects came and went that no command has explained
// so far.
func (v *Inventory) Unexplained() (came, went int) {
	v.with(func(l *ledger) { came, went = len(l.Came), len(l.Went) })
	return came, went
}

func (v *Inventory) Tables() (tables map[uint32]bool) {
	v.with(func(l *ledger) { tables = l.tables() })
	return tables
}

// readInventory returns the keys of what there is, without names.
func readInventory(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	return readKeys(ctx, tx, "SELECT class || ' ' || oid FROM scribe.inventory")
}

// readInvalid returns the keys of indexes that are there by name only.
func readInvalid(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	return readKeys(ctx, tx, "SELECT 'pg_class'::regclass::oid || ' ' || indexrelid FROM pg_index WHERE NOT indisvalid")
}

func readKeys(ctx context.Context, tx pgx.Tx, query string) (map[string]string, error) {
	rows, err := tx.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { keys[key] = ""; return nil })
	return keys, err
}

// identify names objects that are there. A relation that another transaction
// has dropped since is one of the snapshot still.
func identify(ctx context.Context, tx pgx.Tx, keys []string) (map[string]string, error) {
	if len(keys) == 0 {
		return map[string]string{}, nil
	}
	return readTexts(ctx, tx, query("identify.sql"), keys)
}

// BaselineInventory keeps what there is where a slot begins, by its snapshot.
func BaselineInventory(ctx context.Context, conn *pgx.Conn, store Store, snapshot string) error {
	tx, err := source.BeginAt(ctx, conn, snapshot, pgx.ReadOnly)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	s, err := readSample(ctx, tx)
	if err != nil {
		return err
	}
	names, err := identify(ctx, tx, slices.Collect(maps.Keys(s.there)))
	if err != nil {
		return err
	}
	s.there = names
	return newLedger(s).save(ctx, store, true)
}

// readSample reads the inventory, without names, and the snapshot that shows it.
func readSample(ctx context.Context, tx pgx.Tx) (s reading, err error) {
	var text string
	if err := tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&text); err != nil {
		return s, err
	}
	if s.seen, err = event.ParseSnapshot(text); err != nil {
		return s, err
	}
	if s.there, err = readInventory(ctx, tx); err != nil {
		return s, err
	}
	s.at, err = source.Inserted(ctx, tx) // what is seen has committed before
	return s, err
}

// Check samples the inventory and emits repairs and gaps.
func (v *Inventory) Check(ctx context.Context, conn *pgx.Conn, slot string, timeline uint32) error {
	waiting := false
	v.with(func(l *ledger) { waiting = l.waiting() })
	if waiting {
		return nil // the stream has still to come to what the last sample saw
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	s, err := readSample(ctx, tx)
	if err != nil {
		return err
	}
	s.timeline = timeline
	invalid, changed, err := v.complete(ctx, tx, &s)
	if err != nil {
		return err
	}
	if err := v.markDue(ctx, tx, slot, s.there); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	if durable, err := awaitFlush(ctx, conn, s.at, changed); err != nil || !durable {
		return err
	}
	if err := v.sampled(ctx, s); err != nil {
		return err
	}
	for _, key := range invalid {
		if err := v.dropInvalid(ctx, conn, slot, key); err != nil {
			return err
		}
	}
	return nil
}

// complete gives a sample its names, and the indexes that are there by name only:
// the stream has brought those in the result as valid ones, and they stay until it
// learns that they are gone. changed reports that the sample is not the last one.
func (v *Inventory) complete(ctx context.Context, tx pgx.Tx, s *reading) (invalid []string, changed bool, err error) {
	byName, err := readInvalid(ctx, tx)
	if err != nil {
		return nil, false, err
	}
	v.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(byName)) {
		if v.ledger.brought(key) {
			invalid = append(invalid, key)
			s.there[key] = ""
		}
	}
	var fresh []string
	for key := range s.there {
		if name, was := v.ledger.there[key]; was {
			s.there[key] = name
		} else {
			fresh = append(fresh, key)
		}
	}
	changed = len(fresh) > 0 || len(s.there) != len(v.ledger.there) || v.ledger.open()
	v.mu.Unlock()
	slices.Sort(fresh)
	names, err := identify(ctx, tx, fresh)
	if err == nil {
		err = markTransient(ctx, tx, fresh, names)
	}
	maps.Copy(s.there, names)
	return invalid, changed, err
}

// markDue emits what makes up for the changes that no command explains.
func (v *Inventory) markDue(ctx context.Context, tx pgx.Tx, slot string, there map[string]string) error {
	lost := unexplained{there: there}
	v.with(func(l *ledger) {
		lost.came, lost.went = l.due()
		lost.cameAs, lost.wentAs = maps.Clone(l.Came), maps.Clone(l.Went)
	})
	return lost.mark(ctx, tx, slot)
}

// sampled enters a sample, unless nothing can have happened since the last one.
func (v *Inventory) sampled(ctx context.Context, s reading) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.ledger
	other := !maps.Equal(s.there, l.there)
	if !other && s.seen.String() == l.Seen.String() && s.timeline == l.Timeline && !l.open() {
		return nil
	}
	l.sampled(s)
	return l.save(ctx, v.store, other)
}

// awaitFlush waits until what commits before a position outlives a crash of the
// server: else a transaction that a sample saw could come to nothing, and its number
// be another's. durable is false if that takes long; must makes the server write it out.
func awaitFlush(ctx context.Context, conn *pgx.Conn, at catalog.LSN, must bool) (durable bool, err error) {
	for range 50 {
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn", at.String()).Scan(&durable); err != nil || durable {
			return durable, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !must {
		return false, nil
	}
	_, err = source.Flushed(ctx, conn)
	return err == nil, err
}

// dropInvalid emits that an index is gone, unless a command is at work on it.
func (v *Inventory) dropInvalid(ctx context.Context, conn *pgx.Conn, slot, key string) error {
	_, oid, _ := strings.Cut(key, " ")
	gone := false
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		var sql *string
		if err := tx.QueryRow(ctx, "SELECT scribe.drop_invalid($1::text::oid)", oid).Scan(&sql); err != nil || sql == nil {
			return err
		}
		gone = true
		return capture.EmitStates(ctx, tx, slot, []event.State{{Tag: segment.TagInventory, SQL: *sql}})
	})
	if err != nil || !gone {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ledger.dropped(key)
	return v.ledger.save(ctx, v.store, true)
}

// transientMark precedes the names of permanent objects that depend on
// temporary ones: they go with the session that made these, without an event.
const transientMark = "transient "

// markTransient marks those among the keys. Some of them may be gone already,
// and have no name any more: the sample's snapshot still knows what they are.
func markTransient(ctx context.Context, tx pgx.Tx, keys []string, names map[string]string) error {
	rows, err := tx.Query(ctx, query("transient.sql"), keys)
	if err != nil {
		return err
	}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { names[key] = transientMark + names[key]; return nil })
	return err
}

// unexplained is what came or went without a command, with the names of then.
type unexplained struct {
	came, went     []string
	cameAs, wentAs map[string]string
	there          map[string]string // now
}

// mark repairs what can be repaired exactly, and marks the rest.
func (u unexplained) mark(ctx context.Context, tx pgx.Tx, slot string) error {
	var sql []event.State
	var gaps []string
	for _, key := range u.came {
		name := strings.TrimPrefix(u.cameAs[key], transientMark)
		_, there := u.there[key]
		var repair *string
		if oid, ok := relationOID(key); ok && there {
			if err := tx.QueryRow(ctx, "SELECT coalesce(scribe.repair_index($1::text::oid), scribe.repair_sql($1::text::oid))", oid).Scan(&repair); err != nil {
				return err
			}
		}
		switch {
		case repair != nil:
			sql = append(sql, event.State{Tag: segment.TagInventory, SQL: *repair})
		case !there && goesUntold(u.cameAs[key]):
		default:
			gaps = append(gaps, nameOr(name, key)+" came about without an event")
		}
	}
	for _, key := range u.went {
		gaps = append(gaps, nameOr(u.wentAs[key], key)+" is gone without an event")
	}
	for part := range slices.Chunk(gaps, 20) {
		if err := capture.EmitGap(ctx, tx, strings.Join(part, "; ")+" (pg_scribe full-backup heals it)"); err != nil {
			return err
		}
	}
	return capture.EmitStates(ctx, tx, slot, sql)
}

// nameOr is the name of an object, which may have been gone before it could be read.
func nameOr(name, key string) string {
	if name == "" {
		return "an object (" + key + ")"
	}
	return name
}
