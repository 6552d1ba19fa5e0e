package stream

import (
	"crypto/sha256"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

// statementText finds the text of one command in the string that the client
// sent, or in the function that ran it. touched are the objects that it changed.
func (r *renderer) statementText(m *event.Command, touched []event.Object) (string, error) {
	r.facts.sent(m.PID, m.At)
	text := m.SQL
	if m.SQLID != "" && text == "" || m.CtxID != "" && m.Context == "" {
		return "", errors.New("its text was not sent with it")
	}
	_, outer, nested := strings.Cut(m.Context, "\n")
	if nested {
		switch {
		case strings.HasPrefix(outer, nestedStatement):
			text = r.ddl.nestedText(outer[len(nestedStatement):], m)
		case strings.HasPrefix(outer, "SQL function "):
			return functionStatement(outer, m, touched)
		}
	}
	split := r.ddl.splitting(text, m.Conforming())
	if !split.ok || len(split.parts) == 0 {
		return "", errors.New("its text cannot be told apart")
	}
	if len(split.parts) == 1 {
		return split.parts[0], nil
	}
	return r.part(m, split, nested, touched)
}

// splitText is a text and its statements. The last one is kept: a string of
// thousands of commands comes with each of their events.
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

// fits tells whether a statement can have the command tag.
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

// namesAny tells whether a statement names one of the objects.
func (s *splitText) namesAny(i int, objects []event.Object) bool {
	if len(objects) == 0 {
		return false
	}
	if s.names[i] == nil {
		s.names[i] = namesIn(s.parts[i], s.conforming)
	}
	return anyNamed(s.names[i], objects)
}

func (d *ddlState) splitting(text string, conforming bool) *splitText {
	if s := &d.split; s.text == text && s.conforming == conforming && s.parts != nil {
		return s
	}
	d.split = splitText{text: text, conforming: conforming}
	d.split.parts, d.split.ok = sqltext.Split(text, conforming)
	if len(d.split.parts) > 1 {
		d.split.heads, d.split.names = make([][]sqltext.Token, len(d.split.parts)), map[int]map[string]bool{}
		for i, part := range d.split.parts {
			d.split.heads[i] = headTokens(part, conforming)
		}
		d.split.undone = rolledBack(d.split.heads)
		d.split.transactions()
		d.split.sum = sha256.Sum256([]byte(text))
	}
	return &d.split
}

// nestedText remembers the last one: it may have thousands of events.
func (d *ddlState) nestedText(frames string, m *event.Command) string {
	if d.nested.frames != frames {
		d.nested.frames, d.nested.text = frames, nestedText(frames, m)
	}
	return d.nested.text
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
		if ok && n >= 1 && n <= len(parts) && matchesTag(headTokens(parts[n-1], m.Conforming()), parts[n-1], m.Conforming(), m.Tag) && !slices.Contains(found, parts[n-1]) {
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
			held[parts[0]] = true
		}
	}
	return held
}

// anyNamed tells whether names hold all parts of the name of one of the
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

// headTokens are the tokens of a statement, or the first ones of a long one.
func headTokens(sql string, conforming bool) []sqltext.Token {
	if len(sql) > 4000 {
		sql = leadingComment.ReplaceAllString(sql, "")
		sql = sql[:min(len(sql), 500)]
	}
	t := sqltext.Tokens(sql, conforming)
	if n := len(t); n > 0 && t[n-1].Is(";") {
		t = t[:n-1]
	}
	return t
}

var leadingComment = regexp.MustCompile(`^(?s:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+`)

// tagFillers may stand among the words of a command that are its tag.
var tagFillers = map[string]bool{"or": true, "replace": true, "global": true, "local": true, "temp": true, "temporary": true, "unlogged": true,
	"recursive": true, "unique": true, "trusted": true, "procedural": true, "constraint": true, "default": true}

// matchesTag tells whether a statement can have the command tag.
func matchesTag(t []sqltext.Token, sql string, conforming bool, tag string) bool {
	words := strings.Fields(strings.ToLower(tag))
	if len(t) == 0 || len(words) == 0 {
		return false
	}
	switch tag {
	case "SELECT INTO":
		return (t[0].Is("select") || t[0].Is("with") || t[0].Is("(")) &&
			slices.ContainsFunc(sqltext.Tokens(sql, conforming), func(t sqltext.Token) bool { return t.Is("into") })
	case "CREATE TABLE AS":
		words = words[:2]
	case "GRANT", "REVOKE", "COMMENT", "SECURITY LABEL":
		// What belongs to the cluster fires no event, memberships neither.
		if !t[0].Is(words[0]) {
			return false
		}
		t = sqltext.Tokens(sql, conforming) // privileges may name many columns
		on := slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is("on") })
		return on > 0 && on+1 < len(t) && !clusterKinds[strings.ToLower(t[on+1].Text)]
	}
	i := 0
	for _, token := range t {
		switch {
		case token.Is(words[i]):
			if i++; i == len(words) {
				return tag != "CREATE TABLE" && tag != "CREATE TABLE AS" || fromQuery(sql, conforming) == (tag == "CREATE TABLE AS")
			}
		case i == 0 || !tagFillers[strings.ToLower(token.Text)]:
			return false
		}
	}
	return false
}

