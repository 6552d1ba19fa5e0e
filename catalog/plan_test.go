package catalog

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// In these tests the clock runs with the log: LSN n is written, or committed, in second n by transaction n.

// seg is a full segment: a transaction commits at each LSN in [start, end).
func seg(start, end int) Artifact {
	a := Artifact{ID: int64(1000 + start), Kind: KindSegment, State: StateSealed, Name: fmt.Sprint("seg-", start),
		SystemID: "7", Timeline: 1, Start: LSN(start), End: LSN(end), CreatedAt: at(start), ReachedAt: at(end), Bytes: 10,
		TextBytes: 100}
	if end > start {
		a.Transactions, a.MinXID, a.MaxXID = int64(end-start), uint32(start), uint32(end-1)
		a.FirstCommitAt, a.LastCommitAt = at(start), at(end-1)
	}
	return a
}

// base is a base at point p and its globals.
func base(p int) []Artifact {
	b := Artifact{ID: int64(10 * p), Kind: KindBase, State: StateSealed, Name: fmt.Sprint("base-", p), SystemID: "7", Timeline: 1,
		Start: LSN(p), End: LSN(p), CreatedAt: at(p), ReachedAt: at(p), FinishedAt: at(p + 50), Bytes: 1, TextBytes: 2}
	g := b
	g.ID, g.Kind, g.Name, g.Pair = b.ID+1, KindGlobals, fmt.Sprint("globals-", p), b.ID
	return []Artifact{b, g}
}

func with(a Artifact, change func(*Artifact)) Artifact {
	change(&a)
	return a
}

// idle is a segment whose last transaction committed long before the moment that it reached.
func idle(start, end, lastCommit, reached int) Artifact {
	return with(seg(start, end), func(a *Artifact) { a.LastCommitAt, a.ReachedAt = at(lastCommit), at(reached) })
}

func xids(a Artifact, low, high uint32) Artifact {
	return with(a, func(a *Artifact) { a.MinXID, a.MaxXID = low, high })
}

// on moves artifacts to another timeline.
func on(timeline uint32, list ...Artifact) []Artifact {
	for i := range list {
		list[i].Timeline = timeline
		list[i].ID += int64(timeline) * 100000
		list[i].Name += fmt.Sprint("-", timeline)
		if list[i].Pair != 0 {
			list[i].Pair += int64(timeline) * 100000
		}
	}
	return list
}

func inv(lists ...[]Artifact) Inventory { return Inventory{Artifacts: slices.Concat(lists...)} }

func segs(list ...Artifact) []Artifact { return list }

func withGap(i Inventory, g ...Gap) Inventory {
	i.Gaps = append(i.Gaps, g...)
	return i
}

func withPoint(i Inventory, p ...RestorePoint) Inventory {
	i.Points = append(i.Points, p...)
	return i
}

func lsn(n int) Target     { return Target{Kind: ByLSN, LSN: LSN(n)} }
func before(n int) Target  { return Target{Kind: ByLSN, LSN: LSN(n), Exclusive: true} }
func clock(n int) Target   { return Target{Kind: ByTime, Time: at(n)} }
func xid(n int) Target     { return Target{Kind: ByXID, XID: uint32(n)} }
func name(s string) Target { return Target{Kind: ByName, Name: s} }

type planCase struct {
	name   string
	inv    Inventory
	req    Request
	base   string // with its segments and until: the plan wanted
	starts []LSN
	until  LSN
	err    error // or the error wanted
}

func runPlanCases(t *testing.T, cases []planCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// The order of the artifacts must not matter.
			slices.Reverse(c.inv.Artifacts)
			p, err := MakePlan(c.inv, c.req)
			if c.err != nil || err != nil {
				if !reflect.DeepEqual(err, c.err) {
					t.Fatalf("error %#v\nwant  %#v", err, c.err)
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %q", err)
				}
				return
			}
			var starts []LSN
			for _, s := range p.Segments {
				starts = append(starts, s.Start)
			}
			if p.Base.Name != c.base || !slices.Equal(starts, c.starts) || p.Until != c.until {
				t.Fatalf("base %s, segments %v, until %d\nwant %s, %v, %d",
					p.Base.Name, starts, p.Until, c.base, c.starts, c.until)
			}
			if p.From != p.Base.Start || p.Globals.Pair != p.Base.ID {
				t.Errorf("from %d, globals %+v for base %+v", p.From, p.Globals, p.Base)
			}
		})
	}
}

