package sample

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"pg_scribe/stream/event"
	"pg_scribe/stream/render"
)

// What commands touched is gathered, with what parts were dropped from, and comes
// back if it could not be read.
func TestTouchedObjectsWait(t *testing.T) {
	d := NewDescriptions(nil)
	if d.Pending() || (*Descriptions)(nil).Pending() {
		t.Error("pending at first")
	}
	(*Descriptions)(nil).Touch(render.Touched{Others: 7})
	d.Touch(render.Touched{})
	table := event.Object{Class: event.ClassRelation, OID: 5}
	d.Touch(render.Touched{Others: 4294967295, Changed: []event.Object{{Class: table.Class, OID: 5, Tag: "GRANT", Type: "table"}}})
	d.Touch(render.Touched{Others: 9, Changed: []event.Object{{Class: table.Class, OID: 5, Tag: "ALTER TABLE"}, {Class: table.Class, OID: 5, Tag: "COMMENT"}}})
	for _, o := range []event.Object{{Type: "trigger", Identity: `t on s."a on b"`}, {Type: "rule", Identity: `"r on x" on s.u`},
		{Type: "policy", Identity: "p on s.v"}, {Type: "table constraint", Identity: "c on s.w"}, {Type: "domain constraint", Identity: "c on s.d"},
		{Type: "default value", Identity: `for s."x.y"."a.b"`}, {Type: "default value", Identity: "for s.z.a"}, {Type: "index", Identity: "s.i"},
		{Type: "publication relation", Identity: "s.t in publication p"}, {Type: "table", Identity: `s." on t"`}} {
		o.Class, o.OID = 1, uint32(10+len(o.Identity))
		d.Touch(render.Touched{Dropped: []event.Object{o}})
	}
	p := d.take()
	if d.Pending() || !p.changed[table] || p.others != 4294967295 {
		t.Errorf("%+v", p)
	}
	sorted := func(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
	for what, lists := range map[string][2][]string{
		"tables": {sorted(p.tables), {`s."a on b"`, "s.\"x.y\"", "s.u", "s.v", "s.w", "s.z"}}, "types": {sorted(p.types), {"s.d"}},
		"indexes": {sorted(p.indexes), {"s.i"}}, "publications": {sorted(p.lists), {"p"}},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: %q, want %q", what, lists[0], lists[1])
		}
	}
	d.Touch(render.Touched{Others: 12})
	d.giveBack(p)
	if again := d.take(); !reflect.DeepEqual(again, p) {
		t.Errorf("%+v\nwas\n%+v", again, p)
	}
	for oid := range uint32(pendingAtMost + 1) {
		d.Touch(render.Touched{Changed: []event.Object{{Class: 1, OID: oid}}})
	}
	if p := d.take(); !p.all || len(p.changed) > 0 {
		t.Errorf("%v, %d objects", p.all, len(p.changed))
	}
}
