package event

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Snapshot says which transactions are seen, as pg_snapshot does.
type Snapshot struct {
	Min, Max uint64
	Running  []uint64 // between them, in order
}

// ParseSnapshot reads the text of a pg_snapshot.
func ParseSnapshot(text string) (s Snapshot, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return s, fmt.Errorf("snapshot %q", text)
	}
	if s.Min, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return s, err
	}
	if s.Max, err = strconv.ParseUint(parts[1], 10, 64); err != nil || parts[2] == "" {
		return s, err
	}
	for part := range strings.SplitSeq(parts[2], ",") {
		xid, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return s, err
		}
		s.Running = append(s.Running, xid)
	}
	return s, nil
}

func (s Snapshot) String() string {
	running := make([]string, len(s.Running))
	for i, xid := range s.Running {
		running[i] = strconv.FormatUint(xid, 10)
	}
	return fmt.Sprintf("%d:%d:%s", s.Min, s.Max, strings.Join(running, ","))
}

// MarshalText writes the text of a pg_snapshot.
func (s Snapshot) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the text of a pg_snapshot.
func (s *Snapshot) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSnapshot(string(text))
	return err
}

// Shows reports that a committed transaction is seen. The stream has the lower
// half of its number; it is the one closest to the snapshot.
func (s Snapshot) Shows(xid uint32) bool {
	if s.Ended(xid) {
		return true
	}
	full := s.full(xid)
	if full < 0 || uint64(full) >= s.Max {
		return false
	}
	_, running := slices.BinarySearch(s.Running, uint64(full))
	return !running
}

// Ended reports that neither a transaction nor any before it was running.
func (s Snapshot) Ended(xid uint32) bool { return s.Max > 0 && s.full(xid) < int64(s.Min) }

func (s Snapshot) full(xid uint32) int64 { return int64(s.Max) + int64(int32(xid-uint32(s.Max))) }
