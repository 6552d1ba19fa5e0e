package catalog

import (
	"maps"
	"reflect"
	"slices"
	"testing"
)

// What is recorded of objects is replaced, forgotten, and told by their OIDs.
func TestDescribed(t *testing.T) {
	c, _ := create(t)
	check := func(want map[DescribedKey]Described, oids ...uint32) {
		t.Helper()
		if got, err := c.Described(ctx, oids...); err != nil || !maps.EqualFunc(got, want, func(a, b Described) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%v: %v %v, want %v", oids, got, err, want)
		}
	}
	a, b, v := DescribedKey{"table", "a"}, DescribedKey{"table", "ä'\n"}, DescribedKey{"view", "a"}
	one, two, three := Described{Catalog: 1259, OID: 4294967295, Sum: "\x00\xff1"}, Described{Catalog: 1259, OID: 2, Sum: "2"},
		Described{Catalog: 1255, OID: 2, Sum: "3"}
	check(map[DescribedKey]Described{})
	must(t, c.Describe(ctx, true, map[DescribedKey]Described{a: one, b: two}, nil))
	must(t, c.Describe(ctx, false, map[DescribedKey]Described{b: two, v: three}, []DescribedKey{b, {"table", "none"}}))
	check(map[DescribedKey]Described{a: one, b: two, v: three})
	check(map[DescribedKey]Described{b: two, v: three}, 2, 77)
	must(t, c.Undescribe(ctx, []DescribedKey{a, {"view", "new"}}))
	one.Sum = ""
	check(map[DescribedKey]Described{a: one, b: two, v: three, {"view", "new"}: {}})
	must(t, c.Describe(ctx, false, map[DescribedKey]Described{}, []DescribedKey{a, b}))
	check(map[DescribedKey]Described{v: three, {"view", "new"}: {}})
	indexed := three
	for _, indexes := range [][]string{{"s.i", `s."j k"`}, {"s.l"}, nil} {
		indexed.Indexes = indexes
		must(t, c.Describe(ctx, false, map[DescribedKey]Described{v: indexed}, nil))
		want := []uint32(nil)
		if indexes != nil {
			want = []uint32{2}
		}
		if got, err := c.TablesOf(ctx, []string{"s.i", "s.l", "s.none"}); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %v %v", indexes, got, err)
		}
	}
	must(t, c.Describe(ctx, true, nil, nil))
	check(map[DescribedKey]Described{})
}

// What a base says otherwise, or only one of both says, counts no more.
func TestDescribedInBase(t *testing.T) {
	c, _ := create(t)
	same, other, gone, fresh := DescribedKey{"table", "same"}, DescribedKey{"table", "other"}, DescribedKey{"view", "gone"}, DescribedKey{"view", "fresh"}
	must(t, c.Describe(ctx, true, map[DescribedKey]Described{same: {1259, 1, "a", nil}, other: {1259, 2, "b", nil}, gone: {1259, 3, "c", nil}}, nil))
	must(t, c.DescribedInBase(ctx, map[DescribedKey]Described{same: {1259, 1, "a", nil}, other: {1259, 12, "d", nil}, fresh: {1259, 4, "e", nil}}))
	want := map[DescribedKey]Described{same: {1259, 1, "a", nil}, other: {1259, 12, "", nil}, gone: {1259, 3, "", nil}, fresh: {1259, 4, "", nil}}
	if got, err := c.Described(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
}
