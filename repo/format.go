package repo

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// The functions here write the framing of a segment; segment_reader.go reads
// it. docs/FORMAT.md describes both.

// preamble pins every setting that shapes how the text below it is read, and
// disables what already happened on the source (triggers, foreign key actions).
func preamble(encoding string) []byte {
	return []byte(`SET client_encoding = ` + Literal(encoding) + `;
SET standard_conforming_strings = on;
SET session_replication_role = replica;
SET search_path = '';
SET DateStyle = ISO;
SET IntervalStyle = postgres;
SET TimeZone = 'UTC';
SET extra_float_digits = 3;
SET bytea_output = hex;
SET lc_monetary = 'C';
SET xmloption = content;
SET array_nulls = on;
SET check_function_bodies = off;
SET row_security = off;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET default_transaction_read_only = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
SET client_min_messages = warning;
SET synchronous_commit = off;
` + ownPrefix + "stream\n")
}

// AppendBegin opens a transaction: its id, the LSN of its commit record and
// its commit time, which order and date everything up to AppendCommit.
func AppendBegin(dst []byte, xid uint32, commit catalog.LSN, at time.Time) []byte {
	dst = append(dst, beginPrefix...)
	dst = strconv.AppendUint(dst, uint64(xid), 10)
	dst = append(dst, " commit "...)
	dst = appendLSN(dst, commit)
	dst = append(dst, " at "...)
	dst = appendTime(dst, at)
	return append(dst, '\n')
}

// AppendCommit ends a transaction; end is the LSN behind its commit record.
func AppendCommit(dst []byte, end catalog.LSN) []byte {
	dst = append(dst, commitPrefix...)
	dst = appendLSN(dst, end)
	return append(dst, '\n')
}

// AppendOrigin notes, right behind AppendBegin, that the transaction was
// replicated from elsewhere, so that its commit time is another server's.
func AppendOrigin(dst []byte, name string, lsn catalog.LSN) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "origin "...)
	dst = appendLSN(dst, lsn)
	dst = append(dst, ' ')
	dst = append(dst, quote(name)...)
	return append(dst, '\n')
}

// AppendMark notes a named restore point within its transaction.
func AppendMark(dst []byte, name string) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "mark "...)
	dst = append(dst, quote(name)...)
	return append(dst, '\n')
}

// AppendGap notes that something could not be captured here.
func AppendGap(dst []byte, reason string) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "gap "...)
	dst = append(dst, quote(reason)...)
	return append(dst, '\n')
}

// AppendDDL writes a statement that may span lines, framed by their number so
// that no reader has to parse SQL. A final semicolon, and comments behind it,
// are dropped. A text that psql could misread, that reads differently under
// another standard_conforming_strings, or that holds a line like pg_scribe's
// own, is wrapped into one line that says the same.
func AppendDDL(dst []byte, tag, sql string) []byte {
	statement, ok := unwrapped(sql)
	if !ok {
		statement = wrapStatement(sql)
	}
	dst = append(dst, ownPrefix...)
	dst = append(dst, "ddl "...)
	dst = strconv.AppendInt(dst, int64(strings.Count(statement, "\n")+1), 10)
	dst = append(dst, ' ')
	dst = append(dst, plain(tag)...)
	dst = append(dst, '\n')
	dst = append(dst, statement...)
	return append(dst, ";\n"...)
}

// copyFrom is how every COPY line ends.
const copyFrom = " FROM stdin;"

// AppendCopyBegin opens a COPY block of rows, each written by AppendCopyRow
// and ended by AppendCopyEnd. table and columns are quoted SQL.
func AppendCopyBegin(dst []byte, table, columns string) []byte {
	dst = append(dst, "COPY "...)
	dst = append(dst, table...)
	dst = append(dst, " ("...)
	dst = append(dst, columns...)
	dst = append(dst, ')')
	dst = append(dst, copyFrom...)
	return append(dst, '\n')
}

// AppendCopyEnd ends a COPY block.
func AppendCopyEnd(dst []byte) []byte { return append(dst, copyEnd...) }

