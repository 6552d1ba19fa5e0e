package fold

import (
	"bytes"
	"slices"

	"pg_scribe/repo/segment"
)

// bind makes the key of a change, in t.keyText, if the table can find rows by
// its columns.
func (t *Table) bind(c *segment.Change) bool {
	if !c.Only || t.bag || len(c.Key) == 0 {
		return false
	}
	if t.key == nil && !t.learn(c.Key) || len(c.Key) != len(t.key) {
		return false
	}
	t.keyText = t.keyText[:0]
	for i := range c.Key {
		m, known := &c.Key[i], &t.key[i]
		if m.How != segment.Equal || m.Value.Form == segment.Pieced || m.Value.Form == segment.Null ||
			!bytes.Equal(m.Column, known.Column) || !bytes.Equal(m.Operator, known.Operator) || !bytes.Equal(m.Cast, known.Cast) {
			return false
		}
		if i > 0 {
			t.keyText = append(t.keyText, '\t')
		}
		t.keyText = appendField(t.keyText, m.Value)
	}
	return t.indexed || t.index()
}

// learn takes the columns of a key over, if no two rows can have the same.
func (t *Table) learn(key []segment.Match) bool {
	has := func(name []byte) bool {
		return slices.ContainsFunc(key, func(m segment.Match) bool { return bytes.Equal(m.Column, name) })
	}
	usable := slices.ContainsFunc(t.shape.Keys, func(names [][]byte) bool {
		return len(names) == len(key) && !slices.ContainsFunc(names, func(name []byte) bool { return !has(name) })
	})
	if !usable {
		return false
	}
	for i := range key {
		m := &key[i]
		t.key = append(t.key, segment.Match{Column: bytes.Clone(m.Column), How: segment.Equal, Operator: bytes.Clone(m.Operator), Cast: bytes.Clone(m.Cast)})
	}
	for _, l := range t.lists {
		t.place(l)
	}
	return true
}

// place finds the columns of the key in a list.
func (t *Table) place(l *columns) {
	l.key, l.setsKey = l.key[:0], false
	for i := range t.key {
		at := index(l.names, t.key[i].Column)
		l.key = append(l.key, at)
		l.setsKey = l.setsKey || at >= 0
	}
}

// index brings rows that were inserted so far into the hash table. Two with one
// key, or one without, are not for us to judge.
func (t *Table) index() bool {
	for i := range t.entries {
		e := &t.entries[i]
		t.fields = split(t.fields[:0], t.arena.bytes(e.row))
		var ok bool
		if t.other, ok = t.keyOf(t.other[:0], e.list, t.fields); !ok {
			return t.unindex()
		}
		e.key, e.hash = t.put(t.other), t.hash(t.other)
	}
	t.slots = nil
	t.rehash()
	for i := range t.entries {
		if e := &t.entries[i]; t.find(t.arena.bytes(e.key), e.hash) != i {
			return t.unindex()
		}
	}
	t.indexed = true
	return true
}

func (t *Table) unindex() bool {
	t.w.size -= int64(len(t.slots)) * 4
	t.slots = nil
	return false
}

// keyOf appends the key of a complete row.
func (t *Table) keyOf(dst []byte, l uint16, fields [][]byte) ([]byte, bool) {
	for i, at := range t.lists[l].key {
		if at < 0 || isNull(fields[at]) {
			return dst, false
		}
		if i > 0 {
			dst = append(dst, '\t')
		}
		dst = append(dst, fields[at]...)
	}
	return dst, true
}

// list returns the number of a list of columns.
func (t *Table) list(names [][]byte) (uint16, bool) {
	if int(t.guess) < len(t.lists) && slices.EqualFunc(t.lists[t.guess].names, names, bytes.Equal) {
		return t.guess, true
	}
	for i, l := range t.lists {
		if slices.EqualFunc(l.names, names, bytes.Equal) {
			t.guess = uint16(i)
			return t.guess, true
		}
	}
	if len(t.lists) == mostLists || len(names) == 0 {
		return 0, false
	}
	l := &columns{complete: len(names) == len(t.shape.Columns), merges: map[uint16]merge{}}
	for _, name := range names {
		l.names = append(l.names, bytes.Clone(name))
		l.complete = l.complete && index(t.shape.Columns, name) >= 0
	}
	t.place(l)
	t.lists = append(t.lists, l)
	t.guess = uint16(len(t.lists) - 1)
	return t.guess, true
}

// merging says how a row with the columns of one list takes those of another over.
func (t *Table) merging(old, new uint16) (merge, bool) {
	a, b := t.lists[old], t.lists[new]
	if m, ok := a.merges[new]; ok {
		return m, true
	}
	names, from := [][]byte(nil), []int(nil)
	for i, name := range a.names {
		at := index(b.names, name)
		if at < 0 {
			at = ^i
		}
		names, from = append(names, name), append(from, at)
	}
	for i, name := range b.names {
		if index(a.names, name) < 0 {
			names, from = append(names, name), append(from, i)
		}
	}
	l, ok := t.list(names)
	if !ok {
		return merge{}, false
	}
	a.merges[new] = merge{l, from}
	return a.merges[new], true
}

// Values stand as COPY's text format writes them, so that equal texts are equal values.

func appendFields(dst []byte, values []segment.Value) ([]byte, bool) {
	for i, v := range values {
		if v.Form == segment.Pieced {
			return dst, false
		}
		if i > 0 {
			dst = append(dst, '\t')
		}
		dst = appendField(dst, v)
	}
	return dst, true
}

func appendField(dst []byte, v segment.Value) []byte {
	// The first byte of a row may stand as a number there, and only there.
	if v.Form == segment.Copied && len(v.Text) > 1 && v.Text[0] == '\\' && v.Text[1] >= '0' && v.Text[1] <= '3' {
		v = segment.Value{Form: segment.Text, Text: v.Decode(nil)}
	}
	return segment.AppendField(dst, v)
}

func isNull(field []byte) bool { return string(field) == `\N` }

// split appends the values of a row, which point into it.
func split(fields [][]byte, row []byte) [][]byte {
	for {
		n := bytes.IndexByte(row, '\t')
		if n < 0 {
			return append(fields, row)
		}
		fields = append(fields, row[:n])
		row = row[n+1:]
	}
}
