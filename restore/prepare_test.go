package restore

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// history is a repository with a base at 100, inside of the first of four
// segments:
//
//	80  xid 10  02:00:01           in the base
//	120 xid 11  02:00:10
//	140 xid 12  02:00:30  foreign  (its time is another server's)
//	160 xid 13  02:00:20
//	--- segment 200
//	200 xid 14  02:00:40  mark "a b"
//	220 xid 16  02:00:35           (the clock stepped back)
//	240 xid 15  02:00:50
//	--- segment 300: nothing happened
//	--- segment 400, still open
//	400 xid 18  02:01:00
//	420 xid 17  02:01:10
func history(t *testing.T) *builder {
	b := build(t)
	b.open(50)
	b.tx(80, 10, 1, row(1, "one"))
	b.base(100, 5, smallBase, "")
	b.tx(120, 11, 10, row(11, "a"))
	b.tx(140, 12, 300, "origin other", row(12, "a"))
	b.tx(160, 13, 20, row(13, "a"), row(14, "b"))
	b.reach(200, 21)
	b.next()
	b.tx(200, 14, 40, "mark a b", row(20, "a"))
	b.tx(220, 16, 35, row(21, "a"))
	b.tx(240, 15, 50, `UPDATE ONLY "public"."t" SET "v" = 'x' WHERE "id" = '20';`)
	b.reach(300, 51)
	b.next()
	b.reach(400, 55)
	b.next()
	b.tx(400, 18, 60, row(30, "a"))
	b.tx(420, 17, 70, "TRUNCATE ONLY \"public\".\"t\", ONLY \"public\".\"s\";")
	b.reach(500, 90)
	b.checkpoint()
	return b
}

func TestStopRules(t *testing.T) {
	b := history(t)
	byTime := func(second int, exclusive bool) catalog.Target {
		return catalog.Target{Kind: catalog.ByTime, Time: at(second), Exclusive: exclusive}
	}
	byLSN := func(lsn catalog.LSN, exclusive bool) catalog.Target {
		return catalog.Target{Kind: catalog.ByLSN, LSN: lsn, Exclusive: exclusive}
	}
	byXID := func(xid uint32, exclusive bool) catalog.Target {
		return catalog.Target{Kind: catalog.ByXID, XID: xid, Exclusive: exclusive}
	}
	tests := []struct {
		target catalog.Target
		last   catalog.LSN
		count  int64
	}{
		{catalog.Target{}, 420, 8},
		{byLSN(500, false), 420, 8},
		{byLSN(420, false), 420, 8},
		{byLSN(420, true), 400, 7},
		{byLSN(419, false), 400, 7},
		{byLSN(399, false), 240, 6},
		{byLSN(300, false), 240, 6},
		{byLSN(240, false), 240, 6},
		{byLSN(200, false), 200, 4},
		{byLSN(200, true), 160, 3},
		{byLSN(140, false), 140, 2},
		{byLSN(120, true), 0, 0},
		{byLSN(100, false), 0, 0},
		{byTime(9, false), 0, 0},
		{byTime(10, false), 140, 2}, // the foreign time does not count
		{byTime(10, true), 0, 0},
		{byTime(20, false), 160, 3},
		{byTime(39, false), 160, 3}, // the first later one stops, not the last earlier one
		{byTime(40, false), 220, 5},
		{byTime(40, true), 160, 3},
		{byTime(55, false), 240, 6},
		{byTime(69, false), 400, 7},
		{byTime(90, false), 420, 8},
		{byXID(11, false), 120, 1},
		{byXID(15, false), 240, 6},
		{byXID(16, false), 220, 5},
		{byXID(16, true), 200, 4},
		{byXID(17, false), 420, 8},
		{byXID(18, false), 400, 7},
		{catalog.Target{Kind: catalog.ByName, Name: "a b"}, 200, 4},
		{catalog.Target{Kind: catalog.ByName, Name: "a b", Exclusive: true}, 160, 3},
	}
	for _, test := range tests {
		p, err := Prepare(context.Background(), b.repo, catalog.Request{Target: test.target})
		if err != nil {
			t.Errorf("%v: %v", test.target, err)
			continue
		}
		if p.Last.LSN != test.last || p.Transactions != test.count {
			t.Errorf("%v (exclusive %t): last %s, %d transactions, want %s, %d", test.target, test.target.Exclusive,
				p.Last.LSN, p.Transactions, test.last, test.count)
		}
		if test.last != 0 && p.Last.End != test.last+16 {
			t.Errorf("%v: ends at %s", test.target, p.Last.End)
		}
	}
}

