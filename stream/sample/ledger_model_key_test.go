package sample

import (
	"hash/maphash"
	"maps"

	"pg_scribe/stream/event"
)

// key tells states apart. Every number in it is a small one.
func (r *modelRun) key(s *modelState) (key [2]uint64) {
	b := append(r.buffer[:0], s.phase[:]...)
	b = append(append(b, 255), s.commits...)
	b = append(b, 255, byte(s.brought), flag(s.noted), byte(s.stored), byte(s.from), s.tables)
	b = append(b, s.sampler, s.samples, s.kills, s.marks[0], s.marks[1], s.shown, s.missed)
	b = appendLedger(appendLedger(b, s.ledger), s.durable)
	if s.sampler != idle {
		b = append(appendSnapshot(b, s.sample.seen), byte(s.sample.at), objectSet(s.sample.there))
	}
	for i, seed := range r.seeds {
		key[i] = maphash.Bytes(seed, b)
	}
	r.buffer = b
	return key
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// modelKeys are the keys of the objects.
var modelKeys = [objects]string{event.Key(event.ClassRelation, 100), event.Key(event.ClassRelation, 101), event.Key(event.ClassRelation, 102)}

func objectSet(m map[string]string) (set byte) {
	for obj, key := range modelKeys {
		if _, there := m[key]; there {
			set |= 1 << obj
		}
	}
	return set
}

func appendSnapshot(b []byte, s event.Snapshot) []byte {
	b = append(b, byte(s.Max-firstXID), byte(s.Min-firstXID))
	for _, xid := range s.Running {
		b = append(b, byte(xid-firstXID))
	}
	return append(b, 255)
}

func appendLedger(b []byte, l *ledger) []byte {
	b = appendSnapshot(appendSnapshot(b, l.Before), l.Seen)
	b = append(b, byte(l.Noticed), byte(l.passed), byte(l.stable), objectSet(l.Came), objectSet(l.Went), objectSet(l.there))
	for _, key := range modelKeys {
		b = append(b, byte(l.Gone[key]))
	}
	for i := range 3 {
		t, there := l.Told[uint32(xidOf(i))]
		if b = append(b, flag(there)); there {
			b = append(b, byte(t.Commit), byte(len(t.Keys)))
		}
	}
	return b
}

func modelKey(obj int) string { return modelKeys[obj] }

func cloneLedger(l *ledger) *ledger {
	c := *l
	c.Came, c.Went, c.Gone, c.Told = maps.Clone(l.Came), maps.Clone(l.Went), maps.Clone(l.Gone), maps.Clone(l.Told)
	return &c
}
