package sample

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/stream/event"
)

// A ledger holds the inventory of a source against the stream: every object
// that came or went from one sample to the next must have been reported by a
// command in the stream. It does no I/O. What happens goes in by connected, tell,
// reached, stored and sampled; what comes out is due, the changes that no
// command explains, and tables.
//
// Nothing is known of when a sample is taken: the stream may be hours behind it,
// or ahead of it, because a commit is in the WAL an instant before others see it.
// So samples and commands are compared by transactions, not by time. A sample has
// the snapshot it was read in. A change between two samples is the work of a
// transaction that the later one shows and the earlier one does not (window), and
// only a command of such a transaction explains it.
//
// These hold at any time, also in what was saved last, and so after a kill:
//
//  1. There is what the snapshot Seen shows, and Before is the snapshot of the
//     sample before it. All that Seen shows commits before Noticed.
//  2. Came and Went are the changes from Before to Seen that no command has explained
//     so far. No other sample is taken while one of them may yet be explained, that
//     is until the stream has passed Noticed; what is left then is due.
//  3. Told has the commands that the stream has brought and Seen does not show.
//     They are saved before the stream that brings them is stored, so that none is
//     missing that the stream will not bring again.
//  4. What the stream will bring again, because it was not stored, is forgotten when
//     it begins anew (connected): what is held is what precedes passed, neither more
//     nor less.
//  5. A table that the stream has reported is in tables until everything that
//     precedes the sample which saw it gone is stored: its rows may come until then.
//
// From 1 to 4 follows that a change with a command is never due, and that one
// without is as soon as the stream has come to the sample which saw it.
//
// The caller serialises the calls, samples only when waiting returns false, saves
// what tell and sampled changed before it goes on, marks what is due before sampled,
// and gives no sample whose transactions a crash of the server could undo.
type ledger struct {
	account
	there map[string]string // what the last sample showed, with names; nil: there was none

	passed catalog.LSN // the stream has brought what commits before
	stable catalog.LSN // and stored it for good up to here
}

// account is what a ledger keeps beside the sample, and together with it.
type account struct {
	Before   event.Snapshot         `json:"before"`
	Seen     event.Snapshot         `json:"seen"`
	Noticed  catalog.LSN            `json:"noticed"`
	Timeline uint32                 `json:"timeline"` // of the last sample; 0: of the slot's beginning
	Came     map[string]string      `json:"came"`     // by key, with names
	Went     map[string]string      `json:"went"`
	Told     map[uint32]told        `json:"told"`             // by transaction
	Beyond   *uint32                `json:"beyond,omitempty"` // commands up to this transaction were too many to hold
	Gone     map[string]catalog.LSN `json:"gone"`             // tables, by where they were seen to be gone
}

// told is what the commands of one transaction explain.
type told struct {
	Commit catalog.LSN `json:"commit"`
	Keys   []string    `json:"keys"` // see came, went and everything
}

// What a command explains: that an object came, that it went, or whatever came
// or went with it, when the objects are not named one by one or there is a gap mark.
const everything = "*"

func came(key string) string { return "+" + key }
func went(key string) string { return "-" + key }

// toldAtMost bounds what is kept when nobody samples.
const toldAtMost = 20000

// reading is one reading of the inventory.
type reading struct {
	seen     event.Snapshot
	at       catalog.LSN // everything that it shows commits before
	timeline uint32
	there    map[string]string // keys with names
}

// newLedger begins with a sample; one that has seen nothing yet stands for none.
func newLedger(s reading) *ledger {
	return &ledger{there: s.there, account: account{Before: s.seen, Seen: s.seen, Noticed: s.at, Timeline: s.timeline,
		Came: map[string]string{}, Went: map[string]string{}, Told: map[uint32]told{}, Gone: map[string]catalog.LSN{}}}
}

// connected says that the stream goes on at a position: what commits there or
// later it brings again.
func (l *ledger) connected(from catalog.LSN) {
	l.passed, l.stable = from, from
	maps.DeleteFunc(l.Told, func(_ uint32, t told) bool { return t.Commit >= from })
}

// tell takes what the commands of a transaction explain.
func (l *ledger) tell(xid uint32, commit catalog.LSN, keys []string) {
	if l.Seen.Shows(xid) {
		// The last sample was ahead of the stream.
		if !l.Before.Shows(xid) {
			l.settle(keys)
		}
		l.leave(keys, l.there, l.Noticed)
		return
	}
	t := told{Commit: commit, Keys: slices.Concat(l.Told[xid].Keys, keys)}
	slices.Sort(t.Keys)
	t.Keys = slices.Compact(t.Keys)
	l.Told[xid] = t
	n := 0
	for _, t := range l.Told {
		n += len(t.Keys)
	}
	if n > toldAtMost {
		for xid := range l.Told {
			if l.Beyond == nil || int32(xid-*l.Beyond) > 0 {
				l.Beyond = &xid
			}
		}
		clear(l.Told)
	}
}

