package repo

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
)

// ItemKind says what a SegmentReader read.
type ItemKind byte

const (
	ItemPreamble    ItemKind = iota // a SET statement before the stream: SQL
	ItemBegin                       // Tx
	ItemChange                      // SQL: changes one row; see Change
	ItemTruncate                    // SQL: empties tables; see Truncate
	ItemCopy                        // SQL: COPY … FROM stdin; read the rows with CopyData
	ItemLargeObject                 // SQL: a piece of a large object; see segment.ParsePage
	ItemPiece                       // SQL: a piece of a value that is too large for its row's statement
	ItemPieceTable                  // SQL: makes or drops the table that such pieces stand in
	ItemSetting                     // SQL: SET LOCAL, what the command behind it ran under
	ItemBlock                       // SQL: DO, makes what the command behind it needs of the cluster
	ItemDDL                         // SQL, Tag: a command, which may span lines
	ItemCommit                      // LSN (behind the commit record)
	ItemOrigin                      // Text (name), LSN: the commit time is another server's
	ItemMark                        // Text: name of a restore point
	ItemGap                         // Text: what could not be captured
	ItemReached                     // LSN, Time: nothing else happened up to here
	ItemEnd                         // the trailer: see Trailer
	ItemStatement                   // SQL: of a dump, anything but COPY; of a segment, a form that none has: see Unknown
)

// statements is what each statement on a line of its own is.
var statements = map[segment.Kind]ItemKind{
	segment.RowChange: ItemChange, segment.TruncateTable: ItemTruncate, segment.LargeObject: ItemLargeObject, segment.PieceRow: ItemPiece,
	segment.PieceTable: ItemPieceTable, segment.Setting: ItemSetting, segment.Block: ItemBlock,
}

// A Tx is a transaction of the source.
type Tx struct {
	XID    uint32
	Commit catalog.LSN // of its commit record
	At     time.Time   // of its commit
}

// An Item is one element of a segment. SQL, and what is parsed of it, is valid
// until the next call of Next.
type Item struct {
	Kind   ItemKind
	SQL    []byte // without its line end, with its semicolon
	Tx     Tx     // that it belongs to; zero: it stands between transactions
	LSN    catalog.LSN
	Time   time.Time
	Text   string
	Tag    string
	Line   int64 // first line of the item in the segment's text
	Offset int64 // of that line, in bytes
}

// A SegmentReader reads the text that a SegmentWriter and the Append functions
// wrote. It checks the framing as it goes; a FormatError names file and line.
type SegmentReader struct {
	Header  Header
	Trailer Trailer // valid after ItemEnd

	lineReader
	inTx   bool
	stream bool        // behind the preamble
	open   bool        // an open segment has no trailer
	at     catalog.LSN // where the last thing read ends; in a transaction, its commit record
	txs    int64       // read so far
	copy   []byte      // the COPY statement, while its rows are read
	tx     Tx

	change   segment.Change
	truncate segment.Truncate
}

// newSegmentReader reads the header. open says that the text may end without
// a trailer, between two transactions.
func newSegmentReader(name string, src io.Reader, open bool) (*SegmentReader, error) {
	r := &SegmentReader{lineReader: newLineReader(name, src), open: open}
	var err error
	if r.Header, err = r.readHeader(catalog.KindSegment); err != nil {
		return nil, err
	}
	r.at = r.Header.Start
	return r, nil
}

// Next returns the next item. Behind the last one it returns io.EOF.
func (r *SegmentReader) Next() (Item, error) {
	if r.ended {
		return Item{}, io.EOF
	}
	if err := r.skipCopy(); err != nil {
		return Item{}, err
	}
	line, err := r.readLine()
	if errors.Is(err, io.EOF) && r.open && !r.inTx && r.stream {
		r.ended = true
		return Item{}, io.EOF
	}
	if err != nil {
		return Item{}, r.fault(err)
	}
	item := Item{Line: r.line, Offset: r.offset() - int64(len(line)) - 1, Tx: r.tx}
	switch {
	case !r.stream:
		item.Kind, item.SQL = ItemPreamble, line
		if string(line) == ownPrefix+"stream" {
			r.stream = true
			return r.Next()
		}
		if !bytes.HasPrefix(line, []byte("SET ")) || line[len(line)-1] != ';' {
			return item, r.failf("the preamble holds something else than SET")
		}
		return item, nil
	case isOwn(line):
		return r.framing(item, line)
	case !r.inTx:
		return item, r.failf("a statement stands outside of a transaction")
	case len(line) == 0 || line[len(line)-1] != ';':
		return item, r.failf("a statement does not end with its line")
	}
	return r.statement(item, line)
}

