package ddl

import (
	"crypto/sha256"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// nestedStatement is how PG_CONTEXT shows the statement that a function or DO
// block ran. PL/pgSQL reports it in the frame above the event trigger's own.
const nestedStatement = `SQL statement "`

// contextFrame is where the next frame of PG_CONTEXT begins.
var contextFrame = regexp.MustCompile(`"\n(?:PL/|SQL function |SQL statement |SQL expression |[a-zA-Z_]+ function )`)

// sqlFunction is how PG_CONTEXT shows a statement of an SQL function.
var sqlFunction = regexp.MustCompile(`^SQL function "[^\n]*" statement (\d+)`)

// A Finder finds the statements of the commands of one transaction. It keeps the
// last text taken apart: a string of thousands of commands comes with each of
// their events.
type Finder struct {
	strings *Strings
	run     stringRun // of the last command of a string of several
	split   splitText
	nested  struct{ frames, text string }
}

// NewFinder returns one that notes in strings how far those have come that may
// go on in another transaction.
func NewFinder(strings *Strings) *Finder { return &Finder{strings: strings} }

// Reset ends the transaction.
func (f *Finder) Reset() { *f = Finder{strings: f.strings} }

// Statement finds the text of one command in the string that the client sent,
// or in the function that ran it. touched are the objects that it changed. Of a
// string of several commands, each has to be asked for at its turn, also where
// it is not written.
func (f *Finder) Statement(m *event.Command, touched []event.Object) (string, error) {
	f.strings.sent(m.PID, m.At)
	text := m.SQL
	if m.SQLID != "" && text == "" || m.CtxID != "" && m.Context == "" {
		return "", errors.New("its text was not sent with it")
	}
	_, outer, nested := strings.Cut(m.Context, "\n")
	if nested {
		switch {
		case strings.HasPrefix(outer, nestedStatement):
			text = f.nestedText(outer[len(nestedStatement):], m)
		case strings.HasPrefix(outer, "SQL function "):
			return functionStatement(outer, m, touched)
		}
	}
	split := f.splitting(text, m.Conforming())
	if !split.ok || len(split.parts) == 0 {
		return "", errors.New("its text cannot be told apart")
	}
	if len(split.parts) == 1 {
		return split.parts[0], nil
	}
	return f.part(m, split, nested, touched)
}

// splitText is a text and its statements.
type splitText struct {
	text       string
	conforming bool
	ok         bool
	parts      []string
	heads      [][]sqltext.Token
	names      map[int]map[string]bool // of statements that were asked for
	undone     []bool
	sum        [sha256.Size]byte
	goesOn     int  // the last end of a transaction with statements behind it; -1: none
	prepares   bool // some transaction is prepared, and comes at another place of the stream
}

// fits says whether a statement can have the command tag.
func (s *splitText) fits(i int, tag string) bool {
	return matchesTag(s.heads[i], s.parts[i], s.conforming, tag)
}

// next is the first statement from one on that fits, and had an effect; -1: none.
func (s *splitText) next(from int, tag string) int {
	for i := from; i < len(s.parts); i++ {
		if !s.undone[i] && s.fits(i, tag) {
			return i
		}
	}
	return -1
}

// namesAny says whether a statement names one of the objects.
func (s *splitText) namesAny(i int, objects []event.Object) bool {
	if len(objects) == 0 {
		return false
	}
	if s.names[i] == nil {
		s.names[i] = namesIn(s.parts[i], s.conforming)
	}
	return anyNamed(s.names[i], objects)
}

func (f *Finder) splitting(text string, conforming bool) *splitText {
	if s := &f.split; s.text == text && s.conforming == conforming && s.parts != nil {
		return s
	}
	f.split = splitText{text: text, conforming: conforming}
	f.split.parts, f.split.ok = sqltext.Split(text, conforming)
	if len(f.split.parts) > 1 {
		f.split.heads, f.split.names = make([][]sqltext.Token, len(f.split.parts)), map[int]map[string]bool{}
		for i, part := range f.split.parts {
			f.split.heads[i] = headTokens(part, conforming)
		}
		f.split.undone = rolledBack(f.split.heads)
		f.split.transactions()
		f.split.sum = sha256.Sum256([]byte(text))
	}
	return &f.split
}

// nestedText remembers the last one: it may have thousands of events.
func (f *Finder) nestedText(frames string, m *event.Command) string {
	if f.nested.frames != frames {
		f.nested.frames, f.nested.text = frames, nestedText(frames, m)
	}
	return f.nested.text
}

// nestedText cuts a statement out of the frames of a context, given from the
// statement's first character on. The statement itself may hold what looks
// like the next frame: the first end that leaves it whole is the right one.
func nestedText(frames string, m *event.Command) string {
	for _, at := range contextFrame.FindAllStringIndex(frames, -1) {
		if _, ok := sqltext.Split(frames[:at[0]], m.Conforming()); ok {
			return frames[:at[0]]
		}
	}
	return strings.TrimSuffix(frames, `"`)
}

// functionStatement finds a statement in the text of an SQL function. The
// context names the function without its arguments: of several functions of
// that name, all must agree, or only one may name what the command touched.
func functionStatement(context string, m *event.Command, touched []event.Object) (string, error) {
	n := 0
	if at := sqlFunction.FindStringSubmatch(context); at != nil {
		n, _ = strconv.Atoi(at[1])
	}
	var found []string
	for _, source := range m.Sources {
		parts, ok := sqltext.Split(source, m.Conforming())
		if ok && n >= 1 && n <= len(parts) && matchesTag(headTokens(parts[n-1], m.Conforming()), parts[n-1], m.Conforming(), m.Tag) &&
			!slices.Contains(found, parts[n-1]) {
			found = append(found, parts[n-1])
		}
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(sql string) bool { return !anyNamed(namesIn(sql, m.Conforming()), touched) })
	}
	switch len(found) {
	case 0:
		return "", errors.New("it ran within an SQL function whose text does not hold it")
	case 1:
		return found[0], nil
	}
	return "", errors.New("it ran within an SQL function of which there are several")
}

