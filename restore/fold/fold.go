// Package fold finds the net effect of row changes: of all changes to a row
// since a window began, what is left to do to a database that had none of them.
//
// A Window absorbs typed changes (segment.Change), table by table, and gives
// them back as sets: keys of rows to delete, rows to update, rows to insert,
// to be applied in this order. A row is known by its key: the text of the
// columns by which an UPDATE or a DELETE finds it. If these are all columns,
// rows that are alike are counted. Where the effect cannot be
// told exactly from the changes alone, Absorb refuses, and nothing of the
// change is taken: whoever calls then applies the table's sets, and after them
// the change as it stands.
//
// What it guarantees: the sets of a table, applied to a database in which its
// changes could be applied one after another, make the same rows. What it must
// not know: servers. It writes the SQL of the sets, and sends nothing.
package fold

import "hash/maphash"

// A Shape is what a table is in the database that the sets are for. Names are
// quoted as in the changes.
type Shape struct {
	Columns [][]byte   // that a row to insert has
	Keys    [][][]byte // lists of columns that no two rows have the same values in, at any moment
	Unique  int        // how many indexes keep rows apart, these and others
}

// A Window is a number of changes. It is for one goroutine.
type Window struct {
	size  int64
	spare [][]byte
	seed  maphash.Seed
}

// spareChunks is how many pieces of memory a window keeps for what comes next.
const spareChunks = 1024

// New makes a window without changes.
func New() *Window { return &Window{seed: maphash.MakeSeed()} }

// Bytes is the memory that the changes of all tables take.
func (w *Window) Bytes() int64 { return w.size }

// Table makes room for changes of a table, named as they name it.
func (w *Window) Table(name []byte, shape Shape) *Table {
	t := &Table{w: w, name: string(name), shape: shape}
	t.full, _ = t.list(shape.Columns)
	return t
}

// A state is what there is to do about the row of a key.
type state byte

const (
	inserted state = iota // the database has no such row, one is to be inserted
	updated               // columns of its row are to be set
	deleted               // its row is to be deleted
	replaced              // … and another one inserted
	gone                  // inserted and deleted again: it has no such row
	counted               // rows that are alike in all columns: see need and more
)

// entry is one row. Its texts are as in a row of COPY, with tabs between values.
type entry struct {
	key, row ref
	hash     uint32
	list     uint16 // the columns of row
	state    state

	// Of counted rows: how many the database must have had, and how many more it has then.
	need, more int32
}

const entrySize = 48

// columns is a list of names that changes have.
type columns struct {
	names    [][]byte
	key      []int // for each column of the key its place among the names, or -1
	setsKey  bool  // some column of the key is there
	complete bool  // a row of them can be inserted
	merges   map[uint16]merge
}

// merge is how a row with some columns takes values of others over.
type merge struct {
	list uint16 // of the result
	from []int  // for each of its columns its place in the new values, or, below zero, ^place in the old ones
}

// mostLists is how many lists of columns a table may have in a window: those of rows with
// values that an UPDATE left alone make many.
const mostLists = 200