// statement reads one that stands on a line of its own. Of a change only the
// beginning is looked at: Change reads the rest.
func (r *SegmentReader) statement(item Item, line []byte) (Item, error) {
	kind := segment.KindOf(line)
	if kind == segment.RowChange {
		item.Kind, item.SQL = ItemChange, line
		return item, nil
	}
	err := segment.Check(line)
	switch {
	case kind == segment.Unknown:
		item.Kind, item.SQL = ItemStatement, line
		return item, nil
	case err != nil && kind == segment.CopyBlock:
		return item, r.failf("malformed COPY: %v", err)
	case err != nil:
		return item, r.failf("%v", err)
	}
	item.Kind, item.SQL = statements[kind], line
	if kind == segment.CopyBlock {
		// Reading the rows overwrites line.
		r.copy = append(r.copy[:0], line...)
		item.Kind, item.SQL = ItemCopy, r.copy
		r.inCopy = true
	}
	return item, nil
}

// Change reads an item of kind ItemChange. The result is valid until the next
// call of Change or Next.
func (r *SegmentReader) Change(item Item) (*segment.Change, error) {
	if err := segment.ParseChange(item.SQL, &r.change); err != nil {
		return nil, &FormatError{File: r.name, Line: item.Line, Reason: err.Error()}
	}
	return &r.change, nil
}

// Unknown is the error of whoever would have to apply an item of kind
// ItemStatement: what it does is not known, and nobody may guess.
func (r *SegmentReader) Unknown(item Item) error {
	return &FormatError{File: r.name, Line: item.Line, Reason: segment.Check(item.SQL).Error()}
}

// CountRows counts the rows that an item changes, by table as it is written. It
// reads a COPY block to its end.
func (r *SegmentReader) CountRows(item Item, add func(catalog.TableCount)) error {
	switch item.Kind {
	case ItemChange:
		c, err := r.Change(item)
		if err != nil {
			return err
		}
		count := catalog.TableCount{Table: string(c.Table)}
		switch c.Op {
		case segment.Insert:
			count.Inserted = 1
		case segment.Update:
			count.Updated = 1
		case segment.Delete:
			count.Deleted = 1
		default: // stands beside the UPDATE that it belongs to
			return nil
		}
		add(count)
	case ItemTruncate:
		if err := segment.ParseTruncate(item.SQL, &r.truncate); err != nil {
			return &FormatError{File: r.name, Line: item.Line, Reason: err.Error()}
		}
		for _, name := range r.truncate.Tables {
			add(catalog.TableCount{Table: string(name), Truncated: 1})
		}
	case ItemCopy:
		count := catalog.TableCount{Table: copyTable(item.SQL)}
		rows := &lineCounter{w: io.Discard}
		if _, err := io.Copy(rows, r.CopyData()); err != nil {
			return err
		}
		count.Inserted = rows.n
		add(count)
	}
	return nil
}

// framing reads a line that only pg_scribe writes.
func (r *SegmentReader) framing(item Item, line []byte) (Item, error) {
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
func (r *SegmentReader) begin(item Item, rest string) (Item, error) {
	xidText, rest, _ := strings.Cut(rest, " commit ")
	lsnText, timeText, _ := strings.Cut(rest, " at ")
	xid, err1 := strconv.ParseUint(xidText, 10, 32)
	lsn, err2 := catalog.ParseLSN(lsnText)
	at, err3 := parseTime(timeText)
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		return item, r.failf("malformed BEGIN")
	case r.inTx:
		return item, r.failf("a transaction begins within another")
	case lsn < r.at:
		return item, r.failf("a transaction of LSN %s follows what reaches up to %s", lsn, r.at)
	}
	r.inTx, r.at = true, lsn
	r.txs++
	r.tx = Tx{uint32(xid), lsn, at}
	item.Kind, item.Tx = ItemBegin, r.tx
	return item, nil
}

