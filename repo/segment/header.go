package segment

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// FormatVersion is the version of the text format in docs/FORMAT.md, in which all
// new files are written. A reader refuses files of a later one and goes on reading
// all earlier ones.
const FormatVersion = 2

// Lines that begin so are pg_scribe's own. The writers make sure that no text
// from the source ever begins a line with one of them.
const (
	ownPrefix    = "-- pg_scribe "
	beginPrefix  = "BEGIN; -- xid "
	commitPrefix = "COMMIT; -- "
)

// timeLayout is RFC 3339 in UTC with microseconds, the server's resolution.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// FormatTime is a time as own lines have it.
func FormatTime(t time.Time) string { return string(appendTime(nil, t)) }

// appendTime writes a time that parseTime can read, whatever clock it is from.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		t = time.Date(min(max(y, 1), 9999), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	}
	return t.AppendFormat(dst, timeLayout)
}

// optionalTime writes a time that may be unknown, and then left out.
func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return FormatTime(t)
}

func optionalLSN(l catalog.LSN) string {
	if l == 0 {
		return ""
	}
	return l.String()
}

func parseTime(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) }

// appendLSN writes the form X/X without the detour that LSN.String takes.
func appendLSN(dst []byte, l catalog.LSN) []byte {
	from := len(dst)
	dst = strconv.AppendUint(dst, uint64(l>>32), 16)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, uint64(uint32(l)), 16)
	for i := from; i < len(dst); i++ {
		if dst[i] >= 'a' {
			dst[i] -= 'a' - 'A'
		}
	}
	return dst
}

// isOwn says whether a line begins as only pg_scribe's own lines may.
func isOwn(line []byte) bool {
	switch {
	case len(line) < len(commitPrefix):
		return false
	case line[0] == '-':
		return bytes.HasPrefix(line, []byte(ownPrefix))
	case line[0] == 'B':
		return bytes.HasPrefix(line, []byte(beginPrefix))
	case line[0] == 'C':
		return bytes.HasPrefix(line, []byte(commitPrefix))
	}
	return false
}

// A Header opens every file of a repository, as comment lines.
type Header struct {
	Kind           catalog.Kind
	Format         int
	SystemID       string
	Timeline       uint32
	Database       string
	Slot           string // segments only
	Server         string // version of the source, e.g. 15.18
	Encoding       string // of the source database and of the text that follows
	Collate, CType string
	LocaleProvider string // libc, icu or builtin; with Locale, PostgreSQL 15 and later
	Locale         string
	Start          catalog.LSN // first LSN of a segment, consistent point of a base
	At             time.Time   // source's clock at Start; zero when unknown
	Created        time.Time
	Previous       string // text checksum of the segment before, if known
	Filters        string // what the bytes went through, e.g. zstd
	Dump           string // bases: version of pg_dump
	Repository     About
}

// About is what every file tells of its repository, so that the catalog can be
// made again from the files alone. Files of earlier versions lack it.
type About struct {
	Begun       time.Time // when the repository was made
	DatabaseOID uint32
	Slot        string
	Publication string
	Compression string // of new files
	Mode        string
	StreamStart catalog.LSN // where the present slot begins, when it was made anew
	Switches    string      // where timelines branched off: "2 1 0/3000060", joined by commas
}

// field is one "-- key: value" line.
type field struct{ key, value string }

func appendFields(dst []byte, fields []field) []byte {
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		dst = append(dst, "-- "...)
		dst = append(dst, f.key...)
		dst = append(dst, ": "...)
		dst = append(dst, f.value...)
		dst = append(dst, '\n')
	}
	return dst
}

// Quote makes any text safe in a comment line.
func Quote(s string) string {
	if s == "" {
		return ""
	}
	return strconv.QuoteToASCII(s)
}

// Unquote is the inverse of quote.
func Unquote(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return strconv.Unquote(s)
}

// plain leaves text as it is that is safe in a comment line, and quotes other.
func plain(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || i == 0 && (s[i] == '"' || s[i] == ' ') {
			return Quote(s)
		}
	}
	return s
}

// unplain is the inverse of plain.
func unplain(s string) (string, error) {
	if strings.HasPrefix(s, `"`) {
		return Unquote(s)
	}
	return s, nil
}

