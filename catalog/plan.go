package catalog

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Inventory is what the planning functions look at.
type Inventory struct {
	Repository Repository
	Artifacts  []Artifact
	Points     []RestorePoint
	Gaps       []Gap
	Switches   []Switch
	// Artifacts, by ID, whose files are known to be missing or damaged. Windows end there and retention does not rely on them; plans find out.
	Damaged map[int64]bool
}

// TargetKind says by what a target is given.
type TargetKind int

// The kinds of targets. The zero value is Latest.
const (
	Latest TargetKind = iota
	ByLSN
	ByTime
	ByXID
	ByName
)

// Target is the moment that a restore leads to. The field that belongs to its kind is set.
//
// ByLSN and ByName include the transaction whose commit record starts at that LSN; ByTime stops before the first
// transaction, in stream order, whose commit time is later; ByXID includes the transaction. Exclusive leaves out the
// transaction at the LSN or of that xid, and stops before a commit time equal to the target.
type Target struct {
	Kind      TargetKind
	LSN       LSN // in a Plan also set for ByName: that of the restore point
	Time      time.Time
	XID       uint32
	Name      string
	Exclusive bool
}

// String names the target in a few words, for messages.
func (t Target) String() string {
	switch t.Kind {
	case ByLSN:
		return "LSN " + t.LSN.String()
	case ByTime:
		return "time " + moment(t.Time)
	case ByXID:
		return fmt.Sprintf("transaction %d", t.XID)
	case ByName:
		return fmt.Sprintf("restore point %q", t.Name)
	default:
		return "the latest position"
	}
}

// Request is what a user asks of a restore.
type Request struct {
	Target     Target
	Base       string // name of the base, or a path that ends in it; empty: choose
	AcceptGaps bool   // restore across schema changes that could not be captured
}

// Plan is what a restore reads. Of the transactions in Segments those with a commit LSN below From are in the base
// already, and those after the target are not wanted.
type Plan struct {
	Base     Artifact
	Globals  Artifact   // zero when the repository has none for the base
	Segments []Artifact // joined, in order; empty when the base alone is the target
	From     LSN        // the consistent point of the base
	// ByLSN and ByName: the target's LSN. Otherwise the position reached when all segments are read to their end.
	Until  LSN
	Target Target
	// Other than 0: the source left this branch there. A transaction that commits at or behind it was lost by the
	// source, and must not be restored. For a time, it must not be what shows the end either.
	Left         LSN
	Gaps         []Gap // schema gaps before the target, accepted by the request
	Transactions int64 // upper bound
	Bytes        int64 // stored bytes of all that is read
	TextBytes    int64
}

// MakePlan chooses the newest base that the target allows, or the one asked for, and the unbroken chain of segments
// from it to the target. It never settles for less than the target: it fails with NoBaseError, UnknownBaseError,
// UnknownPointError, UnknownXIDError, BaseAfterTargetError, TargetBeforeFirstBaseError, TargetAfterEndError, HoleError,
// DivergedError or SchemaGapError.
//
// What the source has lost by changing to a timeline that branched off earlier is restored only if a base before it is
// asked for by name.
//
// An xid does not tell its position. The plan leads to the last segment whose range of xids has it, within reach of
// the base that leaves the most such segments after it; whether the transaction is there only reading them shows.
func MakePlan(inv Inventory, req Request) (Plan, error) {
	s := selection{inv: inv, target: req.Target, lines: linesOf(inv)}
	if err := s.resolveName(); err != nil {
		return Plan{}, err
	}
	if err := s.findBases(req.Base); err != nil {
		return Plan{}, err
	}
	var c chain
	var until LSN
	var err error
	switch s.target.Kind {
	case ByLSN, ByName:
		c, err = s.byLSN()
		until = s.target.LSN
	case ByTime:
		c, err = s.byTime()
		until = c.end
	case ByXID:
		c, err = s.byXID()
		until = c.end
	default:
		c, err = s.latest()
		until = c.end
	}
	if err != nil {
		return Plan{}, err
	}
	p := s.plan(c, until)
	if p.Gaps, err = s.gapsIn(p, c.timelines); err != nil {
		return Plan{}, err
	}
	if len(p.Gaps) > 0 && !req.AcceptGaps {
		return Plan{}, SchemaGapError{Gap: p.Gaps[0]}
	}
	return p, nil
}

// selection is one run of MakePlan.
type selection struct {
	inv      Inventory
	target   Target
	timeline uint32 // that the target lies in; 0: not known
	lines    []line // oldest first
	bases    []placed
	chosen   bool // the user chose the only base in bases
	left     LSN  // that only reading can tell whether the plan keeps before
}

// placed is a base and the line it lies on, an index into lines.
type placed struct {
	base Artifact
	line int
}

