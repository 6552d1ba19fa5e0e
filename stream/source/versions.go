package source

import (
	"fmt"
	"strconv"
	"strings"
)

// minServer and maxServer bound the PostgreSQL major versions.
const minServer, maxServer = 14, 18

// minorReleases are, for each major version, the first minor release without
// a bug of logical decoding that loses data, and the one from which on its
// remedy has no bad side effects either.
//
// Before the first, a transaction that runs while another one changes a
// table's definition may be decoded with the old one, and its rows be lost.
// The remedy made invalidations grow without bounds, until the next release.
var minorReleases = map[int]struct{ sound, recommended int }{
	14: {18, 19},
	15: {13, 14},
	16: {9, 10},
	17: {5, 6},
}

// ServerVersionFinding judges a server's version, such as "15.12", by the bugs
// that are known of it. ok is true when there is nothing to say, also of
// versions without a number such as "18beta1".
func ServerVersionFinding(version string) (f Finding, ok bool) {
	first, rest, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest)
	known, listed := minorReleases[major]
	switch {
	case err != nil || err2 != nil || !listed || minor >= known.recommended:
		return f, true
	case minor < known.sound:
		f = Finding{Critical: true, Problem: fmt.Sprintf("PostgreSQL %s can lose rows of transactions that run beside a change of the schema (fixed in %d.%d)",
			version, major, known.sound)}
	default:
		f = Finding{Problem: fmt.Sprintf("PostgreSQL %s can run out of memory when the schema changes beside many transactions (fixed in %d.%d)",
			version, major, known.recommended)}
	}
	f.Fix = fmt.Sprintf("update the server to %d.%d or newer and restart it", major, known.recommended)
	return f, false
}
