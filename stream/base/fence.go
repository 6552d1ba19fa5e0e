package base

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/replication"
	"pg_scribe/stream/source"
)

// fence proves that a dump is consistent. TRUNCATE and commands that rewrite a
// table do not respect snapshots: one that commits between the snapshot and
// the dump's locks leaves the dump with an empty or half-changed table, and
// pg_dump does not notice. So the stream is read from the dump's point to the
// present, and a command that touched anything the snapshot shows makes the
// dump unusable.
//
// It returns the position up to which it looked.
func (d *Dumper) fence(ctx context.Context, slotConn *pgconn.PgConn, keeper *pgx.Conn) (catalog.LSN, error) {
	secret, err := capture.Secret(ctx, d.Conn)
	if err != nil {
		return 0, err
	}
	until, err := source.Flushed(ctx, d.Conn)
	if err != nil {
		return 0, err
	}
	mode, err := capture.Mode(ctx, d.Conn)
	if err != nil {
		return 0, err
	}
	rec, err := replication.Start(ctx, slotConn, d.Slot, capture.PublicationNames(d.Options.Publication, mode), d.Created.Point)
	if err != nil {
		return 0, err
	}
	defer rec.Close()
	stop := context.AfterFunc(ctx, rec.Stop)
	defer stop()
	go rec.Run()
	defer func() {
		rec.Stop()
		for chunk, ok := []byte(nil), true; ok; {
			chunk, ok = rec.Take(chunk)
		}
	}()
	asking := make(chan struct{})
	defer close(asking)
	go rec.Ask(time.Second/2, asking)
	f := newFenceReader(secret)
	deliver := replication.Delivery{Endpos: until, Proof: until}
	var chunk []byte
	for {
		var ok bool
		if chunk, ok = rec.Take(chunk); !ok {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, fmt.Errorf("the stream that proves the dump ended: %w", rec.Err)
		}
		err := deliver.Chunk(chunk, f, func() {})
		if err != nil && !errors.Is(err, replication.ErrEnd) {
			return 0, err
		}
		if ferr := f.check(ctx, keeper); ferr != nil {
			return 0, ferr
		}
		if errors.Is(err, replication.ErrEnd) {
			return until, nil
		}
	}
}

// fenceReader collects what the stream says was touched.
type fenceReader struct {
	secret  []byte
	dec     pgoutput.Decoder
	tables  map[uint32]*pgoutput.Relation
	within  []enclosing // commands whose end has not come
	pending []touch     // of the outermost of these and what is within
	touched []touch
}

func newFenceReader(secret []byte) *fenceReader {
	return &fenceReader{secret: secret, tables: map[uint32]*pgoutput.Relation{}}
}

// enclosing is a command that has begun, what it dropped, and how much was
// pending before it.
type enclosing struct {
	tag     string
	dropped []event.Object
	pending int
}

// A touch is an object that a command in the stream changed or dropped.
type touch struct {
	tag        string
	class, oid uint32
	identity   string
}

// Keepalive has nothing to tell.
func (f *fenceReader) Keepalive(catalog.LSN) {}

// Message takes a message of pgoutput.
func (f *fenceReader) Message(b []byte) error {
	if len(b) == 0 {
		return pgoutput.ErrShort
	}
	switch kind, body := b[0], b[1:]; kind {
	case 'C':
		for _, c := range f.within { // their ends never came
			f.touch(c.tag, c.dropped)
		}
		f.within = nil
	case 'R':
		rel, err := f.dec.Relation(body)
		if err != nil {
			return err
		}
		f.tables[rel.OID] = rel
	case 'T':
		m, err := f.dec.Truncate(body)
		if err != nil {
			return err
		}
		for _, oid := range m.OIDs {
			rel := f.tables[oid]
			if rel == nil {
				return fmt.Errorf("a TRUNCATE names relation %d, which was not described", oid)
			}
			if rel.Schema != event.Schema {
				f.pending = append(f.pending, touch{"TRUNCATE", event.ClassRelation, oid, sqltext.Identifier(rel.Schema) + "." + sqltext.Identifier(rel.Name)})
			}
		}
	case 'M':
		m, err := f.dec.Message(body)
		if err != nil || !m.Transactional || string(m.Prefix) != event.Prefix {
			return err
		}
		payload, ok := event.Verify(f.secret, m.Content)
		if !ok {
			return nil
		}
		e, err := event.Parse(payload)
		if err != nil {
			return err
		}
		f.command(e)
	}
	if len(f.within) == 0 {
		f.touched, f.pending = append(f.touched, f.pending...), nil
	}
	return nil
}

// command takes an event. What is within a script is the script's: its end
// names it.
func (f *fenceReader) command(e event.Event) {
	switch e := e.(type) {
	case *event.Start:
		f.within = append(f.within, enclosing{tag: e.Tag, pending: len(f.pending)})
	case *event.Drop:
		if n := len(f.within) - 1; n >= 0 {
			f.within[n].dropped = append(f.within[n].dropped, e.Objects...)
		} else {
			f.touch(e.Tag, e.Objects)
		}
	case *event.End:
		if n := len(f.within) - 1; !e.Late && n >= 0 {
			its := f.within[n]
			if ddl.IsScript(e.Tag) {
				f.pending = f.pending[:its.pending]
			}
			f.within = f.within[:n]
			f.touch(e.Tag, its.dropped)
		}
		f.touch(e.Tag, e.Objects)
	}
}

func (f *fenceReader) touch(tag string, objects []event.Object) {
	for _, o := range objects {
		if !o.Invalid {
			f.pending = append(f.pending, touch{tag, o.Class, o.OID, o.Type + " " + o.Identity})
		}
	}
}

// harmlessTags change nothing that a dump reads past its snapshot.
var harmlessTags = map[string]bool{"GRANT": true, "REVOKE": true, "COMMENT": true, "SECURITY LABEL": true,
	"ALTER DEFAULT PRIVILEGES": true}

// check asks the snapshot whether it shows any of the touched objects.
func (f *fenceReader) check(ctx context.Context, keeper *pgx.Conn) error {
	touched := f.touched
	f.touched = nil
	for _, t := range touched {
		if harmlessTags[t.tag] || t.class == event.ClassLargeObject { // a snapshot shows large objects as they were
			continue
		}
		var shown bool
		var name string
		err := keeper.QueryRow(ctx, "SELECT quote_ident(relname) FROM pg_class WHERE oid = $1 AND relnamespace = 'pg_catalog'::regnamespace",
			t.class).Scan(&name)
		if err != nil {
			return err
		}
		if err := keeper.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog."+name+" WHERE oid = $1)", t.oid).Scan(&shown); err != nil {
			return err
		}
		if shown {
			return &FenceError{fmt.Sprintf("%s changed %s", t.tag, t.identity)}
		}
	}
	return nil
}
