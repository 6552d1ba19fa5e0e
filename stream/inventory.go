package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// The inventory is what the schema is made of. What came or went since the
// last sample must have been told by an event, and the stream must have brought
// that by the time when it has passed the sample. What it did not bring is
// repaired, if that can be done exactly, else marked as a gap.

const (
	inventorySample = "inventory"
	explainedState  = "state explained"
)

// objectKey names an object.
func objectKey(class, oid uint32) string { return fmt.Sprintf("%d %d", class, oid) }

// relationOID is the OID in the key of a relation; false: it is another object's.
func relationOID(key string) (oid string, ok bool) {
	return strings.CutPrefix(key, fmt.Sprintf("%d ", pgClassOID))
}

// everything explains whatever came or went: a command whose objects are not
// told one by one, or one that is marked as a gap already.
const everything = "*"

// explainedAtMost bounds what is kept when nobody samples.
const explainedAtMost = 20000

// explanations are the objects that commands in the stream have made or
// dropped, with the transaction ID. They outlive the process: an object that
// is explained is stored before the stream that explains it.
type explanations struct {
	mu     sync.Mutex
	store  stateStore
	known  map[string]uint32
	passed catalog.LSN // the stream has brought everything before
}

func openExplanations(ctx context.Context, store stateStore) (*explanations, error) {
	e := &explanations{store: store, known: map[string]uint32{}}
	text, known, err := store.Setting(ctx, explainedState)
	if err == nil && known {
		err = json.Unmarshal([]byte(text), &e.known)
	}
	return e, err
}

// note takes what a batch brings, before the batch is stored.
func (e *explanations) note(ctx context.Context, b batch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(b.explained) > 0 {
		maps.Copy(e.known, b.explained)
		if len(e.known) > explainedAtMost {
			last := b.explained[slices.Sorted(maps.Keys(b.explained))[0]]
			e.known = map[string]uint32{everything: last}
		}
		if err := e.save(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reached notes how far the stream has come.
func (e *explanations) reached(lsn catalog.LSN) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.passed = max(e.passed, lsn)
}

func (e *explanations) save(ctx context.Context) error {
	text, err := json.Marshal(e.known)
	if err != nil {
		return err
	}
	return e.store.SetSetting(ctx, explainedState, string(text))
}

// explain tells whether an object is explained, and how far the stream is.
func (e *explanations) explain(key string) (bool, catalog.LSN) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, one := e.known[key]
	_, all := e.known[everything]
	return one || all, e.passed
}

// forget drops what a sample has seen the outcome of: the transactions below
// the oldest one that was running. Positions would not do, because a commit is
// in the WAL before others see it. What is needed still is kept for the next one.
func (e *explanations) forget(ctx context.Context, oldest uint32, needed func(key string, passed catalog.LSN) bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.known)
	maps.DeleteFunc(e.known, func(key string, xid uint32) bool {
		return int32(xid-oldest) < 0 && !needed(key, e.passed)
	})
	if len(e.known) == n {
		return nil
	}
	return e.save(ctx)
}

// inventory compares samples of what there is.
type inventory struct {
	explained *explanations
	waiting   map[string]catalog.LSN // not explained, by the position at which it was noticed
	gone      map[string]catalog.LSN // explained and not there, by the position at which it was noticed
}

// tables are those that were there where the stream began, or that the stream
// has told of so far; nil: nobody knows, as when the catalog was made again.
func (v *inventory) tables(ctx context.Context, store stateStore) (map[uint32]bool, error) {
	sample, err := keptSample(ctx, store, inventorySample)
	if err != nil || sample == nil {
		return nil, err
	}
	tables := map[uint32]bool{}
	add := func(key string) {
		if oid, ok := relationOID(key); ok {
			tables[parseOID(oid)] = true
		}
	}
	for key := range sample {
		add(key)
	}
	v.explained.mu.Lock()
	defer v.explained.mu.Unlock()
	for key := range v.explained.known {
		add(key)
	}
	return tables, nil
}

// readInventory returns the keys of what there is.
func readInventory(ctx context.Context, tx pgx.Tx) (map[string]bool, error) {
	return readKeys(ctx, tx, "SELECT class || ' ' || oid FROM scribe.inventory")
}

// readInvalid returns the keys of indexes that are there by name only.
func readInvalid(ctx context.Context, tx pgx.Tx) (map[string]bool, error) {
	return readKeys(ctx, tx, "SELECT 'pg_class'::regclass::oid || ' ' || indexrelid FROM pg_index WHERE NOT indisvalid")
}

func readKeys(ctx context.Context, tx pgx.Tx, query string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { keys[key] = true; return nil })
	return keys, err
}

