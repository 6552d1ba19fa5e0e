package segment

import (
	"bytes"
	"errors"
	"fmt"

	"pg_scribe/internal/sqltext"
)

// ErrUnknownForm says that a statement has a form that segments do not have.
var ErrUnknownForm = errors.New("a statement of a form that segments do not have")

func unknown(line []byte, at int) error {
	const limit = 40
	rest := line[min(at, len(line)):]
	return fmt.Errorf("%w: byte %d, %q", ErrUnknownForm, at, rest[:min(len(rest), limit)])
}

// ParseChange reads a statement that changes one row, given without its line
// end, into c, which then points into it. It is the inverse of AppendChange
// and refuses everything that AppendChange does not write.
func ParseChange(line []byte, c *Change) error {
	p := parser{b: line}
	*c = Change{Columns: c.Columns[:0], New: c.New[:0], Key: c.Key[:0]}
	ok := false
	if len(line) > 0 {
		switch line[0] {
		case 'I':
			ok = p.insert(c)
		case 'U':
			ok = p.update(c)
		case 'D':
			ok = p.word("DELETE FROM ") && p.target(c) && p.where(c)
			c.Op = Delete
		case 'W':
			ok = p.replace(c)
		}
	}
	if !ok || !p.end() {
		return unknown(line, p.i)
	}
	return nil
}

// parser reads one line. Each method reads what it is named for and says
// whether it was there.
type parser struct {
	b []byte
	i int
}

func (p *parser) word(s string) bool {
	if len(p.b)-p.i < len(s) || string(p.b[p.i:p.i+len(s)]) != s {
		return false
	}
	p.i += len(s)
	return true
}

// end reads the semicolon that ends the line.
func (p *parser) end() bool { return p.word(";") && p.i == len(p.b) }

func (p *parser) take(n int) ([]byte, bool) {
	s := p.b[p.i : p.i+n]
	p.i += n
	return s, n > 0
}

// column reads a name, table one that may be qualified.
func (p *parser) column() ([]byte, bool) {
	if p.i < len(p.b) && p.b[p.i] == '"' {
		// Nearly all of them: a quoted name without quotes in it.
		if n := bytes.IndexByte(p.b[p.i+1:], '"'); n >= 0 && p.i+n+2 < len(p.b) && p.b[p.i+n+2] != '"' {
			return p.take(n + 2)
		}
	}
	return p.take(sqltext.PartLen(p.b[p.i:]))
}

func (p *parser) table() ([]byte, bool) { return p.take(sqltext.NameLen(p.b[p.i:])) }

func (p *parser) target(c *Change) (ok bool) {
	c.Only = p.word("ONLY ")
	c.Table, ok = p.table()
	return ok
}

// columns reads a list in parentheses.
func (p *parser) columns(c *Change) bool {
	if !p.word(" (") {
		return false
	}
	for {
		name, ok := p.column()
		if !ok {
			return false
		}
		c.Columns = append(c.Columns, name)
		if !p.word(", ") {
			return p.word(")")
		}
	}
}

func (p *parser) insert(c *Change) (ok bool) {
	c.Op = Insert
	if !p.word("INSERT INTO ") {
		return false
	}
	if c.Table, ok = p.table(); !ok || p.word(" DEFAULT VALUES") {
		return ok
	}
	if !p.columns(c) || !p.word(" OVERRIDING SYSTEM VALUE VALUES (") {
		return false
	}
	for i := range c.Columns {
		if i > 0 && !p.word(", ") {
			return false
		}
		v, ok := p.value()
		if !ok {
			return false
		}
		c.New = append(c.New, v)
	}
	return p.word(")")
}

func (p *parser) update(c *Change) bool {
	c.Op = Update
	if !p.word("UPDATE ") || !p.target(c) || !p.word(" SET ") {
		return false
	}
	for {
		name, ok := p.column()
		if !ok || !p.word(" = ") {
			return false
		}
		v, ok := p.value()
		if !ok {
			return false
		}
		c.Columns, c.New = append(c.Columns, name), append(c.New, v)
		if !p.word(", ") {
			return p.where(c)
		}
	}
}

func (p *parser) replace(c *Change) bool {
	c.Op = Replace
	if !p.word("WITH d AS (DELETE FROM ") || !p.target(c) || !p.where(c) || !p.word(" AND ") {
		return false
	}
	identity, ok := p.column()
	if !ok || !p.word(" IS DISTINCT FROM ") {
		return false
	}
	v, ok := p.value()
	if !ok || !p.word(" RETURNING *) INSERT INTO ") {
		return false
	}
	c.New = append(c.New, v)
	again, ok := p.table()
	if !ok || !bytes.Equal(again, c.Table) || !p.columns(c) || !p.word(" OVERRIDING SYSTEM VALUE SELECT ") {
		return false
	}
	c.At = -1
	for i, name := range c.Columns {
		if i > 0 && !p.word(", ") {
			return false
		}
		if c.At < 0 && bytes.Equal(name, identity) {
			c.At = i
			if v, ok := p.value(); !ok || v.Form != c.New[0].Form || !bytes.Equal(v.Text, c.New[0].Text) {
				return false
			}
			continue
		}
		if !p.word("d.") {
			return false
		}
		if n, ok := p.column(); !ok || !bytes.Equal(n, name) {
			return false
		}
	}
	return c.At >= 0 && p.word(" FROM d")
}

