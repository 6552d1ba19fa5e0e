// Package recording reads what a source's capture said of some commands, one
// message a line, and prints how each is written. Tests keep such recordings
// beside the scripts that they are of: the rewriting of commands is tested with
// them without a server, and a server is asked whether it says the same still.
package recording

import (
	"bytes"
	"fmt"
	"strings"

	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
)

// Commit is the line at the end of a transaction.
const Commit = "commit"

// Cases returns the commands of a recording, in the order in which they are
// written: those within another one behind it, or not at all behind a script,
// which does them again.
func Cases(recorded []byte) ([]*ddl.Case, error) {
	r := &reader{finder: ddl.NewFinder(ddl.NewStrings()), texts: map[string]string{}}
	var events []event.Event
	for line := range bytes.Lines(recorded) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if string(line) == Commit {
			r.transaction(events)
			events = nil
			continue
		}
		e, err := event.Parse(line)
		if err != nil {
			return nil, fmt.Errorf("%.200s: %w", line, err)
		}
		if e != nil {
			events = append(events, e)
		}
	}
	if len(events) > 0 {
		return nil, fmt.Errorf("the recording ends within a transaction")
	}
	return r.cases, nil
}

type reader struct {
	finder *ddl.Finder
	texts  map[string]string
	cases  []*ddl.Case
}

func (r *reader) transaction(events []event.Event) {
	r.commands(events)
	r.finder.Reset()
	clear(r.texts)
}

// commands takes events outside all commands.
func (r *reader) commands(events []event.Event) {
	var dropped []event.Object
	for i := 0; i < len(events); i++ {
		switch e := events[i].(type) {
		case *event.Text:
			r.texts[e.ID] = e.Text
		case *event.Drop:
			dropped = append(dropped, e.Objects...)
		case *event.End: // a late one
			e.Command.Resolve(r.texts)
			r.cases = append(r.cases, ddl.NewCase(r.finder, e.Command, e, dropped))
			dropped = nil
		case *event.Start:
			i += r.command(e, events[i+1:])
		}
	}
}

// command takes the events behind a start, and returns how many up to its end
// there are.
func (r *reader) command(start *event.Start, events []event.Event) int {
	start.Resolve(r.texts)
	var dropped []event.Object
	var within []event.Event
	depth := 1
	for i, e := range events {
		switch e := e.(type) {
		case *event.Text:
			r.texts[e.ID] = e.Text
			continue
		case *event.Start:
			depth++
		case *event.Drop:
			if depth == 1 {
				dropped = append(dropped, e.Objects...)
				continue
			}
		case *event.End:
			if depth--; depth == 0 {
				c := ddl.NewCase(r.finder, &start.Command, e, dropped)
				r.cases = append(r.cases, c)
				if !c.Script() {
					r.commands(within)
				}
				return i + 1
			}
		}
		within = append(within, e)
	}
	return len(events)
}

var kinds = map[ddl.Kind]string{ddl.Nothing: "nothing", ddl.Definitions: "definitions", ddl.Instead: "instead", ddl.Subscriptions: "subscriptions",
	ddl.DropSubscriptions: "drop subscriptions", ddl.DropPart: "drop part", ddl.LargeObjects: "large objects", ddl.Text: "text", ddl.Lost: "lost"}

// Print shows how a command is written, without the session that it runs under.
func Print(c *ddl.Case) string {
	var out strings.Builder
	fmt.Fprintf(&out, "## %s: %s\n", c.Start.Tag, kinds[ddl.Classify(c)])
	for _, reason := range c.Gaps() {
		fmt.Fprintf(&out, "gap: %s\n", reason)
	}
	w, err := ddl.Rewrite(c)
	if err != nil {
		fmt.Fprintf(&out, "gap: %v\n", err)
	}
	list(&out, "before", w.Before)
	list(&out, "commands", w.Commands)
	list(&out, "after", w.After)
	return out.String()
}

// PrintSession shows what a command is run under.
func PrintSession(c *ddl.Case) string {
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n", c.Start.Tag)
	w, err := ddl.Rewrite(c)
	if err != nil || w.Session == nil {
		return out.String()
	}
	for _, n := range w.Session.Needs {
		list(&out, fmt.Sprintf("needs (then sampled again: %s %q)", n.Sample.Kind, n.Sample.Key), n.Commands)
	}
	list(&out, "set", w.Session.Set)
	list(&out, "reset", w.Session.Reset)
	return out.String()
}

// PrintStates shows what is sampled again behind a command.
func PrintStates(c *ddl.Case) string {
	var out strings.Builder
	fmt.Fprintf(&out, "## %s: changes owners %t, default privileges %t\n", c.Start.Tag, c.ChangesOwners(), c.ChangesDefaults())
	for _, s := range c.Overtaken() {
		fmt.Fprintf(&out, "overtaken: %s %q\n", s.Kind, s.Key)
	}
	for _, s := range c.Privileges() {
		fmt.Fprintf(&out, "made with default privileges: %q\n", s.Key)
	}
	return out.String()
}

// list shows some commands.
func list(out *strings.Builder, part string, commands []ddl.Command) {
	if len(commands) > 0 {
		fmt.Fprintf(out, "-- %s\n", part)
	}
	for _, c := range commands {
		if c.Tag != "" {
			fmt.Fprintf(out, "[%s] ", c.Tag)
		}
		fmt.Fprintf(out, "%s;\n", c.SQL)
	}
}
