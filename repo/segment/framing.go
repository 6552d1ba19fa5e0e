package segment

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

// The functions here write the framing of a segment, which Reader reads.
// docs/FORMAT.md describes both.

// AppendPreamble pins every setting that shapes how the text below it is read, and
// disables what already happened on the source (triggers, foreign key actions).
func AppendPreamble(dst []byte, encoding string) []byte {
	return append(dst, `SET client_encoding = `+sqltext.Literal(encoding)+`;
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
`+ownPrefix+"stream\n"...)
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
	dst = append(dst, Quote(name)...)
	return append(dst, '\n')
}

// AppendRestorePoint notes a named restore point within its transaction.
func AppendRestorePoint(dst []byte, name string) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "mark "...)
	dst = append(dst, Quote(name)...)
	return append(dst, '\n')
}

// AppendGap notes that something could not be captured here.
func AppendGap(dst []byte, reason string) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "gap "...)
	dst = append(dst, Quote(reason)...)
	return append(dst, '\n')
}

// An Identity is whose session a transaction ran in, as far as the source sends it.
type Identity struct {
	User        string // of the session; what it did under other roles shows at its commands
	Application string // application_name
	Client      string // address; empty: a local socket
}

// AppendAuthor notes, within a transaction, whose it is.
func AppendAuthor(dst []byte, by Identity) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "by"...)
	for _, s := range []string{by.User, by.Application, by.Client} {
		dst = append(dst, ' ')
		dst = strconv.AppendQuoteToASCII(dst, s)
	}
	return append(dst, '\n')
}

// A Fingerprint is what an object is at a place of the stream, so that whoever
// runs the commands before it can compare.
type Fingerprint struct {
	Class       string // kind of the object, as pg_identify_object has it
	Identity    string // its name, as pg_identify_object has it
	SHA256      string // of its canonical description, in hexadecimal; Gone: it is gone
	Description string // the canonical description, one line of JSON in ASCII; empty: only the sum is known
}

// Gone stands for the sum of an object that is no longer there.
const Gone = "0000000000000000000000000000000000000000000000000000000000000000"

// NewFingerprint is that of an object with its canonical description.
func NewFingerprint(class, identity string, description []byte) Fingerprint {
	sum := sha256.Sum256(description)
	return Fingerprint{Class: class, Identity: identity, SHA256: hex.EncodeToString(sum[:]), Description: string(description)}
}

// AppendObject notes what an object is as of here.
func AppendObject(dst []byte, f Fingerprint) []byte {
	dst = append(dst, objectPrefix...)
	dst = strconv.AppendQuoteToASCII(dst, f.Class)
	dst = append(dst, ' ')
	dst = strconv.AppendQuoteToASCII(dst, f.Identity)
	dst = append(dst, sumWord...)
	dst = append(dst, f.SHA256...)
	if f.Description != "" {
		dst = append(append(dst, ' '), f.Description...)
	}
	return append(dst, '\n')
}

// AppendReached notes, between two transactions, that everything up to the
// position is here, and everything that the source committed up to a time, if
// that is known.
func AppendReached(dst []byte, lsn catalog.LSN, at time.Time) []byte {
	dst = append(dst, ownPrefix...)
	dst = append(dst, "reached "...)
	dst = appendLSN(dst, lsn)
	if !at.IsZero() {
		dst = append(dst, " at "...)
		dst = appendTime(dst, at)
	}
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
