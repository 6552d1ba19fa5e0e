package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// fence proves that a dump is whole. TRUNCATE and commands that rewrite a
// table do not respect snapshots: one that commits between the snapshot and
// the dump's locks leaves the dump with an empty or half-changed table, and
// pg_dump does not notice. So the stream is read from the dump's point to the
// present, and a command that touched anything the snapshot shows makes the
// dump unusable.
//
// It returns the position up to which it looked.
func (d *dumper) fence(ctx context.Context, slotConn *pgconn.PgConn, keeper *pgx.Conn) (catalog.LSN, error) {
	secret, err := capture.Secret(ctx, d.conn)
	if err != nil {
		return 0, err
	}
	until, err := source.Flushed(ctx, d.conn)
	if err != nil {
		return 0, err
	}
	mode, err := capture.Mode(ctx, d.conn)
	if err != nil {
		return 0, err
	}
	rec, err := startReplication(ctx, slotConn, d.slot, capture.Publications(d.opts.Publication, mode), d.created.Point)
	if err != nil {
		return 0, err
	}
	defer rec.close()
	stop := context.AfterFunc(ctx, rec.stop)
	defer stop()
	go rec.run()
	defer func() {
		rec.stop()
		for chunk, ok := []byte(nil), true; ok; {
			chunk, ok = rec.take(chunk)
		}
	}()
	asking := make(chan struct{})
	defer close(asking)
	go rec.ask(time.Second/2, asking)
	f := &fenceReader{renderer: newRenderer(0, secret, newFacts()), keeper: keeper}
	f.renderer.fence = true
	var chunk []byte
	for {
		var ok bool
		if chunk, ok = rec.take(chunk); !ok {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, fmt.Errorf("the stream that proves the dump ended: %w", rec.err)
		}
		err := renderChunk(f.renderer, chunk, until, until, func() {})
		f.renderer.out, f.renderer.whole = f.renderer.out[:0], 0
		if err != nil && !errors.Is(err, errEndpos) {
			return 0, err
		}
		if ferr := f.check(ctx); ferr != nil {
			return 0, ferr
		}
		if errors.Is(err, errEndpos) {
			return until, nil
		}
	}
}

// fenceReader collects what the stream says was touched. Its renderer is told
// to note relations and commands; its text is thrown away.
type fenceReader struct {
	renderer *renderer
	keeper   *pgx.Conn
}

// harmlessTags change nothing that a dump reads past its snapshot.
var harmlessTags = map[string]bool{"GRANT": true, "REVOKE": true, "COMMENT": true, "SECURITY LABEL": true,
	"ALTER DEFAULT PRIVILEGES": true}

// check asks the snapshot whether it shows any of the touched objects.
func (f *fenceReader) check(ctx context.Context) error {
	touched := f.renderer.touched
	f.renderer.touched = nil
	for _, t := range touched {
		if harmlessTags[t.tag] || t.class == event.ClassLargeObject { // a snapshot shows large objects as they were
			continue
		}
		var shown bool
		var name string
		err := f.keeper.QueryRow(ctx, "SELECT quote_ident(relname) FROM pg_class WHERE oid = $1 AND relnamespace = 'pg_catalog'::regnamespace",
			t.class).Scan(&name)
		if err != nil {
			return err
		}
		if err := f.keeper.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog."+name+" WHERE oid = $1)", t.oid).Scan(&shown); err != nil {
			return err
		}
		if shown {
			return &FenceError{fmt.Sprintf("%s changed %s", t.tag, t.identity)}
		}
	}
	return nil
}

// A touch is an object that a command in the stream changed or dropped.
type touch struct {
	tag        string
	class, oid uint32
	identity   string
}

// touch notes an object for the fence of a base.
func (r *renderer) touch(t touch) {
	if r.fence {
		r.touched = append(r.touched, t)
	}
}
