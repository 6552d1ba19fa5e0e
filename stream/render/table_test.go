package render

import (
	"strings"
	"testing"

	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/schema"
)

func rowOf(texts ...string) (row []pgoutput.Value) {
	for _, s := range texts {
		switch s {
		case "<null>":
			row = append(row, pgoutput.Value{Kind: pgoutput.Null})
		case "<same>":
			row = append(row, pgoutput.Value{Kind: pgoutput.Unchanged})
		default:
			row = append(row, pgoutput.Value{Kind: pgoutput.Text, Text: []byte(s)})
		}
	}
	return row
}

func testRelation(identity byte) *pgoutput.Relation {
	return &pgoutput.Relation{OID: 1, Schema: "s", Name: `t"x`, Identity: identity, Columns: []pgoutput.Column{
		{Name: "id", TypeOID: 23, Key: identity == 'd'}, {Name: "n", TypeOID: 1700}, {Name: "j", TypeOID: 114}, {Name: "c", TypeOID: 20001}}}
}

func testContext() *schema.State {
	known := schema.New()
	known.AddTypes([]event.Type{{OID: 20001, Cast: `"s"."pair"`}, {OID: 23}}, 0)
	return known
}

// The forms of row changes, and that each can be read again.
func TestRowChanges(t *testing.T) {
	keyed, full := newTable(testRelation('d'), testContext()), newTable(testRelation('f'), testContext())
	known := testContext()
	known.SetTable(1, schema.Table{Root: "p.root", Always: []string{"id"}})
	identity := newTable(testRelation('f'), known)
	update := func(t *table, c pgoutput.RowChange) string { dst, _ := t.appendUpdate(nil, c); return string(dst) }
	pieces := rowOf("1", "2", "3", "4")
	pieces[2] = pgoutput.Value{Kind: valuePieces, Text: []byte("7")}
	whole := ` WHERE ctid = (SELECT ctid FROM ONLY "s"."t""x" WHERE "id" = '1' AND "n" = '2.0' AND format('%s', "n") COLLATE "C" = '2.0' AND "j" IS NULL AND ` +
		`format('%s', "c") COLLATE "C" = '(1)' LIMIT 1);` + "\n"
	for _, c := range []struct{ got, want string }{
		{string(keyed.appendInsert(nil, rowOf("1", "it's", "<null>", "a\nb"))),
			`INSERT INTO "s"."t""x" ("id", "n", "j", "c") OVERRIDING SYSTEM VALUE VALUES ('1', 'it''s', NULL, E'a\nb');` + "\n"},
		{update(keyed, pgoutput.RowChange{New: rowOf("1", "2", "<same>", "<null>")}), `UPDATE ONLY "s"."t""x" SET "n" = '2', "c" = NULL WHERE "id" = '1';` + "\n"},
		{update(keyed, pgoutput.RowChange{OldKind: 'K', Old: rowOf("1", "<null>", "<null>", "<null>"), New: rowOf("2", "<same>", "<same>", "<same>")}),
			`UPDATE ONLY "s"."t""x" SET "id" = '2' WHERE "id" = '1';` + "\n"},
		{update(keyed, pgoutput.RowChange{New: rowOf("1", "<same>", "<same>", "<same>")}), ""},
		{string(keyed.appendDelete(nil, pgoutput.RowChange{OldKind: 'K', Old: rowOf("1", "<null>", "<null>", "<null>")})),
			`DELETE FROM ONLY "s"."t""x" WHERE "id" = '1';` + "\n"},
		{update(full, pgoutput.RowChange{OldKind: 'O', Old: rowOf("1", "2.0", "<null>", "(1)"), New: rowOf("1", "3", "<null>", "(1)")}),
			`UPDATE ONLY "s"."t""x" SET "n" = '3'` + whole},
		{string(full.appendDelete(nil, pgoutput.RowChange{OldKind: 'O', Old: rowOf("1", "2.0", "<null>", "(1)")})), `DELETE FROM ONLY "s"."t""x"` + whole},
		{string(full.appendDelete(nil, pgoutput.RowChange{OldKind: 'O', Old: rowOf("<null>", "<null>", "<null>", "<null>")})),
			`DELETE FROM ONLY "s"."t""x" WHERE ctid = (SELECT ctid FROM ONLY "s"."t""x" WHERE "id" IS NULL AND "n" IS NULL AND "j" IS NULL AND "c" IS NOT DISTINCT ` +
				`FROM NULL LIMIT 1);` + "\n"},
		{update(identity, pgoutput.RowChange{OldKind: 'O', Old: rowOf("1", "2", "3", "4"), New: rowOf("5", "6", "3", "4")}),
			`WITH d AS (DELETE FROM p.root WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM p.root WHERE "id" = '1' AND "n" = '2' AND format('%s', "n") COLLATE ` +
				`"C" = '2' AND format('%s', "j") COLLATE "C" = '3' AND format('%s', "c") COLLATE "C" = '4' LIMIT 1)` +
				` AND "id" IS DISTINCT FROM '5' RETURNING *) INSERT INTO p.root ("id", "n", "j", "c") OVERRIDING SYSTEM VALUE SELECT '5', d."n", d."j", d."c" FROM d;` +
				"\n" +
				`UPDATE p.root SET "n" = '6' WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM p.root WHERE "id" = '5' AND "n" = '2' AND format('%s', "n") COLLATE ` +
				`"C" = '2' AND format('%s', "j") COLLATE "C" = '3' AND format('%s', "c") COLLATE "C" = '4' LIMIT 1);` + "\n"},
		// What was written in pieces is compared as what it is, not with the text of the expression.
		{string(full.appendDelete(nil, pgoutput.RowChange{OldKind: 'O', Old: pieces})),
			`DELETE FROM ONLY "s"."t""x" WHERE ctid = (SELECT ctid FROM ONLY "s"."t""x" WHERE "id" = '1' AND "n" = '2' AND format('%s', "n") COLLATE "C" = '2' AND ` +
				`"j" = (SELECT pg_catalog.string_agg(piece, '' ORDER BY n) FROM pg_temp.scribe_piece WHERE value = 7) AND format('%s', "c") COLLATE "C" = '4' LIMIT 1);` +
				"\n"},
	} {
		if c.got != c.want {
			t.Errorf("got  %swant %s", c.got, c.want)
		}
		for line := range strings.Lines(c.got) {
			if err := segment.Check([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
				t.Error(err)
			}
		}
	}
}

func BenchmarkAppendInsert(b *testing.B) {
	t, row, dst := newTable(testRelation('d'), testContext()), rowOf("12345", "17.50", `{"a": 1}`, "some text"), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		dst = t.appendInsert(dst[:0], row)
	}
}

func BenchmarkAppendUpdate(b *testing.B) {
	t, dst := newTable(testRelation('d'), testContext()), []byte(nil)
	c := pgoutput.RowChange{New: rowOf("12345", "17.50", `{"a": 1}`, "some text")}
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = t.appendUpdate(dst[:0], c)
	}
}

func BenchmarkAppendCopyRow(b *testing.B) {
	t, row, dst := newTable(testRelation('d'), testContext()), rowOf("12345", "17.50", `{"a": 1}`, "some text"), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		dst = t.appendCopyRow(dst[:0], row)
	}
}

func BenchmarkAppendDeleteFull(b *testing.B) {
	t, dst := newTable(testRelation('f'), testContext()), []byte(nil)
	c := pgoutput.RowChange{OldKind: 'O', Old: rowOf("12345", "17.50", `{"a": 1}`, "some text")}
	b.ReportAllocs()
	for b.Loop() {
		dst = t.appendDelete(dst[:0], c)
	}
}