// Three joined segments, a base before them and one inside the second.
func whole() Inventory {
	return inv(base(100), segs(seg(100, 200), seg(200, 300), seg(300, 400)), base(250))
}

// The segment [200, 300) is missing.
func holed() Inventory {
	return inv(base(100), segs(seg(100, 200), seg(300, 400), seg(400, 500)), base(350))
}

func b(p int) Artifact { return base(p)[0] }

func TestPlanLatestAndBase(t *testing.T) {
	hole := HoleError{Kind: HoleGap, From: 200, To: 300, Since: at(200), Reachable: 200, ReachableAt: at(200)}
	known := []string{"base-100", "base-250"}
	runPlanCases(t, []planCase{
		{name: "nothing", err: NoBaseError{}},
		{name: "segments without a base", inv: inv(segs(seg(100, 200))), err: NoBaseError{}},
		{name: "base alone", inv: inv(base(100)), base: "base-100", until: 100},
		{name: "newest base inside a segment", inv: whole(), base: "base-250", starts: []LSN{200, 300}, until: 400},
		{name: "base at the end of a segment", inv: inv(base(100), segs(seg(100, 200), seg(200, 300)), base(200)),
			base: "base-200", starts: []LSN{200}, until: 300},
		{name: "base at the end of the last segment", inv: inv(base(100), segs(seg(100, 200)), base(200)),
			base: "base-200", until: 200},
		{name: "base after a hole at the end", inv: inv(base(100), segs(seg(100, 200)), base(300)), base: "base-300", until: 300},
		{name: "base before the first segment", inv: inv(base(90), segs(seg(100, 200))),
			err: HoleError{Kind: HoleGap, From: 90, To: 100, Since: at(90), Reachable: 90, ReachableAt: at(90)}},
		{name: "base inside a hole", inv: inv(segs(seg(100, 200), seg(300, 400)), base(250)),
			err: HoleError{Kind: HoleGap, From: 250, To: 300, Since: at(250), Reachable: 250, ReachableAt: at(250)}},
		{name: "hole before the newest base", inv: holed(), base: "base-350", starts: []LSN{300, 400}, until: 500},
		{name: "hole after the newest base", inv: inv(base(100), segs(seg(100, 200), seg(300, 400))), err: hole},
		{name: "hole of one byte", inv: inv(base(100), segs(seg(100, 200), seg(201, 300))),
			err: HoleError{Kind: HoleGap, From: 200, To: 201, Since: at(200), Reachable: 200, ReachableAt: at(200)}},
		{name: "overlap", inv: inv(base(100), segs(seg(100, 200), seg(150, 300))),
			err: HoleError{Kind: HoleOverlap, From: 150, To: 200, Since: at(200), Reachable: 200, ReachableAt: at(200)}},
		{name: "open and empty segment at the end", inv: inv(base(100), segs(seg(100, 200), with(seg(200, 200),
			func(a *Artifact) { a.State = StateOpen }))), base: "base-100", starts: []LSN{100}, until: 200},
		{name: "chosen base", inv: whole(), req: Request{Base: "base-100"}, base: "base-100", starts: []LSN{100, 200, 300}, until: 400},
		{name: "chosen base by path", inv: whole(), req: Request{Base: "/backup/db/base-100/"}, base: "base-100",
			starts: []LSN{100, 200, 300}, until: 400},
		{name: "unknown base", inv: whole(), req: Request{Base: "base-9"}, err: UnknownBaseError{Name: "base-9", Known: known}},
		{name: "globals are not a base", inv: whole(), req: Request{Base: "globals-100"},
			err: UnknownBaseError{Name: "globals-100", Known: known}},
		{name: "chosen base before a hole", inv: holed(), req: Request{Base: "base-100"}, err: hole},
		{name: "chosen base before a newer base out of reach", inv: inv(base(100), segs(seg(100, 200)), base(300)),
			req: Request{Base: "base-100"}, err: hole},
	})
}

