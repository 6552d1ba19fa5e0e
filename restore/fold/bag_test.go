package fold

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pg_scribe/repo/segment"
)

// bag is a table without a key as a model: how many rows there are of each.
type bag map[string]int

var bagNames = [][]byte{[]byte(`"a"`), []byte(`"b"`), []byte(`"c"`)}

func bagShape() Shape { return Shape{Columns: bagNames} }

func (b bag) add(row []string, n int) bool {
	key := strings.Join(row, "\x01")
	if b[key] += n; b[key] == 0 {
		delete(b, key)
	}
	return b[key] >= 0
}

func (b bag) clone() bag { return maps.Clone(b) }

type bagMaker struct{ *rand.Rand }

// value is one of few, so that rows are alike.
func (m bagMaker) value(i int) string {
	if i > 0 && m.IntN(4) == 0 {
		return null
	}
	return texts[m.IntN(3+3*i)]
}

func (m bagMaker) row() []string { return []string{m.value(0), m.value(1), m.value(2)} }

// whole is the condition on a complete row, as the stream has it.
func whole(row []string) (key []segment.Match) {
	for i, how := range []segment.How{segment.Equal, segment.Both, segment.Printed} {
		m := segment.Match{Column: bagNames[i], How: how, Bytes: true, Value: written(row[i])}
		if row[i] == null {
			m.How = []segment.How{segment.IsNull, segment.IsNull, segment.NotDistinct}[i]
		}
		key = append(key, m)
	}
	return key
}

// change makes one up: of a row that is there, or of any if the source does not matter.
func (m bagMaker) change(rows bag) (c segment.Change, old, next []string) {
	table := []byte(`"public"."t"`)
	if n := len(rows); m.IntN(3) == 0 || n == 0 {
		next = m.row()
		c = segment.Change{Op: segment.Insert, Table: table, Columns: bagNames}
		for _, v := range next {
			c.New = append(c.New, written(v))
		}
		return c, nil, next
	}
	list := slices.Sorted(maps.Keys(rows))
	old = strings.Split(list[m.IntN(len(list))], "\x01")
	c = segment.Change{Op: segment.Delete, Table: table, Only: true, Full: true, Key: whole(old)}
	if m.IntN(3) == 0 {
		return c, old, nil
	}
	c.Op, next = segment.Update, slices.Clone(old)
	for _, i := range m.Perm(3)[:1+m.IntN(3)] {
		next[i] = m.value(i)
		c.Columns, c.New = append(c.Columns, bagNames[i]), append(c.New, written(next[i]))
	}
	return c, old, next
}

// apply does what a server does, in order.
func (b bag) apply(old, next []string) bool {
	if old != nil && !b.add(old, -1) {
		return false
	}
	return next == nil || b.add(next, 1)
}

// settle applies the sets. It returns false if rows to delete are missing.
func (b bag) settle(t *testing.T, table *Table) bool {
	defer table.Clear()
	for _, s := range table.Sets() {
		rows := 0
		for n := range s.Len() {
			line := bytes.TrimSuffix(s.AppendRow(nil, n), []byte("\n"))
			times := 1
			if s.Op == segment.Delete {
				at := bytes.LastIndexByte(line, '\t')
				var err error
				if times, err = strconv.Atoi(string(line[at+1:])); err != nil || times < 1 || !s.Counted() {
					t.Fatalf("%q: %v", line, err)
				}
				line, times = line[:at], -times
			}
			if bytes.HasPrefix(line, []byte("--")) { // which a reader takes for a line of pg_scribe's
				line = append([]byte(`\055`), line[1:]...)
			}
			values, err := segment.ParseRow(line, nil)
			if err != nil || len(values) != len(bagNames) {
				t.Fatalf("%q: %v", line, err)
			}
			var row []string
			for _, v := range values {
				if v.Form == segment.Null {
					row = append(row, null)
				} else {
					row = append(row, string(v.Decode(nil)))
				}
			}
			if !b.add(row, times) {
				return false
			}
			rows += max(times, -times)
		}
		if rows != s.Rows() {
			t.Fatalf("%d rows, the set says %d", rows, s.Rows())
		}
	}
	return true
}

// absorb takes a change as the stream brings it.
func (m bagMaker) absorb(t *testing.T, table *Table, c *segment.Change) bool {
	if c.Op == segment.Insert && m.IntN(2) == 0 {
		line := segment.AppendRow(nil, c.New)
		row, err := segment.ParseRow(line[:len(line)-1], nil)
		if err != nil {
			t.Fatal(err)
		}
		return table.AbsorbRow(c.Columns, row)
	}
	line := segment.AppendChange(nil, c)
	var read segment.Change
	if err := segment.ParseChange(line[:len(line)-1], &read); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return table.Absorb(&read)
}

