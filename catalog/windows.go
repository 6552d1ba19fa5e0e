package catalog

import (
	"slices"
	"time"
)

// Window is a stretch of the repository in which every position can be restored, on one timeline or on several that
// follow each other without a break.
type Window struct {
	From, To     LSN
	FromAt, ToAt time.Time
	Bases        int
	// Where the source left this branch: what lies at or behind it, the source has lost. 0: nothing of it is lost.
	Left LSN
	// The window is a base that the stream has not reached yet: what is before it is not stored, but nothing is lost.
	Ahead bool
}

// Windows lists what can be restored: each unbroken run of segments from its oldest base on. A base that lies in no
// run is a window of a single point. A run ends where a file of Inventory.Damaged stands in it, and a damaged base, or
// one whose globals are damaged, begins none.
func Windows(inv Inventory) []Window {
	var windows []Window
	for _, l := range linesOf(inv) {
		var current *Window
		for _, b := range l.bases {
			if inv.isDamaged(b) {
				continue
			}
			c := l.chain(b)
			if i := slices.IndexFunc(c.segments, inv.isDamaged); i >= 0 {
				c = c.cut(i)
			}
			if current == nil || b.Start > current.To {
				windows = append(windows, Window{From: b.Start, To: c.end, FromAt: basedAt(b), ToAt: c.reachedAt, Left: l.left, Ahead: l.awaits(b.Start)})
				current = &windows[len(windows)-1]
			}
			// Where segments overlap, a later base may lead further than the chain of the oldest one.
			if c.end > current.To {
				current.To, current.ToAt = c.end, c.reachedAt
			}
			current.Bases++
		}
	}
	return windows
}

// isDamaged says whether an artifact is damaged, or a base's globals are.
func (inv Inventory) isDamaged(a Artifact) bool {
	return len(inv.Damaged) > 0 && (inv.Damaged[a.ID] || a.Kind == KindBase && slices.ContainsFunc(inv.Artifacts, func(g Artifact) bool {
		return g.Kind == KindGlobals && g.Pair == a.ID && inv.Damaged[g.ID]
	}))
}

// streamedTo returns where the stream of the line goes on: at the end of its last segment, or, when nothing was
// streamed, where the slot begins (start) or the first base stands.
func (l line) streamedTo(start LSN) LSN {
	switch {
	case len(l.segments) > 0:
		return max(l.furthest().End, start)
	case start > 0:
		return start
	case len(l.bases) > 0:
		return l.bases[0].Start
	}
	return 0
}

// awaits says whether a position lies ahead of the stream: what leads there is not stored yet, which is not missing.
func (l line) awaits(position LSN) bool { return l.streamed != 0 && position > l.streamed }

// complete says whether a chain leads as far as the stream has come. What a base ahead of it leaves between is only not
// stored yet.
func (l line) complete(c chain) bool { return l.streamed != 0 && c.end >= l.streamed }
