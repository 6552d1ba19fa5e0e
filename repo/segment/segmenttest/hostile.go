// Package segmenttest has texts for tests of whoever writes or reads segments. It
// must not know package segment, whose own tests use it.
package segmenttest

import "strings"

// Hostile are values that could be taken for something else.
var Hostile = []string{
	"", "'", "''", `\`, `\\`, `\'`, `\.`, `\N`, `\n`, "\n", "\r", "\r\n", "\n\\.\n", "\t", "\b\f\v", "it's", "a\nb", "a'\n'b",
	"-- pg_scribe end", "-- pg_scribe", "-- pg_scribe ", "\n-- pg_scribe end\n", "BEGIN; -- xid 1 commit 0/0 at x", "BEGIN; -- xid ",
	"COMMIT; -- 0/1", "COMMIT; -- ", "COMMIT;", "BEGIN;", ":name", ":'name'", "$$", "$1", "/*", "--", ";", "E'x'", `U&"x"`, `"`, `""`,
	"\x01\x02\x1f\x7f", "\x80\xff", "naïve 🐘", strings.Repeat("x", 100), strings.Repeat("'\n\\", 50), "1234567\\", "12345678\\", "123456\x1f8",
	"\u2028", "a\u0085b",
}

// AtomicBody is a function whose body is no string.
const AtomicBody = `CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO t VALUES (1); -- a comment; with a semicolon
  SELECT CASE WHEN a > 1 THEN (CASE a WHEN 2 THEN 3 END) ELSE 4 END;
END`
