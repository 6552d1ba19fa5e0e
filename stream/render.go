package stream

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
)

// copyThreshold is the number of rows inserted into one table, one after the
// other, from which on they are written as a COPY block.
const copyThreshold = 8

// batchBytes is how much text the renderer gathers before it hands it on.
const batchBytes = 256 << 10

// A batch is a piece of the stream as SQL text. At a boundary the text ends
// between two transactions, and stats says what all text since the last
// boundary held.
type batch struct {
	text     []byte
	boundary bool
	stats    segment.Stats

	explained []explanation
}

// explanation is what the commands of one transaction, or of a part of it, tell
// of objects that came or went, as a ledger takes it.
type explanation struct {
	xid    uint32
	commit catalog.LSN
	keys   []string
}

// renderer turns the messages of one connection into the text of segments.
// It is fed in order and keeps no more than a bounded piece in memory.
type renderer struct {
	from   catalog.LSN // transactions that commit before are stored already
	secret []byte      // signs the capture's messages

	has   belongings
	stale *staleStates // nil: nobody samples

	dec    pgoutput.Decoder
	tables map[uint32]*table // as this connection described them
	facts  *facts

	describe describer       // nil: every table is taken for known
	brought  map[uint32]bool // tables that the stream told of before this connection; nil: nobody knows

	out     []byte
	whole   int           // out[:whole] ends between two transactions
	stats   segment.Stats // of what is complete and not yet handed on
	inTx    bool
	tx      pgoutput.Begin
	skip    bool   // the transaction is stored already
	begun   bool   // its BEGIN line is written
	alien   bool   // its commit time is another server's
	slot    string // the stream's own; samples of others are left out
	foreign bool   // what follows in the transaction is another slot's sample
	count   map[string]catalog.TableCount
	found   segment.Stats // restore points and gaps of this transaction

	texts  *textConverter // of values that come in binary; nil: none do
	pieces int            // large values of this row that were written in pieces

	encoding *textEncoding   // nil: any bytes are text
	mended   map[string]bool // columns of this transaction with bytes that are none

	// A fence wants to know what commands changed.
	fence   bool
	touched []touch

	explained []explanation // see batch

	hidden hiding

	run     *table   // the rows in pending, or the open COPY block, are of this table
	pending [][]byte // INSERT messages that may become a COPY block
	spare   [][]byte // buffers for pending
	copying bool
	ddl     ddlState
}

func newRenderer(from catalog.LSN, secret []byte, known *facts) *renderer {
	return &renderer{from: from, secret: secret, facts: known, has: newBelongings(), ddl: ddlState{finder: *ddl.NewFinder(known.strings)},
		tables: map[uint32]*table{}, count: map[string]catalog.TableCount{}}
}

// ready tells that enough text is there to hand on.
func (r *renderer) ready() bool { return len(r.out) >= batchBytes }

// complete tells that there is something to hand on that ends between two
// transactions.
func (r *renderer) complete() bool {
	return r.whole > 0 || r.stats.End > 0
}

// take hands on what was rendered; next is a buffer to go on with. A
// transaction that is still coming in is handed on apart from complete ones,
// so that those can be stored for good before it.
func (r *renderer) take(next []byte) batch {
	if r.inTx && (r.whole > 0 || r.stats.End > 0) {
		b := batch{text: r.out[:r.whole:r.whole], boundary: true, stats: r.stats, explained: r.explained}
		b.stats.Facts = r.facts.handOver()
		r.explained = nil
		r.out, r.whole, r.stats = append(next[:0], r.out[r.whole:]...), 0, segment.Stats{}
		return b
	}
	b := batch{text: r.out, boundary: !r.inTx, explained: r.explained}
	r.explained = nil
	if b.boundary {
		b.stats, r.stats = r.stats, segment.Stats{}
		b.stats.Facts = r.facts.handOver()
	}
	r.out, r.whole = next[:0], 0
	return b
}

// keepalive takes the server's word that nothing else happened up to a
// position. It means that only between transactions.
func (r *renderer) keepalive(end catalog.LSN) {
	if !r.inTx {
		r.stats.End = max(r.stats.End, end)
	}
}

// message renders one message of pgoutput.
func (r *renderer) message(b []byte) error {
	if len(b) == 0 {
		return pgoutput.ErrShort
	}
	if r.ddl.depth > 0 && b[0] != 'M' && b[0] != 'C' {
		if r.skip {
			return nil
		}
		return r.ddl.held.hold(b)
	}
	return r.apply(b)
}

