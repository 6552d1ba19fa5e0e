// Package render turns the messages of one connection into the text of segments.
// A Renderer is fed in order, keeps no more than a bounded piece in memory, and
// hands on batches: text, and beside it what the text tells of objects and of
// sampled states. It asks the source nothing but by what its Options give it.
package render

import (
	"fmt"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/charset"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/schema"
)

// Options are what a Renderer knows of its connection.
type Options struct {
	From   catalog.LSN   // transactions that commit before are stored already
	Secret []byte        // signs the capture's messages
	Slot   string        // the stream's own; samples of others are left out
	Schema *schema.State // what is known of tables at From

	Encoding *charset.Encoding // of the database; nil: any bytes are text
	Texts    Converter         // of values that come in binary; nil: none do
	Describe Describer         // nil: every table is taken for known
	Brought  map[uint32]bool   // tables that the stream told of before this connection; nil: nobody knows
}

// Renderer turns messages into text.
type Renderer struct {
	from   catalog.LSN
	secret []byte
	schema *schema.State

	dec      pgoutput.Decoder
	out      writer
	rows     rows
	commands commands
	skip     bool // the transaction is stored already
}

// New returns a Renderer at the beginning of a connection.
func New(o Options) *Renderer {
	if o.Schema == nil {
		o.Schema = schema.New()
	}
	r := &Renderer{from: o.From, secret: o.Secret, schema: o.Schema}
	r.out = writer{schema: o.Schema}
	r.rows = rows{out: &r.out, tables: newTables(&r.out, o), values: values{out: &r.out, texts: o.Texts, encoding: o.Encoding}}
	r.commands = newCommands(&r.out, &r.rows, o)
	return r
}

// Ready reports that enough text is there to hand on.
func (r *Renderer) Ready() bool { return len(r.out.text) >= BatchBytes }

// Complete reports that there is something to hand on that ends between two
// transactions.
func (r *Renderer) Complete() bool { return r.out.complete() }

// Take hands on what was rendered; next is a buffer to go on with.
func (r *Renderer) Take(next []byte) Batch { return r.out.take(next) }

// Keepalive takes the server's word that nothing else happened up to a
// position. It means that only between transactions.
func (r *Renderer) Keepalive(end catalog.LSN) {
	if !r.out.inTx {
		r.out.stats.End = max(r.out.stats.End, end)
	}
}

// Transaction is the one that is coming in; false: there is none.
func (r *Renderer) Transaction() (xid uint32, commit catalog.LSN, ok bool) {
	return r.out.tx.XID, r.out.tx.Commit, r.out.inTx
}

// Close releases what a broken-off transaction held.
func (r *Renderer) Close() { r.commands.reset() }

// Message renders one message of pgoutput.
func (r *Renderer) Message(b []byte) error {
	if len(b) == 0 {
		return pgoutput.ErrShort
	}
	if r.commands.depth > 0 && b[0] != 'M' && b[0] != 'C' {
		if r.skip {
			return nil
		}
		return r.commands.held.hold(b)
	}
	return r.apply(b)
}

// apply renders one message that no command holds back.
func (r *Renderer) apply(b []byte) error {
	kind, body := b[0], b[1:]
	if r.rows.run != nil && kind != 'I' {
		if err := r.rows.endRun(); err != nil {
			return err
		}
	}
	switch kind {
	case 'B':
		return r.begin(body)
	case 'C':
		return r.commit(body)
	case 'R':
		rel, err := r.dec.Relation(body)
		if err != nil {
			return err
		}
		return r.rows.tables.describe(rel, r.skip)
	case 'I', 'U', 'D', 'T', 'O':
		if r.skip {
			return nil
		}
		return r.change(kind, body)
	case 'M':
		m, err := r.dec.Message(body)
		if err != nil || !m.Transactional {
			return err
		}
		return r.logical(m, b)
	case 'Y', 'A': // types; aborts of a mode that is not in use, which PostgreSQL 18 may send
		return nil
	case 'b', 'P', 'K', 'r', 'p':
		return fmt.Errorf("pgoutput sent message %q of two-phase commit, which was not asked for", kind)
	case 'S', 'E', 'c':
		return fmt.Errorf("pgoutput sent message %q of a transaction in progress, which was not asked for", kind)
	}
	return fmt.Errorf("pgoutput sent an unknown message %q", kind)
}

// change renders what a transaction is of.
func (r *Renderer) change(kind byte, body []byte) error {
	switch kind {
	case 'I':
		return r.rows.insert(body)
	case 'T':
		m, err := r.dec.Truncate(body)
		if err != nil {
			return err
		}
		r.rows.hidden.show(&r.out)
		return r.rows.truncate(m)
	case 'O':
		m, err := r.dec.Origin(body)
		if err != nil {
			return err
		}
		r.out.alien = true
		r.out.open()
		r.out.text = segment.AppendOrigin(r.out.text, m.Name, m.LSN)
		return nil
	}
	return r.rows.change(kind, body)
}

func (r *Renderer) begin(b []byte) error {
	m, err := r.dec.Begin(b)
	if err != nil {
		return err
	}
	r.out.begin(m)
	r.commands.foreign = false
	r.skip = m.Commit < r.from
	changed, types := r.schema.Reach(m.Commit)
	r.rows.tables.renew(changed, types)
	return nil
}

func (r *Renderer) commit(b []byte) error {
	m, err := r.dec.Commit(b)
	if err != nil {
		return err
	}
	if r.commands.depth > 0 {
		if err := r.commands.abandon(r.Message); err != nil {
			return err
		}
		if err := r.rows.endRun(); err != nil {
			return err
		}
	}
	r.rows.values.mark()
	r.rows.hidden.show(&r.out)
	if r.commands.defaults {
		r.schema.ChangeDefaultPrivileges(r.out.tx.Commit)
	}
	if r.commands.ran {
		r.schema.Commanded(r.out.tx.XID)
	}
	r.commands.reset()
	if !r.skip && !r.out.alien {
		r.schema.Strings().Begin(r.out.tx.At)
	}
	r.schema.Settle()
	r.out.commit(m)
	return nil
}

// logical takes a logical decoding message; raw is the whole of it.
func (r *Renderer) logical(m pgoutput.Message, raw []byte) error {
	if string(m.Prefix) != event.Prefix {
		return nil
	}
	payload, ok := event.Verify(r.secret, m.Content)
	if !ok {
		return nil
	}
	e, err := event.Parse(payload)
	switch {
	case r.skip:
		// What it tells of tables holds on.
		if end, ok := e.(*event.End); ok && err == nil {
			r.rows.tables.moved(end.Moved, "")
		}
		return nil
	case e == nil || err != nil:
		return err
	}
	return r.commands.take(e, m.LSN, raw, r.Message)
}
