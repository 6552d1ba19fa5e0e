package ddl

import (
	"fmt"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// grantKinds are the words that may stand between ON and the names of a GRANT,
// with the kind of object that the names then mean.
var grantKinds = map[string]string{
	"table": "relation", "sequence": "relation", "function": "routine", "procedure": "routine", "routine": "routine",
	"type": "type", "domain": "type", "schema": "schema",
}

// withoutTransient takes what vanishes with its session out of a GRANT or
// REVOKE. It returns "" when the command names nothing else.
func withoutTransient(sql string, conforming bool, gone []event.Transient) (string, error) {
	if len(gone) == 0 {
		return sql, nil
	}
	t := sqltext.Tokens(sql, conforming)
	on, to := -1, -1
	depth := 0
	for i := range t {
		switch {
		case t[i].Is("("):
			depth++
		case t[i].Is(")"):
			depth--
		case depth > 0:
		case on < 0 && t[i].Is("on"):
			on = i
		case on >= 0 && (t[i].Is("to") || t[i].Is("from")) && i > on+1:
			to = i
		}
		if to >= 0 {
			break
		}
	}
	if on < 0 || to < 0 {
		return sql, nil // of a role
	}
	kind, first := "relation", on+1
	if w := strings.ToLower(t[first].Text); w == "all" || w == "foreign" || w == "large" || w == "language" ||
		w == "database" || w == "tablespace" || w == "parameter" || grantKinds[w] != "" {
		if next := t[first+1]; first+1 < to && !next.Is(",") && !next.Is(".") {
			kind = grantKinds[w]
			first++
			for w == "all" && first < to && !t[first-1].Is("schema") {
				kind = "schema"
				first++
			}
		}
	}
	if kind == "" {
		return sql, nil
	}
	var kept []string
	from, dropped := first, false
	for i := first; i <= to; i++ {
		switch {
		case t[i].Is("("):
			depth++
		case t[i].Is(")"):
			depth--
		}
		if depth > 0 || i < to && !t[i].Is(",") || i == from {
			continue
		}
		leave, err := isTransient(t[from:i], kind, gone)
		if err != nil {
			return "", err
		}
		if leave {
			dropped = true
		} else {
			kept = append(kept, sql[t[from].Start:t[i-1].End()])
		}
		from = i + 1
	}
	switch {
	case !dropped:
		return sql, nil
	case len(kept) == 0:
		return "", nil
	}
	return sql[:t[first].Start] + strings.Join(kept, ", ") + " " + sql[t[to].Start:], nil
}

// isTransient says whether a name, as tokens, means something that vanishes
// with its session.
func isTransient(name []sqltext.Token, kind string, gone []event.Transient) (bool, error) {
	parts, ok := sqltext.TokensName(name)
	if !ok {
		return false, fmt.Errorf("the name %s cannot be read", name[0].Text)
	}
	last := parts[len(parts)-1]
	schema := ""
	if len(parts) > 1 {
		schema = parts[len(parts)-2]
	}
	temporary := func(s string) bool { return s == "pg_temp" || strings.HasPrefix(s, "pg_temp_") }
	if kind == "schema" {
		return temporary(last), nil
	}
	if temporary(schema) {
		return true, nil
	}
	for _, g := range gone {
		if g.Kind != kind || g.Name != last || (schema == "" && !g.Bare) || (schema != "" && schema != g.Schema) {
			continue
		}
		if !g.Alone {
			return false, fmt.Errorf("several routines are named %s, of which one depends on temporary objects", last)
		}
		return true, nil
	}
	return false, nil
}

// likeTransient says whether a CREATE TABLE copies a table that vanishes with
// its session.
func (c *Case) likeTransient() bool {
	for _, of := range likes(c.Statement, c.Start.Conforming()) {
		for _, kind := range []string{"relation", "type"} {
			if is, err := isTransient(of, kind, c.End.Gone); is || err != nil {
				return true
			}
		}
	}
	return false
}

// like says whether a CREATE TABLE copies any table.
func (c *Case) like() bool { return len(likes(c.Statement, c.Start.Conforming())) > 0 }

// likes are what stands behind each LIKE of a CREATE TABLE.
func likes(sql string, conforming bool) (of [][]sqltext.Token) {
	t := sqltext.Tokens(sql, conforming)
	for i := 1; i < len(t)-1; i++ {
		if t[i].Is("like") && (t[i-1].Is("(") || t[i-1].Is(",")) {
			of = append(of, t[i+1:])
		}
	}
	return of
}
