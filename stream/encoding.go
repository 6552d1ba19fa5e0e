package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/pgoutput"
)

// A textEncoding finds what is stored as text and is none in the database's
// encoding. PostgreSQL checks text when it comes in, but not what C functions
// or casts without function make, and old databases hold what older releases
// let pass. It sends such bytes as they are and reads them nowhere, so that a
// restore would stop at them: each is replaced by a character that stands for
// this byte alone, so that keys stay different and rows are found again.
type textEncoding struct {
	name string
	char func(b []byte) int              // length of the valid character in front of b, which is not ASCII; 0: there is none
	all  func(b []byte) bool             // all of b is valid
	mend func(dst []byte, b byte) []byte // appends what stands for a byte
	sign string                          // how the characters of mend are called
}

// newTextEncoding knows the encodings in which not all bytes are text, but for
// MULE_INTERNAL; nil: any bytes pass.
func newTextEncoding(name string) *textEncoding {
	if name == "UTF8" {
		return &textEncoding{name: name, all: utf8.Valid, char: utf8Char, sign: "U+F780 to U+F7FF",
			mend: func(dst []byte, b byte) []byte { return utf8.AppendRune(dst, 0xF700+rune(b)) }}
	}
	char := map[string]func([]byte) int{"EUC_JP": eucChar(2, 3), "EUC_JIS_2004": eucChar(2, 3), "EUC_KR": eucChar(0, 0), "EUC_CN": eucChar(0, 0),
		"EUC_TW": eucChar(4, 0)}[name]
	if char == nil {
		return nil
	}
	e := &textEncoding{name: name, char: char, sign: "in rows 93 and 94",
		mend: func(dst []byte, b byte) []byte { return append(dst, 0xFD+b>>6&1, 0xA1+b&0x3F) }}
	e.all = func(b []byte) bool { return e.valid(b) == len(b) }
	return e
}

func utf8Char(b []byte) int {
	if r, n := utf8.DecodeRune(b); r != utf8.RuneError || n > 1 {
		return n
	}
	return 0
}

// eucChar is the check of one of the EUC encodings, in which a character has
// two bytes, or as many as given behind the single shifts 8E and 8F; 0: these
// begin none.
func eucChar(shift2, shift3 int) func(b []byte) int {
	return func(b []byte) int {
		n := 2
		switch b[0] {
		case 0x8E:
			n = shift2
		case 0x8F:
			n = shift3
		default:
			if b[0] < 0xA1 || b[0] == 0xFF {
				return 0
			}
		}
		if n > len(b) {
			return 0
		}
		for _, c := range b[min(1, n):n] {
			if c < 0xA1 || c == 0xFF {
				return 0
			}
		}
		return n
	}
}

// valid is the length of b that is text.
func (e *textEncoding) valid(b []byte) int {
	for i := 0; i < len(b); {
		n := 1
		if b[i] >= utf8.RuneSelf {
			if n = e.char(b[i:]); n == 0 {
				return i
			}
		}
		i += n
	}
	return len(b)
}

// appendMended appends b with its bytes that are no text replaced.
func (e *textEncoding) appendMended(dst, b []byte) []byte {
	for {
		n := e.valid(b)
		dst = append(dst, b[:n]...)
		if n == len(b) {
			return dst
		}
		dst = e.mend(dst, b[n])
		b = b[n+1:]
	}
}

// reason is what a mark says of a table with such values.
func (e *textEncoding) reason(name string) string {
	return fmt.Sprintf("text in %s is not valid in encoding %s: characters %s stand for its bytes", name, e.name, e.sign)
}

// mendText replaces what is no text in a row, and remembers its table for a
// mark at the end of the transaction: a COPY block has no room for one.
func (r *renderer) mendText(t *table, row []pgoutput.Value) {
	if r.encoding == nil {
		return
	}
	for i := range row {
		if v := &row[i]; v.Kind == pgoutput.Text && !r.encoding.all(v.Text) {
			v.Text = r.encoding.appendMended(nil, v.Text)
			if r.mended == nil {
				r.mended = map[string]bool{}
			}
			r.mended["column "+sqltext.Bare(t.Columns[i].Name)+" of "+sqltext.Bare(t.Schema)+"."+sqltext.Bare(t.Name)] = true
		}
	}
}

// markMended writes the marks of the transaction's tables with such values.
func (r *renderer) markMended() error {
	for _, name := range slices.Sorted(maps.Keys(r.mended)) {
		if err := r.gap(r.encoding.reason(name)); err != nil {
			return err
		}
	}
	clear(r.mended)
	return nil
}

// mendedRows is a dump on its way into its file: rows with bytes that are no
// text are mended as those of the stream are.
type mendedRows struct {
	io.Writer
	encoding *textEncoding   // nil: any bytes are text
	table    *string         // whose rows are written
	found    map[string]bool // tables with such rows
	held     []byte          // may be the beginning of a character
	out      []byte
}

// longestChar is the length of the longest character of any encoding.
const longestChar = 4

// Write takes statements, and rows in pieces that may end within a character.
func (m *mendedRows) Write(p []byte) (int, error) {
	if m.encoding == nil || len(m.held) == 0 && m.encoding.all(p) {
		return m.Writer.Write(p)
	}
	b := append(m.held, p...)
	m.out = m.out[:0]
	for len(b) > 0 {
		n := m.encoding.valid(b)
		m.out = append(m.out, b[:n]...)
		if b = b[n:]; len(b) < longestChar && !bytes.ContainsRune(b, '\n') {
			break
		}
		m.out = m.encoding.mend(m.out, b[0])
		b = b[1:]
		if m.found == nil {
			m.found = map[string]bool{}
		}
		m.found[*m.table] = true
	}
	m.held = append(m.held[:0], b...)
	if _, err := m.Writer.Write(m.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// markMended says in the stream, behind the base, that it has rows with bytes
// that are no text.
func (d *dumper) markMended(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(d.mended.found)) {
		reason := d.mended.encoding.reason(name)
		if d.opts.Notice != nil {
			d.opts.Notice(reason)
		}
		if err := capture.EmitGap(ctx, d.conn, reason); err != nil {
			return err
		}
	}
	return nil
}
