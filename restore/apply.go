package restore

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pg_scribe/repo/segment"
	"pg_scribe/restore/fold"
)

// Sets of rows go in through COPY: new ones straight into their table, others by
// one statement that joins the table with a stage, a temporary table of the
// session with columns of the same types. Few rows go as prepared statements
// (Limits).

// mostStages is how many stages are kept.
const mostStages = 100

// applyAll applies the window.
func (r *replayer) applyAll() error {
	list := make([]*netTable, 0, len(r.net.tables))
	for _, t := range r.net.tables {
		if t.fold != nil && !t.fold.Empty() {
			list = append(list, t)
		}
	}
	// The order is of no matter, but that it is the same each time.
	slices.SortFunc(list, func(a, b *netTable) int { return strings.Compare(a.name, b.name) })
	for _, t := range list {
		if err := r.apply(t); err != nil {
			return err
		}
	}
	return nil
}

// empty says whether the window has no changes.
func (n *netEffect) empty() bool { return n.window.Bytes() == 0 }

// apply applies what the window has of one table.
func (r *replayer) apply(t *netTable) error {
	if t.fold.Empty() {
		return nil
	}
	r.begin()
	r.feed.net = true
	if len(r.net.stages) >= mostStages {
		r.dropStages()
	}
	for sets := t.fold.Sets(); len(sets) > 0; {
		n, rows := leadingApart(sets)
		var err error
		if rows < 2 {
			n, err = 1, r.applySet(t, sets[0])
		} else {
			err = r.applyApart(t, sets[:n], rows)
		}
		if err != nil {
			return err
		}
		sets = sets[n:]
	}
	t.fold.Clear()
	return nil
}

// leadingApart counts the sets at the beginning, and their rows, that may stand in
// each other's way.
func leadingApart(sets []*fold.Set) (n, rows int) {
	for n < len(sets) && sets[n].Apart() {
		rows += sets[n].Len()
		n++
	}
	return n, rows
}

// applyApart updates rows that may stand in each other's way.
func (r *replayer) applyApart(t *netTable, sets []*fold.Set, rows int) error {
	whole, err := r.stage(t, t.fold.Whole())
	if err != nil {
		return err
	}
	for _, s := range sets {
		if err := r.stageSet(t, s, func(stage string) string { return s.TakeOut(stage, whole) }); err != nil {
			return err
		}
	}
	return r.fromStage(t, t.fold.PutBack(whole), whole, rows)
}

func (r *replayer) applySet(t *netTable, s *fold.Set) error {
	limits := &r.net.limits
	switch n := s.Len(); {
	case s.Op == segment.Insert && n >= limits.NewSet:
		return r.copySet(t, s, s.Copy())
	case s.Counted(), s.Op != segment.Insert && n >= limits.Set:
		return r.stageSet(t, s, s.Apply)
	}
	for i := range s.Len() {
		s.Change(i, &r.net.change)
		r.form.read(&r.net.change)
		r.net.name = t.name
		err := r.change(&r.net.change, nil, 0)
		r.net.name = ""
		if err != nil {
			return err
		}
	}
	return nil
}

// setAnswer is the answer to a statement about a set.
func (r *replayer) setAnswer(t *netTable, sql string, rows int) answer {
	return answer{rows: int64(rows), at: r.at, sql: shorten(sql), table: t.name}
}

// copySet sends the rows of a set.
func (r *replayer) copySet(t *netTable, s *fold.Set, sql string) error {
	c := beginCopy(r, []byte(sql), r.setAnswer(t, sql, 0))
	c.sent.Store(int64(s.Len()))
	for i := 0; i < s.Len(); {
		b := r.into()
		b.grow(5 + copyChunk)
		wire, at := message(b.wire, 'd')
		for ; i < s.Len() && len(wire)-at < copyChunk; i++ {
			wire = s.AppendRow(wire, i)
		}
		b.wire = seal(wire, at)
		if err := r.room(true); err != nil {
			return err
		}
	}
	return c.end()
}

// stageSet brings a set into a stage, and from there, by a statement, to its end.
func (r *replayer) stageSet(t *netTable, s *fold.Set, sql func(stage string) string) error {
	stage, err := r.stage(t, s.Stage())
	if err != nil {
		return err
	}
	if s.Counted() && s.Len() >= r.net.limits.Set && !t.analyzed {
		t.analyzed = true
		sql := s.Analyze()
		if err := r.feed.query([]byte(sql), r.setAnswer(t, sql, anyRows)); err != nil {
			return err
		}
	}
	if err := r.copySet(t, s, "COPY "+stage+" FROM stdin"); err != nil {
		return err
	}
	return r.fromStage(t, sql(stage), stage, s.Rows())
}

// fromStage executes a statement that reads a stage, which is empty then.
func (r *replayer) fromStage(t *netTable, sql, stage string, rows int) error {
	r.freePlanner()
	if err := r.feed.query([]byte(sql), r.setAnswer(t, sql, rows)); err != nil {
		return err
	}
	sql = "TRUNCATE " + stage
	return r.feed.query([]byte(sql), r.setAnswer(t, sql, anyRows))
}

// stage returns the name of an empty stage with the columns of a query.
func (r *replayer) stage(t *netTable, columns string) (string, error) {
	if name := r.net.stages[columns]; name != "" {
		return name, nil
	}
	r.net.made++
	name := fmt.Sprintf("pg_temp.pg_scribe_stage_%d", r.net.made)
	r.net.stages[columns] = name
	sql := "CREATE TABLE " + name + " USING heap AS " + columns + " WITH NO DATA"
	return name, r.feed.query([]byte(sql), r.setAnswer(t, sql, anyRows))
}

// dropStages drops them all.
func (r *replayer) dropStages() {
	if len(r.net.stages) == 0 {
		return
	}
	names := slices.Sorted(maps.Values(r.net.stages))
	clear(r.net.stages)
	sql := "DROP TABLE " + strings.Join(names, ", ")
	r.feed.cur.query([]byte(sql), r.command(sql, 0))
}
