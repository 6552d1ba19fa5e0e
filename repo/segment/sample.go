package segment

import (
	"strings"

	"pg_scribe/catalog"
)

// Tags of commands that no user gave: they bring about what a sample of the
// source found changed.
const (
	TagSample      = "SAMPLE"   // marks a complete sample; see SampleMark
	TagSequence    = "SEQUENCE" // sets one to its value
	TagDatabase    = "ALTER DATABASE"
	TagTrigger     = "EVENT TRIGGER"
	TagOwner       = "OWNER"
	TagPrivileges  = "PRIVILEGES"
	TagCluster     = "CLUSTER"
	TagInventory   = "INVENTORY"    // makes what came about without an event
	TagTablespace  = "TABLESPACE"   // of the cluster
	TagParameter   = "PARAMETER"    // of the cluster
	TagLargeObject = "LARGE OBJECT" // also followed by its OID
	TagRole        = "ROLE"         // followed by its name, quoted
	TagRename      = "RENAME ROLE"  // followed by its old and new name, quoted
)

// KeepRole is a setting that is on where a command of TagRename must leave the
// role as it is, and give what it has in the database to the one of the new name.
const KeepRole = "pg_scribe.keep_role"

// SampleMark is the command of tag TagSample. It does nothing. Values of
// sequences that were handed out to what committed before the position are in
// the sample.
func SampleMark(position catalog.LSN) string {
	return "DO 'BEGIN /* " + position.String() + " */ END'"
}

// ofState says whether a command of the tag brings the state of what is there
// already, and no definition: where a sequence stands, what is in large objects.
func ofState(tag string) bool {
	return tag == TagSample || tag == TagSequence || strings.HasPrefix(tag, TagLargeObject)
}

// Defines says whether the item can change what an object is, or says how one that
// can is to run. The others are about rows, values of sequences and large objects,
// and what stands between.
func (i Item) Defines() bool {
	switch i.Kind {
	case DDL:
		return !ofState(i.Tag)
	case Setting, Block:
		return true
	}
	return false
}

// Sampled says whether the item is no change of the source's users: a sample sent
// it, or it only says something of what others did. position is that of a mark,
// else 0.
func (i Item) Sampled() (position catalog.LSN, ok bool) {
	switch i.Kind {
	case LargeObject, Object, Author:
		return 0, true
	case DDL:
		word, _, _ := strings.Cut(i.Tag, " ")
		switch {
		case i.Tag == TagSample:
			_, text, _ := strings.Cut(string(i.SQL), "/* ")
			text, _, _ = strings.Cut(text, " */")
			position, _ = catalog.ParseLSN(text) // one that cannot be read vouches for nothing
			return position, true
		case i.Tag == TagSequence, i.Tag == TagDatabase, i.Tag == TagTrigger, i.Tag == TagOwner, i.Tag == TagPrivileges, i.Tag == TagCluster, i.Tag == TagInventory,
			i.Tag == TagTablespace, i.Tag == TagParameter,
			word == TagRole, strings.HasPrefix(i.Tag, TagRename+" "), strings.HasPrefix(i.Tag, TagLargeObject):
			return 0, true
		}
	}
	return 0, false
}