// TestRandomBags: what a window makes of changes of rows without a key has the
// effect that they have one after another, in the source's database and in one
// that lacks rows: it can be applied if and only if they can.
func TestRandomBags(t *testing.T) {
	possible, impossible := 0, 0
	for seed := range *rounds {
		m := bagMaker{rand.New(rand.NewPCG(uint64(seed), 11))}
		source := bag{}
		for range m.IntN(25) {
			source.add(m.row(), 1+m.IntN(3))
		}
		damaged := source.clone()
		if list := slices.Sorted(maps.Keys(source)); len(list) > 0 && seed%2 == 0 {
			damaged.add(strings.Split(list[m.IntN(len(list))], "\x01"), -1)
		}
		w := New()
		table := w.Table([]byte(`"public"."t"`), bagShape())
		inOrder, ok := damaged.clone(), true
		for range 1 + m.IntN(80) {
			c, old, next := m.change(source)
			if !m.absorb(t, table, &c) {
				t.Fatalf("seed %d: refused: %s", seed, segment.AppendChange(nil, &c))
			}
			if !source.apply(old, next) {
				t.Fatalf("seed %d: %q is not there", seed, old)
			}
			ok = ok && inOrder.apply(old, next)
			if m.IntN(40) == 0 {
				if got := damaged.settle(t, table); got != ok {
					t.Fatalf("seed %d: applied: %v, in order: %v", seed, got, ok)
				}
				if !ok {
					break
				}
			}
		}
		if ok {
			possible++
			if got := damaged.settle(t, table); !got || !maps.Equal(damaged, inOrder) {
				t.Fatalf("seed %d: applied: %v\n%v\nwant\n%v", seed, got, damaged, inOrder)
			}
		} else {
			impossible++
			if !table.Empty() && damaged.settle(t, table) {
				t.Fatalf("seed %d: a missing row is not noticed", seed)
			}
		}
		if w.Bytes() != 0 || !table.Empty() {
			t.Fatalf("seed %d: %d bytes are left", seed, w.Bytes())
		}
	}
	if possible < *rounds/4 || impossible < *rounds/20 {
		t.Errorf("%d sequences were possible, %d not", possible, impossible)
	}
}

const (
	bagInsert = `INSERT INTO "t" ("a", "b", "c") OVERRIDING SYSTEM VALUE VALUES ('1', 'x', 'y');`
	bagWhere  = ` WHERE ctid = (SELECT ctid FROM ONLY "t" WHERE "a" = '1' AND "b" = 'x' AND format('%s', "b") COLLATE "C" = 'x' AND "c" IS NULL LIMIT 1);`
	bagDelete = `DELETE FROM ONLY "t"` + bagWhere
	bagUpdate = `UPDATE ONLY "t" SET "c" = 'z'` + bagWhere
)

// TestBagRefused: what cannot be told from the changes leaves nothing.
func TestBagRefused(t *testing.T) {
	through := strings.NewReplacer("ctid = (SELECT ctid", "(tableoid, ctid) = (SELECT tableoid, ctid", "ONLY ", "")
	for name, list := range map[string][]string{
		"a part of the row":           {strings.Replace(bagDelete, ` AND "c" IS NULL`, "", 1)},
		"columns in another order":    {strings.NewReplacer(`"a"`, `"b"`, `"b"`, `"a"`).Replace(bagDelete)},
		"through a partitioned table": {through.Replace(bagDelete)},
		"a column that is none":       {strings.Replace(bagUpdate, `SET "c"`, `SET "d"`, 1)},
		"by a key before":             {`DELETE FROM ONLY "t" WHERE "a" = '1';`, bagDelete},
		"by a key behind":             {bagDelete, `DELETE FROM ONLY "t" WHERE "a" = '1';`},
		"inserted in another order":   {`INSERT INTO "t" ("b", "a", "c") OVERRIDING SYSTEM VALUE VALUES ('x', '1', 'y');`, bagDelete},
		"compared in another way":     {bagDelete, strings.Replace(bagDelete, `"a" = '1'`, `"a" OPERATOR(public.=) '1'`, 1)},
		"in pieces": {strings.Replace(bagUpdate, `'z'`, `(SELECT pg_catalog.string_agg(piece, '' ORDER BY n) FROM `+
			`pg_temp.scribe_piece WHERE value = 1)`, 1)},
	} {
		shape := bagShape()
		shape.Keys = [][][]byte{{bagNames[0]}}
		table := New().Table([]byte(`"t"`), shape)
		for i, sql := range list {
			want := i < len(list)-1
			before := bagSets(table)
			if got := table.Absorb(parsed(t, sql)); got != want {
				t.Errorf("%s: %s: absorbed: %v", name, sql, got)
			}
			if after := bagSets(table); !want && before != after {
				t.Errorf("%s: what is refused left something: %s, before %s", name, after, before)
			}
		}
	}
}

