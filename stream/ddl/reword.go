package ddl

import (
	"regexp"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// dropsPart tells whether a DROP named temporary objects beside others, and
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

// plainDrop is a command whose object the target may lack without being any
// different for it: an index that was never valid, or a relation that came
// about without an event.
var plainDrop = regexp.MustCompile(`(?i)^\s*DROP\s+(?:TABLE|INDEX|MATERIALIZED\s+VIEW)\s+`)

func dropIfExists(sql string) string {
	if head := plainDrop.FindString(sql); head != "" && !dropGuarded.MatchString(sql[len(head):]) {
		return head + "IF EXISTS " + sql[len(head):]
	}
	return sql
}

// namelessIndex is a CREATE INDEX that leaves the name to the server.
var namelessIndex = regexp.MustCompile(`(?is)^((?:\s|/\*.*?\*/|--[^\n]*\n)*CREATE\s+(?:UNIQUE\s+)?INDEX)\s+(ON\s)`)

// withIndexName gives an index the name that the server chose: another server,
// or one where the name is free, would choose another.
func withIndexName(sql string, made []event.Object) string {
	m := namelessIndex.FindStringSubmatchIndex(sql)
	if m == nil || len(made) != 1 || made[0].Type != "index" {
		return sql
	}
	name := lastName.FindString(made[0].Identity)
	return sql[:m[3]] + " " + name + " " + sql[m[4]:]
}

// lastName is the last part of a qualified name, quoted as it is there.
var lastName = regexp.MustCompile(`(?:"(?:[^"]|"")*"|[^".]+)$`)

var dropGuarded = regexp.MustCompile(`(?i)^IF\s+EXISTS\s`)

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
