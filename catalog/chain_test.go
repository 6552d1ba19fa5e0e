package catalog

import (
	"reflect"
	"testing"
	"time"
)

var zero time.Time

func TestHoles(t *testing.T) {
	cases := []struct {
		name     string
		segments []Artifact
		want     []Hole
	}{
		{"none", nil, nil},
		{"one", segs(seg(100, 200)), nil},
		{"joined, unsorted", segs(seg(200, 300), seg(100, 200), seg(300, 400)), nil},
		{"gaps", segs(seg(100, 200), seg(250, 300), seg(301, 400)),
			[]Hole{{HoleGap, 200, 250, at(200), at(250)}, {HoleGap, 300, 301, at(300), at(301)}}},
		{"overlap", segs(seg(100, 200), seg(150, 300)), []Hole{{HoleOverlap, 150, 200, at(200), at(150)}}},
		{"contained", segs(seg(100, 400), seg(150, 200), seg(400, 500)), []Hole{{HoleOverlap, 150, 200, at(400), at(150)}}},
		{"twice", segs(seg(100, 200), with(seg(100, 200), func(a *Artifact) { a.ID++ })),
			[]Hole{{HoleOverlap, 100, 200, at(200), at(100)}}},
		{"empty segments join", segs(seg(100, 200), seg(200, 200), seg(200, 300), seg(300, 300)), nil},
		{"gap after idle time", segs(seg(100, 200), idle(200, 200, 0, 900), seg(300, 400)), []Hole{{HoleGap, 200, 300, at(900), at(300)}}},
		{"timeline", append(on(2, seg(180, 300)), seg(100, 200)), []Hole{{HoleTimeline, 200, 180, at(200), at(180)}}},
		{"other system", segs(seg(100, 200), with(seg(200, 300), func(a *Artifact) { a.SystemID = "6" })),
			[]Hole{{HoleTimeline, 200, 200, at(200), at(200)}}},
		{"bases are passed over", append(base(90), seg(100, 200)), nil},
		{"a timeline with bases only", append(on(2, base(250)...), seg(100, 200)), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Holes(c.segments); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestErrorWords(t *testing.T) {
	hole := HoleError{Kind: HoleGap, From: 0x200, To: 0x300, Since: at(0), Reachable: 0x200, ReachableAt: at(0)}
	overlap := HoleError{Kind: HoleOverlap, From: 0x100, To: 0x200, Reachable: 0x200}
	cases := []struct {
		err  error
		want string
	}{
		{hole, "changes between LSN 0/200 (2026-11-21T02:00:00Z) and 0/300 are missing; reachable up to LSN 0/200 (2026-11-21T02:00:00Z)"},
		{overlap, "segments overlap between LSN 0/100 and 0/200; reachable up to LSN 0/200"},
		{UnknownPointError{Name: "a\nb"}, `no restore point is named "a\nb"`},
		{TargetAfterEndError{Target: clock(9), End: 1, ReachedAt: at(0)},
			"time 2026-11-21T02:00:09Z is after the end of the repository at LSN 0/1 (2026-11-21T02:00:00Z)"},
		{TargetBeforeFirstBaseError{Target: xid(7), First: Artifact{Start: 16}}, "transaction 7 is before the first base backup, taken at LSN 0/10"},
		{SchemaGapError{Gap{From: 1, Reason: "a\nb"}}, `a schema change at LSN 0/1 could not be captured: "a\nb"`},
	}
	for _, c := range cases {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
