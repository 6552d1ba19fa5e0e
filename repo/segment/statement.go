package segment

import (
	"bytes"
	"encoding/hex"
	"strconv"
)

// A Kind is what an item of a file is. Those up to PieceRow are statements that
// stand on a line of their own in a transaction.
type Kind byte

const (
	Unknown       Kind = iota // no statement that segments have; see Reader.Unknown
	RowChange                 // see ParseChange, Reader.Change
	TruncateTable             // see ParseTruncate
	CopyBlock                 // begins one: see ParseCopy; read the rows with CopyData
	LargeObject               // a piece of one: see ParsePage
	Setting                   // SET LOCAL …: what the command behind it ran under
	Block                     // DO '…': makes what the command behind it needs of the cluster
	PieceTable                // made before a row with values that are too large for one statement, dropped behind it
	PieceRow                  // a piece of such a value

	Preamble     // SQL: a SET statement before the stream
	Begin        // Tx
	DDL          // SQL, Tag: a command, which may span lines
	Object       // Object: what the command before it made of one
	Commit       // LSN (behind the commit record)
	Origin       // Text (name), LSN: the commit time is another server's
	Author       // Author: whose session the transaction ran in
	RestorePoint // Text: its name
	Gap          // Text: what could not be captured
	Reached      // LSN, Time: nothing else happened up to here
	FrameStart   // a frame begins: see Frame
	End          // the trailer: see Reader.Trailer
	Statement    // SQL: of a dump, anything but COPY

	passedOver // nothing that Next returns
)

// pieceTable holds large values between their pieces and their row.
const pieceTable = "pg_temp.scribe_piece"

// prefixes are how statements begin. A piece comes first: it is
// an INSERT too.
var prefixes = []struct {
	text string
	kind Kind
}{
	{"INSERT INTO " + pieceTable + " ", PieceRow},
	{"INSERT INTO ", RowChange}, {"UPDATE ", RowChange}, {"DELETE FROM ", RowChange}, {"WITH d AS (DELETE FROM ", RowChange},
	{"COPY ", CopyBlock}, {"TRUNCATE ONLY ", TruncateTable}, {"SELECT pg_catalog.lo_put(", LargeObject},
	{"SET LOCAL ", Setting}, {"DO ", Block},
	{"CREATE TEMPORARY TABLE " + pieceTable + " ", PieceTable}, {"DROP TABLE " + pieceTable + ";", PieceTable},
}

// KindOf says what a line is by how it begins; what follows is not looked at.
func KindOf(line []byte) Kind {
	for i := range prefixes {
		f := &prefixes[i]
		if len(line) >= len(f.text) && line[0] == f.text[0] && string(line[:len(f.text)]) == f.text {
			return f.kind
		}
	}
	return Unknown
}

// A Truncate empties tables. Its names are quoted SQL.
type Truncate struct {
	Tables           [][]byte
	Restart, Cascade bool // RESTART IDENTITY, CASCADE
}

// AppendTruncate writes a TRUNCATE as a line of a segment.
func AppendTruncate(dst []byte, t *Truncate) []byte {
	for i, name := range t.Tables {
		if i == 0 {
			dst = append(dst, "TRUNCATE ONLY "...)
		} else {
			dst = append(dst, ", ONLY "...)
		}
		dst = append(dst, name...)
	}
	if t.Restart {
		dst = append(dst, " RESTART IDENTITY"...)
	}
	if t.Cascade {
		dst = append(dst, " CASCADE"...)
	}
	return append(dst, ";\n"...)
}

// ParseTruncate is the inverse of AppendTruncate. t points into line.
func ParseTruncate(line []byte, t *Truncate) error {
	p := parser{b: line}
	*t = Truncate{Tables: t.Tables[:0]}
	for next := "TRUNCATE ONLY "; p.word(next); next = ", ONLY " {
		name, ok := p.table()
		if !ok {
			return unknown(line, p.i)
		}
		t.Tables = append(t.Tables, name)
	}
	t.Restart = p.word(" RESTART IDENTITY")
	t.Cascade = p.word(" CASCADE")
	if len(t.Tables) == 0 || !p.end() {
		return unknown(line, p.i)
	}
	return nil
}

// A Copy is the line that begins a COPY block. Its names are quoted SQL.
type Copy struct {
	Table   []byte
	Columns [][]byte
}

const copyFrom = " FROM stdin;"

