package restore

import (
	"bytes"

	"pg_scribe/internal/sqltext"
)

// A segment holds one statement a row change, and only the values differ
// between thousands of them. cutter takes the values out, so that the server
// parses and plans each form once. It knows just enough SQL for that, and
// refuses whatever it does not know: such a statement goes to the server as it
// stands.

// anyRows: the statement may affect any number of rows.
const anyRows = -1

// maxParams is the protocol's limit.
const maxParams = 65535

// literalKind says how a value is written.
type literalKind byte

const (
	literalPlain   literalKind = iota // 'abc'
	literalDoubled                    // 'it''s'
	literalEscaped                    // E'a\nb'
	literalNull                       // NULL
)

// literal is a value within a statement: what stands between its quotes.
type literal struct {
	from, to int
	kind     literalKind
}

// append appends the value itself.
func (l literal) append(dst, sql []byte) []byte {
	s := sql[l.from:l.to]
	switch l.kind {
	case literalPlain:
		return append(dst, s...)
	case literalNull:
		return dst
	}
	for {
		n := l.special(s)
		if n < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:n]...)
		switch b := s[n+1]; {
		case s[n] == '\\' && b == 'n':
			dst = append(dst, '\n')
		case s[n] == '\\' && b == 'r':
			dst = append(dst, '\r')
		default: // a doubled quote or backslash
			dst = append(dst, b)
		}
		s = s[n+2:]
	}
}

// special is the index of the next byte that begins an escape, or -1.
func (l literal) special(s []byte) int {
	if l.kind == literalDoubled {
		return bytes.IndexByte(s, '\'')
	}
	return specialByte(s)
}

// specialByte is the index of the next quote or backslash, or -1.
func specialByte(s []byte) int {
	for i, b := range s {
		if b == '\'' || b == '\\' {
			return i
		}
	}
	return -1
}

// cutter holds what cut found in one statement. Its fields are valid until the
// next call.
type cutter struct {
	text   []byte // the statement with $1, $2, … in place of its values
	values []literal
	rows   int64 // how many rows it has to affect, or anyRows

	sql      []byte
	pos      int
	depth    int  // of parentheses
	verb     byte // I, U or D
	before   byte // last significant byte; 'w' for a word, 'F' for FROM
	operator bool // within OPERATOR(…)
	defaults bool // the words DEFAULT, VALUES, SELECT and WHERE were seen,
	inValues bool // outside of parentheses
	query    bool
	where    bool
	groups   int64 // parentheses behind VALUES
}

// cut takes the values out of a statement that begins with INSERT, UPDATE or
// DELETE. It returns false for one that it does not understand.
func (c *cutter) cut(sql []byte) bool {
	*c = cutter{text: c.text[:0], values: c.values[:0], sql: sql}
	switch {
	case bytes.HasPrefix(sql, []byte("INSERT ")):
		c.verb = 'I'
	case bytes.HasPrefix(sql, []byte("UPDATE ")):
		c.verb = 'U'
	case bytes.HasPrefix(sql, []byte("DELETE ")):
		c.verb = 'D'
	default:
		return false
	}
	for c.pos < len(sql) {
		if !c.token() {
			return false
		}
	}
	if c.before != ';' || c.depth != 0 || len(c.values) > maxParams {
		return false
	}
	c.rows = c.affects()
	return true
}

// affects tells how many rows a statement of pg_scribe's changes.
func (c *cutter) affects() int64 {
	switch {
	case c.verb != 'I' && c.where, c.verb == 'I' && c.defaults:
		return 1
	case c.verb == 'I' && c.inValues && !c.query:
		return c.groups
	}
	return anyRows
}

