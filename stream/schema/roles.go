package schema

import "pg_scribe/stream/event"

// RoleName is the name that a role has in the target; empty: nobody knows.
func (s *State) RoleName(oid uint32) string { return s.names[oid] }

// RoleNamed is the role that has a name in the target; 0: nobody knows.
func (s *State) RoleNamed(name string) uint32 { return s.named[name] }

// takeNames takes the names of a sample for those in the target.
func (s *State) takeNames(sample map[string]string) {
	for oid, name := range sample {
		s.NameRole(event.ParseOID(oid), name)
	}
}

// NameRole notes the name that a role has in the target; empty: it is gone.
func (s *State) NameRole(oid uint32, name string) {
	if was := s.names[oid]; s.named[was] == oid {
		delete(s.named, was)
	}
	if name == "" {
		delete(s.names, oid)
	} else {
		s.names[oid], s.named[name] = name, oid
	}
	s.dirty[roleKey(oid)] = true
}
