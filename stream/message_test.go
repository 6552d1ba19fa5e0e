package stream

import (
	"testing"

	"pg_scribe/catalog"
)

// Names of a database that is not in UTF-8 arrive byte for byte, wherever in a
// message they stand.
func TestTextsKeepTheirBytes(t *testing.T) {
	m, err := parseCapture([]byte("{\"ev\":\"end\",\"sql\":\"\xe9\",\"set\":{\"a\":\"\xe9\"},\"columns\":[\"\xe9\"],\"rows\":[[\"\xe9\",null]]," +
		"\"subscriptions\":[{\"name\":\"\xe9\",\"options\":{\"slot_name\":\"\xe9\"},\"publications\":[\"\xe9\"]}],\"states\":[{\"role\":{\"name\":\"\xe9\"}}]}"))
	if err != nil {
		t.Fatal(err)
	}
	s := m.Subs[0]
	for i, got := range []string{m.SQL, m.Set["a"], m.Columns[0], *m.Rows[0][0], s.Name, s.Options["slot_name"], s.Publications[0], m.States[0].Role.Name} {
		if got != "\xe9" {
			t.Errorf("text %d is %q", i, got)
		}
	}
	if m.Rows[0][1] != nil {
		t.Error("NULL became a text")
	}

	f := newFacts()
	f.tables[1] = knownTable{Always: []string{"\xe9"}, Root: "\xe9"}
	stored := f.value(catalog.FactKey{Kind: tableFact, OID: 1})
	if got := f.tables[1]; got.Always[0] != "\xe9" {
		t.Errorf("storing made it %+v", got)
	}
	if err := f.recallOne(catalog.FactKey{Kind: tableFact, OID: 2}, []byte(stored)); err != nil {
		t.Fatal(err)
	}
	if got := f.tables[2]; got.Always[0] != "\xe9" || got.Root != "\xe9" {
		t.Errorf("recalled as %+v", got)
	}
}
