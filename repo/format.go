package repo

import (
	"bytes"
	"strconv"
	"time"

	"pg_scribe/catalog"
)

// The functions here write the framing of a segment; segment_reader.go reads
// it. docs/FORMAT.md describes both.

// preamble pins every setting that shapes how the text below it is read, and
// disables what already happened on the source (triggers, foreign key actions).
func preamble(encoding string) []byte {
	return []byte(`SET client_encoding = '` + encoding + `';
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
	dst = append(dst, commit.String()...)
	dst = append(dst, " at "...)
	dst = at.UTC().AppendFormat(dst, timeLayout)
	return append(dst, '\n')
}

// AppendCommit ends a transaction; end is the LSN behind its commit record.
func AppendCommit(dst []byte, end catalog.LSN) []byte {
	dst = append(dst, commitPrefix...)
	dst = append(dst, end.String()...)
	return append(dst, '\n')
}

// AppendOrigin notes that the transaction was replicated from elsewhere, so
// that its commit time is another server's.
func AppendOrigin(dst []byte, name string, lsn catalog.LSN) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "origin "...)
	dst = append(dst, lsn.String()...)
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
// that no reader has to parse SQL. sql has no final semicolon. A text that
// psql could misread, or that holds a line like pg_scribe's own, is wrapped
// into one line that says the same.
func AppendDDL(dst []byte, tag, sql string) []byte {
	sql = trimStatement(sql)
	if !safeForPsql(sql) {
		sql = wrapStatement(sql)
	}
	dst = append(dst, ownPrefix...)
	dst = append(dst, "ddl "...)
	dst = strconv.AppendInt(dst, int64(bytes.Count([]byte(sql), []byte{'\n'})+1), 10)
	dst = append(dst, ' ')
	dst = append(dst, tag...)
	dst = append(dst, '\n')
	dst = append(dst, sql...)
	return append(dst, ";\n"...)
}

// AppendCopyBegin opens a COPY block of rows, each written by AppendCopyRow
// and ended by AppendCopyEnd. table and columns are quoted SQL.
func AppendCopyBegin(dst []byte, table, columns string) []byte {
	dst = append(dst, "COPY "...)
	dst = append(dst, table...)
	dst = append(dst, " ("...)
	dst = append(dst, columns...)
	return append(dst, ") FROM stdin;\n"...)
}

// AppendCopyEnd ends a COPY block.
func AppendCopyEnd(dst []byte) []byte { return append(dst, "\\.\n"...) }

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
	row := dst[start:]
	if bytes.HasPrefix(row, []byte(ownPrefix)) || bytes.HasPrefix(row, []byte(beginPrefix)) ||
		bytes.HasPrefix(row, []byte(commitPrefix)) {
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
	plain := true
	for _, b := range value {
		if b == '\n' || b == '\r' {
			plain = false
			break
		}
	}
	if !plain {
		dst = append(dst, 'E')
	}
	dst = append(dst, '\'')
	from := 0
	for i, b := range value {
		var e string
		switch {
		case b == '\'':
			e = "''"
		case plain:
			continue
		case b == '\\':
			e = `\\`
		case b == '\n':
			e = `\n`
		case b == '\r':
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
	escaped := false
	for i := 0; i < len(name); i++ {
		if name[i] == '\n' || name[i] == '\r' {
			escaped = true
		}
	}
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
