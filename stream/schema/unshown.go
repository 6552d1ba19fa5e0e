package schema

import (
	"encoding/json"
	"maps"

	"pg_scribe/catalog"
	"pg_scribe/stream/event"
)

// unshown are the transactions with commands which the stream has brought and
// which a snapshot may not show yet. A commit is in the stream an instant before
// others see it, and for as long as it waits for a synchronous standby.
type unshown struct {
	xids  map[uint32]bool
	older uint64 // what came before this transaction, and itself, may have had commands; 0: none had
}

// unshownAtMost bounds what is kept when nobody describes objects.
const unshownAtMost = 10000

// olderKey is where older is stored: no transaction has the number 0.
var olderKey = catalog.StateKey{Kind: unshownState}

func (u *unshown) value(xid uint32) (value any, known bool) {
	if xid == olderKey.OID {
		return u.older, true
	}
	return true, u.xids[xid]
}

func (u *unshown) recall(xid uint32, text []byte) error {
	if xid == olderKey.OID {
		return json.Unmarshal(text, &u.older)
	}
	u.xids[xid] = true
	return nil
}

// forgetCommands says that it is not known which transactions that came before
// the connection had commands.
func (s *State) forgetCommands() {
	clear(s.unshown.xids)
	if s.live != nil && s.live.Next > 0 {
		s.unshown.older = s.live.Next - 1
	}
	s.dirty[olderKey] = true
}

// Commanded notes at its end that a transaction had commands.
func (s *State) Commanded(xid uint32) {
	u := &s.unshown
	u.xids[xid] = true
	s.dirty[commandKey(xid)] = true
	if len(u.xids) <= unshownAtMost {
		return
	}
	for xid := range u.xids {
		if int32(xid-uint32(u.older)) > 0 || u.older == 0 {
			u.older = uint64(xid)
		}
		s.dirty[commandKey(xid)] = true
	}
	clear(u.xids)
	s.dirty[olderKey] = true
}

// Shown says whether a snapshot shows every transaction with commands that the
// stream has brought. Those of which later snapshots need not be asked are
// forgotten.
func (s *State) Shown(by event.Snapshot) bool {
	u := &s.unshown
	if u.older != 0 {
		if !by.Ended(uint32(u.older)) {
			return false
		}
		u.older = 0
		s.dirty[olderKey] = true
	}
	all := true
	for xid := range maps.Clone(u.xids) {
		all = all && by.Shows(xid)
		if by.Ended(xid) {
			delete(u.xids, xid)
			s.dirty[commandKey(xid)] = true
		}
	}
	return all
}

func commandKey(xid uint32) catalog.StateKey { return catalog.StateKey{Kind: unshownState, OID: xid} }