// identify names objects that are there. A relation that another transaction
// has dropped since is one of the snapshot still.
func identify(ctx context.Context, tx pgx.Tx, keys []string) (map[string]string, error) {
	if len(keys) == 0 {
		return map[string]string{}, nil
	}
	return readTexts(ctx, tx, `SELECT k, name FROM (SELECT k, coalesce(
	    (SELECT i.type || ' ' || i.identity FROM pg_identify_object(split_part(k, ' ', 1)::oid, split_part(k, ' ', 2)::oid, 0) i),
	    (SELECT CASE relkind WHEN 'i' THEN 'index ' ELSE 'relation ' END || relname FROM pg_class
	      WHERE split_part(k, ' ', 1)::oid = 'pg_class'::regclass AND oid = split_part(k, ' ', 2)::oid)) AS name
	  FROM unnest($1::text[]) k) x WHERE name IS NOT NULL`, keys)
}

// baselineInventory keeps what there is, without judging it: where a slot begins,
// by its snapshot. Without one, a slot has to be there already, so that what comes
// later is in the stream.
func baselineInventory(ctx context.Context, conn *pgx.Conn, store stateStore, snapshot string) error {
	tx, err := beginAt(ctx, conn, snapshot, pgx.ReadOnly)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	now, err := readInventory(ctx, tx)
	if err != nil {
		return err
	}
	names, err := identify(ctx, tx, slices.Collect(maps.Keys(now)))
	if err != nil {
		return err
	}
	return keepInventory(ctx, store, names)
}

// check samples the inventory and emits repairs and gaps.
func (v *inventory) check(ctx context.Context, conn *pgx.Conn, slot string, store stateStore) error {
	before, err := keptSample(ctx, store, inventorySample)
	if err != nil {
		return err
	}
	if before == nil {
		return baselineInventory(ctx, conn, store, "")
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var oldest int64
	if err := tx.QueryRow(ctx, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint % 4294967296").Scan(&oldest); err != nil {
		return err
	}
	now, err := readInventory(ctx, tx)
	if err != nil {
		return err
	}
	invalid, err := v.known(ctx, tx, before)
	if err != nil {
		return err
	}
	behind, err := inserted(ctx, tx) // what is seen has committed before
	if err != nil {
		return err
	}
	settled, came, went := v.judge(now, before, behind)
	names, err := identify(ctx, tx, slices.Concat(settled, invalid))
	if err != nil {
		return err
	}
	if len(settled) > 0 {
		if err := markTransient(ctx, tx, settled, names); err != nil {
			return err
		}
		if err := unexplained(ctx, tx, slot, came, went, names, before); err != nil {
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	for _, key := range settled {
		delete(v.waiting, key)
		if now[key] {
			before[key] = names[key]
		} else {
			delete(before, key)
		}
	}
	for _, key := range invalid {
		if names[key] != "" {
			before[key] = names[key] // until the stream is told that it is gone
		}
	}
	if len(settled)+len(invalid) > 0 {
		if err := keepInventory(ctx, store, before); err != nil {
			return err
		}
	}
	if err := tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		return err
	}
	for _, key := range invalid {
		if gone, err := dropInvalid(ctx, conn, slot, key); err != nil {
			return err
		} else if gone {
			delete(before, key)
			if err := keepInventory(ctx, store, before); err != nil {
				return err
			}
		}
	}
	return v.explained.forget(ctx, uint32(oldest), func(key string, passed catalog.LSN) bool { return v.needs(key, now, behind, passed) })
}

// needs tells whether the next sample needs an explanation still: of a change
// that this one could not explain yet, and of what is gone while the stream may be
// yet to come to its rows.
func (v *inventory) needs(key string, now map[string]bool, behind, passed catalog.LSN) bool {
	switch {
	case key == everything:
		return len(v.waiting) > 0
	case v.waiting[key] != 0:
		return true
	case now[key]:
		return false
	}
	if v.gone[key] == 0 {
		v.gone[key] = behind
	}
	if passed < v.gone[key] {
		return true
	}
	delete(v.gone, key)
	return false
}

func keepInventory(ctx context.Context, store stateStore, names map[string]string) error {
	return keepSamples(ctx, store, map[string]map[string]string{inventorySample: names})
}

// judge tells what of the inventory has changed, and of that what came or went
// without an event. What may yet be explained waits.
func (v *inventory) judge(now map[string]bool, before map[string]string, behind catalog.LSN) (settled, came, went []string) {
	for _, key := range differing(now, before) {
		explained, passed := v.explained.explain(key)
		switch noticed := v.waiting[key]; {
		case explained:
			settled = append(settled, key)
		case noticed == 0:
			v.waiting[key] = behind
		case passed >= noticed && now[key]:
			came = append(came, key)
		case passed >= noticed:
			went = append(went, key)
		}
	}
	maps.DeleteFunc(v.waiting, func(key string, _ catalog.LSN) bool { // what came and went
		_, was := before[key]
		return now[key] == was
	})
	return slices.Concat(settled, came, went), came, went
}

// known lists the invalid indexes that the stream has brought as valid ones.
func (v *inventory) known(ctx context.Context, tx pgx.Tx, before map[string]string) ([]string, error) {
	invalid, err := readInvalid(ctx, tx)
	maps.DeleteFunc(invalid, func(key string, _ bool) bool {
		_, was := before[key]
		made, _ := v.explained.explain(key)
		return !was && !made
	})
	return slices.Sorted(maps.Keys(invalid)), err
}

// dropInvalid emits that an index is gone, unless a command is at work on it.
func dropInvalid(ctx context.Context, conn *pgx.Conn, slot, key string) (gone bool, err error) {
	_, oid, _ := strings.Cut(key, " ")
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		var sql *string
		if err := tx.QueryRow(ctx, "SELECT scribe.drop_invalid($1::text::oid)", oid).Scan(&sql); err != nil || sql == nil {
			return err
		}
		gone = true
		return emitStates(ctx, tx, slot, []stateCommand{{Tag: repo.TagInventory, SQL: *sql}})
	})
	return gone, err
}

