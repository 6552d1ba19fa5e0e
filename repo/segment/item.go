package segment

import (
	"fmt"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// A Tx is a transaction of the source.
type Tx struct {
	XID    uint32
	Commit catalog.LSN // of its commit record
	At     time.Time   // of its commit
}

// An Item is one element of a segment. SQL, and what is parsed of it, is valid
// until the next call of Next.
type Item struct {
	Kind   Kind
	SQL    []byte // without its line end, with its semicolon
	Tx     Tx     // that it belongs to; zero: it stands between transactions
	LSN    catalog.LSN
	Time   time.Time
	Text   string
	Tag    string
	Author Identity    // of kind Author
	Object Fingerprint // of kind Object
	Line   int64       // first line of the item in the segment's text
	Offset int64       // of that line, in bytes
}

// String is the item on one line or more, for a person.
func (i Item) String() string {
	switch i.Kind {
	case Begin:
		return fmt.Sprintf("begin %d %s %s", i.Tx.XID, i.Tx.Commit, FormatTime(i.Tx.At))
	case DDL:
		return "ddl " + i.Tag + ": " + string(i.SQL)
	case Commit:
		return "commit " + i.LSN.String()
	case Author:
		return fmt.Sprintf("by %q %q %q", i.Author.User, i.Author.Application, i.Author.Client)
	case Object:
		return strings.TrimSpace(fmt.Sprintf("object %q %q %s %s", i.Object.Class, i.Object.Identity, i.Object.SHA256, i.Object.Description))
	case FrameStart:
		return "frame"
	case Origin:
		return fmt.Sprintf("origin %s %q", i.LSN, i.Text)
	case RestorePoint:
		return fmt.Sprintf("mark %q", i.Text)
	case Gap:
		return fmt.Sprintf("gap %q", i.Text)
	case Reached:
		return "reached " + i.LSN.String() + " " + FormatTime(i.Time)
	case End:
		return "end " + i.LSN.String()
	}
	return "sql " + string(i.SQL)
}
