package restore

import "testing"

// A later pg_restore sets what an older server does not know. That error, and
// no other, is passed over, if pg_restore got to its end.
func TestUnknownTimeout(t *testing.T) {
	const (
		unknown = "pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"transaction_timeout\"\n" +
			"Command was: SET transaction_timeout = 0;\n"
		other = "pg_restore: from TOC entry 215; 1259 16385 TABLE t postgres\n" +
			"pg_restore: error: could not execute query: ERROR:  type \"x\" does not exist\nCommand was: CREATE TABLE t (a x);\n"
		end = "pg_restore: warning: errors ignored on restore: 2\n"
	)
	for said, want := range map[string]bool{
		unknown + unknown + end: true,
		unknown + other + end:   false,
		unknown:                 false,
		"pg_restore: error: could not open input file\n": false,
		"": false,
	} {
		if got := onlyUnknownTimeout(said); got != want {
			t.Errorf("%q: %v", said, got)
		}
	}
}
