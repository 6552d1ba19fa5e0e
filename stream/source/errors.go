package source

import (
	"fmt"
	"strings"

	"pg_scribe/catalog"
)

// SlotError says that a replication slot cannot be used.
type SlotError struct {
	Slot     string
	Problem  SlotProblem
	Detail   string
	PID      int32
	Database string // that an existing slot is of; empty: not known, or the slot is foreign for what Detail says
}

// SlotProblem is why.
type SlotProblem string

// The problems that a user fixes in different ways.
const (
	SlotMissing  SlotProblem = "missing"
	SlotExists   SlotProblem = "exists"
	SlotBusy     SlotProblem = "busy"
	SlotLost     SlotProblem = "lost"     // the server removed WAL that it needs
	SlotAhead    SlotProblem = "ahead"    // it was confirmed past the repository's end
	SlotForeign  SlotProblem = "foreign"  // other plugin or database
	SlotBlocked  SlotProblem = "blocked"  // running transactions keep it from being made
	SlotNoneFree SlotProblem = "nonefree" // max_replication_slots is reached
	SlotIntact   SlotProblem = "intact"   // it was to be made anew, and nothing is wrong with it
)

func (e *SlotError) Error() string {
	switch e.Problem {
	case SlotMissing:
		return fmt.Sprintf("replication slot %q does not exist", e.Slot)
	case SlotExists:
		if e.Database != "" {
			return fmt.Sprintf("replication slot %q exists already, and is of database %q", e.Slot, e.Database)
		}
		return fmt.Sprintf("replication slot %q exists already", e.Slot)
	case SlotIntact:
		return fmt.Sprintf("replication slot %q has all that the repository needs: a new one would break the stream", e.Slot)
	case SlotBusy:
		return fmt.Sprintf("replication slot %q is in use by process %d", e.Slot, e.PID)
	}
	if e.Database != "" {
		return fmt.Sprintf("replication slot %q: it is of database %q", e.Slot, e.Database)
	}
	return fmt.Sprintf("replication slot %q: %s", e.Slot, e.Detail)
}

// LargeValueError says that the server cannot send a value or row as text: a
// bytea of about 500 MB, or any row of about 1 GB. pg_dump fails on it in any
// case; in the stream it comes again at the same place for ever.
type LargeValueError struct {
	Table  string      // whose rows pg_dump could not read
	XID    uint32      // or the transaction in the stream
	Commit catalog.LSN // of it
	Reason string      // in the server's words
}

func (e *LargeValueError) Error() string {
	what := "table " + e.Table
	if e.Table == "" {
		what = fmt.Sprintf("transaction %d, which commits at %s,", e.XID, e.Commit)
	}
	return what + " holds a value or a row that is too large for the server to send: " + e.Reason
}

// IsTooLarge knows what the server says then. These words are not translated.
func IsTooLarge(text string) bool {
	return strings.Contains(text, "invalid memory alloc request size") || strings.Contains(text, "enlarge string buffer")
}

// FailoverError says that the server cannot keep a slot in step on standbys.
type FailoverError struct{ Version string }

func (e *FailoverError) Error() string {
	return fmt.Sprintf("the server is PostgreSQL %s: failover slots need version 17", e.Version)
}

// MismatchError says that slot, timeline or history are not those that the
// repository is of.
type MismatchError struct{ What, Repository, Source string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the repository is of %s %s, the source is %s", e.What, e.Repository, e.Source)
}
