package schema

import (
	"slices"

	"pg_scribe/catalog"
)

// A move is from names that a table's schema had to the one that it has.
type move struct {
	From  []string
	To    string
	Until uint64 // transactions from this one on began behind it; 0: not known yet
}

func (s *State) Move(oid uint32, from, to string) {
	if from == "" || from == to {
		return
	}
	m := move{From: slices.Clone(s.moved[oid].From), To: to}
	if !slices.Contains(m.From, from) {
		m.From = append(m.From, from)
	}
	s.moved[oid] = m
	s.dirty[catalog.StateKey{Kind: moveState, OID: oid}] = true
}

// Settled forgets the names of a table that is dropped, or that a command
// locked: whoever wrote to it before has ended.
func (s *State) Settled(oid uint32) {
	if _, there := s.moved[oid]; there {
		delete(s.moved, oid)
		s.dirty[catalog.StateKey{Kind: moveState, OID: oid}] = true
	}
}

// outlive forgets moves where no transaction is left that was open at the move.
// The stream has come to a moment at which all before xmin had ended, and behind
// which next was the first to begin: the latter is what those of a later
// connection have to have passed.
func (s *State) outlive(xmin, next uint64) {
	for oid, m := range s.moved {
		switch {
		case m.Until > 0 && xmin >= m.Until:
			s.Settled(oid)
		case m.Until == 0 && next > 0:
			m.Until = next
			s.moved[oid] = m
			s.dirty[catalog.StateKey{Kind: moveState, OID: oid}] = true
		}
	}
}

// Renamed is the name that a table's schema has, given one that it had.
func (s *State) Renamed(oid uint32, schema string) string {
	if m, ok := s.moved[oid]; ok && slices.Contains(m.From, schema) {
		return m.To
	}
	return schema
}
