package describe

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Kind is how two descriptions differ at a place.
type Kind string

// The kinds of differences.
const (
	Changed Kind = "changed" // both have it, with different values
	Missing Kind = "missing" // the source has it, the target does not
	Extra   Kind = "extra"   // the target has it, the source does not
)

// A Difference is one attribute, one row or one object that is not the same in
// source and target.
type Difference struct {
	Kind            Kind
	Class, Identity string // of the object
	Catalog, Row    string // empty: the object as a whole
	Attribute       string // of the row; empty: the row as a whole
	Source, Target  string // values; empty also for none
}

// Place is where the difference is, whatever the values.
func (d Difference) Place() Difference {
	d.Source, d.Target = "", ""
	return d
}

// OfRoles reports whether an owner or privileges differ.
func (d Difference) OfRoles() bool {
	return strings.HasSuffix(d.Attribute, "owner") || strings.HasSuffix(d.Attribute, "acl")
}

// derived are the attributes that follow from the others of their row. They
// are there so that an object can be made from its description.
var derived = map[string][]string{
	"pg_constraint": {"create"}, "pg_index": {"create"}, "pg_statistic_ext": {"create"}, "pg_proc": {"result"},
}

// Compare lists what differs between the descriptions of one object in two
// databases. passed counts what it could not compare: attributes that only one
// server's version has. A side without rows is an object that is not there.
func Compare(source, target Object) (list []Difference, passed int) {
	o := source
	if len(source.Rows) == 0 {
		o = target
	}
	switch {
	case len(source.Rows) == 0 && len(target.Rows) == 0:
		return nil, 0
	case len(source.Rows) == 0:
		return []Difference{{Kind: Extra, Class: o.Class, Identity: o.Identity}}, 0
	case len(target.Rows) == 0:
		return []Difference{{Kind: Missing, Class: o.Class, Identity: o.Identity}}, 0
	}
	theirs := make(map[[2]string]Row, len(target.Rows))
	for _, r := range target.Rows {
		theirs[[2]string{r.Catalog, r.Identity}] = r
	}
	for _, r := range source.Rows {
		key := [2]string{r.Catalog, r.Identity}
		other, there := theirs[key]
		if !there {
			list = append(list, Difference{Kind: Missing, Class: o.Class, Identity: o.Identity, Catalog: r.Catalog, Row: r.Identity})
			continue
		}
		delete(theirs, key)
		n := compareRows(r, other, func(attribute, a, b string) {
			list = append(list, Difference{Changed, o.Class, o.Identity, r.Catalog, r.Identity, attribute, a, b})
		})
		passed += n
	}
	for _, r := range target.Rows {
		if _, left := theirs[[2]string{r.Catalog, r.Identity}]; left {
			list = append(list, Difference{Kind: Extra, Class: o.Class, Identity: o.Identity, Catalog: r.Catalog, Row: r.Identity})
		}
	}
	return list, passed
}

// compareRows compares the attributes that two rows have, and counts those
// that only one has.
func compareRows(source, target Row, differ func(attribute, source, target string)) (passed int) {
	if bytes.Equal(source.Definition, target.Definition) {
		return 0
	}
	a, b := source.Attributes(), target.Attributes()
	for _, name := range slices.Sorted(maps.Keys(a)) {
		other, there := b[name]
		switch {
		case slices.Contains(derived[source.Catalog], name):
		case !there:
			passed++
		case !bytes.Equal(a[name], other):
			differ(name, Text(a[name]), Text(other))
		}
	}
	for name := range b {
		if _, there := a[name]; !there && !slices.Contains(derived[source.Catalog], name) {
			passed++
		}
	}
	return passed
}

// Attributes are the columns of a row, each a JSON string or null.
func (r Row) Attributes() map[string]json.RawMessage {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(r.Definition, &m) // of a server, or of ParseObject
	return m
}

// Text is the value of an attribute; empty for null.
func Text(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return string(value) // a number
	}
	return s
}
