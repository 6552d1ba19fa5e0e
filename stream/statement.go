package stream

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pg_scribe/repo"
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
func (r *renderer) statementText(m captureMessage, touched []captureObject) (string, error) {
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
	split := r.ddl.splitting(text, m.conforming())
	if !split.ok || len(split.parts) == 0 {
		return "", errors.New("its text cannot be told apart")
	}
	if len(split.parts) == 1 {
		return split.parts[0], nil
	}
	return r.ddl.part(partKey{m.PID, m.At, split.sum}, split, m.Tag)
}

// splitText is a text and its statements. The last one is kept: a string of
// thousands of commands comes with each of their events.
type splitText struct {
	text       string
	conforming bool
	ok         bool
	parts      []string
	undone     []bool
	sum        [sha256.Size]byte
}

func (d *ddlState) splitting(text string, conforming bool) *splitText {
	if s := &d.split; s.text == text && s.conforming == conforming && s.parts != nil {
		return s
	}
	d.split = splitText{text: text, conforming: conforming}
	d.split.parts, d.split.ok = repo.SplitSQL(text, conforming)
	if len(d.split.parts) > 1 {
		d.split.undone = rolledBack(d.split.parts)
		d.split.sum = sha256.Sum256([]byte(text))
	}
	return &d.split
}

// partKey is one run of a string of several statements.
type partKey struct {
	pid int
	at  string
	sum [sha256.Size]byte
}

// nestedText remembers the last one: it may have thousands of events.
func (d *ddlState) nestedText(frames string, m captureMessage) string {
	if d.nested.frames != frames {
		d.nested.frames, d.nested.text = frames, nestedText(frames, m)
	}
	return d.nested.text
}

// nestedText cuts a statement out of the frames of a context, given from the
// statement's first character on. The statement itself may hold what looks
// like the next frame: the first end that leaves it whole is the right one.
func nestedText(frames string, m captureMessage) string {
	for _, at := range contextFrame.FindAllStringIndex(frames, -1) {
		if _, ok := repo.SplitSQL(frames[:at[0]], m.conforming()); ok {
			return frames[:at[0]]
		}
	}
	return strings.TrimSuffix(frames, `"`)
}

// functionStatement finds a statement in the text of an SQL function. The
// context names the function without its arguments: of several functions of
// that name, all must agree, or only one may name what the command touched.
func functionStatement(context string, m captureMessage, touched []captureObject) (string, error) {
	n := 0
	if at := sqlFunction.FindStringSubmatch(context); at != nil {
		n, _ = strconv.Atoi(at[1])
	}
	var found []string
	for _, source := range m.Sources {
		parts, ok := repo.SplitSQL(source, m.conforming())
		if ok && n >= 1 && n <= len(parts) && matchesTag(parts[n-1], m.Tag) && !slices.Contains(found, parts[n-1]) {
			found = append(found, parts[n-1])
		}
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(sql string) bool { return !namesAny(sql, m.conforming(), touched) })
	}
	switch len(found) {
	case 0:
		return "", errors.New("it ran within an SQL function whose text does not hold it")
	case 1:
		return found[0], nil
	}
	return "", errors.New("it ran within an SQL function of which there are several")
}