// token reads the next one.
func (c *cutter) token() bool {
	b := c.sql[c.pos]
	switch {
	case b == ' ':
		c.text = append(c.text, b)
		c.pos++
		return true
	case b == '\'':
		return c.literal(c.pos+1, false)
	case b == '"':
		return c.identifier()
	case isLetter(b):
		return c.word()
	case b == ';':
		if c.pos != len(c.sql)-1 {
			return false
		}
	case b == '(':
		if c.depth == 0 && c.inValues {
			c.groups++
		}
		c.depth++
	case b == ')':
		c.depth--
		if c.operator { // as =, behind which a value stands
			c.operator = false
			c.text = append(c.text, ')')
			c.before = '='
			c.pos++
			return true
		}
	case b == '$', b < ' ', b >= 0x7f, b == '\\', // dollar quotes, foreign letters
		c.before == '-' && b == '-', c.before == '/' && b == '*': // comments
		return false
	}
	c.text = append(c.text, b)
	c.before = b
	c.pos++
	return true
}

// identifier copies a quoted name, U&"…" included: its escapes have no quotes.
func (c *cutter) identifier() bool {
	end := sqltext.QuoteEnd(c.sql, c.pos+1, '"')
	if end < 0 {
		return false
	}
	c.text = append(c.text, c.sql[c.pos:end+1]...)
	c.pos, c.before = end+1, '"'
	return true
}

// word reads a keyword, a number's tail, or the E of an escape string.
func (c *cutter) word() bool {
	end := c.pos + 1
	for end < len(c.sql) && (isLetter(c.sql[end]) || isDigit(c.sql[end])) {
		end++
	}
	w := c.sql[c.pos:end]
	if end < len(c.sql) && c.sql[end] == '\'' {
		return len(w) == 1 && w[0] == 'E' && c.literal(end+1, true)
	}
	before := c.before
	c.before = 'w'
	switch string(w) {
	case "NULL":
		// One form for all rows of a table, whichever columns are null.
		if !c.where && (before == '=' || before == ',' || before == '(') && (c.verb == 'U' || c.inValues) {
			c.values = append(c.values, literal{kind: literalNull})
			c.pos = end
			c.parameter()
			return true
		}
	case "VALUES":
		if c.depth == 0 {
			c.inValues = true
		}
	case "SELECT":
		if c.depth == 0 {
			c.query = true
		}
	case "WHERE":
		if c.depth == 0 {
			c.where = true
		}
	case "DEFAULT":
		if c.depth == 0 && !c.inValues {
			c.defaults = true
		}
	case "FROM":
		c.before = 'F'
	case "OPERATOR":
		c.operator = true
	}
	c.text = append(c.text, w...)
	c.pos = end
	return true
}

// literal reads a string constant whose text begins at from.
func (c *cutter) literal(from int, escapes bool) bool {
	switch c.before {
	case '=', '(', ',', 'F': // F: IS DISTINCT FROM
	default:
		return false // as in DATE '…', which takes no parameter
	}
	l := literal{from: from}
	if escapes {
		l.kind = literalEscaped
		l.to = escapedEnd(c.sql, from)
	} else if l.to = sqltext.QuoteEnd(c.sql, from, '\''); l.to > 0 && bytes.IndexByte(c.sql[from:l.to], '\'') >= 0 {
		l.kind = literalDoubled
	}
	if l.to < 0 {
		return false
	}
	c.values = append(c.values, l)
	c.pos = l.to + 1
	c.before = '\''
	if c.pos < len(c.sql) && (isLetter(c.sql[c.pos]) || isDigit(c.sql[c.pos])) {
		return false // would run together with the parameter's number
	}
	c.parameter()
	return true
}

// escapedEnd is the index of the quote that ends an escape string, or -1 when
// it has escapes that no writer of ours makes.
func escapedEnd(sql []byte, from int) int {
	for from < len(sql)-1 {
		n := specialByte(sql[from:])
		if n < 0 || from+n+1 >= len(sql) {
			return -1
		}
		from += n
		next := sql[from+1]
		switch {
		case sql[from] == '\'' && next != '\'':
			return from
		case sql[from] == '\\' && next != '\\' && next != 'n' && next != 'r':
			return -1
		}
		from += 2
	}
	return -1
}

// parameter writes the placeholder of the value found last.
func (c *cutter) parameter() {
	c.text = append(c.text, '$')
	c.text = appendInt(c.text, len(c.values))
}

func isLetter(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func appendInt(dst []byte, n int) []byte {
	if n >= 10 {
		dst = appendInt(dst, n/10)
	}
	return append(dst, byte('0'+n%10))
}
