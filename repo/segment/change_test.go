package segment

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pg_scribe/internal/sqltext"
)

// forms has one line of each form that a change may have.
var forms = []string{
	`INSERT INTO "s"."t" DEFAULT VALUES;`,
	`INSERT INTO "s"."t" ("a", "b", "c") OVERRIDING SYSTEM VALUE VALUES ('x', NULL, 'it''s');`,
	`INSERT INTO U&"a\000ab'"."t" ("a""b") OVERRIDING SYSTEM VALUE VALUES (E'x\ny\\z''\r');`,
	`INSERT INTO "s"."t" ("a", "b") OVERRIDING SYSTEM VALUE VALUES ('1', (SELECT pg_catalog.string_agg(piece, '' ORDER BY n) FROM pg_temp.scribe_piece WHERE ` +
		`value = 2));`,
	`INSERT INTO public.root ("é") OVERRIDING SYSTEM VALUE VALUES ('$1 \ -- /* "; é');`,
	`UPDATE ONLY "s"."t" SET "a" = '', "b" = NULL WHERE "k" = '5';`,
	`UPDATE public."Root" SET "a" = '1' WHERE "k" = '5' AND "l" = 'x';`,
	`UPDATE ONLY "s"."t" SET "a" = 'x' WHERE "k" OPERATOR("citext".=) 'b' AND "c" = '(1,2)'::public.pair;`,
	`UPDATE ONLY "s"."t" SET "a" = 'x' WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "a" IS NULL AND "b" IS NOT DISTINCT FROM NULL AND "c" = '1' LIMIT 1);`,
	`UPDATE p.root SET "a" = 'x' WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM p.root WHERE "a" = '1.50' AND format('%s', "a") = '1.50' AND ` +
		`format('%s', "j") = E'{\n}' LIMIT 1);`,
	`UPDATE ONLY "s"."t" SET "a" = 'x' WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "c" OPERATOR("x y".=) '1' LIMIT 1);`,
	`DELETE FROM ONLY "s"."t" WHERE "k" = 'it''s';`,
	`DELETE FROM "s"."t" WHERE "k" = '1';`,
	`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" LIMIT 1);`,
	`DELETE FROM p.root WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM p.root LIMIT 1);`,
	`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "c" = '(1,2)'::s."Pair" AND format('%s', "c") = '(1,2)' LIMIT 1);`,
	`WITH d AS (DELETE FROM ONLY "s"."t" WHERE "id" = '7' AND "id" IS DISTINCT FROM '8' RETURNING *) INSERT INTO "s"."t" ("id", "v") OVERRIDING SYSTEM VALUE ` +
		`SELECT '8', d."v" FROM d;`,
	`WITH d AS (DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "id" = '7' AND "v" = 'x' AND format('%s', "v") = 'x' LIMIT 1) AND ` +
		`"id" IS DISTINCT FROM '8' RETURNING *) INSERT INTO "s"."t" ("v", "id") OVERRIDING SYSTEM VALUE SELECT d."v", '8' FROM d;`,
	`DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "a" = 'A' AND format('%s', "a") COLLATE "C" = 'A' AND format('%s', "j") ` +
		`COLLATE "C" = E'{\n}' LIMIT 1);`,
}