// namesAny tells whether a statement holds all parts of the name of one of the
// objects, but for its schema.
func namesAny(sql string, conforming bool, objects []captureObject) bool {
	held := map[string]bool{}
	t := repo.Tokens(sql, conforming)
	for i := range t {
		if parts, ok := nameParts(t[i : i+1]); ok {
			held[parts[0]] = true
		}
	}
	for _, o := range objects {
		identity, _, _ := strings.Cut(o.Identity, "(")
		named := false
		for _, t := range repo.Tokens(identity, true) {
			parts, ok := nameParts([]repo.Token{t})
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

// part finds the statement of a string of several: events arrive in the order
// of the statements that were not rolled back, and each must fit its command
// tag.
func (d *ddlState) part(key partKey, split *splitText, tag string) (string, error) {
	if d.lastKey != key {
		d.lastKey, d.lastPart = key, 0
	}
	for i := d.lastPart; i < len(split.parts); i++ {
		if !split.undone[i] && matchesTag(split.parts[i], tag) {
			d.lastPart = i + 1
			return split.parts[i], nil
		}
	}
	return "", fmt.Errorf("none of the %d statements it was sent with fits", len(split.parts))
}

// rolledBack tells which statements of a string had their effect taken back
// by a later one: those sent no event.
func rolledBack(parts []string) []bool {
	undone := make([]bool, len(parts))
	type savepoint struct {
		name string
		at   int
	}
	var points []savepoint
	begin := 0
	undo := func(from, to int) {
		for i := from; i < to; i++ {
			undone[i] = true
		}
	}
	for i, p := range parts {
		w := slices.DeleteFunc(words(p), func(s string) bool { return s == "work" || s == "transaction" })
		if len(w) == 0 {
			continue
		}
		switch w[0] {
		case "begin", "start", "commit", "end":
			points, begin = nil, i+1
		case "savepoint":
			points = append(points, savepoint{w[len(w)-1], i + 1})
		case "release":
			for j := len(points) - 1; j >= 0; j-- {
				if points[j].name == w[len(w)-1] {
					points = points[:j]
					break
				}
			}
		case "rollback", "abort":
			if len(w) > 1 && w[1] == "prepared" {
				break
			}
			if len(w) < 3 || w[1] != "to" {
				undo(begin, i)
				points, begin = nil, i+1
				break
			}
			for j := len(points) - 1; j >= 0; j-- {
				if points[j].name == w[len(w)-1] {
					undo(points[j].at, i)
					points = points[:j+1]
					break
				}
			}
		}
	}
	return undone
}

var leadingComment = regexp.MustCompile(`^(?s:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+`)

// words are the first words of a statement, in lower case.
func words(sql string) []string {
	sql = leadingComment.ReplaceAllString(sql, "")
	if len(sql) > 200 {
		sql = sql[:200]
	}
	return strings.Fields(strings.ToLower(strings.NewReplacer("(", " ( ", ";", " ").Replace(sql)))
}

// matchesTag tells whether a statement can have the command tag.
func matchesTag(sql, tag string) bool {
	w := words(sql)
	t := strings.Fields(strings.ToLower(tag))
	if len(w) == 0 || len(t) == 0 {
		return false
	}
	switch tag {
	case "SELECT INTO":
		return w[0] == "select" || w[0] == "with" || w[0] == "table" || w[0] == "values" || w[0] == "("
	case "CREATE TABLE AS":
		return w[0] == "create"
	case "GRANT", "REVOKE", "COMMENT", "SECURITY LABEL":
		// What belongs to the cluster fires no event, memberships neither.
		on := onKind.FindStringSubmatch(sql)
		return w[0] == t[0] && on != nil && !clusterKinds[strings.ToLower(on[1])]
	case "IMPORT FOREIGN SCHEMA":
		return w[0] == t[0]
	}
	if w[0] != t[0] {
		return false
	}
	last := t[len(t)-1]
	for i := 1; i < len(w) && i < 10; i++ {
		if w[i] == last {
			return true
		}
	}
	return false
}

// onKind finds what stands behind ON: an object's kind, or its name.
var onKind = regexp.MustCompile(`(?is)\bon\s+("|\w+)`)

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
func withBounds(sql string, bounds []namedText) string {
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
func boundText(sql string, at []int, name string, bounds []namedText) (string, int) {
	end := at[1] - 1 // its opening parenthesis
	if end = closing(sql, end); end < 0 {
		return sql, len(sql)
	}
	if rest := strings.TrimLeft(sql[end:], " \t\r\n"); len(rest) > 2 && strings.EqualFold(rest[:2], "to") {
		open := strings.IndexByte(sql[end:], '(')
		if open < 0 {
			return sql, len(sql)
		}
		if end = closing(sql, end+open); end < 0 {
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

// closing is the position behind the parenthesis that closes the one at open.
func closing(sql string, open int) int {
	depth, quoted := 0, false
	for i := open; i < len(sql); i++ {
		switch {
		case sql[i] == '\'':
			quoted = !quoted
		case quoted:
		case sql[i] == '(':
			depth++
		case sql[i] == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
