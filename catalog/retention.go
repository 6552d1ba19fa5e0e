package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Policy says how long artifacts stay. The rules of bases are joined by "or"; a zero rule keeps nothing.
//
// Daily, Weekly, Monthly and Yearly keep the last base of each of that many most recent days, ISO weeks, months and years
// (in UTC) that have one, so that a backup which has stopped does not age away.
type Policy struct {
	Last                           int
	Within                         time.Duration
	Daily, Weekly, Monthly, Yearly int
	Incremental                    time.Duration // segments that reach behind now - Incremental stay
}

const day = 24 * time.Hour

// DefaultPolicy keeps segments for 7 days, bases for 30, and then one base a month for a year.
func DefaultPolicy() Policy {
	return Policy{Within: 30 * day, Monthly: 12, Incremental: 7 * day}
}

// String names the rules in words.
func (p Policy) String() string {
	return fmt.Sprintf("bases: %s; segments: %s", p.bases(), showAge(p.Incremental))
}

func (p Policy) bases() string {
	var rules []string
	if p.Last > 0 {
		rules = append(rules, fmt.Sprintf("the last %d", p.Last))
	}
	if p.Within > 0 {
		rules = append(rules, "those of the last "+showAge(p.Within))
	}
	for _, b := range p.buckets() {
		if b.n > 0 {
			rules = append(rules, fmt.Sprintf("one a %s for %d", b.unit, b.n))
		}
	}
	if len(rules) == 0 {
		return "none but the newest"
	}
	return strings.Join(rules, ", ")
}

// Decision is what retention makes of one artifact, and why, in words.
type Decision struct {
	Artifact Artifact
	Keep     bool
	Why      string
}

// Retention is what a policy makes of a repository.
type Retention struct {
	Decisions     []Decision // by system and timeline, oldest first, then by position; globals behind their base
	Bytes         int64      // stored bytes of what goes
	Before, After []Window   // what can be restored
}

// Retain applies a policy. These laws hold whatever the policy says:
//
//   - The newest base stays, and so does the newest one that is followed by an unbroken chain of segments without a
//     gap, with that whole chain: the latest position that can be restored is never lost.
//   - So do the newest base that is not damaged, as far as is known, and its chain. A chain with a damaged file is broken.
//   - A pinned base stays, and one whose moment is not known. A pin alone does not hold the segments behind the base.
//   - Globals stay or go with their base.
//   - Of each timeline what stays of the segments is one run up to the last: where segments joined, no hole is made.
//     The run begins no later than where the newest kept base at or before the segment window needs it, or else the
//     oldest kept base inside the window, so that a moment of the window which a kept base leads to stays reachable.
//   - The segment that is being written stays, and the last of the present timeline, whose end is where the stream goes
//     on.
//
// A kept base without segments restores to its own point. Artifacts are ordered by LSN; times only feed the rules.
func Retain(inv Inventory, p Policy, now time.Time) Retention {
	r := retainer{inv: inv, policy: p, now: now, lines: linesOf(inv), why: map[int64]string{}, byPin: map[int64]bool{}}
	for i, l := range r.lines {
		for _, b := range l.bases {
			r.bases = append(r.bases, placed{b, i})
		}
	}
	r.keepBases()
	for i := range r.lines {
		r.keepSegments(i)
	}
	return r.result()
}

type retainer struct {
	inv    Inventory
	policy Policy
	now    time.Time
	lines  []line
	bases  []placed         // oldest first
	why    map[int64]string // why an artifact stays; those that go are not in it
	byPin  map[int64]bool   // bases that stay for their pin alone
	sound  *placed          // the newest base that everything behind it can be restored from
	intact *placed          // the newest base that is not damaged
}

// keep notes the first reason of an artifact.
func (r *retainer) keep(a Artifact, format string, args ...any) {
	if _, known := r.why[a.ID]; !known {
		r.why[a.ID] = fmt.Sprintf(format, args...)
	}
}

