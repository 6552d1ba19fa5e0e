package repo

import (
	"bytes"
	"errors"
	"io"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

// A DumpReader reads the SQL of a base or globals file statement by
// statement. Items are of the kinds ItemStatement, ItemCopy and ItemEnd.
type DumpReader struct {
	Header  Header
	Trailer Trailer // valid after ItemEnd

	lineReader
	script
}

func newDumpReader(kind catalog.Kind, name string, src io.Reader) (*DumpReader, error) {
	r := &DumpReader{lineReader: newLineReader(name, src)}
	var err error
	if r.Header, err = r.readHeader(kind); err != nil {
		return nil, err
	}
	return r, nil
}

// Next returns the next statement. Behind the trailer it returns io.EOF.
func (r *DumpReader) Next() (Item, error) {
	for {
		if r.ended {
			return Item{}, io.EOF
		}
		item, kind, err := r.script.next(&r.lineReader)
		if err != nil {
			return item, r.fault(err)
		}
		switch {
		case kind == pieceStatement:
			return item, nil
		case string(r.script.text) == trailerLine:
			r.Trailer, err = r.readTrailer()
			return Item{Kind: ItemEnd, LSN: r.Trailer.End}, err
		}
	}
}

// script cuts the text of pg_dump and pg_dumpall into pieces.
type script struct {
	text      []byte // of the last piece, with its line end
	backslash bool   // the script has switched standard_conforming_strings off
}

type piece byte

const (
	pieceOther     piece = iota // comment, empty line or psql meta-command
	pieceStatement              // a statement, possibly one that begins a COPY block
)

// next reads one piece: a line between statements, or a whole statement and
// what follows it on its last line.
func (s *script) next(r *lineReader) (Item, piece, error) {
	if err := r.skipCopy(); err != nil {
		return Item{}, pieceOther, err
	}
	s.text = s.text[:0]
	l := sqltext.NewScanner(!s.backslash)
	item := Item{Kind: ItemStatement, Line: r.line + 1}
	whole := false
	for {
		line, err := r.readLine()
		if err != nil {
			return item, pieceOther, err
		}
		from := len(s.text)
		s.text = append(append(s.text, line...), '\n')
		if from == 0 && (len(line) == 0 || bytes.HasPrefix(line, []byte("--")) || line[0] == '\\') {
			return item, pieceOther, nil
		}
		for {
			next, ended := l.Scan(s.text, from)
			if !ended {
				break
			}
			whole, from = true, next
			l.Restart()
		}
		if whole && l.Closed() && !l.Content() {
			break
		}
	}
	item.SQL = bytes.TrimRight(s.text, " \t\r\n")
	switch {
	case bytes.HasPrefix(item.SQL, []byte("COPY ")) && bytes.HasSuffix(item.SQL, []byte(copyFrom)):
		item.Kind, r.inCopy = ItemCopy, true
	case string(item.SQL) == "SET standard_conforming_strings = off;":
		s.backslash = true
	case string(item.SQL) == "SET standard_conforming_strings = on;":
		s.backslash = false
	}
	return item, pieceStatement, nil
}

// FilterDump copies the output of pg_dump or pg_dumpall from src to dst, each
// statement as edit returns it, which is nil for one that is left out, and
// counts the rows of its COPY blocks by table as it goes.
func FilterDump(dst io.Writer, src io.Reader, edit func(statement []byte) []byte) ([]catalog.TableCount, error) {
	r := newLineReader("pg_dump", src)
	r.sum = nil
	var s script
	var counts []catalog.TableCount
	for {
		item, kind, err := s.next(&r)
		if errors.Is(err, io.EOF) && len(s.text) == 0 {
			return counts, nil
		}
		if err != nil {
			return counts, r.fault(err)
		}
		text := s.text
		if kind == pieceStatement {
			switch edited := edit(item.SQL); {
			case edited == nil:
				continue
			case !bytes.Equal(edited, item.SQL):
				text = append(edited, '\n')
			}
		}
		if _, err := dst.Write(text); err != nil {
			return counts, err
		}
		if item.Kind != ItemCopy {
			continue
		}
		rows := &lineCounter{w: dst}
		if _, err := io.Copy(rows, r.CopyData()); err != nil {
			return counts, err
		}
		if _, err := dst.Write(copyEnd); err != nil {
			return counts, err
		}
		counts = append(counts, catalog.TableCount{Table: copyTable(item.SQL), Inserted: rows.n})
	}
}

// copyTable is the table that a COPY statement of a dump names, as it stands
// there.
func copyTable(sql []byte) string {
	sql = bytes.TrimPrefix(sql, []byte("COPY "))
	return string(sql[:sqltext.NameLen(sql)])
}

type lineCounter struct {
	w io.Writer
	n int64
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += int64(bytes.Count(p, []byte{'\n'}))
	return c.w.Write(p)
}