func (s *selection) resolveName() error {
	if s.target.Kind != ByName {
		return nil
	}
	var known []string
	for _, p := range s.inv.Points {
		if p.Name == s.target.Name {
			s.target.LSN, s.timeline = p.LSN, p.Timeline
			return nil
		}
		known = append(known, p.Name)
	}
	return UnknownPointError{Name: s.target.Name, Known: known}
}

// findBases collects the bases that may be chosen, oldest first.
func (s *selection) findBases(name string) error {
	var known []string
	for i, l := range s.lines {
		for _, b := range l.bases {
			known = append(known, b.Name)
			s.bases = append(s.bases, placed{b, i})
		}
	}
	if len(known) == 0 {
		return NoBaseError{}
	}
	if name != "" {
		s.chosen = true
		s.bases = slices.DeleteFunc(s.bases, func(p placed) bool { return p.base.Name != filepath.Base(name) })
		if len(s.bases) == 0 {
			return UnknownBaseError{Name: name, Known: known}
		}
		return nil
	}
	return nil
}

// newest returns the newest base that is usable.
func (s *selection) newest(usable func(placed) bool) (placed, error) {
	for _, p := range slices.Backward(s.bases) {
		if left := s.leftBy(p); left != 0 && p.base.Start > left {
			continue
		}
		if usable(p) {
			return p, nil
		}
	}
	return placed{}, s.tooEarly()
}

// leftBy is where the source left the line of a base, if that bounds the restore; else 0.
func (s *selection) leftBy(b placed) LSN {
	if s.chosen {
		return 0
	}
	return s.lines[b.line].left
}

func (s *selection) diverged(b placed) error {
	return DivergedError{Target: s.target, Timeline: b.base.Timeline, At: s.lines[b.line].left, Base: b.base}
}

// tooEarly is the error for a target before every base.
func (s *selection) tooEarly() error {
	first := s.bases[0].base
	if s.chosen {
		return BaseAfterTargetError{Base: first, Target: s.target}
	}
	for _, p := range s.bases[1:] {
		if s.target.Kind == ByTime && basedAt(p.base).Before(basedAt(first)) || s.target.Kind != ByTime && p.base.Start < first.Start {
			first = p.base
		}
	}
	return TargetBeforeFirstBaseError{Target: s.target, First: first}
}

func (s *selection) latest() (chain, error) {
	b, err := s.newest(func(placed) bool { return true })
	if err != nil {
		return chain{}, err
	}
	c := s.lines[b.line].chain(b.base)
	if h, found := s.beyond(b, c); found {
		return chain{}, holeError(h, c)
	}
	if left := s.leftBy(b); left != 0 && c.end > left {
		return chain{}, s.diverged(b)
	}
	return c, nil
}

// holds says whether the target's timeline, if it is known, is one of a base's line.
func (s *selection) holds(b placed) bool {
	return s.timeline == 0 || slices.Contains(s.lines[b.line].timelines, s.timeline)
}

func (s *selection) byLSN() (chain, error) {
	x := s.target.LSN
	if s.chosen && s.bases[0].base.Timeline < s.timeline && !s.holds(s.bases[0]) {
		return chain{}, s.outOfReach(s.bases[0], s.lines[s.bases[0].line].chain(s.bases[0].base))
	}
	b, err := s.newest(func(b placed) bool { return b.base.Start <= x && s.holds(b) })
	if err != nil {
		return chain{}, err
	}
	c := s.lines[b.line].chain(b.base)
	if x > c.end {
		return chain{}, s.outOfReach(b, c)
	}
	if left := s.leftBy(b); left != 0 && x > left {
		return chain{}, s.diverged(b)
	} else if x == left && !s.target.Exclusive {
		s.left = left // whether a transaction commits there, only reading tells
	}
	// Everything below the end of a segment is in it; whether a transaction commits at the end itself the next one
	// knows. At the end of the chain the target is "all that is there".
	end := b.base.Start
	for i, seg := range c.segments {
		if end > x || s.target.Exclusive && end >= x {
			return c.cut(i), nil
		}
		end = seg.End
	}
	return c, nil
}

func (s *selection) byTime() (chain, error) {
	t := s.target.Time
	b, err := s.newest(func(b placed) bool { return !basedAt(b.base).After(t) })
	if err != nil {
		return chain{}, err
	}
	c := s.lines[b.line].chain(b.base)
	s.left = s.leftBy(b)
	for i, seg := range c.segments {
		if !seg.LastCommitAt.After(t) && !(s.target.Exclusive && seg.LastCommitAt.Equal(t)) {
			if s.left != 0 && seg.End > s.left && !c.reachedAt.Before(t) {
				return chain{}, s.diverged(b)
			}
			continue
		}
		// The late transaction stops the restore here, if it belongs to it. In a segment that starts before the base
		// it may be one that the base holds already, because commit times are not monotonic: go on to the next.
		if seg.Start >= b.base.Start {
			return c.cut(i + 1), nil
		}
	}
	if c.reachedAt.Before(t) {
		return chain{}, s.outOfReach(b, c)
	}
	return c, nil
}