// where reads the conditions. Those of Replace go on behind them, with AND and
// a comparison that no Match has.
func (p *parser) where(c *Change) bool {
	before := " WHERE ctid = (SELECT ctid FROM ONLY "
	if !c.Only {
		before = " WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM "
	}
	if c.Full = p.word(before); c.Full {
		if again, ok := p.table(); !ok || !bytes.Equal(again, c.Table) {
			return false
		}
	}
	if !p.word(" WHERE ") {
		return c.Full && p.word(" LIMIT 1)") // a table without columns
	}
	for {
		var m Match
		if !p.match(&m) {
			return false
		}
		c.Key = append(c.Key, m)
		back := p.i
		if !p.word(" AND ") {
			break
		}
		if c.Op == Replace && !c.Full && p.isIdentity() {
			p.i = back
			break
		}
	}
	return !c.Full || p.word(" LIMIT 1)")
}

// isIdentity says whether the condition is the last one of Replace.
func (p *parser) isIdentity() bool {
	ahead := *p
	_, ok := ahead.column()
	return ok && ahead.word(" IS DISTINCT FROM ")
}

func (p *parser) match(m *Match) (ok bool) {
	if p.word("format('%s', ") {
		m.How = Printed
		if m.Column, ok = p.column(); !ok || !p.comparison(m) {
			return false
		}
		m.Value, ok = p.constant()
		return ok
	}
	if m.Column, ok = p.column(); !ok {
		return false
	}
	switch {
	case p.word(" IS NULL"):
		m.How = IsNull
		return true
	case p.word(" IS NOT DISTINCT FROM NULL"):
		m.How = NotDistinct
		return true
	case p.word(" = "):
	case p.word(" "):
		if m.Operator, ok = p.operator(); !ok || !p.word(" ") {
			return false
		}
	default:
		return false
	}
	m.How = Equal
	if m.Value, ok = p.value(); !ok || m.Value.Form == Null {
		return false
	}
	if p.word("::") {
		if m.Cast, ok = p.table(); !ok {
			return false
		}
	}
	if m.Value.Form != Pieced {
		p.printed(m)
	}
	return true
}

// printed reads the second half of Both, if it is there.
func (p *parser) printed(m *Match) {
	ahead := *p
	if !ahead.word(" AND format('%s', ") {
		return
	}
	second := Match{}
	if name, ok := ahead.column(); !ok || !bytes.Equal(name, m.Column) || !ahead.comparison(&second) {
		return
	}
	if v, ok := ahead.constant(); ok && v.Form == m.Value.Form && bytes.Equal(v.Text, m.Value.Text) {
		m.How, m.Bytes = Both, second.Bytes
		*p = ahead
	}
}

// comparison reads what stands between a printed column and its value.
func (p *parser) comparison(m *Match) bool {
	m.Bytes = p.word(byBytes)
	return m.Bytes || p.word(byCollation)
}

// operator reads OPERATOR(schema.=).
func (p *parser) operator() ([]byte, bool) {
	from := p.i
	if !p.word("OPERATOR(") {
		return nil, false
	}
	if _, ok := p.column(); !ok || !p.word(".") {
		return nil, false
	}
	begin := p.i
	for p.i < len(p.b) && bytes.IndexByte([]byte("+-*/<>=~!@#%^&|`?"), p.b[p.i]) >= 0 {
		p.i++
	}
	if p.i == begin || !p.word(")") {
		return nil, false
	}
	return p.b[from:p.i], true
}

func (p *parser) value() (Value, bool) {
	switch {
	case p.i < len(p.b) && (p.b[p.i] == '\'' || p.b[p.i] == 'E'):
		return p.constant()
	case p.word("NULL"):
		return Value{}, true
	case p.word(pieceBefore):
		n, ok := p.number()
		return Value{Pieced, n}, ok && p.word(pieceBehind)
	}
	return Value{}, false
}

// number reads decimal digits, as they are written without leading zeros.
func (p *parser) number() ([]byte, bool) {
	n := p.i
	for n < len(p.b) && p.b[n] >= '0' && p.b[n] <= '9' {
		n++
	}
	if n-p.i > 1 && p.b[p.i] == '0' {
		return nil, false
	}
	return p.take(n - p.i)
}

// constant reads a string constant as AppendLiteral writes it: one that holds
// a line end has escapes, any other has none.
func (p *parser) constant() (Value, bool) {
	if p.word("'") {
		return p.plain()
	}
	if !p.word("E'") {
		return Value{}, false
	}
	lines := false
	for i := p.i; i+1 < len(p.b); i++ {
		switch next := p.b[i+1]; {
		case p.b[i] == '\'' && next != '\'':
			v := Value{Escaped, p.b[p.i:i]}
			p.i = i + 1
			return v, lines
		case p.b[i] == '\\' && next != '\\' && next != 'n' && next != 'r', p.b[i] == '\r', p.b[i] == '\n':
			return Value{}, false
		case p.b[i] == '\\' || p.b[i] == '\'':
			lines = lines || next == 'n' || next == 'r'
			i++
		}
	}
	return Value{}, false
}

// plain reads the rest of '…'.
func (p *parser) plain() (Value, bool) {
	form, i := Text, p.i
	for {
		n := bytes.IndexByte(p.b[i:], '\'')
		if n < 0 {
			return Value{}, false
		}
		if i += n; i+1 == len(p.b) || p.b[i+1] != '\'' {
			break
		}
		form, i = Quoted, i+2
	}
	v := Value{form, p.b[p.i:i]}
	p.i = i + 1
	return v, bytes.IndexByte(v.Text, '\r') < 0 && bytes.IndexByte(v.Text, '\n') < 0
}

// tableOf is the table of a row change or of the line that begins a COPY block,
// as it is written.
func tableOf(line []byte) []byte {
	p := parser{b: line}
	for _, prefix := range []string{"INSERT INTO ", "UPDATE ", "COPY ", "DELETE FROM ", "WITH d AS (DELETE FROM "} {
		if p.word(prefix) {
			break
		}
	}
	p.word("ONLY ")
	name, _ := p.table()
	return name
}
