package ddl

import (
	"regexp"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// partitionOf finds the partition that a command makes or attaches, and
// boundClause what it says of the bounds.
var (
	partitionOf = regexp.MustCompile(`(?is)(?:\bcreate\s[^;]*?\btable\s+(?:if\s+not\s+exists\s+)?(\S+?)\s+partition\s+of\b|` +
		`alter\s+table\s.*?\battach\s+partition\s+(\S+))`)
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