func (s *selection) byXID() (chain, error) {
	last := -1 // line of the newest candidate
	var candidate Artifact
	for i, l := range s.lines {
		for _, seg := range l.segments {
			if hasXID(seg, s.target.XID) {
				last, candidate = i, seg
			}
		}
	}
	if last < 0 {
		return chain{}, UnknownXIDError{XID: s.target.XID}
	}
	var best chain
	var from placed
	most := 0
	for _, b := range s.bases { // oldest first, and ">=" below: the newest of equals
		c := s.lines[b.line].chain(b.base)
		score, end := 0, 0
		for i, seg := range c.segments {
			if !hasXID(seg, s.target.XID) {
				continue
			}
			end = i + 1
			score++ // of a segment that starts before the base only a part counts
			if seg.Start >= b.base.Start {
				score++
			}
		}
		if score > 0 && score >= most {
			best, most, from = c.cut(end), score, b
		}
	}
	if most > 0 {
		s.left = s.leftBy(from)
		if n := len(best.segments); s.left != 0 && n > 1 && best.segments[n-2].End > s.left {
			return chain{}, s.diverged(from)
		}
		return best, nil
	}
	for _, b := range slices.Backward(s.bases) {
		c := s.lines[b.line].chain(b.base)
		if b.line < last || b.line == last && b.base.Start < candidate.End {
			return chain{}, s.outOfReach(b, c)
		}
	}
	return chain{}, s.tooEarly()
}

func hasXID(seg Artifact, xid uint32) bool {
	return xid != 0 && seg.MinXID <= xid && xid <= seg.MaxXID
}

// outOfReach is the error for a target after the end of the chain: a hole if the repository goes on behind it.
func (s *selection) outOfReach(b placed, c chain) error {
	if h, found := s.beyond(b, c); found {
		return holeError(h, c)
	}
	return TargetAfterEndError{Target: s.target, End: c.end, ReachedAt: c.reachedAt}
}

// beyond finds what stands between the end of a chain and the next thing that the repository holds. What the stream has
// not reached yet is no hole.
func (s *selection) beyond(b placed, c chain) (Hole, bool) {
	if s.lines[b.line].complete(c) {
		return Hole{}, false
	}
	if h, found := s.lines[b.line].beyond(c); found {
		return h, true
	}
	for _, l := range s.lines[b.line+1:] {
		first := l.first()
		return Hole{Kind: HoleTimeline, From: c.end, To: first.Start, Since: c.reachedAt, Until: began(first)}, true
	}
	return Hole{}, false
}

func holeError(h Hole, c chain) HoleError {
	return HoleError{Kind: h.Kind, From: h.From, To: h.To, Since: h.Since, Reachable: c.end, ReachableAt: c.reachedAt}
}

func (s *selection) plan(c chain, until LSN) Plan {
	p := Plan{Base: c.base, Segments: c.segments, From: c.base.Start, Until: until, Target: s.target, Left: s.left}
	for _, a := range s.inv.Artifacts {
		if a.Kind == KindGlobals && a.Pair == c.base.ID {
			p.Globals = a
		}
	}
	for _, a := range append([]Artifact{p.Base, p.Globals}, p.Segments...) {
		p.Bytes += a.Bytes
		p.TextBytes += a.TextBytes
	}
	for _, a := range p.Segments {
		p.Transactions += a.Transactions
	}
	return p
}

// gapsIn returns the schema gaps that the plan restores across. A recorded loss of WAL inside the plan is an error
// even if the segments claim to join.
func (s *selection) gapsIn(p Plan, timelines []uint32) ([]Gap, error) {
	var schema []Gap
	for _, g := range s.inv.Gaps {
		if g.Timeline != 0 && !slices.Contains(timelines, g.Timeline) {
			continue
		}
		switch {
		case g.Kind == GapMissing && g.From < p.Until && g.To > p.From && g.From < g.To:
			return nil, HoleError{Kind: HoleGap, From: g.From, To: g.To, Since: g.DetectedAt, Reachable: max(g.From, p.From)}
		case g.Kind == GapSchema && g.From >= p.From && s.wants(g, p):
			schema = append(schema, g)
		}
	}
	slices.SortStableFunc(schema, func(a, b Gap) int { return cmp.Compare(a.From, b.From) })
	return schema, nil
}

// wants says whether the transaction of a schema gap may lie before the target.
func (s *selection) wants(g Gap, p Plan) bool {
	switch p.Target.Kind {
	case ByLSN, ByName:
		return g.From < p.Until || g.From == p.Until && !p.Target.Exclusive
	case ByTime:
		// The restore stops before the first later commit, so at this one at the latest.
		return g.From < p.Until && !g.DetectedAt.After(p.Target.Time)
	default:
		return g.From < p.Until
	}
}