// refused has forms that nobody writes, some of which a server takes.
var refused = []string{
	``, `;`, `INSERT`, `SELECT 1;`,
	`INSERT INTO "t" ("a") VALUES ('x');`,
	`INSERT INTO "t" ("a") OVERRIDING SYSTEM VALUE VALUES ('x'), ('y');`,
	`INSERT INTO "t" ("a", "b") OVERRIDING SYSTEM VALUE VALUES ('x');`,
	`INSERT INTO "t" ("a") OVERRIDING SYSTEM VALUE VALUES ('x', 'y');`,
	`INSERT INTO "t" ("a") OVERRIDING SYSTEM VALUE VALUES ('x'::text);`,
	`INSERT INTO "t" ("a") OVERRIDING SYSTEM VALUE VALUES (5);`,
	`INSERT INTO "t" ("a") OVERRIDING SYSTEM VALUE VALUES (now());`,
	`INSERT INTO "t" ("a") OVERRIDING SYSTEM VALUE VALUES ('x') ON CONFLICT DO NOTHING;`,
	`INSERT INTO "t" SELECT "b" FROM "u";`,
	`UPDATE ONLY "t" SET "a" = 'x';`,
	`UPDATE ONLY "t" SET "a" = E'\t' WHERE "k" = '5';`,
	`UPDATE ONLY "t" SET "a" = E'x' WHERE "k" = '5';`,
	`UPDATE ONLY "t" SET "a" = U&'\0041' WHERE "k" = '5';`,
	`UPDATE ONLY "t" SET "a" = DATE '2026-01-01' WHERE "k" = '5';`,
	`UPDATE ONLY "t" SET "a" = $$x$$ WHERE "k" = '5';`,
	`UPDATE ONLY "t" SET "a" = '5' WHERE "k" = '5'; DELETE FROM x;`,
	`UPDATE ONLY "t" SET "a" = '5' WHERE "k" = '5' -- ';`,
	`UPDATE ONLY "t" SET "a" = '5' WHERE "k" = "k";`,
	`UPDATE ONLY "t" SET "a" = '5' WHERE "k" = NULL;`,
	`UPDATE ONLY "t" SET "a" = '5' WHERE "k" = '5' OR "k" = '6';`,
	`UPDATE ONLY "t" SET "a" = '5' WHERE "k" OPERATOR(=) '6';`,
	`UPDATE ONLY "t" SET "a" = '5`, `UPDATE ONLY "t" SET "a" = E'5\`, `UPDATE ONLY "t`, "UPDATE ONLY \"t\" SET \"a\" = 'x\ry' WHERE \"k\" = '1';",
	`UPDATE ONLY "t" SET "a" = 'x' WHERE ctid = (SELECT ctid FROM ONLY "u" WHERE "a" = '1' LIMIT 1);`,
	`UPDATE ONLY "t" SET "a" = 'x' WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM "t" LIMIT 1);`,
	`DELETE FROM ONLY "t";`, `DELETE FROM ONLY "t" WHERE "k" = '1' `, `DELETE FROM ONLY "t" WHERE "k" = '1';;`,
	`DELETE FROM ONLY "t" WHERE format('%L', "k") = '1';`,
	`WITH d AS (DELETE FROM ONLY "t" WHERE "id" = '7' RETURNING *) INSERT INTO "t" ("id") OVERRIDING SYSTEM VALUE SELECT '8' FROM d;`,
	`WITH d AS (DELETE FROM ONLY "t" WHERE "id" = '7' AND "id" IS DISTINCT FROM '8' RETURNING *) INSERT INTO "t" ("id") OVERRIDING SYSTEM VALUE SELECT '9' ` +
		`FROM d;`,
	`WITH d AS (DELETE FROM ONLY "t" WHERE "id" = '7' AND "id" IS DISTINCT FROM '8' RETURNING *) INSERT INTO "u" ("id") OVERRIDING SYSTEM VALUE SELECT '8' ` +
		`FROM d;`,
}

// checkLine: what is read is written again, byte for byte, and what the change
// means does not change when its values are written anew.
func checkLine(line string) error {
	var c, again Change
	if err := ParseChange([]byte(line), &c); err != nil {
		return err
	}
	if got := string(AppendChange(nil, &c)); got != line+"\n" {
		return fmt.Errorf("%q is written again as %q", line, got)
	}
	plain := decoded(c)
	text := AppendChange(nil, &plain)
	if string(text) != line+"\n" {
		return fmt.Errorf("%q with its values decoded is %q", line, text)
	}
	if err := ParseChange(bytes.TrimSuffix(text, []byte("\n")), &again); err != nil {
		return err
	}
	return same(decoded(again), plain)
}

// decoded has its values as text.
func decoded(c Change) Change {
	c.New, c.Key = slices.Clone(c.New), slices.Clone(c.Key)
	plain := func(v *Value) {
		if v.Form != Null && v.Form != Pieced {
			*v = Value{Text, v.Decode(nil)}
		}
	}
	for i := range c.New {
		plain(&c.New[i])
	}
	for i := range c.Key {
		plain(&c.Key[i].Value)
	}
	return c
}

func same(a, b Change) error {
	if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
		return fmt.Errorf("a change comes back as another:\n%s\n%s", x, y)
	}
	return nil
}

