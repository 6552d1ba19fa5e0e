package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// A Tx is a transaction of the source.
type Tx struct {
	XID    uint32
	Commit catalog.LSN // of its commit record
	At     time.Time   // of its commit
}

// An Item is one element of a  SQL, and what is parsed of it, is valid
// until the next call of Next.
type Item struct {
	Kind   Kind
	SQL    []byte // without its line end, with its semicolon
	Tx     Tx     // that it belongs to; zero: it stands between transactions
	LSN    catalog.LSN
	Time   time.Time
	Text   string
	Tag    string
	Line   int64 // first line of the item in the segment's text
	Offset int64 // of that line, in bytes
}

// String is the item on one line or more, for a person.
func (i Item) String() string {
	switch i.Kind {
	case Begin:
		return fmt.Sprintf("begin %d %s %s", i.Tx.XID, i.Tx.Commit, FormatTime(i.Tx.At))
	case DDL:
		return "ddl " + i.Tag + ": " + string(i.SQL)
	case Commit:
		return "commit " + i.LSN.String()
	case Origin:
		return fmt.Sprintf("origin %s %q", i.LSN, i.Text)
	case RestorePoint:
		return fmt.Sprintf("mark %q", i.Text)
	case Gap:
		return fmt.Sprintf("gap %q", i.Text)
	case Reached:
		return "reached " + i.LSN.String() + " " + FormatTime(i.Time)
	case End:
		return "end " + i.LSN.String()
	}
	return "sql " + string(i.SQL)
}

// A Reader reads the text of a segment item by item. It checks the framing as it
// goes; a FormatError names file and line.
type Reader struct {
	Header  Header
	Trailer Trailer // valid behind the item of kind End

	lines  *Lines
	inTx   bool
	stream bool        // behind the preamble
	open   bool        // an open segment has no trailer
	at     catalog.LSN // where the last thing read ends; in a transaction, its commit record
	txs    int64       // read so far
	copy   []byte      // the COPY statement, while its rows are read
	tx     Tx

	change   Change
	truncate Truncate
}

// NewReader reads the header. open says that the text may end without
// a trailer, between two transactions. Close closes what is given to close.
func NewReader(name string, src io.Reader, open bool, closers ...io.Closer) (*Reader, error) {
	r := &Reader{lines: NewLines(name, src, closers...), open: open}
	var err error
	if r.Header, err = r.lines.ReadHeader(catalog.KindSegment); err != nil {
		return nil, err
	}
	r.at = r.Header.Start
	return r, nil
}

// CopyData is the rows of the COPY block just begun, in COPY's text format,
// without the line that ends them. Next passes over what is not read of them.
func (r *Reader) CopyData() io.Reader { return r.lines.CopyData() }

// Row returns the next row of the COPY block just begun, appended to row and valid
// until the next call of any method, and io.EOF behind the last one. It is not for
// whoever reads a part of the rows by CopyData.
func (r *Reader) Row(row []Value) ([]Value, error) {
	line, err := r.lines.copyLine()
	if err != nil {
		return row, err
	}
	if row, err = ParseRow(line, row); err != nil {
		return row, r.lines.Failf("%v", err)
	}
	return row, nil
}

// Reached is the position up to which the text was read; in a transaction, that
// of its commit record.
func (r *Reader) Reached() catalog.LSN { return r.at }

// Offset is how much of the text was read.
func (r *Reader) Offset() int64 { return r.lines.Offset() }

// Close closes what the reader was given to close.
func (r *Reader) Close() error { return r.lines.Close() }

// Next returns the next item. Behind the last one it returns io.EOF.
func (r *Reader) Next() (Item, error) {
	if r.lines.ended {
		return Item{}, io.EOF
	}
	if err := r.lines.SkipCopy(); err != nil {
		return Item{}, err
	}
	line, err := r.lines.ReadLine()
	if errors.Is(err, io.EOF) && r.open && !r.inTx && r.stream {
		r.lines.ended = true
		return Item{}, io.EOF
	}
	if err != nil {
		return Item{}, r.lines.Fault(err)
	}
	item := Item{Line: r.lines.line, Offset: r.lines.Offset() - int64(len(line)) - 1, Tx: r.tx}
	switch {
	case !r.stream:
		item.Kind, item.SQL = Preamble, line
		if string(line) == ownPrefix+"stream" {
			r.stream = true
			return r.Next()
		}
		if !bytes.HasPrefix(line, []byte("SET ")) || line[len(line)-1] != ';' {
			return item, r.lines.Failf("the preamble holds something else than SET")
		}
		return item, nil
	case isOwn(line):
		return r.framing(item, line)
	case !r.inTx:
		return item, r.lines.Failf("a statement stands outside of a transaction")
	case len(line) == 0 || line[len(line)-1] != ';':
		return item, r.lines.Failf("a statement does not end with its line")
	}
	return r.statement(item, line)
}

