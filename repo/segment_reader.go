package repo

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

// An Item is one element of a segment. SQL is valid until the next call.
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
	stream bool // behind the preamble
	open   bool // an open segment has no trailer
}

// newSegmentReader reads the header. open says that the text may end without
// a trailer, between two transactions.
func newSegmentReader(name string, src io.Reader, open bool) (*SegmentReader, error) {
	r := &SegmentReader{lineReader: newLineReader(name, src), open: open}
	var err error
	if r.Header, err = r.readHeader(catalog.KindSegment); err != nil {
		return nil, err
	}
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
		if !bytes.HasPrefix(line, []byte("SET ")) {
			return item, r.failf("the preamble holds something else than SET")
		}
		return item, nil
	case bytes.HasPrefix(line, []byte(ownPrefix)):
		return r.own(item, line[len(ownPrefix):])
	case bytes.HasPrefix(line, []byte(beginPrefix)):
		return r.begin(item, line[len(beginPrefix):])
	case bytes.HasPrefix(line, []byte(commitPrefix)):
		item.Kind = ItemCommit
		item.LSN, err = catalog.ParseLSN(string(line[len(commitPrefix):]))
		if err != nil || !r.inTx {
			return item, r.failf("malformed COMMIT")
		}
		r.inTx = false
		return item, nil
	case !r.inTx:
		return item, r.failf("a statement stands outside of a transaction")
	case bytes.HasPrefix(line, []byte("COPY ")):
		item.Kind, item.SQL = ItemCopy, line
		r.inCopy = true
		return item, nil
	}
	item.Kind, item.SQL = ItemStatement, line
	if len(line) == 0 || line[len(line)-1] != ';' {
		return item, r.failf("a statement does not end with its line")
	}
	return item, nil
}

// begin reads "XID commit LSN at TIME".
func (r *SegmentReader) begin(item Item, line []byte) (Item, error) {
	f := strings.Fields(string(line))
	if len(f) != 5 || f[1] != "commit" || f[3] != "at" || r.inTx {
		return item, r.failf("malformed BEGIN")
	}
	xid, err1 := strconv.ParseUint(f[0], 10, 32)
	lsn, err2 := catalog.ParseLSN(f[2])
	at, err3 := time.Parse(timeLayout, f[4])
	if err := errors.Join(err1, err2, err3); err != nil {
		return item, r.failf("malformed BEGIN")
	}
	r.inTx = true
	item.Kind, item.XID, item.LSN, item.Time = ItemBegin, uint32(xid), lsn, at
	return item, nil
}

// own reads one of pg_scribe's comment lines, given without its prefix.
func (r *SegmentReader) own(item Item, line []byte) (Item, error) {
	word, rest, _ := strings.Cut(string(line), " ")
	var err error
	switch word {
	case "ddl":
		return r.ddl(item, rest)
	case "origin":
		lsn, name, _ := strings.Cut(rest, " ")
		item.Kind = ItemOrigin
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil {
			item.Text, err = unquote(name)
		}
	case "mark", "gap":
		item.Kind = ItemMark
		if word == "gap" {
			item.Kind = ItemGap
		}
		item.Text, err = unquote(rest)
	case "reached":
		lsn, at, timed := strings.Cut(rest, " at ")
		item.Kind = ItemReached
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil && timed {
			item.Time, err = time.Parse(timeLayout, at)
		}
	case "end":
		if r.inTx {
			return item, r.failf("the last transaction has no COMMIT")
		}
		if r.Trailer, err = r.readTrailer(); err != nil {
			return item, err
		}
		item.Kind, item.LSN, item.Time = ItemEnd, r.Trailer.End, r.Trailer.Reached
	default:
		err = fmt.Errorf("unknown line %q", word)
	}
	if err != nil {
		return item, r.fault(err)
	}
	return item, nil
}

// ddl reads "LINES TAG" and that many lines of one statement.
func (r *SegmentReader) ddl(item Item, rest string) (Item, error) {
	count, tag, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || !r.inTx {
		return item, r.failf("malformed ddl line")
	}
	item.Kind, item.Tag = ItemDDL, tag
	var sql []byte
	for range n {
		line, err := r.readLine()
		if err != nil {
			return item, r.fault(err)
		}
		sql = append(sql, line...)
		sql = append(sql, '\n')
	}
	item.SQL = sql[:len(sql)-1]
	return item, nil
}
