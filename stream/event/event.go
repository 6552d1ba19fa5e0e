// Package event reads the messages of the capture: signed JSON of event
// triggers and samples, each as a value of its kind. What Parse returns is what
// the source said, byte for byte in its encoding, and nothing unsigned gets past
// Verify. It knows neither a server nor how a message becomes SQL.
package event

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// An Event is one message: *Text, *Start, *Drop, *End, *Refill, *Rows, *Sample,
// *Objects, *LargeObject, *Mark or *Gap.
type Event interface{ event() }

// Text is a long text that other events of its transaction refer to.
type Text struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Start is the beginning of a command.
type Start struct{ Command }

// Command is a command's text, with what decides how it reads and what it
// rests on.
type Command struct {
	Tag     string            `json:"tag"`
	Role    string            `json:"role"`
	Session string            `json:"session"`
	Path    string            `json:"path"`
	SQL     string            `json:"sql"`
	SQLID   string            `json:"sql_id"` // a text sent before, instead of SQL
	Context string            `json:"ctx"`
	CtxID   string            `json:"ctx_id"` // instead of Context
	Sources []string          `json:"sources"`
	Roles   []Role            `json:"roles"`
	Members []Membership      `json:"members"`
	Owners  []Owned           `json:"owners"`
	Create  bool              `json:"create"` // the role may create in the database
	At      string            `json:"at"`
	PID     int               `json:"pid"`
	Set     map[string]string `json:"set"`
	Custom  map[string]string `json:"custom"` // settings of the application that it may have read
	By      *Author           `json:"by"`     // nil: not to be recorded
}

// Author is what is known of a command's session beside Session, its user.
type Author struct {
	Application string `json:"application"`
	Client      string `json:"client"` // address; empty: a local socket
}

// Conforming is the standard_conforming_strings that the text was read under.
func (c *Command) Conforming() bool { return c.Set["standard_conforming_strings"] != "off" }

// Resolve puts in the texts that a command refers to. They come before it in
// its transaction, or not at all: then they stay empty.
func (c *Command) Resolve(texts map[string]string) {
	if c.SQLID != "" {
		c.SQL = texts[c.SQLID]
	}
	if c.CtxID != "" {
		c.Context = texts[c.CtxID]
	}
}

// Drop lists what a command dropped.
type Drop struct {
	Tag     string   `json:"tag"`
	Objects []Object `json:"objects"`
}

// End is the end of a command: what is known only then.
type End struct {
	Tag     string         `json:"tag"`
	Late    bool           `json:"late"`
	Command *Command       `json:"-"` // of a late one, which has no start
	Objects []Object       `json:"objects"`
	Granted []Granted      `json:"granted"` // nil: it was not on all of a schema
	Loose   []uint32       `json:"loose"`   // types that may hold values which a domain's constraint does not allow
	Tables  []Table        `json:"tables"`
	Types   []Type         `json:"types"` // that the command may have renamed
	Moved   []Moved        `json:"moved"` // whose schema has another name now
	Creates []string       `json:"creates"`
	Like    bool           `json:"like"` // LIKE may have copied what the target does not have
	Instead []string       `json:"instead"`
	Attach  *AttachedIndex `json:"attached"`
	View    string         `json:"view"` // makes the materialized view that REFRESH fills
	Missing []MissingValue `json:"missing"`
	Filled  bool           `json:"filled"`  // the contents of the materialized view follow
	Emptied []TableName    `json:"emptied"` // that are to be empty before the command: their contents follow
	Bounds  []NamedText    `json:"bounds"`
	Checks  []NamedText    `json:"checks"`
	Subs    []Subscription `json:"subscriptions"`
	Gone    []Transient    `json:"transient"`
	Folded  *Folded        `json:"folded"`
	Parts   string         `json:"parts"` // of a permanent table that vanish with the session: column or expression
}

// TableName is a table by its name.
type TableName struct {
	OID    uint32 `json:"oid"`
	Schema string `json:"schema"`
	Table  string `json:"table"`
}

// Refill says that the contents of a rewritten table, or of a materialized view
// that was filled, follow.
type Refill struct {
	Kind    string   `json:"kind"` // as pg_class.relkind; empty: a table
	OID     uint32   `json:"oid"`
	Schema  string   `json:"schema"`
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
}

// Sample is what differs from the last sample of a slot.
type Sample struct {
	Slot   string  `json:"slot"`
	States []State `json:"states"`
}

// Objects are what a snapshot showed of objects. The message is in ASCII, whatever
// the source's encoding.
type Objects struct {
	Slot     string      `json:"slot"` // whose sample it is
	Snapshot Snapshot    `json:"snapshot"`
	Objects  []Described `json:"objects"`
}

// Described is what one object is.
type Described struct {
	Class       string          `json:"class"` // as pg_identify_object has it
	Identity    string          `json:"identity"`
	Description json.RawMessage `json:"description,omitempty"` // in canonical form; none: the object is gone
}

// LargeObject is a piece of a large object's contents.
type LargeObject struct {
	OID    uint32 `json:"oid"`
	Offset int64  `json:"offset"`
	Data   string `json:"data"` // in base 64
}

// Mark is a restore point.
type Mark struct {
	Name string `json:"name"`
}

// Gap says what could not be captured.
type Gap struct {
	Reason string `json:"reason"`
}

func (*Text) event()        {}
func (*Start) event()       {}
func (*Drop) event()        {}
func (*End) event()         {}
func (*Refill) event()      {}
func (*Rows) event()        {}
func (*Sample) event()      {}
func (*Objects) event()     {}
func (*LargeObject) event() {}
func (*Mark) event()        {}
func (*Gap) event()         {}

