package fold

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pg_scribe/repo/segment"
)

var rounds = flag.Int("rounds", 3000, "how many sequences of changes TestRandomChanges makes up")

// database is a table as a model: rows by their key, each with its columns. NULL
// is a value that no text is.
type database map[string][]string

const null = "\x00"

var names = [][]byte{[]byte(`"k1"`), []byte(`"a"`), []byte(`"k 2"`), []byte(`"b"`), []byte(`"long"`)}

// keyAt is where the key stands among the columns.
var keyAt []int

func testShape() Shape {
	return Shape{Columns: names, Keys: [][][]byte{{names[1]}, {names[2], names[0]}, {names[0]}}, Unique: 2}
}

func keyOf(row []string) (key string) {
	for _, i := range keyAt {
		key += row[i] + "\x01"
	}
	return key
}

var texts = []string{"", "1", "2", "10", "a\tb", "\\", "\\N", "\\.", "-- pg_scribe x", "--", "it's", "line\nend\r", "ä\v\b\f",
	strings.Repeat("long ", 60), "3", "4"}

type maker struct {
	*rand.Rand
	rows database
	line []byte // of changes that are written
}

func (m *maker) text() string { return texts[m.IntN(len(texts))] }

func (m *maker) value(i int) string {
	if slices.Contains(keyAt, i) {
		return texts[m.IntN(6)]
	}
	if m.IntN(8) == 0 {
		return null
	}
	return m.text()
}

func written(v string) segment.Value {
	if v == null {
		return segment.Value{}
	}
	return segment.Value{Form: segment.Text, Text: []byte(v)}
}

func (m *maker) pick() []string {
	keys := slices.Sorted(maps.Keys(m.rows))
	if len(keys) == 0 {
		return nil
	}
	return m.rows[keys[m.IntN(len(keys))]]
}

func where(row []string) (key []segment.Match) {
	for _, i := range keyAt {
		key = append(key, segment.Match{Column: names[i], How: segment.Equal, Value: written(row[i])})
	}
	return key
}

// change makes one up that is possible, as a segment has it.
func (m *maker) change() segment.Change {
	table := []byte(`"public"."t"`)
	for {
		switch m.IntN(7) {
		case 0, 1:
			row := make([]string, len(names))
			var values []segment.Value
			for i := range names {
				row[i] = m.value(i)
				values = append(values, written(row[i]))
			}
			if m.rows[keyOf(row)] == nil {
				return segment.Change{Op: segment.Insert, Table: table, Columns: names, New: values}
			}
		case 2:
			if row := m.pick(); row != nil {
				return segment.Change{Op: segment.Delete, Table: table, Only: true, Key: where(row)}
			}
		default:
			row := m.pick()
			if row == nil {
				continue
			}
			c := segment.Change{Op: segment.Update, Table: table, Only: true, Key: where(row)}
			next := append([]string(nil), row...)
			moves, keeps := m.IntN(4) == 0, m.IntN(3) == 0
			for i := range names {
				isKey := slices.Contains(keyAt, i)
				if isKey && !moves || i == 4 && keeps { // an unchanged TOAST value
					continue
				}
				next[i] = m.value(i)
				if isKey && next[i] == row[i] {
					continue
				}
				c.Columns, c.New = append(c.Columns, names[i]), append(c.New, written(next[i]))
			}
			if other := m.rows[keyOf(next)]; len(c.Columns) > 0 && (other == nil || keyOf(next) == keyOf(row)) {
				return c
			}
		}
	}
}

// apply does what a server does.
func (d database) apply(c *segment.Change) error {
	decoded := func(v segment.Value) string {
		if v.Form == segment.Null {
			return null
		}
		return string(v.Decode(nil))
	}
	key := ""
	if c.Op != segment.Insert {
		old := make([]string, len(names))
		for _, m := range c.Key {
			old[index(names, m.Column)] = decoded(m.Value)
		}
		key = keyOf(old)
		if d[key] == nil {
			return fmt.Errorf("no row of key %q", key)
		}
	}
	row := append([]string(nil), d[key]...)
	if c.Op == segment.Insert {
		row = make([]string, len(names))
	}
	for i, name := range c.Columns {
		row[index(names, name)] = decoded(c.New[i])
	}
	delete(d, key)
	if c.Op == segment.Delete {
		return nil
	}
	if d[keyOf(row)] != nil {
		return fmt.Errorf("key %q is there", keyOf(row))
	}
	d[keyOf(row)] = row
	return nil
}