// namesIn are the names that a statement holds, and its other words.
func namesIn(sql string, conforming bool) map[string]bool {
	held := map[string]bool{}
	t := sqltext.Tokens(sql, conforming)
	for i := range t {
		if parts, ok := sqltext.TokensName(t[i : i+1]); ok {
			held[cut(parts[0])] = true
		}
	}
	return held
}

// cut shortens a name as the server does: to 63 bytes of whole characters.
func cut(name string) string {
	const limit = 63
	if len(name) <= limit {
		return name
	}
	end := limit
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// anyNamed says whether names hold all parts of the name of one of the
// objects, but for its schema.
func anyNamed(held map[string]bool, objects []event.Object) bool {
	for _, o := range objects {
		identity, _, _ := strings.Cut(o.Identity, "(")
		named := false
		for _, t := range sqltext.Tokens(identity, true) {
			parts, ok := sqltext.TokensName([]sqltext.Token{t})
			if !ok || t.Is(".") || t.Is("on") || o.Schema != "" && parts[0] == strings.Trim(o.Schema, `"`) {
				continue
			}
			if named = held[parts[0]]; !named {
				break
			}
		}
		if named {
			return true
		}
	}
	return false
}

// rolledBack tells which statements of a string had their effect taken back
// by a later one: those sent no event.
func rolledBack(statements [][]sqltext.Token) []bool {
	undone := make([]bool, len(statements))
	type savepoint struct {
		name string
		at   int
	}
	var points []savepoint
	begin := 0 // BEGIN takes what the string did before it into its transaction
	undo := func(from, to int) {
		for i := from; i < to; i++ {
			undone[i] = true
		}
	}
	find := func(t sqltext.Token) int {
		name, _ := sqltext.TokensName([]sqltext.Token{t})
		return slices.IndexFunc(points, func(p savepoint) bool { return len(name) == 1 && p.name == name[0] })
	}
	for i, t := range statements {
		if len(t) == 0 {
			continue
		}
		last := t[len(t)-1]
		switch {
		case t[0].Is("commit") && len(t) > 1 && t[1].Is("prepared"):
		case t[0].Is("commit"), t[0].Is("end"), t[0].Is("prepare") && len(t) > 1 && t[1].Is("transaction"):
			points, begin = nil, i+1
		case t[0].Is("savepoint"):
			if name, ok := sqltext.TokensName(t[len(t)-1:]); ok {
				points = slices.Insert(points, 0, savepoint{name[0], i + 1})
			}
		case t[0].Is("release"):
			if j := find(last); j >= 0 {
				points = points[j+1:]
			}
		case t[0].Is("rollback"), t[0].Is("abort"):
			to := slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is("to") })
			switch {
			case len(t) > 1 && t[1].Is("prepared"):
			case to < 0 || to > 2:
				undo(begin, i)
				points, begin = nil, i+1
			default:
				if j := find(last); j >= 0 {
					undo(points[j].at, i)
					points = points[j:]
				}
			}
		}
	}
	return undone
}