// Schema is the one that pg_scribe has on the source. What is in it is no part of
// the contents.
const Schema = "scribe"

// Class OIDs of objects: of pg_class, and of pg_largeobject, which stands for
// large objects.
const (
	ClassRelation    = 1259
	ClassLargeObject = 2613
)

// Object is what a command made, changed or dropped.
type Object struct {
	Class     uint32 `json:"class"`
	OID       uint32 `json:"oid"`
	Tag       string `json:"tag"`
	Type      string `json:"type"`
	Schema    string `json:"schema"`
	Identity  string `json:"identity"`
	Extension bool   `json:"ext"`
	Temp      bool   `json:"temp"`
	Original  bool   `json:"original"`
	Own       bool   `json:"own"`     // the publication of a backup
	Invalid   bool   `json:"invalid"` // an index that the target does not have
	Root      string `json:"root"`    // of a dropped partition: through which its rows were written
}

// Temporary reports that the object does not outlive its session.
func (o Object) Temporary() bool { return o.Temp || o.Schema == "pg_temp" }

// Key names the object among all.
func (o Object) Key() string { return Key(o.Class, o.OID) }

// Key names an object.
func Key(class, oid uint32) string { return fmt.Sprintf("%d %d", class, oid) }

// ParseOID reads the number of an object that pg_scribe wrote itself.
func ParseOID(text string) uint32 {
	oid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		panic(err)
	}
	return uint32(oid)
}

// Transient is the name of something that vanishes with its session.
type Transient struct {
	Kind   string `json:"kind"` // relation, type or routine
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Bare   bool   `json:"bare"`  // it is meant where the name stands without a schema
	Alone  bool   `json:"alone"` // no other routine has the name
}

// Role is a role that a command may name.
type Role struct {
	Name        string `json:"name"`
	OID         uint32 `json:"oid"` // 0: an older capture told it
	Super       bool   `json:"super"`
	Inherit     bool   `json:"inherit"`
	CreateRole  bool   `json:"createrole"`
	CreateDB    bool   `json:"createdb"`
	Login       bool   `json:"login"`
	Replication bool   `json:"replication"`
	BypassRLS   bool   `json:"bypassrls"`
}

// Membership is what a command's role may rest on.
type Membership struct {
	Role   string `json:"role"`
	Member string `json:"member"`

	// What the member may do by it; nil before version 16, where that is the role's own matter.
	Inherit *bool `json:"inherit"`
	Set     *bool `json:"set"`
}

// Granted is an object that a GRANT or REVOKE on all of a schema changed.
type Granted struct {
	Kind     string `json:"kind"` // tables, sequences, functions or procedures
	Schema   string `json:"schema"`
	Identity string `json:"identity"`
}

// Owned is an object that a command may name, with its owner before it.
type Owned struct {
	Class    uint32 `json:"class"`
	OID      uint32 `json:"oid"`
	Type     string `json:"type"` // as pg_identify_object calls it
	Identity string `json:"identity"`
	Owner    string `json:"owner"`
}

// Table is what the descriptions of a table in the stream do not say.
type Table struct {
	OID    uint32   `json:"oid"`
	Always []string `json:"always"` // GENERATED ALWAYS identity columns
	Types  []Type   `json:"types"`
	Schema string   `json:"schema"`
	Table  string   `json:"table"`
	Root   string   `json:"root"`   // through which its rows are written
	Was    string   `json:"was"`    // the same, before the command
	Filled bool     `json:"filled"` // it may hold rows

	Unsaved bool `json:"unsaved"` // no dump has its rows: it is an extension's
	Freed   bool `json:"freed"`   // the command ended that
}

// Moved is a table whose schema was renamed.
type Moved struct {
	OID    uint32 `json:"oid"`
	Schema string `json:"schema"`
}

// Type says how values of a type are compared, where = alone fails.
type Type struct {
	OID   uint32 `json:"oid"`
	Cast  string `json:"cast"`  // name of a composite type
	Equal string `json:"equal"` // OPERATOR(schema.=)
}

// NamedText is a partition's bound or a table's constraint.
type NamedText struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Text   string `json:"text"`
}

// AttachedIndex is what ALTER INDEX … ATTACH PARTITION names. One that is not
// valid is not in a base either.
type AttachedIndex struct {
	Valid bool   `json:"valid"`
	Text  string `json:"text"` // makes it, if it became valid only after it was made
}

// Folded is what words such as today meant to a command, and the server's own
// text of the expressions that its transaction made.
type Folded struct {
	Now       string   `json:"now"`
	Today     string   `json:"today"`
	Tomorrow  string   `json:"tomorrow"`
	Yesterday string   `json:"yesterday"`
	Texts     []string `json:"texts"`
}

// Subscription is one as a command left it.
type Subscription struct {
	Name         string            `json:"name"`
	Connection   string            `json:"connection"`
	Publications []string          `json:"publications"`
	Options      map[string]string `json:"options"`
}

// State brings about what a sample found.
type State struct {
	Tag  string    `json:"tag"`
	SQL  string    `json:"sql"`
	Role *RoleName `json:"role,omitempty"` // instead of SQL
}

// RoleName is the name that a role has now; empty: it is gone.
type RoleName struct {
	OID  uint32 `json:"oid"`
	Name string `json:"name"`
}

// MissingValue is what rows that were there got in an added column.
type MissingValue struct {
	Schema string  `json:"schema"`
	Table  string  `json:"table"`
	Column string  `json:"column"`
	Value  *string `json:"value"`
}
