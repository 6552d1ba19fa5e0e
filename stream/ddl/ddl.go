// Package ddl turns a command of the source, as the capture tells it, into the
// commands that have the same result in a target: Finder finds its statement,
// Classify says how it is written, Rewrite writes it. All of it is pure but for
// what a Finder remembers of strings of several statements. It knows neither a
// server nor how commands are put into a segment.
package ddl

import (
	"regexp"
	"slices"
	"strings"

	"pg_scribe/stream/event"
)

// A Command is one statement of SQL, without its semicolon.
type Command struct {
	Tag  string // what it is; empty: a setting or the like, which is no command of the source
	SQL  string
	Once bool // it is written only if no other one of the same text was, on this connection
}

// tagged makes commands of statements.
func tagged(tag string, sql []string) (commands []Command) {
	for _, q := range sql {
		commands = append(commands, Command{Tag: tag, SQL: q})
	}
	return commands
}

// State names a sampled state.
type State struct{ Kind, Key string }

// Kinds of sampled states that commands bring about too.
const (
	StateRole       = "role"
	StateRoleName   = "role name"
	StateMembership = "membership"
	StateDatabase   = "database"
	StateOwner      = "owner"
	StatePrivileges = "privileges" // of which nothing is sampled but what a command says
	StateCluster    = "cluster"
)

// A Case is one command as the capture tells it.
type Case struct {
	Start     *event.Command
	End       *event.End
	Dropped   []event.Object
	Statement string // its text
	Unknown   error  // why that is not known; nil: it is
}

// NewCase finds the command's statement.
func NewCase(f *Finder, start *event.Command, end *event.End, dropped []event.Object) *Case {
	c := &Case{Start: start, End: end, Dropped: dropped}
	c.Statement, c.Unknown = f.Statement(start, slices.Concat(end.Objects, dropped))
	return c
}

// Kind is the way in which a command is written.
type Kind byte

// Kinds of commands.
const (
	Nothing           Kind = iota // not at all: it is about what no target has, or has already
	Definitions                   // what it made, as the catalogs had it then
	Instead                       // commands that the capture sent in its place
	Subscriptions                 // subscriptions as it left them, detached from their publishers
	DropSubscriptions             // the same, detached before they go
	DropPart                      // a DROP of what outlives the session, and of what does not
	LargeObjects                  // on large objects, which the target may not have yet
	Text                          // by its text
	Lost                          // it cannot be: a mark says so
)

// Classify says how a command is written.
func Classify(c *Case) Kind {
	end, tag := c.End, c.Start.Tag
	switch {
	case onlyTemporary(end.Objects, c.Dropped), ownObjects(end.Objects), onlyInvalid(end.Objects):
		return Nothing
	case tag == "CREATE TABLE AS", tag == "SELECT INTO", tag == "IMPORT FOREIGN SCHEMA":
		return Definitions
	case len(end.Instead) > 0:
		return Instead
	case end.Attach != nil && !end.Attach.Valid:
		return Nothing
	case len(end.Subs) > 0:
		return Subscriptions
	case tag == "DROP SUBSCRIPTION":
		return DropSubscriptions
	}
	if _, part := dropsPart(tag, c.Dropped); part {
		return DropPart
	}
	switch {
	case c.Unknown == nil && strings.HasPrefix(tag, "CREATE ") && len(end.Objects)+len(c.Dropped) == 0 && c.ifNotExists():
		return Nothing
	case c.Unknown != nil, end.Parts == "column", end.Parts != "" && tag != "CREATE TABLE":
		return Lost
	case len(end.Creates) > 0 && (end.Parts != "" || c.likeTransient() || end.Like && c.like()):
		return Definitions
	case ownGrant.MatchString(c.Statement):
		return Nothing
	case onLargeObjects(c.Statement, end.Objects):
		return LargeObjects
	}
	return Text
}

// ifNotExists reports that a CREATE does nothing where the object is there.
func (c *Case) ifNotExists() bool {
	t := headTokens(c.Statement, c.Start.Conforming())
	for i := 0; i+2 < len(t); i++ {
		if t[i].Is("if") && t[i+1].Is("not") && t[i+2].Is("exists") {
			return true
		}
	}
	return false
}

// ownGrant is a privilege on what pg_scribe installed: GRANT and REVOKE do not
// tell the event triggers what they are about.
var ownGrant = regexp.MustCompile(`(?is)^\s*(?:grant|revoke)\s.*?\son\s+(?:schema\s+"?scribe"?\s|` +
	`(?:\w+\s+)*"?scribe"?\.|all\s+\w+\s+in\s+schema\s+"?scribe"?\s)`)

// ownObjects reports that a command changed what pg_scribe installed.
func ownObjects(objects []event.Object) bool {
	for _, o := range objects {
		if o.Schema == event.Schema || o.Type == "schema" && o.Identity == event.Schema || o.Own {
			return true
		}
	}
	return false
}

// onlyTemporary reports that a command touched nothing that outlives a session.
func onlyTemporary(created, dropped []event.Object) bool {
	lasts := func(o event.Object) bool { return !o.Temporary() }
	return len(created)+len(dropped) > 0 && !slices.ContainsFunc(created, lasts) && !slices.ContainsFunc(dropped, lasts)
}

// onlyInvalid reports that a command was about indexes that are there by name
// only; the inventory makes them as they are once they are valid.
func onlyInvalid(objects []event.Object) bool {
	return len(objects) > 0 && !slices.ContainsFunc(objects, func(o event.Object) bool { return !o.Invalid })
}

// scriptTags are commands whose replay does again what they did inside, so
// that nothing of it may come from the stream as well.
var scriptTags = map[string]bool{
	"CREATE EXTENSION": true, "ALTER EXTENSION": true, "REFRESH MATERIALIZED VIEW": true,
}

// Script reports that the command's replay does again what it did inside.
func (c *Case) Script() bool { return IsScript(c.Start.Tag) && !c.End.Filled }

// IsScript tells it by the command's tag.
func IsScript(tag string) bool { return scriptTags[tag] }

// Unsaid reports that a script made objects that its events do not name.
func (c *Case) Unsaid() bool { return c.Script() && c.Start.Tag != "REFRESH MATERIALIZED VIEW" }

// Gaps are what a command did that no command can say again.
func (c *Case) Gaps() []string {
	gaps := hashPartitions(c.End, c.Dropped)
	if c.Script() {
		gaps = append(gaps, freedTables(c.End.Tables)...)
	}
	return gaps
}

// changesDefaults are the commands that change default privileges.
var changesDefaults = map[string]bool{"ALTER DEFAULT PRIVILEGES": true, "DROP OWNED": true}

// ChangesDefaults reports that default privileges may be others behind the command.
func (c *Case) ChangesDefaults() bool { return changesDefaults[c.Start.Tag] }

// defaultKinds are the objects that default privileges are for. Large objects
// are sampled.
var defaultKinds = map[string]bool{"table": true, "view": true, "materialized view": true, "foreign table": true, "sequence": true,
	"function": true, "procedure": true, "aggregate": true, "type": true, "domain": true, "schema": true}

// Privileges are those of the objects that the command may have made with
// default ones.
func (c *Case) Privileges() (states []State) {
	for _, o := range c.End.Objects {
		if o.Class != 0 && defaultKinds[o.Type] && !o.Temporary() {
			states = append(states, State{StatePrivileges, o.Key()})
		}
	}
	return states
}