// statement reads one that stands on a line of its own. Of a change only the
// beginning is looked at: Change reads the rest.
func (r *Reader) statement(item Item, line []byte) (Item, error) {
	kind := KindOf(line)
	if kind == RowChange || kind == Unknown {
		item.Kind, item.SQL = kind, line
		return item, nil
	}
	err := Check(line)
	switch {
	case err != nil && kind == CopyBlock:
		return item, r.lines.Failf("malformed COPY: %v", err)
	case err != nil:
		return item, r.lines.Failf("%v", err)
	}
	item.Kind, item.SQL = kind, line
	if kind == CopyBlock {
		// Reading the rows overwrites line.
		r.copy = append(r.copy[:0], line...)
		item.SQL = r.copy
		r.lines.BeginCopy()
	}
	return item, nil
}

// Change reads an item of kind RowChange. The result is valid until the next
// call of Change or Next.
func (r *Reader) Change(item Item) (*Change, error) {
	if err := ParseChange(item.SQL, &r.change); err != nil {
		return nil, &FormatError{File: r.lines.name, Line: item.Line, Reason: err.Error()}
	}
	return &r.change, nil
}

// Unknown is the error of whoever would have to apply an item of kind
// Unknown: what it does is not known, and nobody may guess.
func (r *Reader) Unknown(item Item) error {
	return &FormatError{File: r.lines.name, Line: item.Line, Reason: Check(item.SQL).Error()}
}

// CountRows counts the rows that an item changes, by table as it is written. It
// reads a COPY block to its end.
func (r *Reader) CountRows(item Item, add func(catalog.TableCount)) error {
	switch item.Kind {
	case RowChange:
		c, err := r.Change(item)
		if err != nil {
			return err
		}
		count := catalog.TableCount{Table: string(c.Table)}
		switch c.Op {
		case Insert:
			count.Inserted = 1
		case Update:
			count.Updated = 1
		case Delete:
			count.Deleted = 1
		default: // stands beside the UPDATE that it belongs to
			return nil
		}
		add(count)
	case TruncateTable:
		if err := ParseTruncate(item.SQL, &r.truncate); err != nil {
			return &FormatError{File: r.lines.name, Line: item.Line, Reason: err.Error()}
		}
		for _, name := range r.truncate.Tables {
			add(catalog.TableCount{Table: string(name), Truncated: 1})
		}
	case CopyBlock:
		count, err := r.lines.CountCopy(item.SQL, io.Discard)
		if err != nil {
			return err
		}
		add(count)
	}
	return nil
}

// framing reads a line that only pg_scribe writes.
func (r *Reader) framing(item Item, line []byte) (Item, error) {
	switch line[0] {
	case 'B':
		return r.begin(item, string(line[len(beginPrefix):]))
	case 'C':
		return r.commit(item, string(line[len(commitPrefix):]))
	default:
		return r.own(item, string(line[len(ownPrefix):]))
	}
}

// begin reads "XID commit LSN at TIME".
func (r *Reader) begin(item Item, rest string) (Item, error) {
	xidText, rest, _ := strings.Cut(rest, " commit ")
	lsnText, timeText, _ := strings.Cut(rest, " at ")
	xid, err1 := strconv.ParseUint(xidText, 10, 32)
	lsn, err2 := catalog.ParseLSN(lsnText)
	at, err3 := parseTime(timeText)
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		return item, r.lines.Failf("malformed BEGIN")
	case r.inTx:
		return item, r.lines.Failf("a transaction begins within another")
	case lsn < r.at:
		return item, r.lines.Failf("a transaction of LSN %s follows what reaches up to %s", lsn, r.at)
	}
	r.inTx, r.at = true, lsn
	r.txs++
	r.tx = Tx{uint32(xid), lsn, at}
	item.Kind, item.Tx = Begin, r.tx
	return item, nil
}

