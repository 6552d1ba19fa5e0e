package repo

import (
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

// The functions here write the framing of a segment; segment_reader.go reads
// it. docs/FORMAT.md describes both.

// preamble pins every setting that shapes how the text below it is read, and
// disables what already happened on the source (triggers, foreign key actions).
func preamble(encoding string) []byte {
	return []byte(`SET client_encoding = ` + sqltext.Literal(encoding) + `;
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

// unwrapped returns the one statement of a text without its final semicolon
// and what is only comment behind it. ok is false when the text cannot stand
// in a segment as it is.
func unwrapped(sql string) (statement string, ok bool) {
	for _, conforming := range []bool{true, false} {
		parts, whole := sqltext.Split(sql, conforming)
		if !whole || len(parts) != 1 || !conforming && parts[0] != statement {
			return "", false
		}
		statement = parts[0]
		if !sqltext.ReadsSame(statement, conforming) {
			return "", false
		}
	}
	for line := range strings.SplitSeq(statement, "\n") {
		if isOwn([]byte(line)) {
			return "", false
		}
	}
	return statement, true
}

// wrapStatement says the same on one line that holds only quoted text and
// that reads the same under any setting.
func wrapStatement(sql string) string {
	return "DO " + sqltext.Escaped("BEGIN EXECUTE "+sqltext.Escaped(sql)+"; END")
}
