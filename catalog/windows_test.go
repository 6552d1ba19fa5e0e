package catalog

import (
	"reflect"
	"slices"
	"testing"
)

// withDamage marks artifacts, by name, as damaged.
func withDamage(i Inventory, names ...string) Inventory {
	i.Damaged = map[int64]bool{}
	for _, a := range i.Artifacts {
		if slices.Contains(names, a.Name) {
			i.Damaged[a.ID] = true
		}
	}
	return i
}

// present is an inventory whose source is on timeline 1; start is where its slot was made anew, 0: never.
func present(start int, lists ...[]Artifact) Inventory {
	i := inv(lists...)
	i.Repository = Repository{SystemID: "7", Timeline: 1, StreamStart: LSN(start)}
	return i
}

func TestWindows(t *testing.T) {
	window := func(from, to, bases int) Window {
		return Window{From: LSN(from), To: LSN(to), FromAt: at(from), ToAt: at(to), Bases: bases}
	}
	ahead := func(p int) Window { w := window(p, p, 1); w.Ahead = true; return w }
	cases := []struct {
		name string
		inv  Inventory
		want []Window
	}{
		{"nothing", Inventory{}, nil},
		{"no base", inv(segs(seg(100, 200))), nil},
		{"base alone", inv(base(100)), []Window{window(100, 100, 1)}},
		{"whole", whole(), []Window{window(100, 400, 2)}},
		{"segments before the oldest base", inv(segs(seg(100, 200), seg(200, 300)), base(250)), []Window{window(250, 300, 1)}},
		{"base at the end", inv(base(100), segs(seg(100, 200)), base(200)), []Window{window(100, 200, 2)}},
		{"hole", holed(), []Window{window(100, 200, 1), window(350, 500, 1)}},
		{"run without a base", inv(base(100), segs(seg(100, 200), seg(300, 400))), []Window{window(100, 200, 1)}},
		{"base in a hole", inv(base(100), segs(seg(100, 200), seg(300, 400)), base(250)), []Window{window(100, 200, 1), window(250, 250, 1)}},
		{"two bases out of reach", inv(base(100), base(250)), []Window{window(100, 100, 1), window(250, 250, 1)}},
		{"idle time counts", inv(base(100), segs(seg(100, 200), idle(200, 200, 0, 900))), []Window{{From: 100, To: 200, FromAt: at(100), ToAt: at(900), Bases: 1}}},
		{"overlap that leads further", inv(base(100), segs(seg(100, 200), seg(150, 300)), base(160)), []Window{window(100, 300, 2)}},
		{"timelines", inv(base(100), segs(seg(100, 200)), on(2, base(180)...), on(2, seg(180, 300))),
			[]Window{window(100, 200, 1), window(180, 300, 1)}},

		{"a damaged segment ends it", withDamage(whole(), "seg-200"), []Window{window(100, 200, 1), window(250, 250, 1)}},
		{"a damaged segment before every base", withDamage(inv(segs(seg(100, 200), seg(200, 300)), base(250)), "seg-100"), []Window{window(250, 300, 1)}},
		{"the segment behind a base is damaged", withDamage(inv(base(100), segs(seg(100, 200), seg(200, 300)), base(200)), "seg-200"),
			[]Window{window(100, 200, 2)}},
		{"the first segment is damaged", withDamage(whole(), "seg-100"), []Window{window(100, 100, 1), window(250, 400, 1)}},
		{"a damaged base", withDamage(whole(), "base-100"), []Window{window(250, 400, 1)}},
		{"a base with damaged globals", withDamage(whole(), "globals-250"), []Window{window(100, 400, 1)}},
		{"everything is damaged", withDamage(whole(), "base-100", "base-250"), nil},

		{"a base ahead of the stream", present(0, base(100), segs(seg(100, 200)), base(250)), []Window{window(100, 200, 1), ahead(250)}},
		{"two bases ahead", present(0, base(100), segs(seg(100, 200)), base(250), base(260)), []Window{window(100, 200, 1), ahead(250), ahead(260)}},
		{"nothing was streamed yet", present(0, base(100), base(250)), []Window{window(100, 100, 1), ahead(250)}},
		{"the stream has come to it", present(0, base(100), segs(seg(100, 250)), base(250)), []Window{window(100, 250, 2)}},
		{"a new slot began behind a loss", present(250, base(100), segs(seg(100, 200)), base(250)), []Window{window(100, 200, 1), window(250, 250, 1)}},
		{"a base ahead of a new slot", present(250, base(100), segs(seg(100, 200)), base(250), base(260)),
			[]Window{window(100, 200, 1), window(250, 250, 1), ahead(260)}},
		{"a base in a hole is not ahead", present(0, base(100), segs(seg(100, 200), seg(300, 400)), base(250)), []Window{window(100, 200, 1), window(250, 250, 1)}},
		{"on a timeline that was left", Inventory{Repository: Repository{SystemID: "7", Timeline: 2},
			Artifacts: append(inv(base(100), segs(seg(100, 200)), base(250)).Artifacts, on(2, base(400)...)...)},
			[]Window{window(100, 200, 1), window(250, 250, 1), window(400, 400, 1)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Windows(c.inv); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

// What the stream has not reached yet is not missing: an older base leads to where its chain ends, and a target behind
// that is after the end. What was lost is a hole.
func TestPlanAheadOfTheStream(t *testing.T) {
	waiting := present(0, base(100), segs(seg(100, 200)), base(250))
	lost := present(250, base(100), segs(seg(100, 200)), base(250))
	end := func(t Target) error { return TargetAfterEndError{Target: t, End: 200, ReachedAt: at(200)} }
	hole := HoleError{Kind: HoleGap, From: 200, To: 250, Since: at(200), Reachable: 200, ReachableAt: at(200)}
	recorded := withGap(waiting, Gap{Kind: GapMissing, From: 150, To: 180, DetectedAt: at(190)})
	runPlanCases(t, []planCase{
		{name: "the older base", inv: waiting, req: Request{Base: "base-100"}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "the newest base", inv: waiting, base: "base-250", until: 250},
		{name: "a position not stored yet", inv: waiting, req: Request{Target: lsn(230)}, err: end(lsn(230))},
		{name: "a time not stored yet", inv: waiting, req: Request{Target: clock(230)}, err: end(clock(230))},
		{name: "the older base, a position behind the newest", inv: waiting, req: Request{Target: lsn(260), Base: "base-100"}, err: end(lsn(260))},
		{name: "a loss stays one", inv: lost, req: Request{Base: "base-100"}, err: hole},
		{name: "a position in a loss", inv: lost, req: Request{Target: lsn(230)}, err: hole},
		{name: "a recorded loss stays one", inv: recorded, req: Request{Base: "base-100"},
			err: HoleError{Kind: HoleGap, From: 150, To: 180, Since: at(190), Reachable: 150}},
	})
}