func (r *retainer) keepBases() {
	for i, p := range slices.Backward(r.bases) {
		if r.sound == nil && r.isSound(p) {
			r.sound = &r.bases[i]
		}
		if left := r.lines[p.line].left; r.intact == nil && !r.inv.isDamaged(p.base) && (left == 0 || p.base.Start <= left) {
			r.intact = &r.bases[i]
		}
	}
	for _, b := range r.newest() {
		r.keep(b.base, "the newest base")
	}
	if r.sound != nil {
		r.keep(r.sound.base, "the newest base with an unbroken chain")
	}
	if r.intact != nil {
		r.keep(r.intact.base, "the newest base that is not damaged")
	}
	newestFirst := slices.Clone(r.bases)
	slices.Reverse(newestFirst)
	for i, p := range newestFirst {
		at := basedAt(p.base)
		switch {
		case at.IsZero():
			r.keep(p.base, "its time is not known")
		case i < r.policy.Last:
			r.keep(p.base, "one of the last %d", r.policy.Last)
		case r.policy.Within > 0 && at.After(r.now.Add(-r.policy.Within)):
			r.keep(p.base, "of the last %s", showAge(r.policy.Within))
		}
	}
	for _, b := range r.policy.buckets() {
		seen := map[string]bool{}
		for _, p := range newestFirst {
			at := basedAt(p.base)
			if at.IsZero() {
				continue
			}
			name := b.name(at.UTC())
			if len(seen) < b.n && !seen[name] {
				r.keep(p.base, "the last of %s %s", b.unit, name)
			}
			seen[name] = true
		}
	}
	for _, p := range r.bases {
		if _, kept := r.why[p.base.ID]; !kept && p.base.PinnedReason != "" {
			r.keep(p.base, "pinned: %s", p.base.PinnedReason)
			r.byPin[p.base.ID] = true
		}
	}
	for _, a := range r.inv.Artifacts {
		if a.Kind != KindGlobals {
			continue
		}
		i := slices.IndexFunc(r.bases, func(p placed) bool { return p.base.ID == a.Pair })
		if i < 0 {
			r.keep(a, "its base is not known")
		} else if _, kept := r.why[a.Pair]; kept {
			r.keep(a, "belongs to %s", r.bases[i].base.Name)
		}
	}
}

// isSound says whether the end of the base's line can be restored from it, as far as the source has not left it.
func (r *retainer) isSound(p placed) bool {
	l := r.lines[p.line]
	if l.left != 0 && p.base.Start > l.left {
		return false
	}
	c := l.chain(p.base)
	if _, broken := l.beyond(c); broken || r.inv.isDamaged(p.base) || slices.ContainsFunc(c.segments, r.inv.isDamaged) {
		return false
	}
	return !slices.ContainsFunc(r.inv.Gaps, func(g Gap) bool {
		if g.Timeline != 0 && !slices.Contains(l.timelines, g.Timeline) {
			return false
		}
		return g.Kind == GapSchema && g.From >= p.base.Start && g.From < c.end ||
			g.Kind == GapMissing && g.From < c.end && g.To > p.base.Start && g.From < g.To
	})
}

// keepSegments decides where the run of segments that stays begins.
func (r *retainer) keepSegments(index int) {
	l := r.lines[index]
	cutoff := r.now.Add(-r.policy.Incremental)
	for _, seg := range l.segments {
		switch at := lastAt(seg); {
		case seg.State == StateOpen:
			r.keep(seg, "it is being written")
		case at.IsZero():
			r.keep(seg, "its time is not known")
		case at.After(cutoff):
			r.keep(seg, "of the last %s", showAge(r.policy.Incremental))
		}
	}
	need := func(b Artifact, what string) {
		for _, seg := range l.chain(b).segments {
			r.keep(seg, "needed from %s, %s", b.Name, what)
		}
	}
	if b := r.windowBase(l, cutoff); b != nil {
		need(*b, "to reach the last "+showAge(r.policy.Incremental))
	}
	for _, b := range r.newest() {
		if b.line == index {
			need(b.base, "the newest base")
		}
	}
	if r.sound != nil && r.sound.line == index {
		need(r.sound.base, "the newest base with an unbroken chain")
	}
	if r.intact != nil && r.intact.line == index {
		need(r.intact.base, "the newest base that is not damaged")
	}
	if r.isPresent(index) && len(l.segments) > 0 {
		r.keep(l.furthest(), "the stream goes on from its end")
	}
	first := slices.IndexFunc(l.segments, func(s Artifact) bool { return r.why[s.ID] != "" })
	if first < 0 {
		return
	}
	for _, seg := range l.segments[first:] {
		r.keep(seg, "follows one that stays")
	}
}

