package restore

// statements is the prepared statements of a session: the forms that were
// used last, by their text.
type statements struct {
	limit  int
	byText map[string]*statement
	newest *statement // a ring: newest.next is the oldest
	names  int
}

type statement struct {
	text       string
	name       int
	prev, next *statement
}

func newStatements(limit int) *statements {
	return &statements{limit: limit, byText: map[string]*statement{}}
}

// get returns the statement of a form, and makes it the newest.
func (s *statements) get(text []byte) (*statement, bool) {
	st := s.byText[string(text)]
	if st == nil {
		return nil, false
	}
	if st != s.newest {
		s.unlink(st)
		s.link(st)
	}
	return st, true
}

// add makes a statement for a form that has none. evicted is the one that has
// to go for it, or nil.
func (s *statements) add(text []byte) (added, evicted *statement) {
	if len(s.byText) >= s.limit {
		evicted = s.newest.next
		s.unlink(evicted)
		delete(s.byText, evicted.text)
	}
	s.names++
	added = &statement{text: string(text), name: s.names}
	s.byText[added.text] = added
	s.link(added)
	return added, evicted
}

// clear forgets all of them and returns their names.
func (s *statements) clear() []int {
	var names []int
	for _, st := range s.byText {
		names = append(names, st.name)
	}
	clear(s.byText)
	s.newest = nil
	return names
}

func (s *statements) link(st *statement) {
	if s.newest == nil {
		st.prev, st.next = st, st
	} else {
		st.prev, st.next = s.newest, s.newest.next
		st.prev.next, st.next.prev = st, st
	}
	s.newest = st
}

func (s *statements) unlink(st *statement) {
	if st.next == st {
		s.newest = nil
		return
	}
	st.prev.next, st.next.prev = st.next, st.prev
	if s.newest == st {
		s.newest = st.prev
	}
}
