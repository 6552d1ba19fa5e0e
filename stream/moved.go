package stream

import (
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
)

// moveTables gives tables the name that ALTER SCHEMA gave their schema, which
// decoding does not notice before version 16. from is the name before, if the
// command's text tells it: the command locks no table, so that transactions
// that wrote to one before may commit later, and describe it by that name.
func (r *renderer) moveTables(tables []event.Moved, from string) {
	for _, t := range tables {
		known := r.tables[t.OID]
		was := from
		if was == "" && known != nil {
			was = known.Schema
		}
		r.facts.move(t.OID, was, t.Schema)
		if known != nil && known.Schema != t.Schema {
			rel := *known.Relation
			rel.Schema = t.Schema
			r.tables[t.OID] = newTable(&rel, r.facts)
		}
	}
}

// A move is from names that a table's schema had to the one that it has.
type move struct {
	From  []string
	To    string
	Until uint64 // transactions from this one on began behind it; 0: not known yet
}

func (f *facts) move(oid uint32, from, to string) {
	if from == "" || from == to {
		return
	}
	m := move{From: slices.Clone(f.moved[oid].From), To: to}
	if !slices.Contains(m.From, from) {
		m.From = append(m.From, from)
	}
	f.moved[oid] = m
	f.dirty[catalog.FactKey{Kind: moveFact, OID: oid}] = true
}

// settled forgets the names of a table that is dropped, or that a command
// locked: whoever wrote to it before has ended.
func (f *facts) settled(oid uint32) {
	if _, there := f.moved[oid]; there {
		delete(f.moved, oid)
		f.dirty[catalog.FactKey{Kind: moveFact, OID: oid}] = true
	}
}

// outlive forgets moves where no transaction is left that was open at the move.
// The stream has come to a moment at which all before xmin had ended, and behind
// which next was the first to begin: the latter is what those of a later
// connection have to have passed.
func (f *facts) outlive(xmin, next uint64) {
	for oid, m := range f.moved {
		switch {
		case m.Until > 0 && xmin >= m.Until:
			f.settled(oid)
		case m.Until == 0 && next > 0:
			m.Until = next
			f.moved[oid] = m
			f.dirty[catalog.FactKey{Kind: moveFact, OID: oid}] = true
		}
	}
}

// movedSkipped looks for such a command in a transaction that is stored already.
func (r *renderer) movedSkipped(m pgoutput.Message) {
	if string(m.Prefix) != event.Prefix {
		return
	}
	if payload, ok := event.Verify(r.secret, m.Content); ok {
		if e, err := event.Parse(payload); err == nil {
			if end, ok := e.(*event.End); ok {
				r.moveTables(end.Moved, "")
			}
		}
	}
}
