package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// Store keeps the last sample of each kind, so that what changed while
// no streamer ran is noticed. The repository's catalog is one.
type Store interface {
	Setting(ctx context.Context, key string) (string, bool, error)
	SetSetting(ctx context.Context, key, value string) error
	SetSettings(ctx context.Context, values map[string]string) error // all or none
}

// A reconciliation is what one sample found, on its way into the stream.
type reconciliation struct {
	Sampling
	samples map[string]map[string]string // to be kept once what differs has committed
	last    []event.State                // of what can go only when nothing needs it
	lastOf  map[string]map[string]string // samples of the kinds that these are of
	errs    []error
	taken   map[string]map[string]bool // from stale
	renames renames                    // of roles
}

// reconcile samples every kind and emits what differs from the last sample
// into the stream, in one transaction. The samples are kept only after that
// has committed: sent twice, a state does no harm. A kind that cannot be
// sampled keeps none of the others from it.
//
// The transaction carries a mark of the sample if anything could have happened
// since the last one: restore learns from it how far sequences can be relied
// on.
func (s Sampling) reconcile(ctx context.Context, conn *pgx.Conn) (_ *reconciliation, err error) {
	r := &reconciliation{Sampling: s, samples: map[string]map[string]string{}, lastOf: map[string]map[string]string{}, taken: s.Stale.take()}
	defer func() {
		if err != nil {
			s.Stale.giveBack(r.taken)
		}
	}()
	// What a sequence had handed out to what commits before this position is
	// seen below.
	position, err := source.Inserted(ctx, conn)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var next string
	if err := tx.QueryRow(ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text").Scan(&next); err != nil {
		return nil, err
	}
	changed, complete := 0, true
	for _, kind := range stateKinds {
		n, err := r.kind(ctx, tx, kind)
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("sample of %s: %w", kind.name, err))
			complete = false
			r.giveBack(kind.name)
		}
		changed += n
	}
	marked, _, err := s.Store.Setting(ctx, sampleMark)
	if err != nil {
		return nil, err
	}
	if changed == 0 && (marked == next || !complete) {
		return r, keepSamples(ctx, s.Store, r.samples) // objects may be gone
	}
	if complete {
		if err := capture.EmitStates(ctx, tx, s.Slot, []event.State{{Tag: segment.TagSample, SQL: segment.SampleMark(position)}}); err != nil {
			return nil, err
		}
	}
	if err := tx.QueryRow(ctx, "SELECT (pg_current_xact_id()::text::bigint + 1)::text").Scan(&next); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	if complete {
		if err := s.Store.SetSetting(ctx, sampleMark, next); err != nil {
			return nil, err
		}
	}
	return r, keepSamples(ctx, s.Store, r.samples)
}

// sampleMark is the setting that holds the next transaction ID as of the last
// such mark.
const sampleMark = "state mark"

