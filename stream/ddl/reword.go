package ddl

import (
	"regexp"
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// dropsPart says whether a DROP named temporary objects beside others, and
// then returns statements that drop the others alone.
func dropsPart(tag string, dropped []event.Object) (kept []string, ok bool) {
	if !strings.HasPrefix(tag, "DROP ") || tag == "DROP OWNED" { // that one goes by the role, and takes privileges too
		return nil, false
	}
	for _, o := range dropped {
		switch {
		case !o.Original:
		case o.Temporary():
			ok = true
		default:
			kept = append(kept, dropObject(o))
		}
	}
	return kept, ok
}

// dropObject is the command that drops an object, if it is there. Its type is
// one that DROP names as the event triggers do.
func dropObject(o event.Object) string {
	return "DROP " + strings.ToUpper(o.Type) + " IF EXISTS " + o.Identity + " CASCADE"
}

// detachFinal ends a DETACH PARTITION … CONCURRENTLY that was interrupted. It
// left no trace in the stream, so that the partition is still attached there.
var detachFinal = regexp.MustCompile(`(?is)^(\s*ALTER\s+TABLE\s.*\bDETACH\s+PARTITION\s.*?)\s+FINALIZE\s*$`)

// dropIfExists guards a command whose object the target may lack without being
// any different for it: an index that was never valid, or a relation that came
// about without an event.
func dropIfExists(sql string, t []sqltext.Token) string {
	if len(t) < 3 || !t[0].Is("drop") {
		return sql
	}
	at := 2
	switch {
	case t[1].Is("table"), t[1].Is("index"):
	case t[1].Is("materialized") && t[2].Is("view") && len(t) > 3:
		at = 3
	default:
		return sql
	}
	if t[at].Is("if") {
		return sql
	}
	return sql[:t[at].Start] + "IF EXISTS " + sql[t[at].Start:]
}

// afterIndex is the place of the token behind CREATE or DROP INDEX; 0: it is
// another command.
func afterIndex(t []sqltext.Token) int {
	for i := 1; i < min(len(t)-1, 3); i++ {
		if t[i].Is("index") && (t[0].Is("create") || t[0].Is("drop")) && (i == 1 || t[1].Is("unique")) {
			return i + 1
		}
	}
	return 0
}

// withIndexName gives an index the name that the server chose: another server,
// or one where the name is free, would choose another.
func withIndexName(sql string, t []sqltext.Token, made []event.Object) string {
	at := afterIndex(t)
	if at == 0 || !t[0].Is("create") || !t[at].Is("on") || len(made) != 1 || made[0].Type != "index" {
		return sql
	}
	return sql[:t[at].Start] + lastName.FindString(made[0].Identity) + " " + sql[t[at].Start:]
}

// lastName is the last part of a qualified name, quoted as it is there.
var lastName = regexp.MustCompile(`(?:"(?:[^"]|"")*"|[^".]+)$`)

// withoutConcurrently makes a command fit into a transaction; its effect is
// the same.
func withoutConcurrently(sql string, conforming bool) string {
	t := sqltext.Tokens(sql, conforming)
	at := afterIndex(t)
	if at == 0 && len(t) > 2 && t[0].Is("alter") && slices.ContainsFunc(t, func(t sqltext.Token) bool { return t.Is("detach") }) {
		at = len(t) - 1 // DETACH PARTITION name CONCURRENTLY
	}
	if at == 0 || !t[at].Is("concurrently") {
		return sql
	}
	return strings.TrimRight(sql[:t[at].Start], " \t\r\n\f") + sql[t[at].End():]
}

// SchemaRenamed is the name that an ALTER SCHEMA … RENAME replaces.
func (c *Case) SchemaRenamed() string {
	sql := c.Statement
	t := sqltext.Tokens(sql[:min(len(sql), 400)], c.Start.Conforming())
	if len(t) < 5 || !t[0].Is("alter") || !t[1].Is("schema") || !t[3].Is("rename") {
		return ""
	}
	name, ok := sqltext.TokensName(t[2:3])
	if !ok {
		return ""
	}
	return name[0]
}
