package sample

import (
	"context"
	"encoding/json"
	"sync"
)

// Stale are sampled states that the stream itself has changed since: a
// captured command brought along a role, a membership or a privilege that it
// needed. The next sample sends them again, or their end.
type Stale struct {
	mu   sync.Mutex
	keys map[string]map[string]bool // by kind
	new  bool                       // since the last time they were kept or a sample took them
}

// staleSetting keeps them in the repository across runs.
const staleSetting = "stale states"

func LoadStale(ctx context.Context, store Store) (*Stale, error) {
	s := &Stale{keys: map[string]map[string]bool{}}
	text, known, err := store.Setting(ctx, staleSetting)
	if err != nil || !known {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s.keys)
}

// Add may be called on nil.
func (s *Stale) Add(kind, key string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[kind] == nil {
		s.keys[kind] = map[string]bool{}
	}
	s.new = s.new || !s.keys[kind][key]
	s.keys[kind][key] = true
}

// Pending, of a nil one too, says whether some came that no sample has taken.
func (s *Stale) Pending() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) > 0
}

// take hands them over to a sample. keep follows once it has committed, or
// giveBack.
func (s *Stale) take() map[string]map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.keys
	s.keys, s.new = map[string]map[string]bool{}, true
	return taken
}

func (s *Stale) giveBack(taken map[string]map[string]bool) {
	for kind, keys := range taken {
		for key := range keys {
			s.Add(kind, key)
		}
	}
}

// Keep writes them into the store, so that a crash loses none that is durable
// in a segment.
func (s *Stale) Keep(ctx context.Context, store Store) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.new {
		return nil
	}
	text, err := json.Marshal(s.keys)
	if err != nil {
		return err
	}
	s.new = false
	return store.SetSetting(ctx, staleSetting, string(text))
}