// settle takes away the changes that are explained.
func (l *ledger) settle(keys []string) {
	for _, k := range keys {
		switch {
		case k == everything:
			clear(l.Came)
			clear(l.Went)
		case k[0] == '+':
			delete(l.Came, k[1:])
		default:
			delete(l.Went, k[1:])
		}
	}
}

// leave notes tables that commands made and that a sample does not show any more.
func (l *ledger) leave(keys []string, there map[string]string, at catalog.LSN) {
	for _, k := range keys {
		key, made := strings.CutPrefix(k, "+")
		if _, relation := relationOID(key); !made || !relation {
			continue
		}
		if _, shown := there[key]; !shown {
			l.Gone[key] = at
		}
	}
}

// reached says how far the stream has come, and stored what of it is there for good.
func (l *ledger) reached(lsn catalog.LSN) { l.passed = max(l.passed, lsn) }
func (l *ledger) stored(lsn catalog.LSN)  { l.stable = max(l.stable, lsn) }

// open reports changes that no command has explained so far, and waiting that the stream
// may yet bring one which does.
func (l *ledger) open() bool    { return len(l.Came)+len(l.Went) > 0 }
func (l *ledger) waiting() bool { return l.open() && l.passed < l.Noticed }

// due lists what came or went without a command, in order.
func (l *ledger) due() (came, went []string) {
	if l.waiting() {
		return nil, nil
	}
	return slices.Sorted(maps.Keys(l.Came)), slices.Sorted(maps.Keys(l.Went))
}

// sampled takes the next sample. What was due is done with.
func (l *ledger) sampled(s reading) {
	explained := map[string]bool{everything: l.Beyond != nil}
	for xid, t := range l.Told {
		if s.seen.Shows(xid) {
			for _, k := range t.Keys {
				explained[k] = true
			}
			l.leave(t.Keys, s.there, s.at)
			delete(l.Told, xid)
		}
	}
	if l.there == nil || l.Timeline != 0 && l.Timeline != s.timeline {
		// On another timeline the last sample may have seen what the source has lost
		// since, and its transactions may be others now.
		explained[everything] = true
	}
	l.Came, l.Went = map[string]string{}, map[string]string{}
	for key, name := range s.there {
		if _, was := l.there[key]; !was && !explained[everything] && !explained[came(key)] {
			l.Came[key] = name
		}
	}
	for key, name := range l.there {
		if _, is := s.there[key]; is {
			continue
		}
		if !explained[everything] && !explained[went(key)] && !goesUntold(name) {
			l.Went[key] = name
		}
		if _, relation := relationOID(key); relation {
			l.Gone[key] = s.at
		}
	}
	maps.DeleteFunc(l.Gone, func(key string, at catalog.LSN) bool {
		_, is := s.there[key]
		return is || at <= l.stable
	})
	if l.Beyond != nil && s.seen.Ended(*l.Beyond) {
		l.Beyond = nil
	}
	l.Before, l.Seen, l.Noticed, l.Timeline, l.there = l.Seen, s.seen, s.at, s.timeline, s.there
}

// dropped says that the stream has it that an object is gone which was there by
// name only.
func (l *ledger) dropped(key string) {
	delete(l.there, key)
	delete(l.Came, key)
	delete(l.Gone, key)
}

// goesUntold reports that an object of this name may go without a command: with
// the session that it depends on, or rebuilt as another one.
func goesUntold(name string) bool {
	return strings.HasPrefix(name, transientMark) || strings.HasPrefix(name, "index ")
}

// brought reports that the stream has made an object, or what it begins with had it,
// though the inventory may not show it now.
func (l *ledger) brought(key string) bool {
	_, was := l.there[key]
	_, gone := l.Gone[key]
	if was || gone || l.Beyond != nil {
		return true
	}
	for _, t := range l.Told {
		if slices.Contains(t.Keys, came(key)) || slices.Contains(t.Keys, everything) {
			return true
		}
	}
	return false
}

// tables are those that were there where the stream began, or that it has reported
// so far, as far as rows of them may come; nil: nobody knows.
func (l *ledger) tables() map[uint32]bool {
	if l.there == nil || l.Beyond != nil {
		return nil
	}
	tables := map[uint32]bool{}
	add := func(key string) {
		if oid, ok := relationOID(key); ok {
			tables[event.ParseOID(oid)] = true
		}
	}
	for key := range l.there {
		if _, open := l.Came[key]; !open {
			add(key)
		}
	}
	for key := range l.Gone {
		add(key)
	}
	for _, t := range l.Told {
		for _, k := range t.Keys {
			if key, made := strings.CutPrefix(k, "+"); made {
				add(key)
			}
		}
	}
	return tables
}

// relationOID is the OID in the key of a relation; false: it is another object's.
func relationOID(key string) (oid string, ok bool) {
	return strings.CutPrefix(key, fmt.Sprintf("%d ", event.ClassRelation))
}