func TestPlanByLSN(t *testing.T) {
	hole := HoleError{Kind: HoleGap, From: 200, To: 300, Since: at(200), Reachable: 200, ReachableAt: at(200)}
	end := func(x Target) error { return TargetAfterEndError{Target: x, End: 400, ReachedAt: at(400)} }
	runPlanCases(t, []planCase{
		{name: "inside the first segment", inv: whole(), req: Request{Target: lsn(150)}, base: "base-100", starts: []LSN{100}, until: 150},
		{name: "last position of a segment", inv: whole(), req: Request{Target: lsn(199)}, base: "base-100", starts: []LSN{100}, until: 199},
		{name: "end of a segment", inv: whole(), req: Request{Target: lsn(200)}, base: "base-100", starts: []LSN{100, 200}, until: 200},
		{name: "just before the second base", inv: whole(), req: Request{Target: lsn(249)}, base: "base-100", starts: []LSN{100, 200}, until: 249},
		{name: "at the second base", inv: whole(), req: Request{Target: lsn(250)}, base: "base-250", starts: []LSN{200}, until: 250},
		{name: "at the end", inv: whole(), req: Request{Target: lsn(400)}, base: "base-250", starts: []LSN{200, 300}, until: 400},
		{name: "after the end", inv: whole(), req: Request{Target: lsn(401)}, err: end(lsn(401))},
		{name: "before the first base", inv: whole(), req: Request{Target: lsn(99)}, err: TargetBeforeFirstBaseError{lsn(99), b(100)}},
		{name: "at the first base", inv: whole(), req: Request{Target: lsn(100)}, base: "base-100", starts: []LSN{100}, until: 100},
		{name: "exclusive at the first base", inv: whole(), req: Request{Target: before(100)}, base: "base-100", until: 100},
		{name: "exclusive at the second base", inv: whole(), req: Request{Target: before(250)}, base: "base-250", until: 250},
		{name: "exclusive inside", inv: whole(), req: Request{Target: before(150)}, base: "base-100", starts: []LSN{100}, until: 150},
		{name: "exclusive at the end of a segment", inv: whole(), req: Request{Target: before(200)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "exclusive after the end", inv: whole(), req: Request{Target: before(401)}, err: end(before(401))},
		{name: "chosen older base", inv: whole(), req: Request{Target: lsn(260), Base: "base-100"}, base: "base-100", starts: []LSN{100, 200}, until: 260},
		{name: "chosen base after the target", inv: whole(), req: Request{Target: lsn(249), Base: "base-250"},
			err: BaseAfterTargetError{b(250), lsn(249)}},
		{name: "before the hole", inv: holed(), req: Request{Target: lsn(150)}, base: "base-100", starts: []LSN{100}, until: 150},
		{name: "where the hole starts", inv: holed(), req: Request{Target: lsn(200)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "in the hole", inv: holed(), req: Request{Target: lsn(250)}, err: hole},
		{name: "in the hole before a base in it", inv: inv(base(100), segs(seg(100, 200), seg(300, 400)), base(250)),
			req: Request{Target: lsn(220)}, err: hole},
		{name: "after the hole before a base", inv: holed(), req: Request{Target: lsn(349)}, err: hole},
		{name: "after the hole from a base", inv: holed(), req: Request{Target: lsn(450)}, base: "base-350", starts: []LSN{300, 400}, until: 450},
		{name: "across the hole by choice", inv: holed(), req: Request{Target: lsn(450), Base: "base-100"}, err: hole},
		{name: "base alone, its point", inv: inv(base(100)), req: Request{Target: lsn(100)}, base: "base-100", until: 100},
		{name: "base alone, later", inv: inv(base(100)), req: Request{Target: lsn(101)},
			err: TargetAfterEndError{Target: lsn(101), End: 100, ReachedAt: at(100)}},
		{name: "base in a hole, its point", inv: inv(segs(seg(100, 200), seg(300, 400)), base(250)), req: Request{Target: lsn(250)},
			base: "base-250", until: 250},
		{name: "two bases at one point", inv: inv(base(100), segs(with(b(100), func(a *Artifact) { a.ID, a.Name = 1001, "again" }),
			with(base(100)[1], func(a *Artifact) { a.ID, a.Pair = 1002, 1001 }), seg(100, 200))),
			req: Request{Target: lsn(150)}, base: "again", starts: []LSN{100}, until: 150},
		{name: "overlapping stray before the base", inv: inv(base(250), segs(seg(100, 260), seg(200, 300))),
			req: Request{Target: lsn(280)}, base: "base-250", starts: []LSN{200}, until: 280},
	})
}

func TestPlanByTime(t *testing.T) {
	late := func(n int) Target { return Target{Kind: ByTime, Time: at(n), Exclusive: true} }
	end := func(x Target, reached int) error {
		return TargetAfterEndError{Target: x, End: 300, ReachedAt: at(reached)}
	}
	two := func(first, second Artifact) Inventory { return inv(base(100), segs(first, second)) }
	runPlanCases(t, []planCase{
		{name: "inside", inv: two(seg(100, 200), seg(200, 300)), req: Request{Target: clock(150)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "equal to the last commit", inv: two(seg(100, 200), seg(200, 300)), req: Request{Target: clock(199)},
			base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "exclusive, equal to the last commit", inv: two(seg(100, 200), seg(200, 300)), req: Request{Target: late(199)},
			base: "base-100", starts: []LSN{100}, until: 200},
		{name: "between segments", inv: two(idle(100, 200, 120, 200), seg(200, 300)), req: Request{Target: clock(150)},
			base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "at the moment reached", inv: two(seg(100, 200), seg(200, 300)), req: Request{Target: clock(300)},
			base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "after the moment reached", inv: two(seg(100, 200), seg(200, 300)), req: Request{Target: clock(301)}, err: end(clock(301), 300)},
		{name: "idle at the end", inv: two(seg(100, 200), idle(200, 300, 220, 9000)), req: Request{Target: clock(8000)},
			base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "later than idle", inv: two(seg(100, 200), idle(200, 300, 220, 9000)), req: Request{Target: clock(9001)}, err: end(clock(9001), 9000)},
		{name: "last commit later than the moment reached", inv: two(seg(100, 200), idle(200, 300, 290, 220)),
			req: Request{Target: clock(290)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "idle in an empty segment", inv: inv(base(100), segs(seg(100, 200), idle(200, 200, 0, 9000))),
			req: Request{Target: clock(8000)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "base on an idle database", inv: inv(base(100), segs(idle(100, 100, 0, 9000))), req: Request{Target: clock(8000)},
			base: "base-100", until: 100},
		{name: "base at the end of an idle stream", inv: inv(segs(idle(100, 200, 120, 9000)), base(200)), req: Request{Target: clock(8000)},
			base: "base-200", until: 200},
		{name: "segments without transactions", inv: inv(base(100), segs(with(seg(100, 200), func(a *Artifact) {
			a.Transactions, a.LastCommitAt, a.FirstCommitAt = 0, zero, zero
		}))), req: Request{Target: clock(200)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "a late commit time in an early segment", inv: two(idle(100, 200, 260, 260), seg(200, 300)), req: Request{Target: clock(250)},
			base: "base-100", starts: []LSN{100}, until: 200},
		{name: "a clock that steps back", inv: two(idle(100, 200, 170, 170), idle(200, 300, 160, 160)), req: Request{Target: clock(165)},
			base: "base-100", starts: []LSN{100}, until: 200},
		{name: "before the first base", inv: whole(), req: Request{Target: clock(99)}, err: TargetBeforeFirstBaseError{clock(99), b(100)}},
		{name: "at the first base", inv: whole(), req: Request{Target: clock(100)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "just before the second base", inv: whole(), req: Request{Target: clock(249)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "base inside a segment whose late commit it may hold", inv: whole(), req: Request{Target: clock(260)},
			base: "base-250", starts: []LSN{200, 300}, until: 400},
		{name: "chosen base after the target", inv: whole(), req: Request{Target: clock(249), Base: "base-250"},
			err: BaseAfterTargetError{b(250), clock(249)}},
		{name: "base without its moment counts from the end of its dump", inv: inv(segs(with(b(250),
			func(a *Artifact) { a.ReachedAt = zero }), seg(200, 300)), base(200)), req: Request{Target: clock(299)},
			base: "base-200", starts: []LSN{200}, until: 300},
		{name: "before the hole", inv: holed(), req: Request{Target: clock(198)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "in the hole", inv: holed(), req: Request{Target: clock(250)},
			err: HoleError{Kind: HoleGap, From: 200, To: 300, Since: at(200), Reachable: 200, ReachableAt: at(200)}},
		{name: "after the hole", inv: holed(), req: Request{Target: clock(450)}, base: "base-350", starts: []LSN{300, 400}, until: 500},
	})
}

func TestPlanByXID(t *testing.T) {
	hole := HoleError{Kind: HoleGap, From: 200, To: 300, Since: at(200), Reachable: 200, ReachableAt: at(200)}
	wide := inv(base(100), segs(seg(100, 200), xids(seg(200, 300), 150, 299), seg(300, 400)), base(150), base(250))
	runPlanCases(t, []planCase{
		{name: "one candidate", inv: inv(base(100), segs(seg(100, 200), seg(200, 300)), base(250)), req: Request{Target: xid(220)},
			base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "two candidates", inv: wide, req: Request{Target: xid(160)}, base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "newest base before the candidate", inv: wide, req: Request{Target: xid(210)}, base: "base-150", starts: []LSN{100, 200}, until: 300},
		{name: "base inside the only candidate", inv: inv(segs(seg(200, 300)), base(250)), req: Request{Target: xid(210)},
			base: "base-250", starts: []LSN{200}, until: 300},
		{name: "wraparound", inv: inv(base(100), segs(xids(seg(100, 200), 3, 4294967295), seg(200, 300))), req: Request{Target: xid(4000000000)},
			base: "base-100", starts: []LSN{100}, until: 200},
		{name: "unknown", inv: whole(), req: Request{Target: xid(400)}, err: UnknownXIDError{400}},
		{name: "no number", inv: inv(base(100), segs(xids(seg(100, 200), 0, 0))), req: Request{Target: xid(0)}, err: UnknownXIDError{0}},
		{name: "before the first base", inv: inv(base(250), segs(seg(100, 200), seg(200, 300))), req: Request{Target: xid(150)},
			err: TargetBeforeFirstBaseError{xid(150), b(250)}},
		{name: "chosen base after the target", inv: whole(), req: Request{Target: xid(150), Base: "base-250"},
			err: BaseAfterTargetError{b(250), xid(150)}},
		{name: "behind a hole", inv: inv(base(100), segs(seg(100, 200), seg(300, 400))), req: Request{Target: xid(310)}, err: hole},
		{name: "behind a hole by choice", inv: holed(), req: Request{Target: xid(450), Base: "base-100"}, err: hole},
		{name: "behind a hole from a base", inv: holed(), req: Request{Target: xid(450)}, base: "base-350", starts: []LSN{300, 400}, until: 500},
		{name: "base inside the candidate behind a hole", inv: holed(), req: Request{Target: xid(320)}, base: "base-350", starts: []LSN{300}, until: 400},
	})
}

func TestPlanByName(t *testing.T) {
	points := []RestorePoint{{Name: "one", LSN: 150, Timeline: 1}, {Name: "two", LSN: 320}}
	exclusive := name("two")
	exclusive.Exclusive = true
	runPlanCases(t, []planCase{
		{name: "known", inv: withPoint(whole(), points...), req: Request{Target: name("one")}, base: "base-100", starts: []LSN{100}, until: 150},
		{name: "newest base", inv: withPoint(whole(), points...), req: Request{Target: exclusive}, base: "base-250", starts: []LSN{200, 300}, until: 320},
		{name: "unknown", inv: withPoint(whole(), points...), req: Request{Target: name("ONE")},
			err: UnknownPointError{Name: "ONE", Known: []string{"one", "two"}}},
		{name: "before the first base", inv: withPoint(inv(base(200), segs(seg(100, 300))), points...), req: Request{Target: name("one")},
			err: TargetBeforeFirstBaseError{Target{Kind: ByName, Name: "one", LSN: 150}, b(200)}},
	})
	p, err := MakePlan(withPoint(whole(), points...), Request{Target: exclusive})
	if err != nil || p.Target.LSN != 320 || !p.Target.Exclusive || p.Target.Kind != ByName {
		t.Errorf("target in the plan: %+v, %v", p.Target, err)
	}
}

func TestPlanAcrossTimelines(t *testing.T) {
	// The second timeline branched off at 300; the first went on to 400 on a dead branch.
	branched := func() Inventory {
		return inv(base(100), segs(seg(100, 200), seg(200, 400)), on(2, seg(320, 500)), on(2, base(320)...))
	}
	noBase := inv(base(100), segs(seg(100, 200)), on(2, seg(200, 300)))
	change := HoleError{Kind: HoleTimeline, From: 200, To: 200, Since: at(200), Reachable: 200, ReachableAt: at(200)}
	dead := withPoint(branched(), RestorePoint{Name: "dead", LSN: 350, Timeline: 1}, RestorePoint{Name: "alive", LSN: 350 + 1, Timeline: 2})
	other := with(seg(200, 300), func(a *Artifact) { a.SystemID = "8" })
	runPlanCases(t, []planCase{
		{name: "latest", inv: branched(), base: "base-320-2", starts: []LSN{320}, until: 500},
		{name: "LSN on both", inv: branched(), req: Request{Target: lsn(350)}, base: "base-320-2", starts: []LSN{320}, until: 350},
		{name: "LSN on both by choice", inv: branched(), req: Request{Target: lsn(350), Base: "base-100"}, base: "base-100",
			starts: []LSN{100, 200}, until: 350},
		{name: "LSN before the branch", inv: branched(), req: Request{Target: lsn(250)}, base: "base-100", starts: []LSN{100, 200}, until: 250},
		{name: "latest of a timeline without a base", inv: noBase, err: change},
		{name: "LSN on a timeline without a base", inv: noBase, req: Request{Target: lsn(250)}, err: change},
		{name: "time on a timeline without a base", inv: noBase, req: Request{Target: clock(250)}, err: change},
		{name: "xid on a timeline without a base", inv: noBase, req: Request{Target: xid(250)}, err: change},
		{name: "the end of the old timeline", inv: noBase, req: Request{Target: lsn(200)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "another system does not join", inv: inv(base(100), segs(seg(100, 200), other)), err: change},
		{name: "restore point on the dead branch", inv: dead, req: Request{Target: name("dead")}, base: "base-100", starts: []LSN{100, 200}, until: 350},
		{name: "restore point on the new timeline", inv: dead, req: Request{Target: name("alive")}, base: "base-320-2", starts: []LSN{320}, until: 351},
		{name: "restore point on the new timeline, base on the old", inv: dead, req: Request{Target: name("alive"), Base: "base-100"},
			err: HoleError{Kind: HoleTimeline, From: 400, To: 320, Since: at(400), Reachable: 400, ReachableAt: at(400)}},
	})
}

func TestPlanWithGaps(t *testing.T) {
	ddl := func(n int) Gap {
		return Gap{Kind: GapSchema, From: LSN(n), To: LSN(n), DetectedAt: at(n), Reason: "no\nprivilege"}
	}
	lost := Gap{Kind: GapMissing, From: 120, To: 130, DetectedAt: at(125)}
	first := func(g Gap) Inventory { return withGap(inv(base(100), segs(seg(100, 200), seg(200, 300))), g) }
	runPlanCases(t, []planCase{
		{name: "before the target", inv: first(ddl(150)), req: Request{Target: lsn(160)}, err: SchemaGapError{ddl(150)}},
		{name: "accepted", inv: first(ddl(150)), req: Request{Target: lsn(160), AcceptGaps: true}, base: "base-100", starts: []LSN{100}, until: 160},
		{name: "after the target", inv: first(ddl(150)), req: Request{Target: lsn(149)}, base: "base-100", starts: []LSN{100}, until: 149},
		{name: "at the target", inv: first(ddl(150)), req: Request{Target: lsn(150)}, err: SchemaGapError{ddl(150)}},
		{name: "at the exclusive target", inv: first(ddl(150)), req: Request{Target: before(150)}, base: "base-100", starts: []LSN{100}, until: 150},
		{name: "at the point of the base", inv: first(ddl(100)), req: Request{Target: lsn(150)}, err: SchemaGapError{ddl(100)}},
		{name: "before the base", inv: first(ddl(99)), base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "latest", inv: first(ddl(299)), err: SchemaGapError{ddl(299)}},
		{name: "acknowledged is not healed", inv: first(Gap{Kind: GapSchema, From: 150, AcknowledgedAt: at(160)}),
			err: SchemaGapError{Gap{Kind: GapSchema, From: 150, AcknowledgedAt: at(160)}}},
		{name: "healed by a newer base", inv: withGap(whole(), ddl(150)), base: "base-250", starts: []LSN{200, 300}, until: 400},
		{name: "not healed by choice", inv: withGap(whole(), ddl(150)), req: Request{Base: "base-100"}, err: SchemaGapError{ddl(150)}},
		{name: "the first of several", inv: withGap(whole(), ddl(310), ddl(260)), err: SchemaGapError{ddl(260)}},
		{name: "time before it", inv: first(ddl(150)), req: Request{Target: clock(149)}, base: "base-100", starts: []LSN{100}, until: 200},
		{name: "time after it", inv: first(ddl(150)), req: Request{Target: clock(150)}, err: SchemaGapError{ddl(150)}},
		{name: "recorded loss inside", inv: first(lost), req: Request{AcceptGaps: true},
			err: HoleError{Kind: HoleGap, From: 120, To: 130, Since: at(125), Reachable: 120}},
		{name: "target before the recorded loss", inv: first(lost), req: Request{Target: lsn(120)}, base: "base-100", starts: []LSN{100}, until: 120},
		{name: "recorded loss before the base", inv: withGap(whole(), lost), base: "base-250", starts: []LSN{200, 300}, until: 400},
		{name: "recorded loss at the end", inv: first(Gap{Kind: GapMissing, From: 300, To: 350}), base: "base-100", starts: []LSN{100, 200}, until: 300},
		{name: "on another timeline", inv: first(Gap{Kind: GapSchema, From: 150, Timeline: 2}), base: "base-100", starts: []LSN{100, 200}, until: 300},
	})
	p, err := MakePlan(first(ddl(150)), Request{AcceptGaps: true})
	if err != nil || !reflect.DeepEqual(p.Gaps, []Gap{ddl(150)}) {
		t.Errorf("gaps in the plan: %+v, %v", p.Gaps, err)
	}
}

func TestPlanSums(t *testing.T) {
	p, err := MakePlan(whole(), Request{})
	if err != nil || p.Bytes != 1+1+10+10 || p.TextBytes != 2+2+100+100 || p.Transactions != 200 {
		t.Errorf("%d bytes, %d of text, %d transactions, %v", p.Bytes, p.TextBytes, p.Transactions, err)
	}
	p, err = MakePlan(inv(base(100)[:1], segs(seg(100, 200))), Request{})
	if err != nil || !reflect.DeepEqual(p.Globals, Artifact{}) {
		t.Errorf("a base without globals: %+v, %v", p.Globals, err)
	}
}

// Against random repositories: a position is reachable if and only if some base is at or before it and every position
// between is covered; and then the plan covers them without a break.
func TestPlanProperty(t *testing.T) {
	const size = 40
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 3000 {
		var list []Artifact
		var covered [size + 1]bool
		var bases []int
		for start := rng.IntN(5); start < size; {
			end := min(start+1+rng.IntN(8), size)
			list = append(list, seg(start, end))
			for i := start; i < end; i++ {
				covered[i] = true
			}
			start = end
			if rng.IntN(4) == 0 {
				start += rng.IntN(4)
			}
		}
		for range rng.IntN(4) {
			p := rng.IntN(size)
			if !slices.Contains(bases, p) {
				bases = append(bases, p)
				list = append(list, base(p)...)
			}
		}
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for x := range size {
			reachable := false
			for _, p := range bases {
				reachable = reachable || p <= x && !slices.Contains(covered[p:x], false)
			}
			p, err := MakePlan(Inventory{Artifacts: list}, Request{Target: lsn(x)})
			if (err == nil) != reachable {
				t.Fatalf("round %d, target %d: %v, but reachable is %t\n%+v", round, x, err, reachable, list)
			}
			if err == nil {
				checkPlan(t, p, LSN(x))
			}
		}
	}
}

func checkPlan(t *testing.T, p Plan, x LSN) {
	t.Helper()
	end := p.From
	for i, s := range p.Segments {
		if i == 0 && (s.Start > p.From || s.End <= p.From) || i > 0 && s.Start != end {
			t.Fatalf("segment [%d, %d) does not join at %d", s.Start, s.End, end)
		}
		if s.Start > x {
			t.Fatalf("segment [%d, %d) is not needed for %d", s.Start, s.End, x)
		}
		end = s.End
	}
	if p.From > x || end < x {
		t.Fatalf("base %d and segments up to %d do not cover %d", p.From, end, x)
	}
}