// commit reads the LSN behind the commit record.
func (r *Reader) commit(item Item, rest string) (Item, error) {
	lsn, err := catalog.ParseLSN(rest)
	switch {
	case err != nil:
		return item, r.lines.Failf("malformed COMMIT")
	case !r.inTx:
		return item, r.lines.Failf("a COMMIT without a BEGIN")
	case lsn <= r.at:
		return item, r.lines.Failf("a transaction of LSN %s ends at %s", r.at, lsn)
	}
	r.inTx, r.at, r.tx = false, lsn, Tx{}
	item.Kind, item.LSN = Commit, lsn
	return item, nil
}

// own reads one of pg_scribe's comment lines, given without its prefix.
func (r *Reader) own(item Item, line string) (Item, error) {
	word, rest, _ := strings.Cut(line, " ")
	where, known := ownWords[word]
	switch {
	case !known:
		return item, r.lines.Failf("unknown line %q", word)
	case where == insideTx && !r.inTx, where == betweenTx && r.inTx:
		return item, r.lines.Failf("a line %q stands where none may", word)
	}
	var err error
	switch word {
	case "ddl":
		return r.ddl(item, rest)
	case "end":
		return r.end(item)
	case "origin":
		lsn, name, _ := strings.Cut(rest, " ")
		item.Kind = Origin
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil {
			item.Text, err = Unquote(name)
		}
	case "mark":
		item.Kind = RestorePoint
		item.Text, err = Unquote(rest)
	case "gap":
		item.Kind = Gap
		item.Text, err = Unquote(rest)
	case "reached":
		lsn, at, timed := strings.Cut(rest, " at ")
		item.Kind = Reached
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil && timed {
			item.Time, err = parseTime(at)
		}
		if err == nil && item.LSN < r.at {
			return item, r.lines.Failf("the stream goes back from %s to %s", r.at, item.LSN)
		}
		r.at = item.LSN
	}
	if err != nil {
		return item, r.lines.Failf("malformed line %q: %v", word, err)
	}
	return item, nil
}

// Where pg_scribe's comment lines may stand.
const (
	anywhere = iota
	insideTx
	betweenTx
)

var ownWords = map[string]int{"ddl": insideTx, "origin": insideTx, "mark": insideTx, "gap": anywhere,
	"reached": betweenTx, "end": betweenTx}

// end reads the trailer and compares it with what was read.
func (r *Reader) end(item Item) (Item, error) {
	if r.open {
		return item, r.lines.Failf("an open segment has a trailer")
	}
	var err error
	if r.Trailer, err = r.lines.ReadTrailer(); err != nil {
		return item, err
	}
	if r.Trailer.Transactions != r.txs || r.Trailer.End < r.at {
		return item, r.lines.Failf("the trailer tells of %d transactions up to %s, the text holds %d up to %s",
			r.Trailer.Transactions, r.Trailer.End, r.txs, r.at)
	}
	item.Kind, item.LSN, item.Time = End, r.Trailer.End, r.Trailer.Reached
	return item, nil
}

// ddl reads "LINES TAG" and that many lines of one statement.
func (r *Reader) ddl(item Item, rest string) (Item, error) {
	count, tag, _ := strings.Cut(rest, " ")
	n, err1 := strconv.ParseUint(count, 10, 31)
	tag, err2 := unplain(tag)
	if err1 != nil || err2 != nil || n < 1 {
		return item, r.lines.Failf("malformed ddl line")
	}
	item.Kind, item.Tag = DDL, tag
	var sql []byte
	for range n {
		line, err := r.lines.ReadLine()
		if err != nil {
			return item, r.lines.Fault(err)
		}
		if isOwn(line) {
			return item, r.lines.Failf("a statement of %d lines is cut off", n)
		}
		sql = append(sql, line...)
		sql = append(sql, '\n')
	}
	item.SQL = sql[:len(sql)-1]
	if !bytes.HasSuffix(item.SQL, []byte{';'}) {
		return item, r.lines.Failf("a statement does not end with its %d lines", n)
	}
	return item, nil
}
