package event

import (
	"bytes"
	"errors"
	"strconv"
)

// Rows are some of the contents of a rewritten table: rows as the server writes
// values of a composite type (documentation "Composite Type Output Syntax"), one
// after the other.
type Rows struct {
	OID  uint32      `json:"oid"`
	Text []byte      `json:"-"`
	List [][]*string `json:"rows"` // in place of the text, from captures of before
}

// rowsPrefix begins a payload of rows, which is no JSON: the OID of the table
// and the end of a line follow, then the text.
const rowsPrefix = "rows "

// parseRows returns nil for another payload.
func parseRows(payload []byte) (*Rows, error) {
	rest, ok := bytes.CutPrefix(payload, []byte(rowsPrefix))
	if !ok {
		return nil, nil
	}
	oid, text, ok := bytes.Cut(rest, []byte{'\n'})
	n, err := strconv.ParseUint(string(oid), 10, 32)
	if !ok || err != nil {
		return nil, errRows
	}
	return &Rows{OID: uint32(n), Text: text}, nil
}

var errRows = errors.New("rows of a rewritten table are malformed")

// Each calls yield with the values of each row, nil for NULL, which are valid
// until it returns.
func (r *Rows) Each(yield func(values [][]byte)) error {
	values := make([][]byte, 0, 8)
	for _, row := range r.List {
		values = values[:0]
		for _, v := range row {
			if v == nil {
				values = append(values, nil)
			} else {
				values = append(values, append([]byte{}, *v...))
			}
		}
		yield(values)
	}
	text := []byte{} // of the values, which point into it
	ends := make([]int, 0, 8)
	for rest := r.Text; len(rest) > 0; {
		var ok bool
		if text, ends, rest, ok = appendRow(text[:0], ends[:0], rest); !ok {
			return errRows
		}
		values = values[:0]
		start := 0
		for _, end := range ends {
			if end < 0 {
				values = append(values, nil)
				continue
			}
			values = append(values, text[start:end:end])
			start = end
		}
		yield(values)
	}
	return nil
}

// appendRow reads one row. ends are the ends of its values in text, -1 for NULL.
func appendRow(text []byte, ends []int, in []byte) (_ []byte, _ []int, rest []byte, ok bool) {
	if in[0] != '(' {
		return text, ends, in, false
	}
	for i := 1; i < len(in); {
		null, quoted := true, false // nothing at all is NULL, "" is an empty text
		for ; i < len(in) && (quoted || in[i] != ',' && in[i] != ')'); i++ {
			switch c := in[i]; {
			case c == '"' && quoted && i+1 < len(in) && in[i+1] == '"', c == '\\' && i+1 < len(in):
				i++
				text = append(text, in[i])
			case c == '"':
				quoted = !quoted
			default:
				text = append(text, c)
			}
			null = false
		}
		switch {
		case i == len(in):
			return text, ends, in, false
		case null:
			ends = append(ends, -1)
		default:
			ends = append(ends, len(text))
		}
		if i++; in[i-1] == ')' {
			return text, ends, in[i:], true
		}
	}
	return text, ends, in, false
}
