package restore

import (
	"fmt"
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
	r.feed.netSets()
	for _, s := range t.fold.Sets() {
		if err := r.applySet(t, s); err != nil {
			return err
		}
	}
	t.fold.Clear()
	return nil
}

func (r *replayer) applySet(t *netTable, s *fold.Set) error {
	limits := &r.net.limits
	switch n := s.Len(); {
	case s.Op == segment.Insert && n >= limits.NewSet:
		return r.copySet(t, s, s.Copy())
	case s.Op != segment.Insert && n >= limits.Set, s.Apart() && n > 1:
		return r.stageSet(t, s)
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

// stageSet applies a set through a stage.
func (r *replayer) stageSet(t *netTable, s *fold.Set) error {
	r.freePlanner()
	stage, err := r.stage(t, s)
	if err != nil {
		return err
	}
	if err := r.copySet(t, s, "COPY "+stage+" FROM stdin"); err != nil {
		return err
	}
	sql := s.Apply(stage)
	if err := r.feed.query([]byte(sql), r.setAnswer(t, sql, s.Len())); err != nil {
		return err
	}
	sql = "TRUNCATE " + stage
	return r.feed.query([]byte(sql), r.setAnswer(t, sql, anyRows))
}

// stage returns the name of an empty stage for a set.
func (r *replayer) stage(t *netTable, s *fold.Set) (string, error) {
	columns := s.Stage()
	if name := r.net.stages[columns]; name != "" {
		return name, nil
	}
	if len(r.net.stages) == mostStages {
		r.dropStages()
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
	names := make([]string, 0, len(r.net.stages))
	for _, name := range r.net.stages {
		names = append(names, name)
	}
	clear(r.net.stages)
	sql := "DROP TABLE " + strings.Join(names, ", ")
	r.feed.cur.query([]byte(sql), r.command(sql, 0))
}
