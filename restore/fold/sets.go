package fold

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"pg_scribe/repo/segment"
)

// A Set is rows to which the same is to be done. It is valid until its table
// absorbs or forgets something.
type Set struct {
	Op   segment.Op // Delete, Update or Insert
	t    *Table
	list uint16 // of Update and Insert
	at   []uint32
	rows int // of the table

	values []segment.Value
	keys   []segment.Match
	fields [][]byte
}

// Sets returns what there is to do, in the order in which it has to be done.
func (t *Table) Sets() []*Set {
	deletes := &Set{Op: segment.Delete, t: t}
	updates, inserts := make([]*Set, len(t.lists)), make([]*Set, len(t.lists))
	into := func(sets []*Set, op segment.Op, i int, l uint16) {
		if sets[l] == nil {
			sets[l] = &Set{Op: op, t: t, list: l}
		}
		sets[l].at = append(sets[l].at, uint32(i))
	}
	remove := func(i, rows int) { deletes.at, deletes.rows = append(deletes.at, uint32(i)), deletes.rows+rows }
	for i := range t.entries {
		switch e := &t.entries[i]; e.state {
		case inserted:
			into(inserts, segment.Insert, i, e.list)
		case updated:
			into(updates, segment.Update, i, e.list)
		case deleted:
			remove(i, 1)
		case replaced:
			remove(i, 1)
			into(inserts, segment.Insert, i, e.list)
		case counted:
			if e.need > 0 {
				remove(i, int(e.need))
			}
			for range e.need + e.more {
				into(inserts, segment.Insert, i, e.list)
			}
		}
	}
	var sets []*Set
	for _, list := range [][]*Set{{deletes}, updates, inserts} {
		for _, s := range list {
			if s != nil && len(s.at) > 0 {
				sets = append(sets, s)
			}
		}
	}
	return sets
}

// Len is how many rows there are.
func (s *Set) Len() int { return len(s.at) }

// Rows is how many rows of the table an Update or a Delete has to change.
func (s *Set) Rows() int {
	if s.Op == segment.Delete {
		return s.rows
	}
	return len(s.at)
}

// Apart says that rows of an UPDATE may stand in each other's way, because
// another index than the key's keeps them apart.
func (s *Set) Apart() bool { return s.Op == segment.Update && s.t.shape.Unique > 1 }

// AppendRow writes a row for COPY: of an Insert into the table itself, else into
// a stage.
func (s *Set) AppendRow(dst []byte, n int) []byte {
	e := &s.t.entries[s.at[n]]
	if s.Op != segment.Insert {
		dst = append(dst, s.t.arena.bytes(e.key)...)
	}
	if s.Op == segment.Update {
		dst = append(dst, '\t')
	}
	if s.Counted() {
		dst = strconv.AppendInt(append(dst, '\t'), int64(e.need), 10)
	}
	if s.Op != segment.Delete {
		dst = append(dst, s.t.arena.bytes(e.row)...)
	}
	return append(dst, '\n')
}

// Change makes one row, which is not counted, the change that it is by itself. It
// is valid until the next call.
func (s *Set) Change(n int, c *segment.Change) {
	e := &s.t.entries[s.at[n]]
	*c = segment.Change{Op: s.Op, Table: []byte(s.t.name), Only: s.Op != segment.Insert}
	if s.Op != segment.Delete {
		s.fields = split(s.fields[:0], s.t.arena.bytes(e.row))
		s.values = s.values[:0]
		for _, f := range s.fields {
			s.values = append(s.values, value(f))
		}
		c.Columns, c.New = s.t.lists[s.list].names, s.values
	}
	if s.Op == segment.Insert {
		return
	}
	s.keys = append(s.keys[:0], s.t.key...)
	s.fields = split(s.fields[:0], s.t.arena.bytes(e.key))
	for i, f := range s.fields {
		s.keys[i].Value = value(f)
	}
	c.Key = s.keys
}

