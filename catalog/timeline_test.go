package catalog

import (
	"reflect"
	"testing"
)

// forked says that timeline 2 branched off at an LSN and is the present one.
func forked(i Inventory, at int) Inventory {
	i.Repository = Repository{SystemID: "7", Timeline: 2}
	i.Switches = []Switch{{SystemID: "7", Timeline: 2, Parent: 1, At: LSN(at)}}
	return i
}

// The stream had not reached the place where the timeline branched off, and went on behind it.
func joined() Inventory {
	return forked(inv(base(100), segs(seg(100, 200)), on(2, seg(200, 300))), 250)
}

// The first timeline was streamed to 400, the second branched off at 300 and has a base of its own.
func diverged() Inventory {
	return forked(inv(base(100), segs(seg(100, 200), seg(200, 400)), on(2, seg(320, 500)), on(2, base(320)...)), 300)
}

func TestPlanAcrossAJoinedSwitch(t *testing.T) {
	point := withPoint(joined(), RestorePoint{Name: "new", LSN: 280, Timeline: 2}, RestorePoint{Name: "old", LSN: 180, Timeline: 1})
	gap := Gap{Kind: GapSchema, From: 260, To: 260, DetectedAt: at(260), Timeline: 2}
	late := forked(inv(base(100), segs(seg(100, 200)), on(2, seg(220, 300)), on(2, base(220)...)), 210)
	hole := HoleError{Kind: HoleGap, From: 200, To: 220, Since: at(200), Reachable: 200, ReachableAt: at(200)}
	runPlanCases(t, []planCase{
		{name: "latest", inv: joined(), base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "LSN behind it", inv: joined(), req: Request{Target: lsn(280)}, base: "base-100", starts: []LSN{100, 200}, until: 280},
		{name: "time behind it", inv: joined(), req: Request{Target: clock(280)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "xid behind it", inv: joined(), req: Request{Target: xid(280)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "point behind it", inv: point, req: Request{Target: name("new")}, base: "base-100", starts: []LSN{100, 200}, until: 280},
		{name: "point before it", inv: point, req: Request{Target: name("old")}, base: "base-100", starts: []LSN{100}, until: 180},
		{name: "gap behind it", inv: withGap(joined(), gap), err: SchemaGapError{gap}},
		{name: "slot made anew, by its base", inv: late, base: "base-220-2", starts: []LSN{220}, until: 300},
		{name: "slot made anew, in between", inv: late, req: Request{Target: lsn(210)}, err: hole},
		{name: "slot made anew, across", inv: late, req: Request{Target: lsn(250), Base: "base-100"}, err: hole},
	})
	if got := Holes(joined().Artifacts, joined().Switches...); got != nil {
		t.Errorf("holes: %v", got)
	}
	if got := Windows(joined()); len(got) != 1 || got[0].To != 300 || got[0].Left != 0 {
		t.Errorf("windows: %v", got)
	}
}

func TestPlanAcrossADivergedSwitch(t *testing.T) {
	lost := func(target Target) error {
		return DivergedError{Target: target, Timeline: 1, At: 300, Base: base(100)[0]}
	}
	points := withPoint(diverged(), RestorePoint{Name: "lost", LSN: 350, Timeline: 1}, RestorePoint{Name: "kept", LSN: 351, Timeline: 2})
	named := name("lost")
	named.LSN = 350
	noBase := forked(inv(base(100), segs(seg(100, 200), seg(200, 400), seg(400, 500))), 300)
	lateBase := forked(inv(base(100), base(350), segs(seg(100, 200), seg(200, 400))), 300)
	runPlanCases(t, []planCase{
		{name: "latest", inv: diverged(), base: "base-320-2", starts: []LSN{320}, until: 500},
		{name: "LSN on both", inv: diverged(), req: Request{Target: lsn(350)}, base: "base-320-2", starts: []LSN{320}, until: 350},
		{name: "LSN before the new base", inv: diverged(), req: Request{Target: lsn(310)}, err: lost(lsn(310))},
		{name: "LSN of the switch", inv: diverged(), req: Request{Target: lsn(300)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "before the LSN of the switch", inv: diverged(), req: Request{Target: before(300)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "LSN before the switch", inv: diverged(), req: Request{Target: lsn(250)}, base: "base-100", starts: []LSN{100, 200}, until: 250},
		{name: "lost LSN by choice", inv: diverged(), req: Request{Target: lsn(400), Base: "base-100"}, base: "base-100", starts: []LSN{100, 200}, until: 400},
		{name: "lost point", inv: points, req: Request{Target: name("lost")}, err: lost(named)},
		{name: "lost point by choice", inv: points, req: Request{Target: name("lost"), Base: "base-100"}, base: "base-100", starts: []LSN{100, 200}, until: 350},
		{name: "point of the new timeline", inv: points, req: Request{Target: name("kept")}, base: "base-320-2", starts: []LSN{320}, until: 351},
		{name: "latest without a new base", inv: noBase, err: lost(Target{})},
		{name: "time far behind", inv: noBase, req: Request{Target: clock(450)}, err: lost(clock(450))},
		{name: "xid far behind", inv: noBase, req: Request{Target: xid(450)}, err: lost(xid(450))},
		{name: "a lost base is not chosen", inv: lateBase, req: Request{Target: lsn(360)}, err: lost(lsn(360))},
		{name: "but by name", inv: lateBase, req: Request{Target: lsn(360), Base: "base-350"}, base: "base-350", starts: []LSN{200}, until: 360},
	})
	for target, left := range map[Target]LSN{clock(250): 300, xid(250): 300, lsn(300): 300, before(300): 0, clock(400): 0} {
		p, err := MakePlan(diverged(), Request{Target: target})
		if err != nil || p.Left != left {
			t.Errorf("%s: left at %d, %v; want %d", target, p.Left, err, left)
		}
	}
	if p, err := MakePlan(diverged(), Request{Target: clock(250), Base: "base-100"}); err != nil || p.Left != 0 {
		t.Errorf("by choice: left at %d, %v", p.Left, err)
	}
	if got := Windows(diverged()); len(got) != 2 || got[0].Left != 300 || got[1].Left != 0 {
		t.Errorf("windows: %v", got)
	}
}

func TestEndOfTheStream(t *testing.T) {
	start := func(i Inventory, at int) Inventory {
		i.Repository.StreamStart = LSN(at)
		return i
	}
	one := func(lists ...[]Artifact) Inventory {
		i := inv(lists...)
		i.Repository = Repository{SystemID: "7", Timeline: 1}
		return i
	}
	for _, c := range []struct {
		name string
		inv  Inventory
		want int
	}{
		{"nothing", one(), -1},
		{"bases", one(base(100), base(150)), 100},
		{"segments", one(base(100), segs(seg(100, 200)), base(250)), 200},
		{"a slot made anew", start(one(base(100), segs(seg(100, 200)), base(250)), 240), 240},
		{"which streamed", start(one(base(100), segs(seg(100, 200), seg(240, 300)), base(250)), 240), 300},
		{"joined", joined(), 300},
		{"joined, nothing there yet", forked(inv(base(100), segs(seg(100, 200))), 250), 200},
		{"joined, with a base only", forked(inv(base(100), segs(seg(100, 200)), on(2, base(220)...)), 200), 200},
		{"diverged, nothing there yet", forked(inv(base(100), segs(seg(100, 400))), 250), -1},
		{"diverged, slot made anew", start(forked(inv(base(100), segs(seg(100, 400)), on(2, base(330)...)), 250), 300), 300},
	} {
		end, ok := c.inv.End()
		if ok != (c.want >= 0) || ok && end != LSN(c.want) {
			t.Errorf("%s: %d, %t; want %d", c.name, end, ok, c.want)
		}
	}
}

func TestLeaves(t *testing.T) {
	// 1 ─100─ 2 ─200─ 4, 2 ─150─ 3, 1 ─50─ 5
	list := []Switch{{"7", 2, 1, 100}, {"7", 3, 2, 150}, {"7", 4, 2, 200}, {"7", 5, 1, 50}, {"8", 2, 1, 1}}
	for _, c := range []struct {
		from, to uint32
		at       int
	}{{1, 1, -1}, {1, 2, 100}, {1, 4, 100}, {2, 4, 200}, {3, 4, 150}, {4, 3, 150}, {2, 1, 100}, {4, 5, 50}, {6, 4, -1}, {2, 6, -1}} {
		at, known := Leaves(list, "7", c.from, c.to)
		if known != (c.at >= 0) || known && at != LSN(c.at) {
			t.Errorf("%d leaves %d at %d, %t; want %d", c.from, c.to, at, known, c.at)
		}
	}
}

func TestFollow(t *testing.T) {
	c, _ := create(t)
	must(t, c.SetRepository(ctx, Repository{SystemID: "7", Timeline: 1}))
	want := []Switch{{"7", 2, 1, 100}, {"7", 3, 2, 200}}
	must(t, c.AddSwitches(ctx, want[:1]))
	must(t, c.Follow(ctx, 3, want, 0))
	inv, err := c.Inventory(ctx)
	if err != nil || inv.Repository.Timeline != 3 || inv.Repository.StreamStart != 0 || !reflect.DeepEqual(inv.Switches, want) {
		t.Errorf("%+v, %v", inv, err)
	}
	must(t, c.Follow(ctx, 3, nil, 300))
	must(t, c.Follow(ctx, 4, nil, 0))
	if r, err := c.Repository(ctx); err != nil || r.Timeline != 4 || r.StreamStart != 300 {
		t.Errorf("%+v, %v", r, err)
	}
}
