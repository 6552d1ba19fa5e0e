package stream

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"pg_scribe/repo"
)

// nestedStatement is how PG_CONTEXT shows the statement that a function or DO
// block ran. PL/pgSQL reports it in the frame above the event trigger's own.
const nestedStatement = `SQL statement "`

// contextFrame is where the next frame of PG_CONTEXT begins.
var contextFrame = regexp.MustCompile(`"\n(?:PL/|SQL function |SQL statement |SQL expression |[a-zA-Z_]+ function )`)

var errSQLFunction = errors.New("it ran within an SQL function, whose text the message does not hold")

// statementText finds the text of one command in the string that the client
// sent, or in the function that ran it.
func (r *renderer) statementText(m captureMessage) (string, error) {
	text := m.SQL
	_, outer, nested := strings.Cut(m.Context, "\n")
	if nested {
		switch {
		case strings.HasPrefix(outer, nestedStatement):
			text = outer[len(nestedStatement):]
			if at := contextFrame.FindStringIndex(text); at != nil {
				text = text[:at[0]]
			} else {
				text = strings.TrimSuffix(text, `"`)
			}
		case strings.HasPrefix(outer, "SQL function "):
			return "", errSQLFunction
		}
	}
	parts, ok := repo.SplitSQL(text, m.Set["standard_conforming_strings"] != "off")
	if !ok || len(parts) == 0 {
		return "", errors.New("its text cannot be told apart")
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return r.ddl.part(fmt.Sprint(m.PID, " ", m.At, " ", text), parts, m.Tag)
}

// part finds the statement of a string of several: events arrive in the order
// of the statements, and each must fit its command tag.
func (d *ddlState) part(key string, parts []string, tag string) (string, error) {
	if d.lastKey != key {
		d.lastKey, d.lastPart = key, 0
	}
	candidates := 0
	for _, p := range parts[d.lastPart:] {
		if matchesTag(p, tag) {
			candidates++
		}
		if rollsBack(p) {
			// What was rolled back sent no event: the order alone no
			// longer tells which statement this is.
			return "", errors.New("it stands among several statements of which some may have been rolled back")
		}
	}
	for i := d.lastPart; i < len(parts); i++ {
		if matchesTag(parts[i], tag) {
			d.lastPart = i + 1
			return parts[i], nil
		}
	}
	return "", fmt.Errorf("none of the %d statements it was sent with fits", len(parts))
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

func rollsBack(sql string) bool {
	w := words(sql)
	return len(w) > 0 && (w[0] == "rollback" || w[0] == "abort")
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
	case "GRANT", "REVOKE", "COMMENT", "SECURITY LABEL", "IMPORT FOREIGN SCHEMA":
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
