package repo

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// ItemKind says what a SegmentReader read.
type ItemKind byte

const (
	ItemPreamble  ItemKind = iota // a SET statement before the stream: SQL
	ItemBegin                     // XID, LSN (of the commit record), Time
	ItemStatement                 // SQL: one statement on one line
	ItemDDL                       // SQL, Tag: a statement that may span lines
	ItemCopy                      // SQL: COPY … FROM stdin; read the rows with CopyData
	ItemCommit                    // LSN (behind the commit record)
	ItemOrigin                    // Text (name), LSN: the commit time is another server's
	ItemMark                      // Text: name of a restore point
	ItemGap                       // Text: what could not be captured
	ItemReached                   // LSN, Time: nothing else happened up to here
	ItemEnd                       // the trailer: see Trailer
)

// An Item is one element of a segment. SQL is valid until the next call of
// Next.
type Item struct {
	Kind ItemKind
	SQL  []byte // without its line end, with its semicolon
	XID  uint32
	LSN  catalog.LSN
	Time time.Time
	Text string
	Tag  string
	Line int64 // first line of the item in the segment's text
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
	item := Item{Line: r.line}
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
	case bytes.HasPrefix(line, []byte("COPY ")):
		if !bytes.HasSuffix(line, []byte(copyFrom)) {
			return item, r.failf("malformed COPY")
		}
		// Reading the rows overwrites line.
		r.copy = append(r.copy[:0], line...)
		item.Kind, item.SQL = ItemCopy, r.copy
		r.inCopy = true
		return item, nil
	}
	item.Kind, item.SQL = ItemStatement, line
	return item, nil
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
	item.Kind, item.XID, item.LSN, item.Time = ItemBegin, uint32(xid), lsn, at
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
	r.inTx, r.at = false, lsn
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
