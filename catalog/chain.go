package catalog

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// HoleKind says how two segments fail to join.
type HoleKind string

// The kinds of holes.
const (
	HoleGap      HoleKind = "gap"      // nothing covers [From, To)
	HoleOverlap  HoleKind = "overlap"  // more than one segment covers [From, To)
	HoleTimeline HoleKind = "timeline" // From ends one timeline or system, To starts the next; To may be the smaller
)

// Hole is a place where the chain of segments breaks.
type Hole struct {
	Kind     HoleKind
	From, To LSN
	// The last moment known before the hole and the first known after it; zero when nothing tells.
	Since, Until time.Time
}

// Holes lists the breaks between consecutive segments, in order. Artifacts of other kinds are passed over, as are
// switches to a timeline that begins where the stream of the one before still was on common ground.
func Holes(segments []Artifact, known ...Switch) []Hole {
	var holes []Hole
	var last line
	for i, l := range linesOf(Inventory{Artifacts: segments, Switches: known}) {
		if len(l.segments) == 0 {
			continue
		}
		if i > 0 && len(last.segments) > 0 {
			prev, next := last.furthest(), l.segments[0]
			holes = append(holes, Hole{HoleTimeline, prev.End, next.Start, prev.KnownAt(), began(next)})
		}
		holes = append(holes, l.holes()...)
		last = l
	}
	return holes
}

// reach is the furthest position of any line to which a base and unbroken segments lead; 0 without a base.
func reach(inv Inventory) LSN {
	var end LSN
	for _, l := range linesOf(inv) {
		for _, b := range slices.Backward(l.bases) { // the newest has the shortest chain
			end = max(end, l.chain(b).end)
			if len(l.segments) == 0 || end >= l.furthest().End {
				break
			}
		}
	}
	return end
}

// line is all that belongs to one timeline of one system, or to several that follow each other without a break:
// positions can be compared only within it.
type line struct {
	system    string
	timelines []uint32   // ascending
	segments  []Artifact // by start, end, ID
	bases     []Artifact // by point, ID
	left      LSN        // where the repository's present timeline left this one; 0: it did not
	streamed  LSN        // of the repository's present timeline: where the stream goes on; else 0
}

// chain is a base with the segments that join on from it.
type chain struct {
	base      Artifact
	segments  []Artifact // without empty ones
	end       LSN        // where the last segment ends, or the base's point
	reachedAt time.Time  // the latest moment for which the stream is known up to end
	timelines []uint32   // of its line
}

// linesOf sorts artifacts into lines, oldest first: systems by their first artifact, their timelines by number. A
// timeline goes on the line of the one it branched off from if nothing there lies behind the branching. The
// repository's present timeline may still be without artifacts.
func linesOf(inv Inventory) []line {
	type key struct {
		system   string
		timeline uint32
	}
	born := map[string]time.Time{}
	lines := map[key]*line{}
	var keys []key
	at := func(k key) *line {
		if lines[k] == nil {
			lines[k] = &line{system: k.system, timelines: []uint32{k.timeline}}
			keys = append(keys, k)
		}
		return lines[k]
	}
	for _, a := range inv.Artifacts {
		if a.Kind == KindGlobals {
			continue
		}
		l := at(key{a.SystemID, a.Timeline})
		if t, seen := born[a.SystemID]; !seen || a.CreatedAt.Before(t) {
			born[a.SystemID] = a.CreatedAt
		}
		if a.Kind == KindBase {
			l.bases = append(l.bases, a)
		} else {
			l.segments = append(l.segments, a)
		}
	}
	present := inv.Repository
	if _, ok := parentOf(inv.Switches, present.SystemID, present.Timeline); ok {
		at(key{present.SystemID, present.Timeline})
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(born[a.system].Compare(born[b.system]), cmp.Compare(a.system, b.system), cmp.Compare(a.timeline, b.timeline))
	})
	var sorted []*line
	for _, k := range keys {
		l := lines[k]
		// The nearest ancestor of which there is anything.
		limit := ^LSN(0)
		for s, ok := parentOf(inv.Switches, k.system, k.timeline); ok; s, ok = parentOf(inv.Switches, k.system, s.Parent) {
			limit = min(limit, s.At)
			before := lines[key{k.system, s.Parent}]
			if before == nil {
				continue
			}
			if before.timelines[len(before.timelines)-1] == s.Parent && before.within(limit) {
				before.timelines = append(before.timelines, k.timeline)
				before.segments = append(before.segments, l.segments...)
				before.bases = append(before.bases, l.bases...)
				lines[k], l = before, nil
			}
			break
		}
		if l != nil {
			sorted = append(sorted, l)
		}
	}
	list := make([]line, 0, len(sorted))
	for _, l := range sorted {
		if len(l.bases)+len(l.segments) == 0 {
			continue
		}
		slices.SortFunc(l.bases, byPosition)
		slices.SortFunc(l.segments, byPosition)
		if l.system == present.SystemID && present.Timeline != 0 {
			l.left, _ = Leaves(inv.Switches, l.system, l.timelines[len(l.timelines)-1], present.Timeline)
			if slices.Contains(l.timelines, present.Timeline) {
				l.streamed = l.streamedTo(present.StreamStart)
			}
		}
		list = append(list, *l)
	}
	return list
}