func TestPreparedState(t *testing.T) {
	b := history(t)
	p := b.prepare(catalog.Target{})
	if want := (Moment{LSN: 420, End: 436, Time: at(70), XID: 17}); p.Last != want {
		t.Errorf("last is %+v", p.Last)
	}
	want := []catalog.TableCount{{Table: "public.s", Truncated: 1}, {Table: "public.t", Inserted: 7, Updated: 1, Truncated: 1}}
	if len(p.Tables) != 2 || p.Tables[0] != want[0] || p.Tables[1] != want[1] {
		t.Errorf("tables are %+v", p.Tables)
	}
	// A last segment in which nothing happened does not hide the one before.
	b = build(t)
	b.base(100, 5, smallBase, "")
	b.open(100)
	b.tx(120, 11, 10, row(11, "a"))
	b.reach(200, 20)
	b.next()
	b.reach(300, 30)
	b.seal()
	if p := b.prepare(catalog.Target{}); p.Last.LSN != 120 || p.Last.XID != 11 || p.Transactions != 1 {
		t.Errorf("last is %+v of %d", p.Last, p.Transactions)
	}
}

func TestPrepareRefuses(t *testing.T) {
	b := history(t)
	prepare := func(target catalog.Target) error {
		_, err := Prepare(context.Background(), b.repo, catalog.Request{Target: target})
		return err
	}
	var unknown catalog.UnknownXIDError
	for _, xid := range []uint32{10, 12345} { // 10 is in the base
		if err := prepare(catalog.Target{Kind: catalog.ByXID, XID: xid}); !errors.As(err, &unknown) || unknown.XID != xid {
			t.Errorf("xid %d: %v", xid, err)
		}
	}
	var after catalog.TargetAfterEndError
	if err := prepare(catalog.Target{Kind: catalog.ByTime, Time: at(91)}); !errors.As(err, &after) {
		t.Errorf("time after the end: %v", err)
	}
	// The catalog knows a point that the text does not hold.
	b.segment.Add(segment.Stats{End: 520, Points: []catalog.RestorePoint{{Name: "ghost", LSN: 510, XID: 20, At: at(95)}}})
	b.checkpoint()
	var unreachable *UnreachableError
	if err := prepare(catalog.Target{Kind: catalog.ByName, Name: "ghost"}); !errors.As(err, &unreachable) {
		t.Errorf("point that is not there: %v", err)
	}
}

func TestPrepareChecksFiles(t *testing.T) {
	b := history(t)
	p := b.prepare(catalog.Target{})
	first := p.Plan.Segments[0].Name
	b.damage(first)
	var format *repo.FormatError
	_, err := Prepare(context.Background(), b.repo, catalog.Request{})
	if !errors.As(err, &format) || format.File != first {
		t.Errorf("damaged segment: %v", err)
	}
	if err := os.Remove(b.repo.Path(first)); err != nil {
		t.Fatal(err)
	}
	var missing *repo.MissingFileError
	_, err = Prepare(context.Background(), b.repo, catalog.Request{})
	if !errors.As(err, &missing) || missing.Name != first {
		t.Errorf("missing segment: %v", err)
	}
	// A target that does not need it is not held up.
	if _, err := Prepare(context.Background(), b.repo, catalog.Request{Target: catalog.Target{Kind: catalog.ByTime, Time: at(5).Add(time.Second)}}); err == nil {
		t.Error("a plan through a missing segment was accepted")
	}
}

func TestDisplayName(t *testing.T) {
	for sql, want := range map[string]string{
		`"public"."t" ("a")`:   "public.t",
		`public.t (a)`:         "public.t",
		`public."T"`:           `public."T"`,
		`"a ""b"."c;d" SET`:    `"a ""b"."c;d"`,
		`U&"x\000ay"."t"`:      `U&"x\000ay".t`,
		`"order"`:              "order",
		`Public.T`:             "public.t",
		`public.t FROM stdin;`: "public.t",
		`"1a"."é"`:             `"1a"."é"`,
		`(no name)`:            "(no name)",
	} {
		if got := sqltext.DisplayName(sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
