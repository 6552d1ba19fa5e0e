// Package dump reads the text of bases and globals, which pg_dump and pg_dumpall
// wrote, statement by statement. It knows where a statement ends, and no files.
package dump

import (
	"bytes"
	"errors"
	"io"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
)

// ends is the line with which pg_dump and pg_dumpall say that they are
// done.
var ends = map[catalog.Kind]string{
	catalog.KindBase:    "-- PostgreSQL database dump complete\n",
	catalog.KindGlobals: "-- PostgreSQL database cluster dump complete\n",
}

// A Reader reads the SQL of a base or globals file statement by
// statement. Items are of the kinds segment.Statement, segment.CopyBlock and segment.End.
type Reader struct {
	Header  segment.Header
	Trailer segment.Trailer // valid behind the item of kind End

	// Complete says that the tool which wrote it said so: nothing is cut off.
	Complete bool

	// Described takes what a base says of the objects in it; nil: nobody asks.
	Described func(segment.Fingerprint) error

	lines *segment.Lines
	script
}

// NewReader reads the header of a base or globals file.
func NewReader(kind catalog.Kind, name string, src io.Reader, closers ...io.Closer) (*Reader, error) {
	r := &Reader{lines: segment.NewLines(name, src, closers...)}
	var err error
	if r.Header, err = r.lines.ReadHeader(kind); err != nil {
		return nil, err
	}
	return r, nil
}

// NewSchemaReader reads a base of which rows are left out: more returns what follows
// where the text breaks off within them. No checksum is compared.
func NewSchemaReader(name string, src io.Reader, more func() (*segment.Stretch, error), closers ...io.Closer) (*Reader, error) {
	r, err := NewReader(catalog.KindBase, name, src, closers...)
	if err == nil {
		r.lines.GoOn(more)
	}
	return r, err
}

// CopyData is the rows of the COPY block just begun, without the line that ends
// them. Next passes over what is not read of them.
func (r *Reader) CopyData() io.Reader { return r.lines.CopyData() }

// CountCopy counts the rows of the COPY block just begun, and passes over them.
func (r *Reader) CountCopy(block segment.Item) (catalog.TableCount, error) {
	return r.lines.CountCopy(block.SQL, io.Discard)
}

// Failf says what is wrong with the file where the reader stands.
func (r *Reader) Failf(format string, args ...any) error { return r.lines.Failf(format, args...) }

// Close releases the file.
func (r *Reader) Close() error { return r.lines.Close() }

// Next returns the next statement. Behind the trailer it returns io.EOF.
func (r *Reader) Next() (segment.Item, error) {
	for {
		if r.lines.Ended() {
			return segment.Item{}, io.EOF
		}
		item, kind, err := r.script.next(r.lines)
		if err != nil {
			return item, r.lines.Fault(err)
		}
		switch {
		case kind == pieceStatement:
			return item, nil
		case string(r.script.text) == segment.TrailerLine:
			r.Trailer, err = r.lines.ReadTrailer()
			return segment.Item{Kind: segment.End, LSN: r.Trailer.End}, err
		case string(r.script.text) == ends[r.Header.Kind]:
			r.Complete = true
		case r.Described != nil:
			if err := r.described(r.script.text); err != nil {
				return item, err
			}
		}
	}
}

// described hands on what a line says of an object.
func (r *Reader) described(line []byte) error {
	f, ok, err := segment.ReadObject(bytes.TrimSuffix(line, []byte("\n")))
	switch {
	case !ok:
		return nil
	case err != nil:
		return r.lines.Failf("malformed line \"object\": %v", err)
	}
	return r.Described(f)
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
func (s *script) next(r *segment.Lines) (segment.Item, piece, error) {
	if err := r.SkipCopy(); err != nil {
		return segment.Item{}, pieceOther, err
	}
	s.text = s.text[:0]
	l := sqltext.NewScanner(!s.backslash)
	item := segment.Item{Kind: segment.Statement, Line: r.Line() + 1}
	whole := false
	for {
		line, err := r.ReadLine()
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
	case bytes.HasPrefix(item.SQL, []byte("COPY ")) && bytes.HasSuffix(item.SQL, []byte(" FROM stdin;")):
		item.Kind = segment.CopyBlock
		r.BeginCopy()
	case string(item.SQL) == "SET standard_conforming_strings = off;":
		s.backslash = true
	case string(item.SQL) == "SET standard_conforming_strings = on;":
		s.backslash = false
	}
	return item, pieceStatement, nil
}

// A Marker is told when the rows of a COPY block begin, and when they have ended.
type Marker interface{ Rows(begin bool) error }

// Filter copies the output of pg_dump or pg_dumpall from src to dst, each
// statement as edit returns it, which is nil for one that is left out, and
// counts the rows of its COPY blocks by table as it goes. Where a block's rows begin
// and end it says to dst, if that is a Marker.
func Filter(dst io.Writer, src io.Reader, edit func(statement []byte) []byte) ([]catalog.TableCount, error) {
	r := segment.NewLines("pg_dump", src)
	r.NoSum()
	var s script
	var counts []catalog.TableCount
	for {
		item, kind, err := s.next(r)
		if errors.Is(err, io.EOF) && len(s.text) == 0 {
			return counts, nil
		}
		if err != nil {
			return counts, r.Fault(err)
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
		if item.Kind != segment.CopyBlock {
			continue
		}
		mark := func(bool) error { return nil }
		if m, ok := dst.(Marker); ok {
			mark = m.Rows
		}
		if err := mark(true); err != nil {
			return counts, err
		}
		count, err := r.CountCopy(item.SQL, dst)
		if err == nil {
			err = mark(false)
		}
		if err == nil {
			_, err = dst.Write(segment.AppendCopyEnd(nil))
		}
		if err != nil {
			return counts, err
		}
		counts = append(counts, count)
	}
}
