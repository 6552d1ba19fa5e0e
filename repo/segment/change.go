package segment

import (
	"pg_scribe/internal/sqltext"
)

// An Op is what a change does to its row.
type Op byte

const (
	Insert  Op = iota
	Update     // sets columns
	Delete     //
	Replace    // gives an identity column that cannot be SET its value, by a row in place of the row
)

// A Change is a statement that changes one row. Table and the names of columns
// are SQL, quoted as they are written.
//
// What ParseChange filled points into the line that it read, and is valid as
// long as that is. A Change may be used again and again: its slices are.
type Change struct {
	Op      Op
	Table   []byte
	Only    bool     // UPDATE and DELETE leave children alone; false: Table has partitions
	Columns [][]byte // Insert, Replace: all of the table; Update: those that it sets
	New     []Value  // of these; Replace: of the identity column alone
	Key     []Match  // finds the row, but for Insert
	Full    bool     // Key is the complete row, of which several may be alike: one of them changes
	At      int      // Replace: the identity column among Columns
}

// A Form is how a value is written.
type Form byte

const (
	Null    Form = iota
	Text         // the value itself; any value of a Change that is to be written
	Quoted       // what stands between '…', with doubled quotes
	Escaped      // what stands between E'…'
	Copied       // what stands in a row of a COPY block, with escapes
	Pieced       // a number: the value was written in pieces before, see AppendPiece
)

// A Value is a column's value in the server's text form.
type Value struct {
	Form Form
	Text []byte
}

// A How is the way in which a column's old value is compared.
type How byte

const (
	IsNull      How = iota
	NotDistinct     // IS NOT DISTINCT FROM NULL: IS NULL would hold for a composite value of NULLs too
	Equal           // by the type's equality
	Printed         // by its text
	Both            // by its equality, for the index, and its text, which decides
)

// A Match is a condition on one column.
type Match struct {
	Column   []byte
	How      How
	Operator []byte // of Equal and Both: OPERATOR(schema.=); empty: =
	Cast     []byte // of Equal and Both: a type's name; empty: none
	Bytes    bool   // of Printed and Both: whatever the column's collation takes for equal
	Value    Value
}

// AppendChange writes a change as a line of a segment. It is the inverse of
// ParseChange.
func AppendChange(dst []byte, c *Change) []byte {
	w := writer{dst: dst}
	w.change(c)
	return append(w.dst, '\n')
}

// AppendTemplate writes a change with $1, $2, … in place of its values, so that
// a server has to prepare only one statement for many rows, and appends the
// values in that order.
func AppendTemplate(dst []byte, values []Value, c *Change) ([]byte, []Value) {
	w := writer{dst: dst, values: values, params: true}
	w.change(c)
	return w.dst, w.values
}

// writer writes one change.
type writer struct {
	dst    []byte
	params bool
	values []Value
}

func (w *writer) text(s string)  { w.dst = append(w.dst, s...) }
func (w *writer) bytes(b []byte) { w.dst = append(w.dst, b...) }

func (w *writer) change(c *Change) {
	switch c.Op {
	case Insert:
		w.insert(c)
	case Update:
		w.text("UPDATE ")
		w.target(c)
		w.text(" SET ")
		for i, name := range c.Columns {
			if i > 0 {
				w.text(", ")
			}
			w.bytes(name)
			w.text(" = ")
			w.value(&c.New[i])
		}
		w.where(c)
	case Delete:
		w.text("DELETE FROM ")
		w.target(c)
		w.where(c)
	case Replace:
		w.replace(c)
	}
	w.dst = append(w.dst, ';')
}

func (w *writer) target(c *Change) {
	if c.Only {
		w.text("ONLY ")
	}
	w.bytes(c.Table)
}

func (w *writer) columns(c *Change) {
	dst := append(w.dst, " ("...)
	for i, name := range c.Columns {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, name...)
	}
	w.dst = append(dst, ')')
}

const (
	insertInto   = "INSERT INTO "
	insertValues = " OVERRIDING SYSTEM VALUE VALUES ("
)

// insert writes one row. OVERRIDING SYSTEM VALUE has no effect on a table
// without identity columns.
func (w *writer) insert(c *Change) {
	w.text(insertInto)
	w.bytes(c.Table)
	if len(c.Columns) == 0 {
		w.text(" DEFAULT VALUES")
		return
	}
	w.columns(c)
	w.text(insertValues)
	w.list(c.New)
	w.text(")")
}

// list writes the values of an INSERT.
func (w *writer) list(row []Value) {
	for i := range row {
		if i > 0 {
			w.text(", ")
		}
		w.value(&row[i])
	}
}

// AppendInsertHead writes what all INSERTs into some columns, one at least, begin
// with.
func AppendInsertHead(dst, table []byte, columns [][]byte) []byte {
	w := writer{dst: append(append(dst, insertInto...), table...)}
	w.columns(&Change{Columns: columns})
	return append(w.dst, insertValues...)
}

