package stream

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// InitOptions say how a repository is begun.
type InitOptions struct {
	BaseOptions
	Dir  string
	Slot string
	Step func(string) // told what begins
}

// Init sets up capture, makes the slot, and takes the first base from the
// slot's own snapshot. If it fails or ctx ends, everything that it made is
// undone, and nothing else.
func Init(ctx context.Context, opts InitOptions, create func(catalog.Repository) (*repo.Repository, error)) (base Base, err error) {
	conn, err := Connect(ctx, opts.ConnString)
	if err != nil {
		return base, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	src, err := inspect(ctx, conn)
	if err != nil {
		return base, err
	}
	version, err := checkTools(ctx, opts.Command, src)
	if err != nil {
		return base, err
	}
	if _, err := readSlot(ctx, conn, opts.Slot); err == nil {
		return base, &SlotError{Slot: opts.Slot, Problem: SlotExists}
	}
	var undo []func(context.Context) error
	defer func() {
		if err == nil {
			return
		}
		clean := context.WithoutCancel(ctx)
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i](clean))
		}
	}()

	opts.Step("creating the repository")
	r, err := create(catalog.Repository{
		Format: repo.FormatVersion, SystemID: src.SystemID, Timeline: src.Timeline, Database: src.Database,
		DatabaseOID: src.DatabaseOID, Encoding: src.Encoding, Collate: src.Collate, CType: src.CType,
		LocaleProvider: src.Provider, Locale: src.Locale, ServerVersion: src.Version,
		Slot: opts.Slot, Publication: opts.Publication, Compression: opts.Codec.String(), Mode: "guarded",
	})
	if err != nil {
		return base, err
	}
	defer r.Close()
	undo = append(undo, func(context.Context) error { return r.Undo() })

	opts.Step("installing the capture of DDL (schema scribe, event triggers, publication " + opts.Publication + ")")
	made, err := installCapture(ctx, conn, opts.Publication)
	undo = append(undo, func(clean context.Context) error {
		again, cerr := Connect(clean, opts.ConnString) // a cancelled query may have closed conn
		if cerr != nil {
			return cerr
		}
		defer again.Close(clean)
		return removeCapture(clean, again, made)
	})
	if err != nil {
		return base, err
	}

	if err := baseline(ctx, conn, src, r.Catalog()); err != nil {
		return base, err
	}
	opts.Step("creating replication slot " + opts.Slot)
	slotConn, err := connectReplication(ctx, opts.ConnString, src.Encoding, slotLockTimeout)
	if err != nil {
		return base, err
	}
	defer slotConn.Close(context.WithoutCancel(ctx))
	slot, err := createSlot(ctx, slotConn, src, opts.Slot, false)
	if err != nil {
		return base, withBlockers(ctx, err, opts.ConnString)
	}
	undo = append(undo, func(clean context.Context) error {
		slotConn.Close(clean)
		return dropSlotWhenFree(clean, opts.ConnString, opts.Slot)
	})

	base, err = firstBase(ctx, r, &dumper{repo: r, conn: conn, src: src, opts: opts.BaseOptions, slot: opts.Slot, created: slot, version: version},
		slotConn, opts)
	return base, err
}

// firstBase takes the base at the new slot's own point, or, when DDL got in
// the way, at a later one: the slot stands, and any point of its stream will do.
func firstBase(ctx context.Context, r *repo.Repository, d *dumper, slotConn *pgconn.PgConn, opts InitOptions) (Base, error) {
	opts.Step("taking the first base at " + d.created.point.String())
	base, err := d.take(ctx, slotConn)
	var fence *FenceError
	if errors.As(err, &fence) {
		opts.Step(err.Error() + "; taking it again")
		slotConn.Close(context.WithoutCancel(ctx))
		return FullBackup(ctx, r, opts.BaseOptions)
	}
	return base, err
}