// AppendCopy writes the line that begins a COPY block.
func AppendCopy(dst []byte, c *Copy) []byte {
	dst = append(append(dst, "COPY "...), c.Table...)
	for i, name := range c.Columns {
		if i == 0 {
			dst = append(dst, " ("...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(dst, name...)
	}
	if len(c.Columns) > 0 {
		dst = append(dst, ')')
	}
	return append(append(dst, copyFrom...), '\n')
}

// ParseCopy is the inverse of AppendCopy. c points into line.
func ParseCopy(line []byte, c *Copy) error {
	p := parser{b: line}
	list := Change{Columns: c.Columns[:0]}
	*c = Copy{}
	ok := p.word("COPY ")
	if ok {
		c.Table, ok = p.table()
	}
	if !ok || bytes.HasPrefix(line[p.i:], []byte(" (")) && !p.columns(&list) || !p.word(copyFrom) || p.i != len(line) {
		return unknown(line, p.i)
	}
	c.Columns = list.Columns
	return nil
}

// A Page is a piece of a large object.
type Page struct {
	OID    uint32
	Offset int64
	Base64 []byte
}

// AppendPage writes a piece of a large object as a line of a segment.
func AppendPage(dst []byte, l *Page) []byte {
	dst = strconv.AppendUint(append(dst, "SELECT pg_catalog.lo_put("...), uint64(l.OID), 10)
	dst = strconv.AppendInt(append(dst, ", "...), l.Offset, 10)
	dst = append(append(dst, ", pg_catalog.decode('"...), l.Base64...)
	return append(dst, "', 'base64'));\n"...)
}

// ParsePage is the inverse of AppendPage. l points into line.
func ParsePage(line []byte, l *Page) error {
	p := parser{b: line}
	if !p.word("SELECT pg_catalog.lo_put(") {
		return unknown(line, p.i)
	}
	oid, ok1 := p.number()
	if !ok1 || !p.word(", ") {
		return unknown(line, p.i)
	}
	offset, ok2 := p.number()
	if !ok2 || !p.word(", pg_catalog.decode(") {
		return unknown(line, p.i)
	}
	data, ok := p.constant()
	if !ok || data.Form != Text || !p.word(", 'base64'))") || !p.end() {
		return unknown(line, p.i)
	}
	n, err1 := strconv.ParseUint(string(oid), 10, 32)
	at, err2 := strconv.ParseInt(string(offset), 10, 64)
	if err1 != nil || err2 != nil {
		return unknown(line, 0)
	}
	*l = Page{uint32(n), at, data.Text}
	return nil
}

// AppendPieceTable, AppendPiece and AppendPieceEnd write a value, the n-th of
// its row, that is too large for one statement: in pieces before the row, which
// has a Value of form Pieced in its place.
func AppendPieceTable(dst []byte) []byte {
	return append(dst, "CREATE TEMPORARY TABLE "+pieceTable+" (value int, n int, piece bytea);\n"...)
}

// AppendPiece writes piece number n of a value.
func AppendPiece(dst []byte, value, n int, piece []byte) []byte {
	dst = strconv.AppendInt(append(dst, "INSERT INTO "+pieceTable+" VALUES ("...), int64(value), 10)
	dst = strconv.AppendInt(append(dst, ", "...), int64(n), 10)
	dst = hex.AppendEncode(append(dst, `, '\x`...), piece)
	return append(dst, "');\n"...)
}

// AppendPieceEnd writes that the row is complete.
func AppendPieceEnd(dst []byte) []byte { return append(dst, "DROP TABLE "+pieceTable+";\n"...) }

// Check makes sure that a line has the form of its kind.
func Check(line []byte) error {
	p := parser{b: line}
	ok := false
	switch KindOf(line) {
	case RowChange:
		return ParseChange(line, &Change{})
	case TruncateTable:
		return ParseTruncate(line, &Truncate{})
	case CopyBlock:
		return ParseCopy(line, &Copy{})
	case LargeObject:
		return ParsePage(line, &Page{})
	case Setting:
		ok = p.setting() && p.end()
	case Block:
		ok = p.word("DO ")
		if ok {
			_, ok = p.constant()
		}
		ok = ok && p.end()
	case PieceTable, PieceRow:
		ok = p.piece() && p.end()
	}
	if !ok {
		return unknown(line, p.i)
	}
	return nil
}

// setting reads SET LOCAL NAME = a list of constants and names, or of a role.
func (p *parser) setting() bool {
	if p.word("SET LOCAL ROLE ") {
		_, ok := p.column()
		return ok
	}
	if !p.word("SET LOCAL ") {
		return false
	}
	if _, ok := p.table(); !ok || !p.word(" = ") {
		return false
	}
	for {
		_, ok := p.constant()
		if !ok {
			_, ok = p.column()
		}
		if !ok {
			return false
		}
		if !p.word(", ") {
			return true
		}
	}
}

func (p *parser) piece() bool {
	if p.word("CREATE TEMPORARY TABLE "+pieceTable+" (value int, n int, piece bytea)") || p.word("DROP TABLE "+pieceTable) {
		return true
	}
	if !p.word("INSERT INTO " + pieceTable + " VALUES (") {
		return false
	}
	if _, ok := p.number(); !ok || !p.word(", ") {
		return false
	}
	if _, ok := p.number(); !ok || !p.word(", ") {
		return false
	}
	v, ok := p.constant()
	return ok && v.Form == Text && bytes.HasPrefix(v.Text, []byte(`\x`)) && p.word(")")
}