func TestEveryForm(t *testing.T) {
	for _, line := range forms {
		if err := checkLine(line); err != nil {
			t.Error(err)
		}
		if KindOf([]byte(line)) != RowChange {
			t.Errorf("%q is taken for a %d", line, KindOf([]byte(line)))
		}
	}
}

func TestRefusesOtherForms(t *testing.T) {
	var c Change
	for _, line := range refused {
		if err := ParseChange([]byte(line), &c); err == nil {
			t.Errorf("%q is read as %q", line, fmt.Sprint(c))
		}
	}
	for _, line := range forms { // cut off anywhere
		for i := range line {
			if err := ParseChange([]byte(line[:i]), &c); err == nil {
				t.Errorf("%q is taken for complete", line[:i])
			}
		}
	}
}

func TestTemplate(t *testing.T) {
	for _, c := range []struct {
		line, want string
		values     []string
	}{
		{forms[1], `INSERT INTO "s"."t" ("a", "b", "c") OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3);`, []string{"x", "NULL", "it's"}},
		{forms[0], `INSERT INTO "s"."t" DEFAULT VALUES;`, nil},
		{forms[2], `INSERT INTO U&"a\000ab'"."t" ("a""b") OVERRIDING SYSTEM VALUE VALUES ($1);`, []string{"x\ny\\z'\r"}},
		{forms[5], `UPDATE ONLY "s"."t" SET "a" = $1, "b" = $2 WHERE "k" = $3;`, []string{"", "NULL", "5"}},
		{forms[7], `UPDATE ONLY "s"."t" SET "a" = $1 WHERE "k" OPERATOR("citext".=) $2 AND "c" = $3::public.pair;`, []string{"x", "b", "(1,2)"}},
		{forms[8], `UPDATE ONLY "s"."t" SET "a" = $1 WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE "a" IS NULL AND "b" IS NOT DISTINCT FROM NULL AND "c" = ` +
			`$2 LIMIT 1);`, []string{"x", "1"}},
		{forms[9], `UPDATE p.root SET "a" = $1 WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM p.root WHERE "a" = $2 AND format('%s', "a") = $3 AND ` +
			`format('%s', "j") = $4 LIMIT 1);`,
			[]string{"x", "1.50", "1.50", "{\n}"}},
	} {
		var change Change
		if err := ParseChange([]byte(c.line), &change); err != nil {
			t.Fatal(err)
		}
		text, values := AppendTemplate(nil, nil, &change)
		var got []string
		for _, v := range values {
			if v.Form == Null {
				got = append(got, "NULL")
			} else {
				got = append(got, string(v.Decode(nil)))
			}
		}
		if string(text) != c.want || !slices.Equal(got, c.values) {
			t.Errorf("%s:\n%s\n%q", c.line, text, got)
		}
	}
}

// madeUp returns any change that can be written.
func madeUp(r *rand.Rand, text func() string) Change {
	name := func() []byte { return sqltext.AppendIdentifier(nil, text()) }
	value := func() Value {
		switch r.Intn(6) {
		case 0:
			return Value{}
		case 1:
			return Value{Pieced, fmt.Append(nil, r.Intn(20))}
		}
		return Value{Text, []byte(text())}
	}
	match := func() Match {
		m := Match{Column: name(), How: How(r.Intn(5))}
		if m.How >= Equal {
			m.Value = Value{Text, []byte(text())}
			m.Bytes = m.How != Equal && r.Intn(2) == 0
		}
		if m.How == Equal || m.How == Both {
			if r.Intn(3) == 0 {
				m.Operator = append(append([]byte("OPERATOR("), name()...), ".=)"...)
			}
			if r.Intn(3) == 0 {
				m.Cast = append(append(name(), '.'), name()...)
			}
		}
		return m
	}
	c := Change{Op: Op(r.Intn(4)), Table: append(append(name(), '.'), name()...)}
	if c.Op != Delete {
		for range r.Intn(4) {
			c.Columns, c.New = append(c.Columns, name()), append(c.New, value())
		}
	}
	if c.Op == Insert {
		return c
	}
	c.Only, c.Full = r.Intn(2) == 0, r.Intn(2) == 0
	for i := range r.Intn(4) { // a column is compared once
		m := match()
		m.Column = sqltext.AppendIdentifier(nil, fmt.Sprint(i, text()))
		c.Key = append(c.Key, m)
	}
	if len(c.Key) == 0 && !c.Full {
		c.Key = append(c.Key, match())
	}
	if c.Op == Update && len(c.Columns) == 0 || c.Op == Replace {
		for i := range c.Columns { // of a table they differ
			c.Columns[i] = sqltext.AppendIdentifier(nil, fmt.Sprint(i, text()))
		}
		c.Columns, c.New = append(c.Columns, sqltext.AppendIdentifier(nil, "id")), append(c.New[:0], value())
		c.At = 0
		if c.Op == Replace {
			c.At = len(c.Columns) - 1
		}
	}
	return c
}