// fromQuery tells whether a CREATE TABLE takes its rows from a query: any other
// AS of one stands in parentheses.
func fromQuery(sql string, conforming bool) bool {
	depth := 0
	for _, t := range sqltext.Tokens(sql, conforming) {
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case depth == 0 && t.Is("as"):
			return true
		}
	}
	return false
}

// clusterKinds begin the names of the kinds of objects that belong to the
// cluster, and of event triggers.
var clusterKinds = map[string]bool{"database": true, "tablespace": true, "parameter": true, "role": true, "event": true}

var concurrently = regexp.MustCompile(`(?i)^((?:[^'"$]*?)\b(?:index|detach\s+partition\s+\S+))\s+concurrently\b`)

// withoutConcurrently makes a command fit into a transaction; its effect is
// the same.
func withoutConcurrently(sql string) string {
	if m := concurrently.FindStringSubmatchIndex(sql); m != nil {
		return sql[:m[3]] + sql[m[1]:]
	}
	detach := regexp.MustCompile(`(?i)\s+concurrently\s*$`)
	return detach.ReplaceAllString(sql, "")
}

// partitionOf finds the partition that a command makes or attaches, and
// boundClause what it says of the bounds.
var (
	partitionOf = regexp.MustCompile(`(?is)(?:\bcreate\s[^;]*?\btable\s+(?:if\s+not\s+exists\s+)?(\S+?)\s+partition\s+of\b|alter\s+table\s.*?\battach\s+partition\s+(\S+))`)
	boundClause = regexp.MustCompile(`(?is)\bfor\s+values\s+(?:in\s*\(|with\s*\(|from\s*\()`)
	boundWord   = regexp.MustCompile(`(?i)'(?:[^']|'')*'|[a-z_][a-z_0-9]*`)
)

// withBounds replaces the bounds of partitions by those that the source
// computed, where the command holds more than constants. CREATE SCHEMA may
// make several.
func withBounds(sql string, bounds []event.NamedText) string {
	m := partitionOf.FindStringSubmatchIndex(sql)
	if m == nil || len(bounds) == 0 {
		return sql
	}
	name := sql[max(m[2], m[4]):max(m[3], m[5])]
	begin, rest := sql[:m[1]], sql[m[1]:]
	if at := boundClause.FindStringIndex(rest); at != nil {
		text, end := boundText(rest, at, name, bounds)
		begin, rest = begin+text, rest[end:]
	}
	return begin + withBounds(rest, bounds)
}

// boundText is the text from the partition's name to behind its bounds, and
// how much of the command it stands for.
func boundText(sql string, at []int, name string, bounds []event.NamedText) (string, int) {
	end := at[1] - 1 // its opening parenthesis
	if end = sqltext.ParenEnd(sql, end); end < 0 {
		return sql, len(sql)
	}
	if rest := strings.TrimLeft(sql[end:], " \t\r\n"); len(rest) > 2 && strings.EqualFold(rest[:2], "to") {
		open := strings.IndexByte(sql[end:], '(')
		if open < 0 {
			return sql, len(sql)
		}
		if end = sqltext.ParenEnd(sql, end+open); end < 0 {
			return sql, len(sql)
		}
	}
	constant := true
	for _, w := range boundWord.FindAllString(sql[at[0]:end], -1) {
		switch strings.ToLower(w) {
		case "for", "values", "in", "with", "from", "to", "modulus", "remainder", "minvalue", "maxvalue", "null", "true", "false":
		default:
			constant = constant && w[0] == '\'' && !unstableLiteral.MatchString(w)
		}
	}
	if constant {
		return sql[:end], end
	}
	name = strings.Trim(name[strings.LastIndexByte(name, '.')+1:], `"`)
	var found string
	for _, b := range bounds {
		if strings.EqualFold(b.Table, name) {
			found = b.Text
		}
	}
	if found == "" {
		return sql[:end], end
	}
	return sql[:at[0]] + found, end
}

// unstableLiteral is a date that means another one tomorrow.
var unstableLiteral = regexp.MustCompile(`(?i)now|today|tomorrow|yesterday`)