// kind samples one kind, in a subtransaction, and emits what differs.
func (r *reconciliation) kind(ctx context.Context, tx pgx.Tx, kind stateKind) (changed int, err error) {
	sub, err := tx.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer sub.Rollback(context.WithoutCancel(ctx))
	now, err := kind.sample(ctx, sub, r.Server)
	if err != nil {
		return 0, err
	}
	before, err := keptSample(ctx, r.Store, kind.name)
	if err != nil {
		return 0, err
	}
	if before == nil {
		before = map[string]string{}
	}
	if kind.name == ddl.StateRoleName {
		r.renames = findRenames(before, now, r.taken[kind.name])
	}
	r.renames.follow(kind, before)
	for key := range r.taken[kind.name] {
		before[key] = ""
	}
	differ, gone := compare(before, now)
	if len(differ)+len(gone) == 0 {
		return 0, nil
	}
	sql := now
	if kind.sql != nil {
		if sql, err = kind.sql(ctx, sub, append(differ, gone...)); err != nil {
			return 0, err
		}
		differ, gone = slices.Sorted(maps.Keys(sql)), nil
	}
	var commands, last []event.State
	if kind.name == ddl.StateRoleName {
		// A name is free before another role takes it. What was put aside is
		// dropped when nothing needs it.
		for _, key := range append(slices.Clone(gone), differ...) {
			commands = append(commands, event.State{Role: &event.RoleName{OID: event.ParseOID(key), Name: now[key]}})
		}
		gone = slices.DeleteFunc(gone, func(key string) bool { return !r.taken[ddl.StateRoleName][key] })
		differ = nil
	}
	for _, key := range differ {
		commands = append(commands, event.State{Tag: kind.tag(key), SQL: sql[key]})
	}
	if kind.gone != nil {
		for _, key := range gone {
			last = append(last, event.State{Tag: kind.tag(key), SQL: kind.gone(key)})
		}
	}
	switch {
	case kind.goneFirst:
		commands, last = append(last, commands...), nil
	case !kind.goneLast:
		commands, last = append(commands, last...), nil
	}
	if err := capture.EmitStates(ctx, sub, r.Slot, commands); err != nil {
		return 0, err
	}
	if err := sub.Commit(ctx); err != nil {
		return 0, err
	}
	if len(last) > 0 {
		r.last = append(last, r.last...)
		r.lastOf[kind.name] = now
	} else {
		r.samples[kind.name] = now
	}
	return len(commands), nil
}

// giveBack leaves the stale states of a kind to the next sample.
func (r *reconciliation) giveBack(kind string) {
	r.Stale.giveBack(map[string]map[string]bool{kind: r.taken[kind]})
}

// finish emits what had to wait for everything else.
func (r *reconciliation) finish(ctx context.Context, conn *pgx.Conn) (err error) {
	defer func() {
		for kind := range r.lastOf {
			if err != nil {
				r.giveBack(kind)
			}
		}
	}()
	if len(r.last) > 0 {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		if err := capture.EmitStates(ctx, tx, r.Slot, r.last); err != nil {
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			return err
		}
		if err := keepSamples(ctx, r.Store, r.lastOf); err != nil {
			return err
		}
	}
	return errors.Join(r.errs...)
}

// compare lists the keys of what is new or other now, and of what is gone, in order.
func compare(before, now map[string]string) (differ, gone []string) {
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if before[key] != now[key] {
			differ = append(differ, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[key]; !there {
			gone = append(gone, key)
		}
	}
	return differ, gone
}

// keptSample is the last sample of a kind; nil if there is none.
func keptSample(ctx context.Context, store Store, name string) (sample map[string]string, err error) {
	text, known, err := store.Setting(ctx, "state "+name)
	if err == nil && known {
		err = json.Unmarshal([]byte(text), &sample)
	}
	return sample, err
}

func keepSamples(ctx context.Context, store Store, samples map[string]map[string]string) error {
	for name, sample := range samples {
		text, err := json.Marshal(sample)
		if err != nil {
			return err
		}
		if err := store.SetSetting(ctx, "state "+name, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// baselineStates keeps the present sample without emitting it: a base that is about
// to be taken holds it.
func baselineStates(ctx context.Context, conn *pgx.Conn, src source.Server, store Store) error {
	samples := map[string]map[string]string{}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	for _, kind := range stateKinds {
		if kind.late {
			continue
		}
		if samples[kind.name], err = kind.sample(ctx, tx, src); err != nil {
			return fmt.Errorf("sample of %s: %w", kind.name, err)
		}
	}
	if err := baselineLargeObjects(ctx, tx, store); err != nil {
		return fmt.Errorf("sample of large objects: %w", err)
	}
	return keepSamples(ctx, store, samples)
}

// Baseline keep what is sampled as it is before a stream begins.
func Baseline(ctx context.Context, conn *pgx.Conn, src source.Server, publication string, store *catalog.Catalog) error {
	if err := baselineStates(ctx, conn, src, store); err != nil {
		return err
	}
	return baselineUnpublished(ctx, conn, publication, store)
}
