package restore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// bagBase has a table without a key.
const bagBase = `SET search_path = '';
CREATE TABLE public.t (a int, n numeric, j json);
CREATE TABLE public.other (id int PRIMARY KEY, v text);
INSERT INTO public.t SELECT g % 3, '1.0', '{"a": 1}' FROM generate_series(1, 9) g;
INSERT INTO public.t VALUES (1, '1.00', '{"a": 1}'), (1, '1.00', '{"a":1}'), (1, NULL, NULL), (NULL, 'NaN', NULL), (NULL, NULL, NULL), (1, '1', '{"a": 1}');
INSERT INTO public.other SELECT g, 'v' || g FROM generate_series(1, 9) g;
`

// one is the condition by which the stream finds a row of bagBase's table; empty: NULL.
func one(a, n, j string) string {
	value := func(form, v string) string {
		if v == "" {
			return form[:strings.IndexByte(form, '=')-1] + " IS NULL"
		}
		return strings.ReplaceAll(form, "VALUE", "'"+v+"'")
	}
	number, document := value(`"n" = VALUE AND format('%s', "n") COLLATE "C" = VALUE`, n), `"j" IS NULL`
	if j != "" {
		document = value(`format('%s', "j") COLLATE "C" = VALUE`, j)
	}
	return fmt.Sprintf(` WHERE ctid = (SELECT ctid FROM ONLY "public"."t" WHERE %s AND %s AND %s LIMIT 1);`, value(`"a" = VALUE`, a), number, document)
}

func deleteOne(a, n, j string) string { return `DELETE FROM ONLY "public"."t"` + one(a, n, j) }

func updateOne(set, a, n, j string) string {
	return `UPDATE ONLY "public"."t" SET ` + set + one(a, n, j)
}

// updated is how many rows of a table the server says were updated and deleted.
func updated(t *testing.T, c *pgtest.Cluster, db, table string) (counts string) {
	t.Helper()
	for range 100 { // the statistics come when a session ends
		counts = c.Query(t, db, "SELECT n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE relname = '"+table+"'")
		if !strings.HasSuffix(counts, "|0") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return counts
}

// TestNetWithoutKey: rows of a table without a key go in as sets, each as often as
// it is there, and only those that print the same.
func TestNetWithoutKey(t *testing.T) {
	b := build(t)
	b.base(100, 5, bagBase, "")
	b.open(100)
	doc := `{"a": 1}`
	b.tx(120, 11, 10, deleteOne("1", "1.0", doc), updateOne(`"n" = '2'`, "1", "1.0", doc), updateOne(`"a" = NULL`, "1", "1.00", `{"a":1}`),
		updateOne(`"n" = '1.00'`, "1", "1.00", doc), deleteOne("1", "", ""), updateOne(`"j" = '[]'`, "", "NaN", ""), deleteOne("", "", ""),
		`INSERT INTO "public"."t" ("a", "n", "j") OVERRIDING SYSTEM VALUE VALUES ('5', '5', NULL);`,
		`INSERT INTO "public"."t" ("a", "n", "j") OVERRIDING SYSTEM VALUE VALUES ('5', '5', NULL);`, deleteOne("5", "5", ""))
	b.tx(140, 12, 11, deleteOne("2", "1.0", doc), deleteOne("2", "1.0", doc), updateOne(`"a" = '7', "n" = NULL`, "1", "1", doc))
	b.seal()
	report, err := bothWays(t, b, "bag")
	if err != nil || len(report.Notices) > 0 {
		t.Errorf("%v, notices: %s", err, report.Notices)
	}
	c := pgtest.Shared(t)
	if got := updated(t, c, "bag_net", "t"); got != "0|10" {
		t.Errorf("net: updated and deleted %s, want all 10 deleted", got)
	}
	if got := updated(t, c, "bag_ordered", "t"); got != "5|6" {
		t.Errorf("ordered: updated and deleted %s", got)
	}
}

// TestNetMissingWithoutKey: a row that is not there, or not as often, or only
// with other bytes, ends a restore with the statement that is wrong.
func TestNetMissingWithoutKey(t *testing.T) {
	doc := `{"a": 1}`
	for name, lines := range map[string][]string{
		"none":        {deleteOne("8", "1.0", doc)},
		"once more":   {deleteOne("1", "1.00", doc), deleteOne("1", "1.00", doc)},
		"other bytes": {deleteOne("1", "1.000", doc)},
		"comes later": {deleteOne("8", "1", doc), `INSERT INTO "public"."t" ("a", "n", "j") OVERRIDING SYSTEM VALUE VALUES ('8', '1', '{"a": 1}');`},
	} {
		b := build(t)
		b.base(100, 5, bagBase, "")
		b.open(100)
		b.tx(120, 11, 10, deleteOne("1", "1.0", doc), updateOne(`"a" = '9'`, "1", "1.0", doc))
		b.tx(140, 12, 11, lines...)
		b.tx(160, 13, 12, deleteOne("2", "1.0", doc))
		b.seal()
		_, err := bothWays(t, b, "missing "+name)
		var c *RowCountError
		if !errors.As(err, &c) || c.LSN != 140 || c.XID != 12 || c.Line == 0 {
			t.Errorf("%s: %v", name, err)
		}
		var incomplete *IncompleteError
		if !errors.As(err, &incomplete) || incomplete.Applied > catalog.LSN(140) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNetWithoutKeyAnalyzes: an index that tells few rows apart does not lead to
// many rows one after another.
func TestNetWithoutKeyAnalyzes(t *testing.T) {
	b := build(t)
	b.base(100, 5, `SET search_path = '';
CREATE TABLE public.t (a int, b int, c int);
CREATE TABLE public.other (id int PRIMARY KEY, v text);
CREATE INDEX ON public.t (a, b);
INSERT INTO public.t SELECT g % 3, g % 2, g FROM generate_series(1, 30000) g;
`, "")
	b.open(100)
	var lines []string
	for i := 1; i <= 300; i++ {
		old := fmt.Sprintf(`"a" = '%d' AND "b" = '%d' AND "c" = '%d'`, i%3, i%2, i)
		lines = append(lines, fmt.Sprintf(`UPDATE ONLY "public"."t" SET "c" = '%d' WHERE ctid = (SELECT ctid FROM ONLY "public"."t" WHERE %s LIMIT 1);`, -i, old))
	}
	b.tx(120, 11, 10, lines...)
	b.seal()
	report, err := bothWays(t, b, "analyzed")
	if err != nil || len(report.Notices) > 0 {
		t.Errorf("%v, notices: %s", err, report.Notices)
	}
	c := pgtest.Shared(t)
	if got := updated(t, c, "analyzed_net", "t"); got != "0|300" {
		t.Errorf("updated and deleted %s", got)
	}
	if got := c.Query(t, "analyzed_net", "SELECT idx_tup_fetch < 30000 FROM pg_stat_user_tables WHERE relname = 't'"); got != "t" {
		t.Errorf("the rows were looked for one after another: %s", got)
	}
}
