package fold

import (
	"bytes"
	"hash/maphash"
	"slices"

	"pg_scribe/repo/segment"
)

// A Table is the changes of one table in a window.
type Table struct {
	w     *Window
	name  string
	shape Shape
	full  uint16 // the list of all columns

	key     []segment.Match // by which changes find rows; no values
	indexed bool            // slots has all entries
	bag     bool            // rows are counted
	all     []segment.Match // how changes compare each column of a complete row; IsNull: not known yet
	alike   int64           // memory that counted rows may take in sets
	lists   []*columns
	guess   uint16 // the list that was used last
	arena   arena
	entries []entry
	slots   []uint32 // hash table: number of an entry, counted from 1

	// Of the change that is being absorbed.
	keyText, newKey, row, other []byte
	fields, oldFields           [][]byte
}

// Empty says that nothing is to be done.
func (t *Table) Empty() bool { return len(t.entries) == 0 }

// Clear forgets the changes.
func (t *Table) Clear() {
	for _, chunk := range t.arena.chunks {
		t.w.size -= int64(len(chunk))
	}
	t.w.size -= int64(cap(t.entries))*entrySize + int64(len(t.slots))*4 + t.alike
	t.arena.clear(&t.w.spare, spareChunks)
	t.entries, t.slots, t.indexed, t.bag, t.alike = nil, nil, false, false, 0
	if len(t.lists) > mostLists/2 { // make room for other ones
		t.lists, t.guess = nil, 0
		t.full, _ = t.list(t.shape.Columns)
	}
}

// Absorb takes a change into the window. It returns false, and takes nothing,
// if the effect cannot be told.
func (t *Table) Absorb(c *segment.Change) bool {
	switch {
	case c.Op == segment.Insert:
		return t.AbsorbRow(c.Columns, c.New)
	case c.Op != segment.Update && c.Op != segment.Delete:
		return false
	case c.Full:
		return t.absorbWhole(c)
	case c.Op == segment.Update:
		return t.update(c)
	}
	return t.remove(c)
}

// AbsorbRow takes a row that is inserted into the window, as Absorb does.
func (t *Table) AbsorbRow(names [][]byte, values []segment.Value) bool {
	l, ok := t.list(names)
	if !ok || !t.lists[l].complete || len(names) != len(values) {
		return false
	}
	if t.row, ok = appendFields(t.row[:0], values); !ok {
		return false
	}
	if t.bag {
		if l == t.full {
			t.count(t.row, 1)
		}
		return l == t.full
	}
	if !t.indexed {
		t.add(entry{row: t.put(t.row), list: l, state: inserted})
		return true
	}
	t.fields = split(t.fields[:0], t.row)
	if t.keyText, ok = t.keyOf(t.keyText[:0], l, t.fields); !ok {
		return false
	}
	return t.insert(t.keyText, l, t.row)
}

// insert takes a complete row of a key.
func (t *Table) insert(key []byte, l uint16, row []byte) bool {
	hash := t.hash(key)
	i := t.find(key, hash)
	if i < 0 {
		t.add(entry{key: t.put(key), row: t.put(row), hash: hash, list: l, state: inserted})
		return true
	}
	e := &t.entries[i]
	switch e.state {
	case gone:
		e.state = inserted
	case deleted:
		e.state = replaced
	default:
		return false // there is one already
	}
	t.setRow(e, l, row)
	return true
}

func (t *Table) remove(c *segment.Change) bool {
	if !t.bind(c) {
		return false
	}
	hash := t.hash(t.keyText)
	i := t.find(t.keyText, hash)
	if i < 0 {
		t.add(entry{key: t.put(t.keyText), hash: hash, state: deleted})
		return true
	}
	return t.removed(&t.entries[i])
}

// removed takes a DELETE of a row that was changed before.
func (t *Table) removed(e *entry) bool {
	switch e.state {
	case inserted:
		e.state = gone
	case updated, replaced:
		e.state = deleted
	default:
		return false // there is none
	}
	return true
}

func (t *Table) update(c *segment.Change) (ok bool) {
	if !t.bind(c) || len(c.Columns) != len(c.New) {
		return false
	}
	l, ok := t.list(c.Columns)
	if !ok {
		return false
	}
	if t.row, ok = appendFields(t.row[:0], c.New); !ok {
		return false
	}
	i := t.find(t.keyText, t.hash(t.keyText))
	if t.lists[l].setsKey {
		t.fields = split(t.fields[:0], t.row)
		if !t.moved(l) {
			return false
		}
		if !bytes.Equal(t.newKey, t.keyText) {
			return t.move(i, l)
		}
	}
	if i < 0 {
		t.add(entry{key: t.put(t.keyText), row: t.put(t.row), hash: t.hash(t.keyText), list: l, state: updated})
		return true
	}
	e := &t.entries[i]
	if e.state == deleted || e.state == gone {
		return false
	}
	return t.merge(e, l)
}

// merge takes the columns of t.row over into a row that was changed before.
func (t *Table) merge(e *entry, l uint16) bool {
	if e.list == l {
		t.setRow(e, l, t.row)
		return true
	}
	m, ok := t.merging(e.list, l)
	if !ok {
		return false
	}
	t.combine(m, t.arena.bytes(e.row))
	t.setRow(e, m.list, t.other)
	return true
}

