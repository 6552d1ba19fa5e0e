package restore

import (
	"fmt"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/restore/compare"
)

// OlderTargetError: the target server is of an older major version than the
// source, whose statements it may not understand.
type OlderTargetError struct {
	Source, Target string // versions
}

func (e *OlderTargetError) Error() string {
	return fmt.Sprintf("the target server is version %s, older than the source's %s", e.Target, e.Source)
}

// SourceTargetError: the target is the database that the backup was made of.
type SourceTargetError struct{ Database string }

func (e *SourceTargetError) Error() string {
	return fmt.Sprintf("database %q is the source of this backup", e.Database)
}

// NotSourceError: the database whose place is to be taken is not the one that
// the backup was made of, or is not there.
type NotSourceError struct{ Database string }

func (e *NotSourceError) Error() string {
	return fmt.Sprintf("database %q is not the source of this backup", e.Database)
}

// ExistsError: the database to be created exists.
type ExistsError struct{ Database string }

func (e *ExistsError) Error() string { return fmt.Sprintf("database %q already exists", e.Database) }

// NotEmptyError: the target holds something already.
type NotEmptyError struct {
	Database string
	Objects  []string // the first few, in words
	Total    int64
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("database %q is not empty: it holds %s%s", e.Database, strings.Join(e.Objects, ", "), more(int(e.Total)-len(e.Objects)))
}

// LocaleError: the target server cannot make a database of the source's
// encoding and locale.
type LocaleError struct {
	Encoding, Provider, Collate, CType, Locale string
	Err                                        error
}

func (e *LocaleError) Error() string {
	text := fmt.Sprintf("encoding %s, collation %q, character type %q", e.Encoding, e.Collate, e.CType)
	if e.Provider != "" && e.Provider != "libc" {
		text += fmt.Sprintf(", %s locale %q", e.Provider, e.Locale)
	}
	return fmt.Sprintf("the target server cannot make a database with %s: %v", text, e.Err)
}

func (e *LocaleError) Unwrap() error { return e.Err }

// BusyError: another restore works on the target.
type BusyError struct{ Database string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("another restore into database %q is running", e.Database)
}

// ResumeError: there is no interrupted restore of this plan in the target.
type ResumeError struct {
	Database string
	Reason   string
}

func (e *ResumeError) Error() string {
	return fmt.Sprintf("no restore into database %q can be continued: %s", e.Database, e.Reason)
}

// UnreachableError: the segments do not hold what the catalog says of the
// target.
type UnreachableError struct{ Target catalog.Target }

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the segments do not hold %s", e.Target)
}

// StatementError: the target server refused a statement of the repository.
type StatementError struct {
	File string
	Line int64
	LSN  catalog.LSN // commit LSN of its transaction; 0 for bases and globals
	XID  uint32
	SQL  string // shortened
	Err  error  // a *pgconn.PgError when the server answered at all
}

func (e *StatementError) Error() string {
	return where(e.File, e.Line, e.LSN, e.XID) + ": " + e.Err.Error() + said(e.SQL)
}

func (e *StatementError) Unwrap() error { return e.Err }

// RowCountError: a statement changed other than the rows that it changed on
// the source, so that the target is not what the source was.
type RowCountError struct {
	File       string
	Line       int64
	LSN        catalog.LSN
	XID        uint32
	SQL        string // shortened
	Rows, Want int64
}

func (e *RowCountError) Error() string {
	return fmt.Sprintf("%s: %d rows changed where the source changed %d%s",
		where(e.File, e.Line, e.LSN, e.XID), e.Rows, e.Want, said(e.SQL))
}

// DifferenceError: objects of the target are not as the source's were, and
// could not be made so.
type DifferenceError struct {
	Where       string // base or transaction behind which they were found; empty: at the end
	Differences []compare.Difference
}

func (e *DifferenceError) Error() string {
	text := difference(e.Differences[0]) + more(len(e.Differences)-1)
	if e.Where == "" {
		return text
	}
	return "behind " + e.Where + ": " + text
}

// difference is one in words.
func difference(d compare.Difference) string {
	text := fmt.Sprintf("%s %s differs from the source's", d.Class, d.Identity)
	switch {
	case d.Kind == describe.Missing && d.Row == "":
		text = fmt.Sprintf("%s %s of the source is missing", d.Class, d.Identity)
	case d.Kind == describe.Extra && d.Row == "":
		text = fmt.Sprintf("%s %s is not in the source", d.Class, d.Identity)
	case d.Kind == describe.Missing:
		text += fmt.Sprintf(": %s %q is missing", d.Catalog, d.Row)
	case d.Kind == describe.Extra:
		text += fmt.Sprintf(": %s %q is not in the source", d.Catalog, d.Row)
	default:
		text += fmt.Sprintf(": %s of %s %q is %q, in the source %q", d.Attribute, d.Catalog, d.Row, shorten(d.Target), shorten(d.Source))
	}
	if d.Reason != "" {
		text += " (" + d.Reason + ")"
	}
	return text
}

func where(file string, line int64, lsn catalog.LSN, xid uint32) string {
	if lsn == 0 {
		return fmt.Sprintf("%s, line %d", file, line)
	}
	return fmt.Sprintf("%s, line %d (transaction %d, commit LSN %s)", file, line, xid, lsn)
}

func said(sql string) string {
	if sql == "" {
		return ""
	}
	return ": " + sql
}

// ToolError: an external program failed.
type ToolError struct {
	Name   string
	Output string // the end of what it said
	Err    error
}

func (e *ToolError) Error() string {
	text := fmt.Sprintf("%s failed: %v", e.Name, e.Err)
	if e.Output != "" {
		text += ": " + e.Output
	}
	return text
}

func (e *ToolError) Unwrap() error { return e.Err }

// IncompleteError: the restore ended before its end and left something in the
// target.
type IncompleteError struct {
	Database  string
	Created   bool        // this run created the database, and left it
	Resumable bool        // the base is complete: Options.Resume goes on behind Applied
	Applied   catalog.LSN // everything below is in the target, when Resumable
	Swap      *Swap       // the database was to take the source's place; nil: it was not
	Err       error       // why it ended
}

func (e *IncompleteError) Error() string { return e.Err.Error() }
func (e *IncompleteError) Unwrap() error { return e.Err }

// shorten makes a statement fit to be shown: one line, not too long, and
// without passwords.
func shorten(sql string) string {
	const limit = 240
	cut := sql
	if len(cut) > limit {
		cut = cut[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, redact(strings.ToValidUTF8(cut, "?")))
}
