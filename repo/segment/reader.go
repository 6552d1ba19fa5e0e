package segment

import (
	"bytes"
	"errors"
	"io"

	"pg_scribe/catalog"
)

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
	index    *Index // nil: nobody asks for it

	more   func() (*Stretch, error) // nil: all is there
	expect catalog.LSN              // of the next transaction; 0: any
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

// A Stretch is a part of a segment's text, from a frame on.
type Stretch struct {
	Text   io.Reader
	Offset int64       // in the text
	Line   int64       // number of its first one
	LSN    catalog.LSN // of the commit record of its first transaction
}

// NewPartReader reads header and preamble, and then one stretch after another, as
// long as next returns one. It ends without the item of kind End.
func NewPartReader(name string, head io.Reader, next func() (*Stretch, error), closers ...io.Closer) (*Reader, error) {
	r, err := NewReader(name, head, true, closers...)
	if err == nil {
		r.more = next
	}
	return r, err
}

// goOn goes on with the next stretch; false: there is none.
func (r *Reader) goOn() (bool, error) {
	if r.more == nil {
		return false, nil
	}
	s, err := r.more()
	if err != nil {
		return false, r.lines.Fault(err)
	}
	if s == nil {
		return false, nil
	}
	r.lines.goTo(s.Text, s.Offset, s.Line)
	r.expect = s.LSN
	return true, nil
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

// Collect has the reader make the index of what it reads, and, at the end, compare
// it with that of the trailer. It is called before Next.
func (r *Reader) Collect(x *Index) { r.index = x }

// Next returns the next item. Behind the last one it returns io.EOF.
func (r *Reader) Next() (Item, error) {
	for {
		item, err := r.next()
		if err != nil || item.Kind != passedOver {
			return item, err
		}
	}
}

func (r *Reader) next() (Item, error) {
	if r.lines.ended {
		return Item{}, io.EOF
	}
	if err := r.lines.SkipCopy(); err != nil {
		return Item{}, err
	}
	line, err := r.lines.ReadLine()
	if errors.Is(err, io.EOF) && r.open && !r.inTx && r.stream {
		if more, err := r.goOn(); more || err != nil {
			return Item{Kind: passedOver}, err
		}
		r.lines.ended = true
		if r.index != nil {
			r.index.size, r.index.lines = r.lines.Offset(), r.lines.line
		}
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
			if r.index != nil {
				r.index.Begin(r.lines.Offset(), r.lines.line+1)
			}
			item.Kind = passedOver
			return item, nil
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
	if r.index != nil {
		r.touch(kind, line)
	}
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

// touch tells the index which tables a statement changes.
func (r *Reader) touch(kind Kind, line []byte) {
	switch kind {
	case RowChange, CopyBlock:
		r.index.Touch(tableOf(line))
	case TruncateTable:
		if ParseTruncate(line, &r.truncate) == nil {
			for _, name := range r.truncate.Tables {
				r.index.Touch(name)
			}
		}
	}
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