func value(field []byte) segment.Value {
	if isNull(field) {
		return segment.Value{}
	}
	return segment.Value{Form: segment.Copied, Text: field}
}

// Copy is the statement that brings the rows of an Insert.
func (s *Set) Copy() string {
	text := segment.AppendCopy(nil, &segment.Copy{Table: []byte(s.t.name), Columns: s.t.lists[s.list].names})
	return string(bytes.TrimSuffix(text, []byte("\n")))
}

// Stage is the query whose columns those of a stage have to be: a table for the
// keys to delete, or the keys and values to update.
func (s *Set) Stage() string {
	if s.Counted() {
		return s.countedStage()
	}
	var columns []string
	for i := range s.t.key {
		columns = append(columns, fmt.Sprintf("%s AS k%d", s.t.key[i].Column, i+1))
	}
	if s.Op == segment.Update {
		for i, name := range s.t.lists[s.list].names {
			columns = append(columns, fmt.Sprintf("%s AS v%d", name, i+1))
		}
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM ONLY " + s.t.name
}

// Apply is the statement that does to the table what stands in a stage, to as
// many rows as the set has.
func (s *Set) Apply(stage string) string {
	switch {
	case s.Counted():
		return s.removeCounted(stage)
	case s.Op == segment.Delete:
		return s.remove(stage)
	}
	var set []string
	for i, name := range s.t.lists[s.list].names {
		set = append(set, fmt.Sprintf("%s = s.v%d", name, i+1))
	}
	return "UPDATE ONLY " + s.t.name + " AS t SET " + strings.Join(set, ", ") + " FROM " + s.join(stage)
}

func (s *Set) remove(stage string) string {
	return "DELETE FROM ONLY " + s.t.name + " AS t USING " + s.join(stage)
}

// join finds the rows of a stage in the table.
func (s *Set) join(stage string) string {
	var where []string
	for i := range s.t.key {
		m := &s.t.key[i]
		where = append(where, fmt.Sprintf("t.%s %s", m.Column, equals(m, fmt.Sprintf("s.k%d", i+1))))
	}
	return stage + " AS s WHERE " + strings.Join(where, " AND ")
}

// equals is the comparison with a value by a type's equality.
func equals(m *segment.Match, value string) string {
	operator := "="
	if len(m.Operator) > 0 {
		operator = string(m.Operator)
	}
	if len(m.Cast) > 0 {
		value += "::" + string(m.Cast)
	}
	return operator + " " + value
}

// Rows to update that may stand in each other's way (Apart) are all taken out of
// the table, with their new values, before the first of them comes back.

// Whole is the query whose columns those of a table for such rows have to be.
func (t *Table) Whole() string {
	var columns []string
	for i, name := range t.shape.Columns {
		columns = append(columns, fmt.Sprintf("%s AS c%d", name, i+1))
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM ONLY " + t.name
}

// TakeOut is the statement that takes the rows of an Update out.
func (s *Set) TakeOut(stage, whole string) string {
	var out, in []string
	for i, name := range s.t.shape.Columns {
		in = append(in, fmt.Sprintf("c%d", i+1))
		if at := index(s.t.lists[s.list].names, name); at >= 0 {
			out = append(out, fmt.Sprintf("s.v%d AS c%d", at+1, i+1))
		} else {
			out = append(out, fmt.Sprintf("t.%s AS c%d", name, i+1))
		}
	}
	return "WITH d AS (" + s.remove(stage) + " RETURNING " + strings.Join(out, ", ") + ") INSERT INTO " + whole + " SELECT " + strings.Join(in, ", ") + " FROM d"
}

// PutBack is the statement that brings them back.
func (t *Table) PutBack(whole string) string {
	var into, out []string
	for i, name := range t.shape.Columns {
		into, out = append(into, string(name)), append(out, fmt.Sprintf("c%d", i+1))
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(into, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(out, ", ") + " FROM " + whole
}