// Append writes the header's lines, an empty comment line last.
func (h Header) Append(dst []byte) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, h.Kind...)
	dst = append(dst, '\n')
	about, oid := h.Repository, ""
	if about.DatabaseOID != 0 {
		oid = strconv.FormatUint(uint64(about.DatabaseOID), 10)
	}
	dst = appendFields(dst, []field{
		{"format", strconv.Itoa(h.Format)},
		{"system", plain(h.SystemID)},
		{"timeline", strconv.FormatUint(uint64(h.Timeline), 10)},
		{"database", Quote(h.Database)},
		{"slot", Quote(h.Slot)},
		{"server", Quote(h.Server)},
		{"encoding", plain(h.Encoding)},
		{"collate", Quote(h.Collate)},
		{"ctype", Quote(h.CType)},
		{"provider", plain(h.LocaleProvider)},
		{"locale", Quote(h.Locale)},
		{"start", h.Start.String()},
		{"at", optionalTime(h.At)},
		{"created", FormatTime(h.Created)},
		{"previous", plain(h.Previous)},
		{"filters", Quote(h.Filters)},
		{"pg_dump", Quote(h.Dump)},
		{"repository-created", optionalTime(about.Begun)},
		{"repository-slot", Quote(about.Slot)},
		{"repository-publication", Quote(about.Publication)},
		{"repository-compression", Quote(about.Compression)},
		{"repository-mode", Quote(about.Mode)},
		{"repository-stream-start", optionalLSN(about.StreamStart)},
		{"repository-timelines", plain(about.Switches)},
		{"database-oid", oid},
	})
	return append(dst, "--\n"...)
}

// FormatError says that a file is not what its name or catalog row promises.
type FormatError struct {
	File   string
	Line   int64 // 0: unknown
	Reason string
	Cause  error // nil: Reason says all
}

func (e *FormatError) Unwrap() error { return e.Cause }

func (e *FormatError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s, line %d: %s", e.File, e.Line, e.Reason)
	}
	return fmt.Sprintf("%s: %s", e.File, e.Reason)
}

// parseField splits a "-- key: value" line; ok is false for any other.
func parseField(line []byte) (f field, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("-- "))
	if !ok {
		return field{}, false
	}
	key, value, ok := strings.Cut(string(rest), ": ")
	return field{key, value}, ok
}

// NewerFormatError says that a later version of pg_scribe wrote a file.
type NewerFormatError struct{ Format int }

func (e NewerFormatError) Error() string {
	return fmt.Sprintf("it has format %d; this version of pg_scribe is too old for it: it reads formats 1 to %d", e.Format, FormatVersion)
}

// CheckFormat refuses files and repositories of a later version than this program
// knows.
func CheckFormat(version int) error {
	if version >= 1 && version <= FormatVersion {
		return nil
	}
	if version > FormatVersion {
		return NewerFormatError{version}
	}
	return fmt.Errorf("it has format %d; this version of pg_scribe reads formats 1 to %d", version, FormatVersion)
}

// fields says what reads the value of each line of a header.
func (h *Header) fields() fields {
	about := &h.Repository
	return fields{
		"format": func(value string) (err error) {
			if h.Format, err = strconv.Atoi(value); err == nil {
				err = CheckFormat(h.Format)
			}
			return err
		},
		"system": into(&h.SystemID, unplain), "timeline": into(&h.Timeline, parseUint32), "database": into(&h.Database, Unquote),
		"slot": into(&h.Slot, Unquote), "server": into(&h.Server, Unquote), "encoding": into(&h.Encoding, unplain),
		"collate": into(&h.Collate, Unquote), "ctype": into(&h.CType, Unquote), "provider": into(&h.LocaleProvider, unplain),
		"locale": into(&h.Locale, Unquote), "start": into(&h.Start, catalog.ParseLSN), "at": into(&h.At, parseTime),
		"created": into(&h.Created, parseTime), "previous": into(&h.Previous, unplain), "filters": into(&h.Filters, Unquote),
		"pg_dump": into(&h.Dump, Unquote),

		"repository-created": into(&about.Begun, parseTime), "repository-slot": into(&about.Slot, Unquote),
		"repository-publication": into(&about.Publication, Unquote), "repository-compression": into(&about.Compression, Unquote),
		"repository-mode": into(&about.Mode, Unquote), "repository-stream-start": into(&about.StreamStart, catalog.ParseLSN),
		"repository-timelines": into(&about.Switches, unplain), "database-oid": into(&about.DatabaseOID, parseUint32),
	}
}