func checkMadeUp(r *rand.Rand, text func() string) error {
	c := madeUp(r, text)
	line := bytes.TrimSuffix(AppendChange(nil, &c), []byte("\n"))
	var again Change
	if err := ParseChange(line, &again); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	if bytes.ContainsAny(line, "\n\r") {
		return fmt.Errorf("more than one line: %q", line)
	}
	if err := same(decoded(again), decoded(c)); err != nil {
		return err
	}
	return checkLine(string(line))
}

var alphabet = []string{"'", "\\", "\n", "\r", "\t", `"`, "$", ";", "-", " ", ":", "a", "N", ".", "0", "/*", "E'", `U&"`, "é", "\x80", "\xff", "::", ", ",
	" AND ", " = ", "(", ")",
	"NULL", "format('%s', ", byBytes, " WHERE ", " IS NULL", " LIMIT 1)", "ONLY ", pieceBefore}

func TestMadeUpChanges(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	text := func() string {
		var b strings.Builder
		for range r.Intn(12) {
			b.WriteString(alphabet[r.Intn(len(alphabet))])
		}
		return b.String()
	}
	for range 20_000 {
		if err := checkMadeUp(r, text); err != nil {
			t.Fatal(err)
		}
	}
}

// captured are lines of real captures: every type of value that a server has,
// and random work on random tables.
func captured(tb testing.TB) (lines []string) {
	tb.Helper()
	files, err := filepath.Glob("testdata/captured-*.sql")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no captures in testdata: %v", err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		s.Buffer(nil, 16<<20)
		for s.Scan() {
			lines = append(lines, s.Text())
		}
		if err := s.Err(); err != nil {
			tb.Fatal(err)
		}
	}
	return lines
}

func TestCapturedLines(t *testing.T) {
	kinds := map[Kind]int{}
	for _, line := range captured(t) {
		kind := KindOf([]byte(line))
		kinds[kind]++
		if err := Check([]byte(line)); err != nil {
			t.Errorf("%v: %.200s", err, line)
		}
		if kind == RowChange {
			if err := checkLine(line); err != nil {
				t.Error(err)
			}
		}
	}
	if kinds[RowChange] < 300 || kinds[Unknown] > 0 || kinds[TruncateTable] == 0 || kinds[Setting] == 0 || kinds[CopyBlock] == 0 {
		t.Errorf("the captures hold %v", kinds)
	}
}

// FuzzParse: what is read is written again byte for byte.
func FuzzParse(f *testing.F) {
	for _, line := range slices.Concat(forms, refused, captured(f)) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var c Change
		if ParseChange(line, &c) != nil {
			return
		}
		if got := AppendChange(nil, &c); string(got) != string(line)+"\n" {
			t.Fatalf("%q is written again as %q", line, got)
		}
		if KindOf(line) != RowChange && !bytes.HasPrefix(line, []byte("INSERT INTO "+pieceTable)) {
			t.Fatalf("%q is no change by its beginning", line)
		}
	})
}

// FuzzAppend: any change that is written is read again as the same one.
func FuzzAppend(f *testing.F) {
	for i, line := range forms {
		f.Add(int64(i), line)
	}
	f.Fuzz(func(t *testing.T, seed int64, texts string) {
		r := rand.New(rand.NewSource(seed))
		if strings.ContainsRune(texts, 0) {
			return // neither a name nor a value has it
		}
		text := func() string {
			from := r.Intn(len(texts) + 1)
			return texts[from : from+r.Intn(len(texts)-from+1)]
		}
		if err := checkMadeUp(r, text); err != nil {
			t.Fatal(err)
		}
	})
}
