package restore

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// A Moment is a transaction of the source: the state right behind it.
type Moment struct {
	LSN  catalog.LSN // of its commit record
	End  catalog.LSN // behind it
	Time time.Time   // of its commit
	XID  uint32
}

// Prepared is a restore that is known to be possible as far as the repository
// is concerned: every file is there and undamaged, and holds the target.
type Prepared struct {
	Plan         catalog.Plan // its segments end with the one that holds the target
	Repository   catalog.Repository
	Transactions int64                // to be replayed
	Last         Moment               // the last of them; zero: the base alone is the target
	Tables       []catalog.TableCount // row changes to be replayed, by table

	repo        *repo.Repository
	held        []func() // files that expire has to leave alone
	definitions bool     // they alone are restored: see PrepareDefinitions
}

// Close lets expire remove the files again. A process that ends does so too.
func (p *Prepared) Close() {
	for _, release := range p.held {
		release()
	}
	p.held = nil
}

// hold keeps the files of the plan from expiring: the first segment stands for
// those behind it.
func (p *Prepared) hold() error {
	files := []catalog.Artifact{p.Plan.Base}
	if p.Plan.Globals.Name != "" {
		files = append(files, p.Plan.Globals)
	}
	if len(p.Plan.Segments) > 0 {
		files = append(files, p.Plan.Segments[0])
	}
	for _, a := range files {
		release, err := p.repo.Hold(a)
		if err != nil {
			return err
		}
		p.held = append(p.held, release)
	}
	return nil
}