// apply renders one message that no DDL command holds back.
func (r *renderer) apply(b []byte) error {
	kind, body := b[0], b[1:]
	if r.run != nil && kind != 'I' {
		if err := r.endRun(); err != nil {
			return err
		}
	}
	switch kind {
	case 'B':
		return r.begin(body)
	case 'C':
		return r.commit(body)
	case 'O':
		m, err := r.dec.Origin(body)
		if err != nil || r.skip {
			return err
		}
		r.alien = true
		r.open()
		r.out = segment.AppendOrigin(r.out, m.Name, m.LSN)
		return nil
	case 'R':
		rel, err := r.dec.Relation(body)
		if err != nil {
			return err
		}
		if m, ok := r.facts.moved[rel.OID]; ok && slices.Contains(m.From, rel.Schema) {
			rel.Schema = m.To
		}
		if err := r.unknown(rel); err != nil {
			return err
		}
		r.tables[rel.OID] = newTable(rel, r.facts)
		return nil
	case 'I':
		if r.skip {
			return nil
		}
		return r.insert(body)
	case 'U', 'D':
		if r.skip {
			return nil
		}
		return r.change(kind, body)
	case 'T':
		if r.skip {
			return nil
		}
		return r.truncate(body)
	case 'M':
		m, err := r.dec.Message(body)
		if err != nil || !m.Transactional {
			return err
		}
		if r.skip {
			r.movedSkipped(m)
			return nil
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

func (r *renderer) begin(b []byte) error {
	m, err := r.dec.Begin(b)
	if err != nil {
		return err
	}
	r.tx, r.inTx, r.begun, r.alien, r.foreign = m, true, false, false, false
	r.skip = m.Commit < r.from
	changed, types := r.facts.reach(m.Commit)
	r.prepare(changed, types)
	return nil
}

// prepare takes up what has become known of tables, or of types.
func (r *renderer) prepare(tables []uint32, types bool) {
	if types {
		tables = slices.Collect(maps.Keys(r.tables))
	}
	for _, oid := range tables {
		if known := r.tables[oid]; known != nil {
			r.tables[oid] = newTable(known.Relation, r.facts)
		}
	}
}

// open writes the BEGIN line before the first thing a transaction holds.
func (r *renderer) open() {
	if !r.begun {
		r.begun = true
		r.out = segment.AppendBegin(r.out, r.tx.XID, r.tx.Commit, r.tx.At)
	}
}

func (r *renderer) commit(b []byte) error {
	m, err := r.dec.Commit(b)
	if err != nil {
		return err
	}
	if r.ddl.depth > 0 {
		if err := r.abandonDDL(); err != nil {
			return err
		}
		if err := r.endRun(); err != nil {
			return err
		}
	}
	if err := r.markMended(); err != nil {
		return err
	}
	r.show()
	if r.ddl.defaults {
		r.facts.changeDefaults(r.tx.Commit)
	}
	r.ddl.reset()
	if !r.skip && !r.alien {
		r.facts.strings.Begin(r.tx.At)
	}
	r.facts.settle()
	r.inTx = false
	r.stats.End = max(r.stats.End, m.End)
	if !r.begun {
		return nil
	}
	r.out = segment.AppendCommit(r.out, m.End)
	r.whole = len(r.out)
	tx := r.found
	tx.Transactions, tx.MinXID, tx.MaxXID, tx.Tables = 1, r.tx.XID, r.tx.XID, r.count
	if !r.alien {
		tx.FirstCommit, tx.LastCommit = r.tx.At, r.tx.At
	}
	r.stats.Add(tx)
	clear(r.count)
	r.found = segment.Stats{}
	return nil
}

func (r *renderer) table(oid uint32) (*table, error) {
	t := r.tables[oid]
	if t == nil {
		return nil, fmt.Errorf("a row change names relation %d, which was not described", oid)
	}
	return t, nil
}

func (r *renderer) add(t *table, c catalog.TableCount) {
	sum := r.count[t.target]
	sum.Inserted += c.Inserted
	sum.Updated += c.Updated
	sum.Deleted += c.Deleted
	sum.Truncated += c.Truncated
	r.count[t.target] = sum
}

// insert gathers rows of one table until it is clear whether there are enough
// for a COPY block.
func (r *renderer) insert(b []byte) error {
	if len(b) < 4 {
		return pgoutput.ErrShort
	}
	oid := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	if r.run != nil && r.run.OID != oid {
		if err := r.endRun(); err != nil {
			return err
		}
	}
	if r.run == nil {
		t, err := r.table(oid)
		if err != nil {
			return err
		}
		if t.left {
			return nil
		}
		if t.lost != "" {
			return r.lose(t)
		}
		r.run = t
		r.open()
		r.relax(t)
	}
	r.add(r.run, catalog.TableCount{Inserted: 1})
	if r.copying {
		c, err := r.dec.Row('I', b)
		if err != nil {
			return err
		}
		r.mendText(r.run, c.New)
		r.out = r.run.appendCopyRow(r.out, c.New)
		return nil
	}
	var buf []byte
	if n := len(r.spare); n > 0 {
		buf, r.spare = r.spare[n-1], r.spare[:n-1]
	}
	r.pending = append(r.pending, append(buf[:0], b...))
	if single := len(r.run.Columns) == 0 || r.texts != nil; single || len(r.pending) < copyThreshold {
		if single {
			return r.endRun()
		}
		return nil
	}
	r.copying = true
	r.out = segment.AppendCopy(r.out, &segment.Copy{Table: r.run.written, Columns: r.run.quoted})
	return r.flushPending(r.run, func(row []pgoutput.Value) { r.out = r.run.appendCopyRow(r.out, row) })
}

func (r *renderer) flushPending(t *table, write func(row []pgoutput.Value)) error {
	for _, b := range r.pending {
		c, err := r.dec.Row('I', b)
		if err != nil {
			return err
		}
		if err := r.resolve(t, c.New); err != nil {
			return err
		}
		write(c.New)
		r.endPieces()
		if cap(b) <= 64<<10 {
			r.spare = append(r.spare, b)
		}
	}
	r.pending = r.pending[:0]
	return nil
}

// endRun ends a run of rows: a COPY block, or single INSERTs.
func (r *renderer) endRun() error {
	if r.run == nil {
		return nil
	}
	t := r.run
	r.run = nil
	if r.copying {
		r.copying = false
		r.out = segment.AppendCopyEnd(r.out)
		return nil
	}
	return r.flushPending(t, func(row []pgoutput.Value) { r.out = t.appendInsert(r.out, row) })
}

// change renders an UPDATE or DELETE.
func (r *renderer) change(kind byte, b []byte) error {
	c, err := r.dec.Row(kind, b)
	if err != nil {
		return err
	}
	t, err := r.table(c.OID)
	if err != nil || t.left {
		return err
	}
	if t.lost != "" {
		return r.lose(t)
	}
	r.open()
	r.relax(t)
	if len(c.Old) > len(t.Columns) || len(c.New) > len(t.Columns) ||
		(kind == 'U' && len(c.New) != len(t.Columns)) || (c.OldKind != 0 && len(c.Old) != len(t.Columns)) {
		return fmt.Errorf("a row of %s does not have the columns that were described", t.name)
	}
	defer r.endPieces()
	if err := errors.Join(r.resolve(t, c.Old), r.resolve(t, c.New)); err != nil {
		return err
	}
	if kind == 'D' {
		r.add(t, catalog.TableCount{Deleted: 1})
		if c.OldKind == 'K' && !t.keyed {
			return r.gap("a DELETE from " + t.name + " came without a key")
		}
		r.out = t.appendDelete(r.out, c)
		return nil
	}
	r.add(t, catalog.TableCount{Updated: 1})
	var ok bool
	if r.out, ok = t.appendUpdate(r.out, c); !ok {
		return r.gap("an UPDATE of " + t.name + " came without a key")
	}
	return nil
}

// truncate names every table that was emptied. CASCADE is there for what the
// message does not name: partitioned tables above the named ones. It cannot
// empty more than the source did, since there the same foreign keys held.
func (r *renderer) truncate(b []byte) error {
	m, err := r.dec.Truncate(b)
	if err != nil {
		return err
	}
	r.show()
	if err := r.partTruncate(m.OIDs); err != nil {
		return err
	}
	all := segment.Truncate{Restart: m.RestartIdentity, Cascade: true}
	for _, oid := range m.OIDs {
		t, err := r.table(oid)
		if err != nil {
			return err
		}
		if t.left {
			continue
		}
		r.touch(touch{"TRUNCATE", event.ClassRelation, oid, t.name})
		r.open()
		r.add(t, catalog.TableCount{Truncated: 1})
		all.Tables = append(all.Tables, []byte(t.name))
	}
	if len(all.Tables) > 0 {
		r.out = segment.AppendTruncate(r.out, &all)
	}
	return nil
}

// explain notes what this transaction tells of objects.
func (r *renderer) explain(keys ...string) {
	if r.fence || len(keys) == 0 {
		return
	}
	n := len(r.explained)
	if n == 0 || r.explained[n-1].xid != r.tx.XID {
		r.explained = append(r.explained, explanation{xid: r.tx.XID, commit: r.tx.Commit})
		n++
	}
	r.explained[n-1].keys = append(r.explained[n-1].keys, keys...)
}

// gap notes in the stream, and for the catalog, what could not be captured.
func (r *renderer) gap(reason string) error {
	r.open()
	r.explain(everything)
	r.out = segment.AppendGap(r.out, reason)
	if !slices.ContainsFunc(r.found.Gaps, func(g catalog.Gap) bool { return g.Reason == reason }) {
		r.found.Gaps = append(r.found.Gaps, catalog.Gap{Kind: "schema", From: r.tx.Commit, To: r.tx.Commit,
			DetectedAt: r.tx.At, Reason: reason})
	}
	return nil
}

// lose leaves a row out, and says so once in each transaction.
func (r *renderer) lose(t *table) error {
	if slices.ContainsFunc(r.found.Gaps, func(g catalog.Gap) bool { return g.Reason == t.lost }) {
		return nil
	}
	return r.gap(t.lost)
}

// close releases what a broken-off transaction held.
func (r *renderer) close() { r.ddl.reset() }
