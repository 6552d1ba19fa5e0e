package segment

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// The rows of a COPY block, in COPY's text format. AppendRow writes one and
// ParseRow reads it, inverse to each other. pg_dump writes rows in the same way,
// but that they may look like own lines.

// copyEscapes maps the bytes that COPY's text format gives a meaning.
var copyEscapes = [256]byte{'\\': '\\', '\n': 'n', '\r': 'r', '\t': 't', '\b': 'b', '\f': 'f', '\v': 'v'}

// copyUnescapes is the inverse of copyEscapes.
var copyUnescapes = [256]byte{'\\': '\\', 'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f', 'v': '\v'}

// AppendRow writes a row, of one value at least, as a line of a COPY block. A row
// must not look like a line of pg_scribe's: its first byte is then written as an
// escape.
func AppendRow(dst []byte, row []Value) []byte {
	start := len(dst)
	for i := range row {
		if i > 0 {
			dst = append(dst, '\t')
		}
		dst = AppendField(dst, row[i])
	}
	return AppendRowEnd(dst, start)
}

// AppendField writes one value of a row. Tabs stand between them.
func AppendField(dst []byte, v Value) []byte {
	switch v.Form {
	case Text: // nearly all of them
		return appendCopied(dst, v.Text)
	case Null:
		return append(dst, '\\', 'N')
	case Copied:
		return append(dst, v.Text...)
	}
	return appendCopied(dst, v.Decode(nil))
}

// AppendRowEnd ends the row that begins at dst[start:].
func AppendRowEnd(dst []byte, start int) []byte {
	if line := dst[start:]; isOwn(line) {
		first := line[0]
		dst = slices.Insert(dst, start, '\\', '0'+first>>6, '0'+first>>3&7)
		dst[start+3] = '0' + first&7
	}
	return append(dst, '\n')
}

func appendCopied(dst, value []byte) []byte {
	from := 0
	for i, b := range value {
		if e := copyEscapes[b]; e != 0 {
			dst = append(dst, value[from:i]...)
			dst = append(dst, '\\', e)
			from = i + 1
		}
	}
	return append(dst, value[from:]...)
}

// errRow says that a line is no row as AppendRow writes it.
var errRow = errors.New("no row of a COPY block")

// ParseRow reads a line of a COPY block, without its end, and appends its values
// to row. They point into line. It refuses what AppendRow never writes: other
// escapes, and the line that ends the block.
func ParseRow(line []byte, row []Value) ([]Value, error) {
	if isOwn(line) {
		return row, fmt.Errorf("%w: it begins as a line of pg_scribe's", errRow)
	}
	for rest, first := line, true; ; first = false {
		field, next, more := bytes.Cut(rest, []byte{'\t'})
		v := Value{Text, field}
		if string(field) == `\N` {
			v = Value{}
		} else if special := copySpecial(field); special >= 0 {
			v.Form = Copied
			if !copied(field, special, first) {
				return row, fmt.Errorf("%w: malformed escape in column %d", errRow, len(row)+1)
			}
		}
		row = append(row, v)
		if !more {
			return row, nil
		}
		rest = next
	}
}

// copySpecial is the index of the first byte that an escape begins with or that
// must be escaped, or -1.
func copySpecial(field []byte) int {
	for i, b := range field {
		if copyEscapes[b] != 0 {
			return i
		}
	}
	return -1
}

// copied makes sure that a field has no escapes but those that AppendRow writes,
// from the index of the first one.
func copied(field []byte, i int, first bool) bool {
	if i == 0 && first && len(field) >= 4 && field[0] == '\\' && field[1] >= '0' && field[1] <= '3' {
		row := append([]byte{0}, field[4:]...)
		if row[0] = octal(field[1:4]); row[0] == 0 || !isOwn(row) || string(field[1:4]) != fmt.Sprintf("%03o", row[0]) {
			return false
		}
		i = 4
	}
	for ; i < len(field); i++ {
		switch {
		case copyEscapes[field[i]] == 0:
		case field[i] != '\\' || i+1 == len(field) || copyUnescapes[field[i+1]] == 0:
			return false
		default:
			i++
		}
	}
	return true
}

func octal(digits []byte) (b byte) {
	for _, d := range digits {
		b = b<<3 | (d-'0')&7
	}
	return b
}

// decodeCopied appends the value that stands in a COPY block.
func decodeCopied(dst, field []byte) []byte {
	for i := 0; i < len(field); i++ {
		switch b := field[i]; {
		case b != '\\':
			dst = append(dst, b)
		case field[i+1] >= '0' && field[i+1] <= '3':
			dst = append(dst, octal(field[i+1:i+4]))
			i += 3
		default:
			dst = append(dst, copyUnescapes[field[i+1]])
			i++
		}
	}
	return dst
}

// AppendCopyEnd ends a COPY block.
func AppendCopyEnd(dst []byte) []byte { return append(dst, copyEnd...) }