// Prepare plans the restore and finds the exact transaction that it ends with.
// It fails as catalog.MakePlan does, also where only reading tells, with catalog.UnknownXIDError or
// UnreachableError when the segments do not hold the target, and with
// repo.MissingFileError or repo.FormatError for a file that is not whole.
// Nothing is written anywhere. Until Close, expire leaves the files alone.
func Prepare(ctx context.Context, r *repo.Repository, req catalog.Request) (*Prepared, error) {
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := catalog.MakePlan(inv, req)
	if err != nil {
		return nil, err
	}
	p := &Prepared{Plan: plan, Repository: inv.Repository, repo: r}
	err = p.hold()
	if err == nil {
		err = p.check(ctx)
	}
	if err == nil {
		err = p.resolve(ctx)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// check proves that every file of the plan is there, undamaged, and readable
// with the keys at hand.
func (p *Prepared) check(ctx context.Context) error {
	// A key that is missing or wrong shows before gigabytes are read.
	if err := p.readable(); err != nil {
		return err
	}
	for _, a := range p.files() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.repo.Check(a); err != nil {
			return err
		}
	}
	return nil
}

// files are all that a restore reads.
func (p *Prepared) files() []catalog.Artifact {
	files := append([]catalog.Artifact{p.Plan.Base}, p.Plan.Segments...)
	if p.Plan.Globals.Name != "" {
		files = append(files, p.Plan.Globals)
	}
	return files
}

// readable proves that every file is there, and that the keys at hand open it.
func (p *Prepared) readable() error {
	for _, a := range p.files() {
		if err := p.repo.Readable(a); err != nil {
			return err
		}
	}
	return nil
}

// resolve reads the segments in which something is not decided by the catalog:
// where the restore stops, and which transactions the base has already.
func (p *Prepared) resolve(ctx context.Context) error {
	counts := map[string]catalog.TableCount{}
	var whole []int64            // segments that count as the catalog says
	var unread *catalog.Artifact // the one of them that holds the last transaction so far
	for i, a := range p.Plan.Segments {
		last := i == len(p.Plan.Segments)-1
		if !last && a.Start >= p.Plan.From && !mayStop(p.Plan.Target, a) {
			whole = append(whole, a.ID)
			p.Transactions += a.Transactions
			if a.Transactions > 0 {
				unread = &p.Plan.Segments[i]
			}
			continue
		}
		s, err := p.scan(ctx, a, counts)
		if err != nil {
			return err
		}
		p.Transactions += s.transactions
		if s.transactions > 0 {
			p.Last, unread = s.last, nil
		}
		if s.stopped {
			p.Plan.Segments = p.Plan.Segments[:i+1]
		}
		if s.stopped || last {
			if err := p.reached(s); err != nil {
				return err
			}
			break
		}
	}
	if unread != nil {
		s, err := p.scan(ctx, *unread, map[string]catalog.TableCount{})
		if err != nil {
			return err
		}
		p.Last = s.last
	}
	return p.sumTables(ctx, whole, counts)
}

func (p *Prepared) scan(ctx context.Context, a catalog.Artifact, counts map[string]catalog.TableCount) (*scan, error) {
	s := &scan{from: p.Plan.From, stop: stopRule(p.Plan.Target), mark: p.Plan.Target.Name, counts: counts, left: p.Plan.Left,
		byTime: p.Plan.Target.Kind == catalog.ByTime}
	err := s.segment(ctx, p.repo, a)
	if err == nil && s.lost {
		err = catalog.DivergedError{Target: p.Plan.Target, Timeline: p.Plan.Base.Timeline, At: p.Plan.Left, Base: p.Plan.Base}
	}
	return s, err
}

// reached tells whether what was read, up to the stop or the end, leads to the
// target.
func (p *Prepared) reached(s *scan) error {
	t := p.Plan.Target
	switch {
	case t.Kind == catalog.ByXID && !s.stopped:
		return catalog.UnknownXIDError{XID: t.XID}
	case t.Kind == catalog.ByName && !t.Exclusive && !s.marked:
		return &UnreachableError{Target: t}
	case t.Kind == catalog.ByTime && !s.stopped:
		at := p.Plan.Base.ReachedAt
		if at.IsZero() {
			at = p.Plan.Base.FinishedAt // the dump ended later than its moment
		}
		for _, a := range p.Plan.Segments {
			for _, known := range []time.Time{a.ReachedAt, a.LastCommitAt} {
				if known.After(at) {
					at = known
				}
			}
		}
		if at.Before(t.Time) {
			return &UnreachableError{Target: t}
		}
	}
	return nil
}

// sumTables joins what the catalog counted with what was counted here.
func (p *Prepared) sumTables(ctx context.Context, whole []int64, counts map[string]catalog.TableCount) error {
	if len(whole) > 0 { // without an argument Tables counts all segments
		known, err := p.repo.Catalog().Tables(ctx, whole...)
		if err != nil {
			return err
		}
		for _, c := range known {
			c.Table = sqltext.DisplayName(c.Table)
			addCount(counts, c)
		}
	}
	p.Tables = sortedCounts(counts)
	return nil
}

func addCount(counts map[string]catalog.TableCount, c catalog.TableCount) {
	sum := counts[c.Table]
	sum.Table = c.Table
	sum.Inserted += c.Inserted
	sum.Updated += c.Updated
	sum.Deleted += c.Deleted
	sum.Truncated += c.Truncated
	counts[c.Table] = sum
}

func sortedCounts(counts map[string]catalog.TableCount) []catalog.TableCount {
	var list []catalog.TableCount
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, counts[name])
	}
	return list
}

// verdict says what a target means for a transaction.
type verdict byte

const (
	take      verdict = iota
	takeLast          // this one and no further
	stopShort         // not even this one
)

// stopRule decides, for each transaction in stream order from the base's point
// on, whether it is restored. foreign tells that its commit time is another
// server's.
func stopRule(t catalog.Target) func(m Moment, foreign bool) verdict {
	at := func(reached bool) verdict {
		switch {
		case !reached:
			return take
		case t.Exclusive:
			return stopShort
		}
		return takeLast
	}
	switch t.Kind {
	case catalog.ByLSN, catalog.ByName:
		return func(m Moment, _ bool) verdict {
			if m.LSN > t.LSN {
				return stopShort
			}
			return at(m.LSN == t.LSN)
		}
	case catalog.ByTime:
		return func(m Moment, foreign bool) verdict {
			if !foreign && (m.Time.After(t.Time) || t.Exclusive && m.Time.Equal(t.Time)) {
				return stopShort
			}
			return take
		}
	case catalog.ByXID:
		return func(m Moment, _ bool) verdict { return at(m.XID == t.XID) }
	}
	return func(Moment, bool) verdict { return take }
}

