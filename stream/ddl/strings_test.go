package ddl

import (
	"testing"
	"time"
)

// Sessions that end without another command leave their positions behind.
func TestPositionsAreBounded(t *testing.T) {
	s := NewStrings()
	changed := map[uint32]int{}
	s.Changed = func(process uint32) { changed[process]++ }
	for pid := 1; pid <= stringsAtMost+10; pid++ {
		at := "99.5" // older than all that follow, though its text is greater
		if pid != 5 {
			at = "1700000000." + string(rune('0'+pid%10))
		}
		s.set(pid, Position{At: at, Next: 1})
	}
	if _, there := s.At[5]; there || len(s.At) != stringsAtMost {
		t.Errorf("%d positions, the oldest: %v", len(s.At), there)
	}
	if changed[5] != 2 {
		t.Errorf("told of the oldest %d times, not when it was set and when it was forgotten", changed[5])
	}
}

// What began before the state, and only that, may have transactions before them.
func TestStringsBefore(t *testing.T) {
	s := NewStrings()
	if s.mayHaveBegun("1") {
		t.Error("nothing was missed")
	}
	s.Since = NotBegun
	if !s.mayHaveBegun("1700000001.5") {
		t.Error("before the first commit")
	}
	s.Begin(time.UnixMicro(1700000000500000))
	s.Begin(time.UnixMicro(1800000000500000))
	if !s.mayHaveBegun("1700000000.499999") || s.mayHaveBegun("1700000000.500001") {
		t.Errorf("after it: %d", s.Since)
	}
}