// combine puts an old row and the new values in t.row together, in t.other.
func (t *Table) combine(m merge, old []byte) {
	t.oldFields = split(t.oldFields[:0], old)
	t.fields = split(t.fields[:0], t.row)
	t.other = t.other[:0]
	for i, from := range m.from {
		if i > 0 {
			t.other = append(t.other, '\t')
		}
		if from >= 0 {
			t.other = append(t.other, t.fields[from]...)
		} else {
			t.other = append(t.other, t.oldFields[^from]...)
		}
	}
}

// moved makes the key that the row has behind an UPDATE with the columns of a
// list. Its values are in t.fields.
func (t *Table) moved(l uint16) bool {
	t.newKey = t.newKey[:0]
	t.oldFields = split(t.oldFields[:0], t.keyText)
	for i, at := range t.lists[l].key {
		field := t.oldFields[i]
		if at >= 0 {
			field = t.fields[at]
		}
		if isNull(field) {
			return false
		}
		if i > 0 {
			t.newKey = append(t.newKey, '\t')
		}
		t.newKey = append(t.newKey, field...)
	}
	return true
}

// move takes an UPDATE that changes the key: the old row goes and a new one
// comes, which has to be known as a whole. i is the old one's entry, or below
// zero; the new values are in t.fields.
func (t *Table) move(i int, l uint16) bool {
	if i >= 0 && (t.entries[i].state == deleted || t.entries[i].state == gone) {
		return false
	}
	if j := t.find(t.newKey, t.hash(t.newKey)); j >= 0 && t.entries[j].state != deleted && t.entries[j].state != gone {
		return false // there is one already
	}
	if !t.whole(i, l) {
		return false
	}
	if i < 0 {
		t.add(entry{key: t.put(t.keyText), hash: t.hash(t.keyText), state: deleted})
	} else {
		t.removed(&t.entries[i])
	}
	return t.insert(t.newKey, t.full, t.other)
}

// whole puts the complete row together in t.other: from new values, from those
// of changes before, and from the key.
func (t *Table) whole(i int, l uint16) bool {
	var known *columns
	if i >= 0 {
		known = t.lists[t.entries[i].list]
		t.oldFields = split(t.oldFields[:0], t.arena.bytes(t.entries[i].row))
	}
	keys := split(nil, t.keyText)
	t.other = t.other[:0]
	for n, name := range t.shape.Columns {
		var field []byte
		if at := index(t.lists[l].names, name); at >= 0 {
			field = t.fields[at]
		} else if at := indexIn(known, name); at >= 0 {
			field = t.oldFields[at]
		} else if at := t.keyIndex(name); at >= 0 {
			field = keys[at]
		} else {
			return false
		}
		if n > 0 {
			t.other = append(t.other, '\t')
		}
		t.other = append(t.other, field...)
	}
	return true
}

func indexIn(c *columns, name []byte) int {
	if c == nil {
		return -1
	}
	return index(c.names, name)
}

func index(names [][]byte, name []byte) int {
	return slices.IndexFunc(names, func(n []byte) bool { return bytes.Equal(n, name) })
}

func (t *Table) keyIndex(name []byte) int {
	return slices.IndexFunc(t.key, func(m segment.Match) bool { return bytes.Equal(m.Column, name) })
}

// The memory of a table is counted where it grows.

func (t *Table) put(text []byte) ref {
	r, grown := t.arena.put(&t.w.spare, text)
	t.w.size += grown
	return r
}

func (t *Table) setRow(e *entry, l uint16, row []byte) {
	e.list = l
	t.w.size += t.arena.set(&t.w.spare, &e.row, row)
}

// add appends an entry, to the hash table too if that is in use.
func (t *Table) add(e entry) {
	before := cap(t.entries)
	t.entries = append(t.entries, e)
	t.w.size += int64(cap(t.entries)-before) * entrySize
	if !t.indexed {
		return
	}
	if 4*len(t.entries) > 3*len(t.slots) {
		t.rehash()
		return
	}
	t.link(len(t.entries) - 1)
}

func (t *Table) link(i int) {
	mask := uint32(len(t.slots) - 1)
	at := t.entries[i].hash & mask
	for t.slots[at] != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = uint32(i + 1)
}

func (t *Table) rehash() {
	size := 16
	for 2*len(t.entries) > size {
		size *= 2
	}
	t.w.size += int64(size-len(t.slots)) * 4
	t.slots = make([]uint32, size)
	for i := range t.entries {
		t.link(i)
	}
}

// find returns the number of a key's entry, or -1.
func (t *Table) find(key []byte, hash uint32) int {
	if len(t.slots) == 0 {
		return -1
	}
	mask := uint32(len(t.slots) - 1)
	for at := hash & mask; t.slots[at] != 0; at = (at + 1) & mask {
		i := int(t.slots[at] - 1)
		if e := &t.entries[i]; e.hash == hash && bytes.Equal(t.arena.bytes(e.key), key) {
			return i
		}
	}
	return -1
}

func (t *Table) hash(key []byte) uint32 { return uint32(maphash.Bytes(t.w.seed, key)) }