// mayStop tells whether a segment may hold the transaction that ends the
// restore, by what the catalog knows of it.
func mayStop(t catalog.Target, a catalog.Artifact) bool {
	switch t.Kind {
	case catalog.ByLSN, catalog.ByName:
		return a.End > t.LSN
	case catalog.ByTime:
		return a.LastCommitAt.After(t.Time) || t.Exclusive && a.LastCommitAt.Equal(t.Time)
	case catalog.ByXID:
		return a.MinXID <= t.XID && t.XID <= a.MaxXID
	}
	return false
}

// scan reads one segment without writing anything.
type scan struct {
	from   catalog.LSN
	stop   func(Moment, bool) verdict
	mark   string
	counts map[string]catalog.TableCount
	left   catalog.LSN // see catalog.Plan
	byTime bool

	transactions int64
	last         Moment
	stopped      bool
	marked       bool // the mark was seen
	lost         bool // the target is where the source has left this branch
}

func (s *scan) segment(ctx context.Context, r *repo.Repository, a catalog.Artifact) error {
	reader, err := r.OpenSegment(a)
	if err != nil {
		return err
	}
	defer reader.Close()
	var tx txReader
	for !s.stopped {
		item, ok, err := tx.next(reader)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if item.Kind != segment.Begin {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.transaction(reader, &tx); err != nil {
			return err
		}
	}
	return nil
}

// transaction decides on the one that has just begun, and counts its rows.
func (s *scan) transaction(reader *segment.Reader, tx *txReader) error {
	verdict := take
	wanted := tx.moment.LSN >= s.from
	if wanted {
		verdict = s.stop(tx.moment, tx.foreign)
	}
	if s.left != 0 && tx.moment.LSN >= s.left && (verdict != stopShort || s.byTime) {
		s.lost, s.stopped = true, true
		return nil
	}
	if verdict == stopShort {
		s.stopped = true
		return nil
	}
	for {
		item, ok, err := tx.next(reader)
		if err != nil || !ok {
			return err
		}
		switch item.Kind {
		case segment.RowChange, segment.TruncateTable, segment.CopyBlock:
			if wanted {
				err := reader.CountRows(item, func(c catalog.TableCount) {
					c.Table = sqltext.DisplayName(c.Table)
					addCount(s.counts, c)
				})
				if err != nil {
					return err
				}
			}
		case segment.RestorePoint:
			s.marked = s.marked || wanted && item.Text == s.mark
		case segment.Commit:
			if wanted {
				s.transactions++
				s.last = tx.moment
				s.last.End = item.LSN
				s.stopped = verdict == takeLast
			}
			return nil
		}
	}
}

// txReader reads items and knows the transaction that they belong to. An
// origin line stands right behind the BEGIN that it belongs to, so a BEGIN is
// handed out only when it is known whether one follows.
type txReader struct {
	moment  Moment
	foreign bool // the commit time is another server's

	ahead    segment.Item
	hasAhead bool
}

// next returns false behind the last item.
func (t *txReader) next(r *segment.Reader) (segment.Item, bool, error) {
	if t.hasAhead {
		t.hasAhead = false
		return t.ahead, true, nil
	}
	item, err := r.Next()
	if errors.Is(err, io.EOF) {
		return item, false, nil
	}
	if err != nil || item.Kind != segment.Begin {
		return item, true, err
	}
	t.moment = Moment{LSN: item.Tx.Commit, Time: item.Tx.At, XID: item.Tx.XID}
	t.ahead, err = r.Next()
	if err != nil { // a transaction cannot end with its BEGIN
		return item, true, err
	}
	t.foreign = t.ahead.Kind == segment.Origin
	t.hasAhead = !t.foreign
	return item, true, nil
}
