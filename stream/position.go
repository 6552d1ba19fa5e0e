package stream

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// A client may send several statements in one string, and end transactions
// within it. The events of such a string come in the order of its statements;
// between its transactions those of others come, and the stream may break off
// and go on in another process.

// position is how far the events of a client's string have come, where more
// of its transactions may follow.
type position struct {
	At   string // when the string was sent, as the capture tells it
	Sum  string // SHA-256 of its text
	Next int    // the first statement that can be the next event's
}

// stringsAtMost bounds how many positions are kept: nothing tells that a
// string ended early, until its session sends another command.
const stringsAtMost = 1000

// notBegun is the value of facts.since before the first transaction.
const notBegun = -1

// stringRun is how far the events of one statement of a client have come within
// a transaction: of its string, and of strings that ran within it.
type stringRun struct {
	pid  int
	at   string
	next map[[sha256.Size]byte]int
}

// part finds the statement of a string of several: events arrive in the order
// of the statements that were not rolled back, and each must fit its command
// tag. One that does not name what the command touched, where another does, is
// not it: an error may have ended the string before its last statement. A
// nested string may run again and again within one statement of the client,
// but cannot end a transaction.
func (r *renderer) part(m *event.Command, split *splitText, nested bool, touched []event.Object) (string, error) {
	run := &r.ddl.run
	if run.pid != m.PID || run.at != m.At || run.next == nil {
		*run = stringRun{m.PID, m.At, map[[sha256.Size]byte]int{}}
	}
	from, known := run.next[split.sum]
	if !known && !nested {
		p, stored := r.facts.strings[uint32(m.PID)]
		switch {
		case stored && p.Sum == hex.EncodeToString(split.sum[:]) && !split.prepares:
			from = p.Next
		case split.prepares || r.facts.mayHaveBegun(m.At):
			var single bool
			if from, single = split.first(m.Tag, touched); !single {
				return "", errors.New("the string it was sent with has several transactions, and which of them this is cannot be told")
			}
		}
	}
	i := split.next(from, m.Tag)
	if i < 0 && nested {
		i = split.next(0, m.Tag)
	}
	if i < 0 {
		return "", fmt.Errorf("none of the %d statements it was sent with fits", len(split.parts))
	}
	if !split.namesAny(i, touched) {
		for j := range split.parts {
			if split.fits(j, m.Tag) && split.namesAny(j, touched) {
				return "", fmt.Errorf("the %d statements it was sent with ran in another way than they read", len(split.parts))
			}
		}
	}
	run.next[split.sum] = i + 1
	if !nested {
		if split.goesOn > i {
			r.facts.setString(m.PID, position{m.At, hex.EncodeToString(split.sum[:]), i + 1})
		} else {
			r.facts.endString(m.PID)
		}
	}
	return split.parts[i], nil
}

// first finds the first statement that can be an event's, whatever came before,
// and tells whether all that can be are of one transaction. Statements that
// name what the command touched go before others.
func (s *splitText) first(tag string, touched []event.Object) (at int, single bool) {
	named := false
	in := map[int]bool{} // by the number of transactions that ended before
	ended := 0
	for i := range s.parts {
		if !s.undone[i] && s.fits(i, tag) {
			if names := s.namesAny(i, touched); names && !named {
				named = true
				clear(in)
			} else if named && !names {
				continue
			}
			if len(in) == 0 {
				at = i
			}
			in[ended] = true
		}
		if endsTransaction(s.heads[i]) {
			ended++
		}
	}
	return at, len(in) <= 1
}

// transactions finds out how a string is divided by the ends of transactions.
func (s *splitText) transactions() {
	s.goesOn = -1
	last := -1
	for i, t := range s.heads {
		switch {
		case endsTransaction(t):
			last = i
			s.prepares = s.prepares || t[0].Is("prepare")
		case !begins(t):
			s.goesOn = last
		}
	}
}

// endsTransaction tells whether a statement ends the transaction of those before it.
func endsTransaction(t []sqltext.Token) bool {
	if len(t) == 0 || len(t) > 1 && t[1].Is("prepared") {
		return false
	}
	switch {
	case t[0].Is("commit"), t[0].Is("end"), t[0].Is("prepare") && len(t) > 1 && t[1].Is("transaction"):
		return true
	case t[0].Is("rollback"), t[0].Is("abort"):
		to := slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is("to") })
		return to < 0 || to > 2
	}
	return false
}

// begins tells whether a statement does no more than begin a transaction.
func begins(t []sqltext.Token) bool {
	return len(t) == 0 || t[0].Is("begin") || t[0].Is("start") && len(t) > 1 && t[1].Is("transaction")
}

// setString notes how far a string has come, and the oldest of too many is forgotten.
func (f *facts) setString(pid int, p position) {
	key := uint32(pid)
	if _, there := f.strings[key]; !there && len(f.strings) >= stringsAtMost {
		f.endString(int(slices.MinFunc(slices.Sorted(maps.Keys(f.strings)), func(a, b uint32) int {
			return cmp.Compare(microseconds(f.strings[a].At), microseconds(f.strings[b].At))
		})))
	}
	f.strings[key] = p
	f.dirty[catalog.FactKey{Kind: stringFact, OID: key}] = true
}

// endString forgets the string of a session of which no more can come.
func (f *facts) endString(pid int) {
	key := uint32(pid)
	if _, there := f.strings[key]; there {
		delete(f.strings, key)
		f.dirty[catalog.FactKey{Kind: stringFact, OID: key}] = true
	}
}

// sent forgets the string of a session that has sent another one since.
func (f *facts) sent(pid int, at string) {
	if p, there := f.strings[uint32(pid)]; there && p.At != at {
		f.endString(pid)
	}
}

// mayHaveBegun tells whether the first transactions of a string of which
// nothing is known may lie before the place where the facts begin.
func (f *facts) mayHaveBegun(at string) bool {
	return f.since == notBegun || f.since > 0 && microseconds(at) <= f.since
}

// begin notes the first commit behind the place where the facts begin: what was
// sent later has no transaction before it.
func (f *facts) begin(commit time.Time) {
	if f.since == notBegun {
		f.since = commit.UnixMicro()
		f.dirty[sinceKey] = true
	}
}

// sinceKey is where facts.since is stored: no process has the number 0.
var sinceKey = catalog.FactKey{Kind: stringFact, OID: 0}

// microseconds reads a time as the capture tells it; 0: it cannot be read.
func microseconds(at string) int64 {
	seconds, err := strconv.ParseFloat(at, 64)
	if err != nil {
		return 0
	}
	return int64(math.Round(seconds * 1e6))
}