// AppendInsert writes an INSERT that begins with such a head, which is what
// AppendChange would write.
func AppendInsert(dst, head []byte, row []Value) []byte {
	dst = append(dst, head...)
	for i := range row {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = row[i].append(dst)
	}
	return append(dst, ");\n"...)
}

// replace deletes the row and inserts it again, if it has another value.
func (w *writer) replace(c *Change) {
	w.text("WITH d AS (DELETE FROM ")
	w.target(c)
	w.where(c)
	w.text(" AND ")
	w.bytes(c.Columns[c.At])
	w.text(" IS DISTINCT FROM ")
	w.value(&c.New[0])
	w.text(" RETURNING *) INSERT INTO ")
	w.bytes(c.Table)
	w.columns(c)
	w.text(" OVERRIDING SYSTEM VALUE SELECT ")
	for i, name := range c.Columns {
		if i > 0 {
			w.text(", ")
		}
		if i == c.At {
			w.value(&c.New[0])
		} else {
			w.text("d.")
			w.bytes(name)
		}
	}
	w.text(" FROM d")
}

// where finds one row.
func (w *writer) where(c *Change) {
	if c.Full {
		if c.Only {
			w.text(" WHERE ctid = (SELECT ctid FROM ")
		} else {
			w.text(" WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM ")
		}
		w.target(c)
	}
	for i := range c.Key {
		if i == 0 {
			w.text(" WHERE ")
		} else {
			w.text(" AND ")
		}
		w.match(&c.Key[i])
	}
	if c.Full {
		w.text(" LIMIT 1)")
	}
}

func (w *writer) match(m *Match) {
	switch m.How {
	case IsNull:
		w.bytes(m.Column)
		w.text(" IS NULL")
		return
	case NotDistinct:
		w.bytes(m.Column)
		w.text(" IS NOT DISTINCT FROM NULL")
		return
	case Equal, Both:
		w.bytes(m.Column)
		if len(m.Operator) > 0 {
			w.text(" ")
			w.bytes(m.Operator)
			w.text(" ")
		} else {
			w.text(" = ")
		}
		w.value(&m.Value)
		if len(m.Cast) > 0 {
			w.text("::")
			w.bytes(m.Cast)
		}
		if m.How == Equal {
			return
		}
		w.text(" AND ")
	}
	w.text("format('%s', ")
	w.bytes(m.Column)
	if m.Bytes {
		w.text(byBytes)
	} else {
		w.text(byCollation)
	}
	w.value(&m.Value)
}

// What stands behind the name of a column that is compared as it is printed.
// Version 1 compared by the column's collation, which may take other strings for equal.
const (
	byBytes     = ") COLLATE \"C\" = "
	byCollation = ") = "
)

const (
	pieceBefore = "(SELECT pg_catalog.string_agg(piece, '' ORDER BY n) FROM " + pieceTable + " WHERE value = "
	pieceBehind = ")"
)

func (w *writer) value(v *Value) {
	if w.params && v.Form != Pieced {
		w.values = append(w.values, *v)
		w.dst = appendPlaceholder(w.dst, len(w.values))
		return
	}
	w.dst = v.append(w.dst)
}

func appendPlaceholder(dst []byte, n int) []byte {
	if n < 10 {
		return append(dst, '$', '0'+byte(n))
	}
	return append(appendPlaceholder(dst, n/10), '0'+byte(n%10))
}

// append writes the value as a constant, or as the expression that it is.
func (v *Value) append(dst []byte) []byte {
	switch v.Form {
	case Text: // nearly all of them
		return sqltext.AppendLiteral(dst, v.Text)
	case Null:
		return append(dst, "NULL"...)
	case Pieced:
		dst = append(append(dst, pieceBefore...), v.Text...)
		return append(dst, pieceBehind...)
	case Copied:
		return sqltext.AppendLiteral(dst, v.Decode(nil))
	case Escaped:
		dst = append(dst, 'E')
	}
	dst = append(append(dst, '\''), v.Text...)
	return append(dst, '\'')
}

// Decode appends the value itself, nothing for NULL.
func (v Value) Decode(dst []byte) []byte {
	s := v.Text
	if v.Form == Null {
		return dst
	}
	switch v.Form {
	case Text, Pieced:
		return append(dst, s...)
	case Copied:
		return decodeCopied(dst, s)
	}
	for {
		n := v.special(s)
		if n < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:n]...)
		switch b := s[n+1]; {
		case s[n] == '\\' && b == 'n':
			dst = append(dst, '\n')
		case s[n] == '\\' && b == 'r':
			dst = append(dst, '\r')
		default: // a doubled quote or backslash
			dst = append(dst, b)
		}
		s = s[n+2:]
	}
}

// special is the index of the next byte that begins an escape, or -1.
func (v Value) special(s []byte) int {
	for i, b := range s {
		if b == '\'' || b == '\\' && v.Form == Escaped {
			return i
		}
	}
	return -1
}