// within says whether nothing of the line lies behind a position.
func (l *line) within(limit LSN) bool {
	behind := func(a Artifact) bool { return a.End > limit }
	return !slices.ContainsFunc(l.segments, behind) && !slices.ContainsFunc(l.bases, behind)
}

func byPosition(a, b Artifact) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.ID, b.ID))
}

// chain follows the segments from the consistent point of a base: first the one that has the point inside, then those
// that start where the one before ends.
func (l line) chain(base Artifact) chain {
	c := chain{base: base, end: base.Start, reachedAt: basedAt(base), timelines: l.timelines}
	// Segments [0, after) start at or before the point. The latest that has it inside is taken, so that a stray
	// overlapping one does not matter.
	after := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].Start > base.Start })
	for i := after - 1; i >= 0; i-- {
		seg := l.segments[i]
		if seg.End > base.Start {
			c.add(seg)
			break
		}
		if seg.End == base.Start {
			c.reachedAt = later(c.reachedAt, seg.KnownAt()) // an idle stream that stands at the point
		}
	}
	for l.extend(&c) {
	}
	return c
}

// extend adds the segment that starts at the end of the chain. An empty one only tells the moment that it reached.
func (l line) extend(c *chain) bool {
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].Start >= c.end })
	next := -1
	for ; i < len(l.segments) && l.segments[i].Start == c.end; i++ {
		if l.segments[i].End == c.end {
			c.reachedAt = later(c.reachedAt, l.segments[i].KnownAt())
		} else {
			next = i // sorted by end: the longest wins
		}
	}
	if next < 0 {
		return false
	}
	c.add(l.segments[next])
	return true
}

func (c *chain) add(seg Artifact) {
	c.segments = append(c.segments, seg)
	c.end = seg.End
	c.reachedAt = later(c.reachedAt, seg.KnownAt())
}

// cut returns the chain with its first n segments only.
func (c chain) cut(n int) chain {
	short := chain{base: c.base, end: c.base.Start, reachedAt: basedAt(c.base), timelines: c.timelines}
	for _, seg := range c.segments[:n] {
		short.add(seg)
	}
	return short
}

// beyond finds the first artifact of the line that the chain does not reach.
func (l line) beyond(c chain) (Hole, bool) {
	next, found := Artifact{}, false
	for _, seg := range l.segments {
		if seg.End > c.end {
			next, found = seg, true
			break
		}
	}
	if !found { // a base that was taken after the stream broke off shows the hole as well
		i := sort.Search(len(l.bases), func(i int) bool { return l.bases[i].Start > c.end })
		if i == len(l.bases) {
			return Hole{}, false
		}
		next = l.bases[i]
	}
	h := Hole{Kind: HoleGap, From: c.end, To: next.Start, Since: c.reachedAt, Until: began(next)}
	if next.Start < c.end {
		h.Kind, h.From, h.To = HoleOverlap, next.Start, c.end
	}
	return h, true
}

// holes lists the breaks inside a line.
func (l line) holes() []Hole {
	var holes []Hole
	prev := l.segments[0] // the one that ends last so far
	for _, next := range l.segments[1:] {
		switch {
		case next.Start > prev.End:
			holes = append(holes, Hole{HoleGap, prev.End, next.Start, prev.KnownAt(), began(next)})
		case next.Start < prev.End && next.End > next.Start:
			holes = append(holes, Hole{HoleOverlap, next.Start, min(prev.End, next.End), prev.KnownAt(), began(next)})
		}
		if next.End > prev.End || next.End == prev.End && next.KnownAt().After(prev.KnownAt()) {
			prev = next
		}
	}
	return holes
}

func (l line) furthest() Artifact {
	return slices.MaxFunc(l.segments, func(a, b Artifact) int { return cmp.Compare(a.End, b.End) })
}

// first returns the artifact that the line begins with.
func (l line) first() Artifact {
	if len(l.segments) == 0 || len(l.bases) > 0 && l.bases[0].Start < l.segments[0].Start {
		return l.bases[0]
	}
	return l.segments[0]
}

// basedAt is the moment of a base's consistent point. Its dump ended later, so that time is a safe second best.
func basedAt(base Artifact) time.Time {
	return cmp.Or(base.ReachedAt, base.FinishedAt)
}

// KnownAt is the latest moment of the source that an artifact tells of; zero if
// it tells of none.
func (a Artifact) KnownAt() time.Time {
	return later(a.ReachedAt, a.LastCommitAt)
}

// began is the first moment that an artifact tells of.
func began(a Artifact) time.Time {
	switch {
	case a.Kind == KindBase:
		return basedAt(a)
	case !a.FirstCommitAt.IsZero():
		return a.FirstCommitAt
	default:
		return a.CreatedAt
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