// bagSets shows what there is to do.
func bagSets(table *Table) string {
	var b strings.Builder
	for _, s := range table.Sets() {
		fmt.Fprintf(&b, "%d: ", s.Op)
		for n := range s.Len() {
			b.Write(s.AppendRow(nil, n))
		}
	}
	return b.String()
}

// TestBagNet: rows that are alike, and the SQL that a set is.
func TestBagNet(t *testing.T) {
	for name, test := range map[string]struct {
		changes []string
		want    string
	}{
		"deleted twice":     {[]string{bagDelete, bagDelete}, "2: 1\tx\t\\N\t2\n"},
		"updated":           {[]string{bagUpdate, bagUpdate}, "2: 1\tx\t\\N\t2\n0: 1\tx\tz\n1\tx\tz\n"},
		"inserted, gone":    {[]string{strings.Replace(bagInsert, "'y'", "NULL", 1), bagDelete}, ""},
		"gone, inserted":    {[]string{bagDelete, strings.Replace(bagInsert, "'y'", "NULL", 1)}, "2: 1\tx\t\\N\t1\n0: 1\tx\t\\N\n"},
		"inserted, updated": {[]string{bagInsert, strings.Replace(bagInsert, "'y'", "NULL", 1), bagUpdate}, "0: 1\tx\ty\n1\tx\tz\n"},
		"to an equal row":   {[]string{strings.Replace(bagUpdate, "'z'", "NULL", 1)}, "2: 1\tx\t\\N\t1\n0: 1\tx\t\\N\n"},
	} {
		table := New().Table([]byte(`"t"`), bagShape())
		for _, sql := range test.changes {
			if !table.Absorb(parsed(t, sql)) {
				t.Errorf("%s: %s is refused", name, sql)
			}
		}
		if got := bagSets(table); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestBagSQL(t *testing.T) {
	table := New().Table([]byte(`"t"`), bagShape())
	for _, sql := range []string{bagDelete, strings.Replace(bagDelete, `"c" IS NULL`, `format('%s', "c") COLLATE "C" = 'd'`, 1)} {
		if !table.Absorb(parsed(t, sql)) {
			t.Fatalf("%s is refused", sql)
		}
	}
	set := table.Sets()[0]
	if got, want := set.Stage(), `SELECT "a" AS k1, "b" AS k2, "c" AS k3, NULL::pg_catalog.int8 AS n FROM ONLY "t"`; got != want {
		t.Error(got)
	}
	for _, part := range []string{
		` ON o."a" = s.k1 AND o."b" = s.k2 AND pg_catalog.format('%s', o."b") COLLATE "C" = pg_catalog.format('%s', s.k2) COLLATE "C" AND `,
		` AND ARRAY[CASE WHEN o."c" IS NOT DISTINCT FROM NULL THEN NULL ELSE pg_catalog.format('%s', o."c") COLLATE "C" END] = ARRAY[CASE `,
		`row_number() OVER (PARTITION BY s.ctid) AS i FROM ONLY "t" AS o JOIN stage AS s `, ` WHERE d.i <= d.n AND t.ctid = d.at`,
	} {
		if !strings.Contains(set.Apply("stage"), part) {
			t.Errorf("%s\nlacks %s", set.Apply("stage"), part)
		}
	}
}

// TestBagMemory: what rows that are alike take is counted, and given back.
func TestBagMemory(t *testing.T) {
	w := New()
	table := w.Table([]byte(`"t"`), bagShape())
	if !table.Absorb(parsed(t, bagDelete)) {
		t.Fatal("refused")
	}
	insert := parsed(t, bagInsert)
	for range 100_000 {
		if !table.Absorb(insert) {
			t.Fatal("refused")
		}
	}
	if w.Bytes() < 400_000 || w.Bytes() > 500_000 {
		t.Errorf("100,000 rows that are alike take %d bytes", w.Bytes())
	}
	table.Clear()
	if w.Bytes() != 0 {
		t.Errorf("%d bytes are left", w.Bytes())
	}
}
