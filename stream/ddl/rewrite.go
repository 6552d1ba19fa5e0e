package ddl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// Rewritten are the commands that stand for one of the source, in their order.
type Rewritten struct {
	Before   []Command
	Session  *Session // what Commands run under; nil: there are none
	Commands []Command
	After    []Command
}

// Rewrite writes a command as it is to be run again. An error says what of it is
// lost.
func Rewrite(c *Case) (w Rewritten, err error) {
	start, path := c.Start, c.Start.Path
	switch Classify(c) {
	case Nothing:
		return w, nil
	case Lost:
		return w, c.lost(c.Unknown)
	case Definitions:
		path = `""`
		w.Commands = tagged(start.Tag, c.End.Creates)
	case Instead:
		w.Commands = tagged(start.Tag, c.End.Instead)
	case Subscriptions:
		w.Commands = subscriptions(start, c.End.Subs, c.Statement)
	case DropSubscriptions:
		w.Commands = tagged(start.Tag, dropSubscriptions(c.Dropped))
	case DropPart:
		kept, _ := dropsPart(start.Tag, c.Dropped)
		w.Commands = tagged(start.Tag, kept)
	case LargeObjects:
		w.Commands = tagged(start.Tag, guardLargeObjects(c.text(), c.End.Objects))
	case Text:
		if w, err = c.rewriteText(); err != nil {
			return Rewritten{}, c.lost(err)
		}
	}
	if len(w.Commands) > 0 {
		w.Session = session(start, path)
	}
	return w, nil
}

// lost is what a mark says of a command that cannot be written.
func (c *Case) lost(err error) error {
	if err == nil {
		return fmt.Errorf("%s: it gives a permanent table something that vanishes with the session", c.Start.Tag)
	}
	return fmt.Errorf("%s: %w", c.Start.Tag, err)
}

// text is the statement as it can stand in a transaction.
func (c *Case) text() string {
	if c.End.Late {
		return withoutConcurrently(c.Statement, c.Start.Conforming())
	}
	return c.Statement
}

// rewriteText writes a command by its text.
func (c *Case) rewriteText() (w Rewritten, err error) {
	start, end, sql := c.Start, c.End, c.text()
	if start.Tag == "GRANT" || start.Tag == "REVOKE" {
		if sql, err = withoutTransient(sql, start.Conforming(), end.Gone); sql == "" || err != nil {
			return w, err
		}
		if sql = withGranted(sql, sqltext.Tokens(sql, start.Conforming()), end.Granted); sql == "" {
			return w, nil
		}
	}
	w.Before = dropsOwned(sql, start, c.Dropped)
	sql = detachFinal.ReplaceAllString(sql, "$1")
	tokens := sqltext.Tokens(sql, start.Conforming())
	sql = dropIfExists(withIndexName(sql, tokens, end.Objects), tokens)
	sql = withBounds(sql, end.Bounds)
	sql = withSessionUser(sql, start)
	if sql, err = withDates(sql, start.Conforming(), end.Folded); err != nil {
		return w, err
	}
	w.Before = append(append(w.Before, dropEventTriggers(c.Dropped)...), countColumns(end)...)
	for _, t := range end.Emptied {
		w.Before = append(w.Before, Empty(t.Schema, t.Table))
	}
	if end.Attach != nil && end.Attach.Text != "" {
		w.Commands = append(w.Commands, Command{Tag: "CREATE INDEX", SQL: end.Attach.Text})
	}
	if end.View != "" {
		w.Commands = append(w.Commands, Command{Tag: "CREATE MATERIALIZED VIEW", SQL: end.View, Once: true})
	}
	switch {
	case !end.Filled:
		w.Commands = append(w.Commands, Command{Tag: start.Tag, SQL: sql})
	case start.Tag == "CREATE MATERIALIZED VIEW":
		w.Commands = append(w.Commands, Command{Tag: start.Tag, SQL: sqltext.WithNoData(sql, start.Conforming())})
	}
	w.After = append(copiedChecks(end), missingValues(end)...)
	if setUnlogged.MatchString(sql) {
		w.After = append(w.After, emptyUnlogged(end.Objects)...)
	}
	return w, nil
}

// Empty deletes the rows of a table, but for its partitions and children.
func Empty(schema, table string) Command {
	return Command{Tag: "ALTER TABLE", SQL: "DELETE FROM ONLY " + sqltext.Identifier(schema) + "." + sqltext.Identifier(table)}
}