// settle applies the sets, as rows of COPY or as changes.
func (d database) settle(t *Table, byRow bool) error {
	defer t.Clear()
	for _, s := range t.Sets() {
		for n := range s.Len() {
			var c segment.Change
			s.Change(n, &c)
			if byRow {
				line := bytes.TrimSuffix(s.AppendRow(nil, n), []byte("\n"))
				if bytes.HasPrefix(line, []byte("--")) { // which a reader takes for a line of pg_scribe's
					line = append([]byte(`\055`), line[1:]...)
				}
				values, err := segment.ParseRow(line, nil)
				if err != nil {
					return err
				}
				if s.Op != segment.Insert {
					for i := range c.Key {
						c.Key[i].Value = values[i]
					}
					values = values[len(c.Key):]
				}
				copy(c.New, values)
			}
			if err := d.apply(&c); err != nil {
				return fmt.Errorf("%v of %d: %w", s.Op, s.Len(), err)
			}
		}
	}
	return nil
}

// TestRandomChanges: what a window makes of possible changes has the effect
// that they have one after another; what it refuses comes behind its sets.
func TestRandomChanges(t *testing.T) {
	refused, absorbed := 0, 0
	for seed := range *rounds {
		keyAt = [][]int{{0, 2}, {0}}[seed%2]
		m := &maker{Rand: rand.New(rand.NewPCG(uint64(seed), 7)), rows: database{}}
		for range m.IntN(12) {
			row := make([]string, len(names))
			for i := range names {
				row[i] = m.value(i)
			}
			m.rows[keyOf(row)] = row
		}
		target := maps.Clone(m.rows)
		w := New()
		table := w.Table([]byte(`"public"."t"`), testShape())
		for range 5 + m.IntN(120) {
			c := m.change()
			m.line = segment.AppendChange(m.line[:0], &c)
			var read segment.Change
			if err := segment.ParseChange(m.line[:len(m.line)-1], &read); err != nil {
				t.Fatal(err)
			}
			ok := false
			if c.Op == segment.Insert && m.IntN(2) == 0 {
				line := segment.AppendRow(nil, c.New)
				row, err := segment.ParseRow(line[:len(line)-1], nil)
				if err != nil {
					t.Fatal(err)
				}
				ok = table.AbsorbRow(c.Columns, row)
			} else {
				ok = table.Absorb(&read)
			}
			if err := m.rows.apply(&c); err != nil {
				t.Fatal(err)
			}
			if absorbed++; ok && m.IntN(60) > 0 {
				continue
			}
			if err := target.settle(table, m.IntN(2) == 0); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !ok {
				refused++
				absorbed--
				if err := target.apply(&c); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		if err := target.settle(table, true); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !maps.EqualFunc(m.rows, target, func(a, b []string) bool { return strings.Join(a, "\x02") == strings.Join(b, "\x02") }) {
			t.Fatalf("seed %d:\n%q\nwant\n%q", seed, target, m.rows)
		}
		if w.Bytes() != 0 || !table.Empty() {
			t.Fatalf("seed %d: %d bytes are left", seed, w.Bytes())
		}
	}
	if refused == 0 || absorbed < 50*refused {
		t.Errorf("%d changes refused, %d absorbed", refused, absorbed)
	}
}

func parsed(t *testing.T, sql string) *segment.Change {
	t.Helper()
	var c segment.Change
	if err := segment.ParseChange([]byte(sql), &c); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return &c
}

const (
	insert1 = `INSERT INTO "t" ("id", "v", "w") OVERRIDING SYSTEM VALUE VALUES ('1', 'x', 'y');`
	update1 = `UPDATE ONLY "t" SET "v" = 'z' WHERE "id" = '1';`
	delete1 = `DELETE FROM ONLY "t" WHERE "id" = '1';`
	move12  = `UPDATE ONLY "t" SET "id" = '2', "v" = 'm', "w" = 'm' WHERE "id" = '1';`
)

func smallShape() Shape {
	id, v, w := []byte(`"id"`), []byte(`"v"`), []byte(`"w"`)
	return Shape{Columns: [][]byte{id, v, w}, Keys: [][][]byte{{id}}, Unique: 1}
}

// TestRefused: what cannot happen, and what cannot be told from the changes.
func TestRefused(t *testing.T) {
	for name, list := range map[string][]string{
		"a row that is there":         {update1, insert1},
		"inserted twice":              {insert1, update1, insert1},
		"inserted twice, not indexed": {insert1, insert1, update1},
		"deleted twice":               {delete1, delete1},
		"gone twice":                  {insert1, delete1, delete1},
		"update of what was deleted":  {delete1, update1},
		"update of what is gone":      {insert1, delete1, update1},
		"onto a row that is there":    {strings.Replace(update1, "'1'", "'2'", 1), move12},
		"from what was deleted":       {delete1, move12},
		"a key that is not whole":     {`UPDATE ONLY "t" SET "id" = '2', "v" = 'm' WHERE "id" = '1';`},
		"a key that becomes NULL":     {`UPDATE ONLY "t" SET "id" = NULL, "v" = 'm', "w" = 'w' WHERE "id" = '1';`},
		"the whole row":               {`UPDATE ONLY "t" SET "v" = 'all' WHERE ctid = (SELECT ctid FROM ONLY "t" WHERE "id" = '1' AND "v" = 'a' LIMIT 1);`},
		"by another column":           {`DELETE FROM ONLY "t" WHERE "v" = 'x';`},
		"by another column too":       {`DELETE FROM ONLY "t" WHERE "id" = '1' AND "v" = 'x';`},
		"another key than before":     {delete1, `DELETE FROM ONLY "t" WHERE "id" OPERATOR(public.=) '3';`},
		"through a partitioned table": {`DELETE FROM "t" WHERE "id" = '1';`},
		"by NULL":                     {`DELETE FROM ONLY "t" WHERE "id" IS NULL;`},
		"by text":                     {`DELETE FROM ONLY "t" WHERE "id" = '1' AND format('%s', "id") COLLATE "C" = '1';`},
		"a part of a row":             {`INSERT INTO "t" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ('1', 'x');`},
		"no columns":                  {`INSERT INTO "t" DEFAULT VALUES;`},
		"a row without key":           {update1, `INSERT INTO "t" ("id", "v", "w") OVERRIDING SYSTEM VALUE VALUES (NULL, 'x', 'y');`},
		"in pieces": {`INSERT INTO "t" ("id", "v", "w") OVERRIDING SYSTEM VALUE VALUES ('1', (SELECT pg_catalog.string_agg(piece, '' ORDER BY n) FROM ` +
			`pg_temp.scribe_piece WHERE value = 1), 'y');`},
		"an identity": {`WITH d AS (DELETE FROM ONLY "t" WHERE "id" = '7' AND "id" IS DISTINCT FROM '8' RETURNING *) INSERT INTO "t" ("id", "v", "w") ` +
			`OVERRIDING SYSTEM VALUE SELECT '8', d."v", d."w" FROM d;`},
	} {
		table := New().Table([]byte(`"t"`), smallShape())
		for i, sql := range list {
			want := i < len(list)-1
			before := fmt.Sprint(sets(table))
			if got := table.Absorb(parsed(t, sql)); got != want {
				t.Errorf("%s: %s: absorbed: %v", name, sql, got)
			}
			if after := fmt.Sprint(sets(table)); !want && before != after {
				t.Errorf("%s: what is refused left something: %s, before %s", name, after, before)
			}
		}
	}
}

// sets shows what there is to do.
func sets(t *Table) (list []string) {
	for _, s := range t.Sets() {
		for n := range s.Len() {
			var c segment.Change
			s.Change(n, &c)
			list = append(list, strings.TrimSpace(string(segment.AppendChange(nil, &c))))
		}
	}
	return list
}

// TestNet: each rule, and the SQL that a set is.
func TestNet(t *testing.T) {
	all := func(list ...string) []string { return list }
	for name, test := range map[string]struct{ changes, want []string }{
		"insert and update": {all(insert1, update1), all(strings.Replace(insert1, "'x'", "'z'", 1))},
		"insert and delete": {all(insert1, delete1), nil},
		"two updates": {all(`UPDATE ONLY "t" SET "w" = 'w' WHERE "id" = '1';`, update1, update1),
			all(`UPDATE ONLY "t" SET "w" = 'w', "v" = 'z' WHERE "id" = '1';`)},
		"update and delete": {all(update1, delete1), all(delete1)},
		"delete and insert": {all(delete1, insert1, update1), all(delete1, strings.Replace(insert1, "'x'", "'z'", 1))},
		"another key":       {all(move12), all(delete1, strings.NewReplacer("'1'", "'2'", "'x'", "'m'", "'y'", "'m'").Replace(insert1))},
		"there and back": {all(move12, `UPDATE ONLY "t" SET "id" = '1', "v" = 'b' WHERE "id" = '2';`),
			all(delete1, strings.NewReplacer("'x'", "'b'", "'y'", "'m'").Replace(insert1))},
		"another key of a new row": {all(insert1, `UPDATE ONLY "t" SET "id" = '2' WHERE "id" = '1';`), all(strings.Replace(insert1, "'1'", "'2'", 1))},
		"the key as it was":        {all(strings.Replace(update1, `"v"`, `"id" = '1', "v"`, 1)), all(strings.Replace(update1, `"v"`, `"id" = '1', "v"`, 1))},
	} {
		table := New().Table([]byte(`"t"`), smallShape())
		for _, sql := range test.changes {
			if !table.Absorb(parsed(t, sql)) {
				t.Errorf("%s: %s is refused", name, sql)
			}
		}
		if got := sets(table); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

func TestSQL(t *testing.T) {
	table := New().Table([]byte(`"t"`), smallShape())
	for _, sql := range []string{update1, strings.Replace(delete1, "'1'", "'2'", 1), strings.Replace(insert1, "'1'", "'3'", 1)} {
		if !table.Absorb(parsed(t, sql)) {
			t.Fatalf("%s is refused", sql)
		}
	}
	sets := table.Sets()
	if len(sets) != 3 {
		t.Fatalf("%d sets", len(sets))
	}
	for i, test := range []struct{ got, want string }{
		{sets[0].Stage(), `SELECT "id" AS k1 FROM ONLY "t"`},
		{sets[0].Apply("s1"), `DELETE FROM ONLY "t" AS t USING s1 AS s WHERE t."id" = s.k1`},
		{sets[1].Stage(), `SELECT "id" AS k1, "v" AS v1 FROM ONLY "t"`},
		{sets[1].Apply("s1"), `UPDATE ONLY "t" AS t SET "v" = s.v1 FROM s1 AS s WHERE t."id" = s.k1`},
		{table.Whole(), `SELECT "id" AS c1, "v" AS c2, "w" AS c3 FROM ONLY "t"`},
		{sets[1].TakeOut("s1", "s2"), `WITH d AS (DELETE FROM ONLY "t" AS t USING s1 AS s WHERE t."id" = s.k1 RETURNING t."id" AS c1, s.v1 AS c2, t."w" AS c3) ` +
			`INSERT INTO s2 SELECT c1, c2, c3 FROM d`},
		{table.PutBack("s2"), `INSERT INTO "t" ("id", "v", "w") OVERRIDING SYSTEM VALUE SELECT c1, c2, c3 FROM s2`},
		{sets[2].Copy(), `COPY "t" ("id", "v", "w") FROM stdin;`},
	} {
		if test.got != test.want {
			t.Errorf("%d: %s\nwant %s", i, test.got, test.want)
		}
	}
}

// TestMemory: a million updates of one row take the memory of one, and what is
// held is counted.
func TestMemory(t *testing.T) {
	w := New()
	table := w.Table([]byte(`"t"`), smallShape())
	for i := range 1_000_000 {
		c := segment.Change{Op: segment.Update, Only: true, Columns: [][]byte{[]byte(`"v"`)}, Key: []segment.Match{{Column: []byte(`"id"`), How: segment.Equal,
			Value: segment.Value{Form: segment.Text, Text: []byte("1")}}}, New: []segment.Value{{Form: segment.Text, Text: fmt.Appendf(nil, "%d", i)}}}
		if !table.Absorb(&c) {
			t.Fatal("refused")
		}
	}
	if w.Bytes() == 0 || w.Bytes() > 10_000 {
		t.Errorf("one row takes %d bytes", w.Bytes())
	}
	table.Clear()
	for i := range 100_000 {
		c := parsed(t, fmt.Sprintf(`INSERT INTO "t" ("id", "v", "w") OVERRIDING SYSTEM VALUE VALUES ('%d', '%s', 'y');`, i, strings.Repeat("x", 100)))
		if !table.Absorb(c) {
			t.Fatal("refused")
		}
	}
	if w.Bytes() < 100_000*110 || w.Bytes() > 100_000*250 {
		t.Errorf("100,000 rows take %d bytes", w.Bytes())
	}
	if !table.Absorb(parsed(t, delete1)) || table.Sets()[0].Len() != 99_999 {
		t.Error("the first row is not indexed")
	}
	table.Clear()
	if w.Bytes() != 0 {
		t.Errorf("%d bytes are left", w.Bytes())
	}
}

func BenchmarkUpdates(b *testing.B) {
	line := []byte(`UPDATE ONLY "public"."pgbench_accounts" SET "bid" = '1', "abalance" = '-4711', "filler" = 'it''s                ' WHERE "aid" = '123456';`)
	aid := []byte(`"aid"`)
	w := New()
	table := w.Table([]byte(`"public"."pgbench_accounts"`), Shape{Columns: [][]byte{aid}, Keys: [][][]byte{{aid}}, Unique: 1})
	var c segment.Change
	key := make([]byte, 0, 20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := segment.ParseChange(line, &c); err != nil {
			b.Fatal(err)
		}
		key = fmt.Appendf(key[:0], "%d", i%200_000)
		c.Key[0].Value.Text = key
		if !table.Absorb(&c) {
			b.Fatal("refused")
		}
	}
}
