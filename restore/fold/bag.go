package fold

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"pg_scribe/repo/segment"
)

// Changes of a table without a usable key name the complete row, of which there
// may be several alike: its rows are a bag. Two are alike if all their columns
// have the same text, whatever the types take for equal, as for changes in order.
// Of each row a bag counts how many more or fewer there are behind the changes,
// and how many the database must have had for the changes to be possible. Those
// are all deleted, so that a row which is missing is noticed as it is in order,
// and what has to be there in the end is inserted.

// mostCounted is how many columns a table with counted rows may have: its stage
// has one more.
const mostCounted = 1000

// absorbWhole takes an UPDATE or a DELETE whose key is the complete row.
func (t *Table) absorbWhole(c *segment.Change) bool {
	if !t.bindWhole(c) || c.Op == segment.Update && !t.rewrite(c) {
		return false
	}
	if !t.bag && !t.gather() {
		return false
	}
	t.count(t.keyText, -1)
	if c.Op == segment.Update {
		t.count(t.other, 1)
	}
	return true
}

// bindWhole makes the old row of a change, in t.keyText.
func (t *Table) bindWhole(c *segment.Change) bool {
	if !c.Only || len(c.Key) != len(t.shape.Columns) || len(c.Key) > mostCounted || t.indexed && !t.bag {
		return false
	}
	if t.all == nil {
		t.all = make([]segment.Match, len(c.Key))
	}
	t.keyText = t.keyText[:0]
	for i := range c.Key {
		m, v := &c.Key[i], c.Key[i].Value
		if !bytes.Equal(m.Column, t.shape.Columns[i]) || v.Form == segment.Pieced {
			return false
		}
		switch known := &t.all[i]; {
		case m.How == segment.IsNull || m.How == segment.NotDistinct:
			v = segment.Value{}
		case v.Form == segment.Null:
			return false
		case known.How == segment.IsNull: // it was NULL so far
			*known = segment.Match{How: m.How, Operator: bytes.Clone(m.Operator), Cast: bytes.Clone(m.Cast)}
		case known.How != m.How || !bytes.Equal(known.Operator, m.Operator) || !bytes.Equal(known.Cast, m.Cast):
			return false
		}
		if i > 0 {
			t.keyText = append(t.keyText, '\t')
		}
		t.keyText = appendField(t.keyText, v)
	}
	return true
}

// rewrite makes the row that an UPDATE makes of the old one, in t.other: columns
// that it does not set are as they were.
func (t *Table) rewrite(c *segment.Change) bool {
	if len(c.Columns) != len(c.New) {
		return false
	}
	l, ok := t.list(c.Columns)
	if !ok {
		return false
	}
	m, ok := t.merging(t.full, l)
	if !ok || m.list != t.full {
		return false
	}
	if t.row, ok = appendFields(t.row[:0], c.New); !ok {
		return false
	}
	t.combine(m, t.keyText)
	return true
}

// gather counts the rows that were inserted so far. From here on, up to the next
// Clear, all are counted.
func (t *Table) gather() bool {
	rows := t.entries
	if slices.ContainsFunc(rows, func(e entry) bool { return e.list != t.full }) {
		return false
	}
	t.bag, t.indexed = true, true
	t.entries = rows[:0]
	t.rehash()
	for i := range rows {
		row := rows[i].row // before its place is taken
		t.countAs(t.arena.bytes(row), row, 1)
	}
	return true
}

// count notes that there is one row more, or one less.
func (t *Table) count(row []byte, n int32) { t.countAs(row, ref{}, n) }

// countAs does so with a row that is in the arena already, unless it is nowhere.
func (t *Table) countAs(row []byte, at ref, n int32) {
	hash := t.hash(row)
	i := t.find(row, hash)
	if i < 0 {
		if at == (ref{}) {
			at = t.put(row)
		}
		i = len(t.entries)
		t.add(entry{key: at, row: at, hash: hash, list: t.full, state: counted})
	}
	e := &t.entries[i]
	e.more += n
	e.need = max(e.need, -e.more)
	if n > 0 { // it may stand once more in an Insert
		t.alike += alikeSize
		t.w.size += alikeSize
	}
}

// alikeSize is what an Insert takes for each row, of however many that are alike.
const alikeSize = 4

// Counted says that rows of a Delete are found by all their columns, each as often
// as it has to be deleted. No index need have them, so that each may cost as much as all.
func (s *Set) Counted() bool { return s.Op == segment.Delete && s.t.bag }

// Analyze is the statement by which the planner knows how many rows have the same
// value: an index that tells few rows apart would be the dearest way to them. With
// columns named it computes no expressions of indexes.
func (s *Set) Analyze() string {
	return "ANALYZE " + s.t.name + " (" + string(bytes.Join(s.t.shape.Columns, []byte(", "))) + ")"
}

// countedStage is Stage for such rows.
func (s *Set) countedStage() string {
	var columns []string
	for i, name := range s.t.shape.Columns {
		columns = append(columns, fmt.Sprintf("%s AS k%d", name, i+1))
	}
	return "SELECT " + strings.Join(columns, ", ") + ", NULL::pg_catalog.int8 AS n FROM ONLY " + s.t.name
}

// removeCounted deletes, of all rows that are alike, as many as the stage says.
func (s *Set) removeCounted(stage string) string {
	return "DELETE FROM ONLY " + s.t.name + " AS t USING (SELECT o.ctid AS at, s.n, pg_catalog.row_number() OVER (PARTITION BY s.ctid) AS i FROM ONLY " +
		s.t.name + " AS o JOIN " + stage + " AS s ON " + s.alike() + ") AS d WHERE d.i <= d.n AND t.ctid = d.at"
}

// alike is the condition that all columns of o have the text of those of s: where
// no value is NULL the one by which changes in order find a row, so that an index
// may serve, else one by which a hash still finds it.
func (s *Set) alike() string {
	var on, tables, stages []string
	for i, nulls := range s.nulls() {
		m := &s.t.all[i]
		column, wanted := "o."+string(s.t.shape.Columns[i]), fmt.Sprintf("s.k%d", i+1)
		switch {
		case nulls == len(s.at):
			on = append(on, column+" IS NOT DISTINCT FROM NULL")
			continue
		case nulls > 0:
			tables, stages = append(tables, printedOrNull(column)), append(stages, printedOrNull(wanted))
			continue
		}
		if m.How == segment.Equal || m.How == segment.Both {
			on = append(on, column+" "+equals(m, wanted))
		}
		if m.How != segment.Equal {
			on = append(on, printed(column)+" = "+printed(wanted))
		}
	}
	if len(tables) > 0 {
		on = append(on, "ARRAY["+strings.Join(tables, ", ")+"] = ARRAY["+strings.Join(stages, ", ")+"]")
	}
	return strings.Join(on, " AND ")
}

// nulls counts for each column the rows that have no value there.
func (s *Set) nulls() []int {
	n := make([]int, len(s.t.shape.Columns))
	for _, i := range s.at {
		s.fields = split(s.fields[:0], s.t.arena.bytes(s.t.entries[i].key))
		for j, f := range s.fields {
			if isNull(f) {
				n[j]++
			}
		}
	}
	return n
}

func printed(value string) string { return "pg_catalog.format('%s', " + value + `) COLLATE "C"` }

func printedOrNull(value string) string {
	return "CASE WHEN " + value + " IS NOT DISTINCT FROM NULL THEN NULL ELSE " + printed(value) + " END"
}