// copiedChecks are constraints that a command copied without naming them.
func copiedChecks(end *event.End) (commands []Command) {
	for _, c := range end.Checks {
		table := sqltext.Identifier(c.Schema) + "." + sqltext.Identifier(c.Table)
		add := fmt.Sprintf("ALTER TABLE ONLY %s ADD CONSTRAINT %s %s", table, sqltext.Identifier(c.Name), c.Text)
		commands = append(commands, Command{Tag: end.Tag, SQL: "DO " + sqltext.Literal(fmt.Sprintf(
			"BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %s::pg_catalog.regclass AND conname = %s) THEN EXECUTE %s; END IF; END",
			sqltext.Literal(table), sqltext.Literal(c.Name), sqltext.Literal(add)))})
	}
	return commands
}

// tableOf is the name of a value's table in SQL.
func tableOf(m event.MissingValue) string {
	return sqltext.Identifier(m.Schema) + "." + sqltext.Identifier(m.Table)
}

// missingValues are values that a command computed for rows which were there.
func missingValues(end *event.End) (commands []Command) {
	hidden := ""
	for _, m := range end.Missing {
		value := "NULL"
		if m.Value != nil {
			value = sqltext.Literal(*m.Value)
		}
		name := tableOf(m)
		if hidden != name {
			if hidden != "" {
				commands = append(commands, ShowUnvalidated(hidden))
			}
			hidden = name
			commands = append(commands, HideUnvalidated(name))
		}
		commands = append(commands, Command{Tag: end.Tag, SQL: "DO " + sqltext.Literal(fmt.Sprintf(
			"BEGIN IF (SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid = %[1]s::pg_catalog.regclass AND attname = %[2]s)"+
				" > (pg_catalog.current_setting('replay.columns')::pg_catalog.jsonb ->> %[1]s)::int4 THEN UPDATE ONLY %[3]s SET %[4]s = %[5]s; END IF; END",
			sqltext.Literal(name), sqltext.Literal(m.Column), name, sqltext.Identifier(m.Column), value))})
	}
	if hidden != "" {
		commands = append(commands, ShowUnvalidated(hidden))
	}
	return commands
}

// countColumns notes how many columns the tables have before the command. Of
// those whose value is sent, it added the ones beyond; others it only changed,
// and their rows may have got other values since.
func countColumns(end *event.End) []Command {
	var counts []string
	for _, m := range end.Missing {
		count := fmt.Sprintf("%[1]s, (SELECT pg_catalog.max(attnum) FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass(%[1]s))",
			sqltext.Literal(tableOf(m)))
		if !slices.Contains(counts, count) {
			counts = append(counts, count)
		}
	}
	if len(counts) == 0 {
		return nil
	}
	return []Command{{Tag: end.Tag, SQL: "DO " + sqltext.Literal(
		"BEGIN PERFORM pg_catalog.set_config('replay.columns', pg_catalog.jsonb_build_object("+strings.Join(counts, ", ")+")::text, false); END")}}
}

// dropEventTriggers makes way for dropping a function that may have served
// event triggers: dropping those fires no event, and a sample tells of it later.
func dropEventTriggers(dropped []event.Object) (commands []Command) {
	for _, o := range dropped {
		if o.Type != "function" || !strings.HasSuffix(o.Identity, "()") || o.Temporary() {
			continue
		}
		commands = append(commands, Command{Tag: "EVENT TRIGGER", SQL: "DO " + sqltext.Literal(fmt.Sprintf("DECLARE t name; BEGIN "+
			"FOR t IN SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtfoid = pg_catalog.to_regprocedure(%s) LOOP "+
			"EXECUTE pg_catalog.format('DROP EVENT TRIGGER %%I', t); END LOOP; END", sqltext.Literal(o.Identity)))})
	}
	return commands
}

// setUnlogged finds commands that may have made a table unlogged.
var setUnlogged = regexp.MustCompile(`(?i)\bset\s+unlogged\b`)

// emptyUnlogged empties tables that became unlogged: nothing tells of their rows
// from then on, and those from before could stand in the way of a later command.
func emptyUnlogged(objects []event.Object) (commands []Command) {
	for _, o := range objects {
		if o.Class == event.ClassRelation && o.Type == "table" && !o.Temporary() {
			commands = append(commands, Command{Tag: "ALTER TABLE", SQL: "DO " + sqltext.Literal(fmt.Sprintf(
				"BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s) AND relkind = 'r' AND relpersistence = 'u')"+
					" THEN TRUNCATE ONLY %s CASCADE; END IF; END", sqltext.Literal(o.Identity), o.Identity))})
		}
	}
	return commands
}