// commit reads the LSN behind the commit record.
func (r *SegmentReader) commit(item Item, rest string) (Item, error) {
	lsn, err := catalog.ParseLSN(rest)
	switch {
	case err != nil:
		return item, r.failf("malformed COMMIT")
	case !r.inTx:
		return item, r.failf("a COMMIT without a BEGIN")
	case lsn <= r.at:
		return item, r.failf("a transaction of LSN %s ends at %s", r.at, lsn)
	}
	r.inTx, r.at, r.tx = false, lsn, Tx{}
	item.Kind, item.LSN = ItemCommit, lsn
	return item, nil
}

// own reads one of pg_scribe's comment lines, given without its prefix.
func (r *SegmentReader) own(item Item, line string) (Item, error) {
	word, rest, _ := strings.Cut(line, " ")
	where, known := ownWords[word]
	switch {
	case !known:
		return item, r.failf("unknown line %q", word)
	case where == insideTx && !r.inTx, where == betweenTx && r.inTx:
		return item, r.failf("a line %q stands where none may", word)
	}
	var err error
	switch word {
	case "ddl":
		return r.ddl(item, rest)
	case "end":
		return r.end(item)
	case "origin":
		lsn, name, _ := strings.Cut(rest, " ")
		item.Kind = ItemOrigin
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil {
			item.Text, err = unquote(name)
		}
	case "mark":
		item.Kind = ItemMark
		item.Text, err = unquote(rest)
	case "gap":
		item.Kind = ItemGap
		item.Text, err = unquote(rest)
	case "reached":
		lsn, at, timed := strings.Cut(rest, " at ")
		item.Kind = ItemReached
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil && timed {
			item.Time, err = parseTime(at)
		}
		if err == nil && item.LSN < r.at {
			return item, r.failf("the stream goes back from %s to %s", r.at, item.LSN)
		}
		r.at = item.LSN
	}
	if err != nil {
		return item, r.failf("malformed line %q: %v", word, err)
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
func (r *SegmentReader) end(item Item) (Item, error) {
	if r.open {
		return item, r.failf("an open segment has a trailer")
	}
	var err error
	if r.Trailer, err = r.readTrailer(); err != nil {
		return item, err
	}
	if r.Trailer.Transactions != r.txs || r.Trailer.End < r.at {
		return item, r.failf("the trailer tells of %d transactions up to %s, the text holds %d up to %s",
			r.Trailer.Transactions, r.Trailer.End, r.txs, r.at)
	}
	item.Kind, item.LSN, item.Time = ItemEnd, r.Trailer.End, r.Trailer.Reached
	return item, nil
}

// ddl reads "LINES TAG" and that many lines of one statement.
func (r *SegmentReader) ddl(item Item, rest string) (Item, error) {
	count, tag, _ := strings.Cut(rest, " ")
	n, err1 := strconv.ParseUint(count, 10, 31)
	tag, err2 := unplain(tag)
	if err1 != nil || err2 != nil || n < 1 {
		return item, r.failf("malformed ddl line")
	}
	item.Kind, item.Tag = ItemDDL, tag
	var sql []byte
	for range n {
		line, err := r.readLine()
		if err != nil {
			return item, r.fault(err)
		}
		if isOwn(line) {
			return item, r.failf("a statement of %d lines is cut off", n)
		}
		sql = append(sql, line...)
		sql = append(sql, '\n')
	}
	item.SQL = sql[:len(sql)-1]
	if !bytes.HasSuffix(item.SQL, []byte{';'}) {
		return item, r.failf("a statement does not end with its %d lines", n)
	}
	return item, nil
}
