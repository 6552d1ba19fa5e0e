package ddl

import (
	"regexp"
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
)

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

// matchesTag says whether a statement can have the command tag.
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
		return on > 0 && on+1 < len(t) && !(clusterKinds[strings.ToLower(t[on+1].Text)] && named(t[on+2:]))
	case "CREATE EXTENSION": // CREATE LANGUAGE without a handler is one
		if language := slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is("language") }); language > 0 && matchesTag(t[:language+1], sql, conforming,
			"CREATE LANGUAGE") {
			return true
		}
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

// named reports that a name follows the kind of an object: without one the word is itself the name of a table.
func named(rest []sqltext.Token) bool {
	return len(rest) > 0 && !rest[0].Is("to") && !rest[0].Is("from") && !rest[0].Is(",") && !rest[0].Is(".")
}

// fromQuery says whether a CREATE TABLE takes its rows from a query: any other
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
