package render

import (
	"fmt"
	"slices"

	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
)

// copyThreshold is the number of rows inserted into one table, one after the
// other, from which on they are written as a COPY block.
const copyThreshold = 8

// rows writes row changes.
type rows struct {
	out    *writer
	dec    pgoutput.Decoder
	tables tables
	values values
	hidden hiding

	run     *table   // the rows in pending, or the open COPY block, are of this table
	pending [][]byte // INSERT messages that may become a COPY block
	spare   [][]byte // buffers for pending
	copying bool
}

// insert gathers rows of one table until it is clear whether there are enough
// for a COPY block.
func (r *rows) insert(b []byte) error {
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
		t, err := r.tables.of(oid)
		if err != nil {
			return err
		}
		if !r.written(t) {
			return nil
		}
		r.run = t
		r.out.open()
		r.hidden.relax(r.out, t)
	}
	r.out.count(r.run).Inserted++
	if r.copying {
		c, err := r.dec.Row('I', b)
		if err != nil {
			return err
		}
		r.values.mend(r.run, c.New)
		r.out.text = r.run.appendCopyRow(r.out.text, c.New)
		return nil
	}
	var buf []byte
	if n := len(r.spare); n > 0 {
		buf, r.spare = r.spare[n-1], r.spare[:n-1]
	}
	r.pending = append(r.pending, append(buf[:0], b...))
	if single := len(r.run.Columns) == 0 || r.values.texts != nil; single || len(r.pending) < copyThreshold {
		if single {
			return r.endRun()
		}
		return nil
	}
	r.copying = true
	r.out.text = segment.AppendCopy(r.out.text, &segment.Copy{Table: r.run.written, Columns: r.run.quoted})
	return r.flush(r.run, (*table).appendCopyRow)
}

// written says whether rows of a table are written at all. What is lost is said
// once in each transaction.
func (r *rows) written(t *table) bool {
	if t.lost != "" && !t.left && !r.out.hasGap(t.lost) {
		r.out.gap(t.lost)
	}
	return !t.left && t.lost == ""
}

// flush writes the rows that were gathered.
func (r *rows) flush(t *table, write func(t *table, dst []byte, row []pgoutput.Value) []byte) error {
	for _, b := range r.pending {
		c, err := r.dec.Row('I', b)
		if err != nil {
			return err
		}
		if err := r.values.resolve(t, c.New); err != nil {
			return err
		}
		r.out.text = write(t, r.out.text, c.New)
		r.values.endPieces()
		if cap(b) <= 64<<10 {
			r.spare = append(r.spare, b)
		}
	}
	r.pending = r.pending[:0]
	return nil
}

// endRun ends a run of rows: a COPY block, or single INSERTs.
func (r *rows) endRun() error {
	if r.run == nil {
		return nil
	}
	t := r.run
	r.run = nil
	if r.copying {
		r.copying = false
		r.out.text = segment.AppendCopyEnd(r.out.text)
		return nil
	}
	return r.flush(t, (*table).appendInsert)
}

// change renders an UPDATE or DELETE.
func (r *rows) change(kind byte, b []byte) error {
	c, err := r.dec.Row(kind, b)
	if err != nil {
		return err
	}
	t, err := r.tables.of(c.OID)
	if err != nil || !r.written(t) {
		return err
	}
	r.out.open()
	r.hidden.relax(r.out, t)
	if len(c.Old) > len(t.Columns) || len(c.New) > len(t.Columns) ||
		(kind == 'U' && len(c.New) != len(t.Columns)) || (c.OldKind != 0 && len(c.Old) != len(t.Columns)) {
		return fmt.Errorf("a row of %s does not have the columns that were described", t.name)
	}
	defer r.values.endPieces()
	if err := r.values.resolve(t, c.Old); err != nil {
		return err
	}
	if err := r.values.resolve(t, c.New); err != nil {
		return err
	}
	if kind == 'D' {
		r.out.count(t).Deleted++
		if c.OldKind == 'K' && !t.keyed {
			r.out.gap("a DELETE from " + t.name + " came without a key")
			return nil
		}
		r.out.text = t.appendDelete(r.out.text, c)
		return nil
	}
	r.out.count(t).Updated++
	var ok bool
	if r.out.text, ok = t.appendUpdate(r.out.text, c); !ok {
		r.out.gap("an UPDATE of " + t.name + " came without a key")
	}
	return nil
}

// truncate names every table that was emptied. CASCADE is there for what the
// message does not name: partitioned tables above the named ones. It cannot
// empty more than the source did, since there the same foreign keys held.
func (r *rows) truncate(m pgoutput.Truncate) error {
	r.hidden.show(r.out)
	if err := r.partTruncate(m.OIDs); err != nil {
		return err
	}
	all := segment.Truncate{Restart: m.RestartIdentity, Cascade: true}
	for _, oid := range m.OIDs {
		t, err := r.tables.of(oid)
		if err != nil {
			return err
		}
		if t.left {
			continue
		}
		r.out.open()
		r.out.count(t).Truncated++
		all.Tables = append(all.Tables, []byte(t.name))
	}
	if len(all.Tables) > 0 {
		r.out.text = segment.AppendTruncate(r.out.text, &all)
	}
	return nil
}

// An enum hashes by OID, so that the rows of a table that is partitioned by
// its hash lie in other partitions after a restore. They are written through
// the partitioned table. What is done to a single partition means other rows
// there, and can only be marked.

// partTruncate marks a TRUNCATE of some of the partitions of a table.
func (r *rows) partTruncate(oids []uint32) error {
	for _, oid := range oids {
		root := r.tables.schema.Table(oid).Root
		if root == "" {
			continue
		}
		for _, other := range r.tables.schema.Partitions(root) {
			if slices.Contains(oids, other) {
				continue
			}
			t, err := r.tables.of(oid)
			if err != nil {
				return err
			}
			r.out.gap(ddl.HashGap("TRUNCATE", t.name, root))
			return nil
		}
	}
	return nil
}

// largeObject writes a piece of a large object's contents.
func (r *rows) largeObject(m *event.LargeObject) {
	r.out.open()
	r.out.text = segment.AppendPage(r.out.text, &segment.Page{OID: m.OID, Offset: m.Offset, Base64: []byte(m.Data)})
}