// newest returns the newest base, and, if the source has left its branch before it, the newest one that it has not.
func (r *retainer) newest() (list []placed) {
	for _, p := range slices.Backward(r.bases) {
		left := r.lines[p.line].left
		if len(list) == 0 || left == 0 || p.base.Start <= left {
			list = append(list, p)
		}
		if left == 0 || p.base.Start <= left {
			break
		}
	}
	return list
}

// windowBase is the base that the segment window is restored from: the newest kept one at or before its beginning whose
// chain leads into it, else the oldest kept one inside.
func (r *retainer) windowBase(l line, cutoff time.Time) *Artifact {
	var first *Artifact
	for i := len(l.bases) - 1; i >= 0; i-- {
		b := &l.bases[i]
		if _, kept := r.why[b.ID]; !kept || r.byPin[b.ID] {
			continue
		}
		if basedAt(*b).After(cutoff) {
			first = b
			continue
		}
		if l.chain(*b).reachedAt.After(cutoff) {
			return b
		}
	}
	return first
}

// isPresent says whether a line is the one that is streamed: that of the repository's row, else the newest.
func (r *retainer) isPresent(index int) bool {
	l, info := r.lines[index], r.inv.Repository
	return index == len(r.lines)-1 || l.system == info.SystemID && slices.Contains(l.timelines, info.Timeline)
}

func (r *retainer) result() Retention {
	res := Retention{Before: Windows(r.inv)}
	after := r.inv
	after.Artifacts = nil
	decide := func(a Artifact, gone string) {
		why, keep := r.why[a.ID]
		if !keep {
			why = gone
			res.Bytes += a.Bytes
		} else {
			after.Artifacts = append(after.Artifacts, a)
		}
		res.Decisions = append(res.Decisions, Decision{a, keep, why})
	}
	for _, l := range r.lines {
		list := slices.Concat(l.bases, l.segments)
		slices.SortStableFunc(list, func(a, b Artifact) int { return cmp.Compare(a.Start, b.Start) })
		for _, a := range list {
			if a.Kind == KindSegment {
				gone := "no kept base needs it"
				if age := r.policy.Incremental; age > 0 {
					gone = fmt.Sprintf("older than %s, and no kept base needs it to reach them", showAge(age))
				}
				decide(a, gone)
				continue
			}
			decide(a, "not among "+r.policy.bases())
			for _, g := range r.inv.Artifacts {
				if g.Kind == KindGlobals && g.Pair == a.ID {
					decide(g, "goes with "+a.Name)
				}
			}
		}
	}
	for _, g := range r.inv.Artifacts {
		if g.Kind == KindGlobals && r.why[g.ID] == "its base is not known" {
			decide(g, "")
		}
	}
	res.After = Windows(after)
	return res
}

// lastAt is the latest moment that a segment may be needed for.
func lastAt(seg Artifact) time.Time {
	return cmp.Or(seg.KnownAt(), seg.FinishedAt, seg.CreatedAt)
}

type bucket struct {
	unit string
	n    int
	name func(time.Time) string
}

func (p Policy) buckets() []bucket {
	layout := func(l string) func(time.Time) string { return func(t time.Time) string { return t.Format(l) } }
	return []bucket{
		{"day", p.Daily, layout("2006-01-02")},
		{"week", p.Weekly, func(t time.Time) string {
			y, w := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", y, w)
		}},
		{"month", p.Monthly, layout("2006-01")},
		{"year", p.Yearly, layout("2006")},
	}
}

// showAge prints a span in days where it is whole days.
func showAge(d time.Duration) string {
	switch {
	case d == day:
		return "1 day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return d.String()
}