// AppendCopyNull and AppendCopyValue write one column of a row.
func AppendCopyNull(dst []byte) []byte { return append(dst, '\\', 'N') }

// copyEscapes maps the bytes that COPY's text format gives a meaning.
var copyEscapes = [256]byte{'\\': '\\', '\n': 'n', '\r': 'r', '\t': 't', '\b': 'b', '\f': 'f', '\v': 'v'}

// AppendCopyValue writes one column of a row, escaped.
func AppendCopyValue(dst, value []byte) []byte {
	from := 0
	for i, b := range value {
		if e := copyEscapes[b]; e != 0 {
			dst = append(dst, value[from:i]...)
			dst = append(dst, '\\', e)
			from = i + 1
		}
	}
	return append(dst, value[from:]...)
}

// SealCopyRow ends the row that begins at dst[start:]. A row must not look
// like a line of pg_scribe's: its first byte is then written as an escape.
func SealCopyRow(dst []byte, start int) []byte {
	if row := dst[start:]; isOwn(row) {
		rest := string(row[1:])
		first := row[0]
		dst = append(dst[:start], '\\', '0'+first>>6, '0'+first>>3&7, '0'+first&7)
		dst = append(dst, rest...)
	}
	return append(dst, '\n')
}

// AppendLiteral writes a string constant on one line, whatever it holds:
// plain quotes where they do, an escape string where the text has line ends.
// It reads the same under standard_conforming_strings = on only.
func AppendLiteral(dst, value []byte) []byte {
	quotes, lines := literalNeeds(value)
	if lines {
		return appendEscapeString(dst, value)
	}
	dst = append(dst, '\'')
	for quotes {
		i := bytes.IndexByte(value, '\'')
		if i < 0 {
			break
		}
		dst = append(dst, value[:i]...)
		dst = append(dst, '\'', '\'')
		value = value[i+1:]
	}
	dst = append(dst, value...)
	return append(dst, '\'')
}

// literalNeeds tells whether a value holds quotes and whether it holds line
// ends. For the many short values a loop is the fastest way.
func literalNeeds(value []byte) (quotes, lines bool) {
	if len(value) >= 16 {
		return bytes.IndexByte(value, '\'') >= 0, bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0
	}
	for _, b := range value {
		quotes = quotes || b == '\''
		lines = lines || b == '\n' || b == '\r'
	}
	return quotes, lines
}

// appendEscapeString writes a string constant that reads the same under any
// setting.
func appendEscapeString(dst, value []byte) []byte {
	dst = append(dst, 'E', '\'')
	from := 0
	for i, b := range value {
		var e string
		switch b {
		case '\'':
			e = "''"
		case '\\':
			e = `\\`
		case '\n':
			e = `\n`
		case '\r':
			e = `\r`
		default:
			continue
		}
		dst = append(dst, value[from:i]...)
		dst = append(dst, e...)
		from = i + 1
	}
	dst = append(dst, value[from:]...)
	return append(dst, '\'')
}

// AppendIdentifier writes a quoted identifier on one line. A line end in a
// name needs the Unicode escape form, which stays on one line too.
func AppendIdentifier(dst []byte, name string) []byte {
	escaped := strings.ContainsAny(name, "\n\r")
	if escaped {
		dst = append(dst, 'U', '&')
	}
	dst = append(dst, '"')
	for i := 0; i < len(name); i++ {
		switch b := name[i]; {
		case b == '"':
			dst = append(dst, '"', '"')
		case escaped && b == '\\':
			dst = append(dst, '\\', '\\')
		case escaped && b == '\n':
			dst = append(dst, `\000a`...)
		case escaped && b == '\r':
			dst = append(dst, `\000d`...)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}

// Identifier is AppendIdentifier as a string.
func Identifier(name string) string { return string(AppendIdentifier(nil, name)) }

// Literal is AppendLiteral as a string.
func Literal(value string) string { return string(AppendLiteral(nil, []byte(value))) }