// transientMark precedes the names of permanent objects that depend on
// temporary ones: they go with the session that made these, without an event.
const transientMark = "transient "

// markTransient marks those among the keys. Some of them may be gone already,
// and have no name any more: the sample's snapshot still knows what they are.
func markTransient(ctx context.Context, tx pgx.Tx, keys []string, names map[string]string) error {
	rows, err := tx.Query(ctx, `WITH RECURSIVE up (key, class, oid) AS (
	    SELECT k, split_part(k, ' ', 1)::oid, split_part(k, ' ', 2)::oid FROM unnest($1::text[]) k
	    UNION SELECT up.key, x.class, x.oid FROM up, LATERAL (
	      SELECT d.refclassid AS class, d.refobjid AS oid FROM pg_depend d WHERE d.classid = up.class AND d.objid = up.oid AND d.objsubid = 0
	      UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r WHERE up.class = 'pg_class'::regclass AND r.ev_class = up.oid AND r.rulename = '_RETURN') x)
	  SELECT DISTINCT up.key FROM up JOIN pg_namespace n ON up.class = 'pg_namespace'::regclass AND n.oid = up.oid WHERE n.nspname ~ '^pg_temp_'`,
		keys)
	if err != nil {
		return err
	}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { names[key] = transientMark + names[key]; return nil })
	return err
}

// differing lists what is in one of the two only, in order.
func differing(now map[string]bool, before map[string]string) []string {
	var keys []string
	for key := range now {
		if _, there := before[key]; !there {
			keys = append(keys, key)
		}
	}
	for key := range before {
		if !now[key] {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// unexplained repairs what can be repaired exactly, and marks the rest.
func unexplained(ctx context.Context, tx pgx.Tx, slot string, came, went []string, names, before map[string]string) error {
	var sql []stateCommand
	var gaps []string
	for _, key := range came {
		var repair *string
		if oid, ok := relationOID(key); ok {
			if err := tx.QueryRow(ctx, "SELECT coalesce(scribe.repair_index($1::text::oid), scribe.repair_sql($1::text::oid))", oid).Scan(&repair); err != nil {
				return err
			}
		}
		switch {
		case repair != nil:
			sql = append(sql, stateCommand{Tag: repo.TagInventory, SQL: *repair})
		case names[key] != "":
			gaps = append(gaps, names[key]+" came about without an event")
		}
	}
	for _, key := range went {
		name := before[key]
		switch {
		case strings.HasPrefix(name, transientMark):
		case strings.HasPrefix(name, "index "): // commands that rebuild one do not tell, and it is there again
		case name == "":
			gaps = append(gaps, "an object ("+key+") is gone without an event") // before its name could be read
		default:
			gaps = append(gaps, name+" is gone without an event")
		}
	}
	for part := range slices.Chunk(gaps, 20) {
		if _, err := tx.Exec(ctx, "SELECT scribe.emit(jsonb_build_object('ev', 'gap', 'reason', $1::text)::text)", strings.Join(part, "; ")+" (pg_scribe full-backup heals it)"); err != nil {
			return err
		}
	}
	return emitStates(ctx, tx, slot, sql)
}
