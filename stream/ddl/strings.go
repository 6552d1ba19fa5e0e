package ddl

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

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// A client may send several statements in one string, and end transactions
// within it. The events of such a string come in the order of its statements;
// between its transactions those of others come, and the stream may break off
// and go on in another process.

// A Position is how far the events of a client's string have come, where more
// of its transactions may follow.
type Position struct {
	At   string // when the string was sent, as the capture tells it
	Sum  string // SHA-256 of its text
	Next int    // the first statement that can be the next event's
}

// stringsAtMost bounds how many positions are kept: nothing reports that a
// string ended early, until its session sends another command.
const stringsAtMost = 1000

// NotBegun is the value of Strings.Since before the first transaction.
const NotBegun = -1

// Strings are those that may go on in a later transaction.
type Strings struct {
	At    map[uint32]Position // by process
	Since int64               // strings sent until then may have begun before all this, in µs since 1970; see NotBegun

	// Changed is told which process has another position now, or none; 0, which
	// no process has: Since is another one.
	Changed func(process uint32)
}

// NewStrings returns one that knows of none.
func NewStrings() *Strings {
	return &Strings{At: map[uint32]Position{}, Changed: func(uint32) {}}
}

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
func (f *Finder) part(m *event.Command, split *splitText, nested bool, touched []event.Object) (string, error) {
	run := &f.run
	if run.pid != m.PID || run.at != m.At || run.next == nil {
		*run = stringRun{m.PID, m.At, map[[sha256.Size]byte]int{}}
	}
	from, known := run.next[split.sum]
	if !known && !nested {
		p, stored := f.strings.At[uint32(m.PID)]
		switch {
		case stored && p.Sum == hex.EncodeToString(split.sum[:]) && !split.prepares:
			from = p.Next
		case split.prepares || f.strings.mayHaveBegun(m.At):
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
			f.strings.set(m.PID, Position{m.At, hex.EncodeToString(split.sum[:]), i + 1})
		} else {
			f.strings.end(m.PID)
		}
	}
	return split.parts[i], nil
}

// first finds the first statement that can be an event's, whatever came before,
// and says whether all that can be are of one transaction. Statements that
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

// endsTransaction says whether a statement ends the transaction of those before it.
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

// begins says whether a statement does no more than begin a transaction.
func begins(t []sqltext.Token) bool {
	return len(t) == 0 || t[0].Is("begin") || t[0].Is("start") && len(t) > 1 && t[1].Is("transaction")
}

// set notes how far a string has come, and the oldest of too many is forgotten.
func (s *Strings) set(pid int, p Position) {
	key := uint32(pid)
	if _, there := s.At[key]; !there && len(s.At) >= stringsAtMost {
		s.end(int(slices.MinFunc(slices.Sorted(maps.Keys(s.At)), func(a, b uint32) int {
			return cmp.Compare(microseconds(s.At[a].At), microseconds(s.At[b].At))
		})))
	}
	s.At[key] = p
	s.Changed(key)
}

// end forgets the string of a session of which no more can come.
func (s *Strings) end(pid int) {
	key := uint32(pid)
	if _, there := s.At[key]; there {
		delete(s.At, key)
		s.Changed(key)
	}
}

// sent forgets the string of a session that has sent another one since.
func (s *Strings) sent(pid int, at string) {
	if p, there := s.At[uint32(pid)]; there && p.At != at {
		s.end(pid)
	}
}

// mayHaveBegun says whether the first transactions of a string of which
// nothing is known may lie before the place where this begins.
func (s *Strings) mayHaveBegun(at string) bool {
	return s.Since == NotBegun || s.Since > 0 && microseconds(at) <= s.Since
}

// Begin notes the first commit behind the place where this begins: what was
// sent later has no transaction before it.
func (s *Strings) Begin(commit time.Time) {
	if s.Since == NotBegun {
		s.Since = commit.UnixMicro()
		s.Changed(0)
	}
}

// microseconds reads a time as the capture tells it; 0: it cannot be read.
func microseconds(at string) int64 {
	seconds, err := strconv.ParseFloat(at, 64)
	if err != nil {
		return 0
	}
	return int64(math.Round(seconds * 1e6))
}
