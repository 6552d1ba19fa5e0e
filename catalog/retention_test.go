package catalog

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// In these tests a day of the source is ten LSNs, and day 0 is 2025-11-01.
func dayAt(n int) time.Time { return time.Date(2025, 11, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

// daySeg is a segment from day a to day b, named "sA".
func daySeg(a, b int) Artifact {
	s := seg(10*a, 10*b)
	s.Name = fmt.Sprint("s", a)
	s.CreatedAt, s.FirstCommitAt, s.LastCommitAt, s.ReachedAt, s.FinishedAt = dayAt(a), dayAt(a), dayAt(b), dayAt(b), dayAt(b)
	return s
}

// daySegs is a segment a day.
func daySegs(from, to int) (list []Artifact) {
	for d := from; d < to; d++ {
		list = append(list, daySeg(d, d+1))
	}
	return list
}

// dayBases are bases of those days with globals, named "bA" and "gA".
func dayBases(days ...int) (list []Artifact) {
	for _, d := range days {
		pair := base(10 * d)
		pair[0].Name, pair[1].Name = fmt.Sprint("b", d), fmt.Sprint("g", d)
		pair[0].ID, pair[1].ID, pair[1].Pair = int64(50000+10*d), int64(50001+10*d), int64(50000+10*d)
		for i := range pair {
			pair[i].CreatedAt, pair[i].ReachedAt, pair[i].FinishedAt = dayAt(d), dayAt(d), dayAt(d)
		}
		list = append(list, pair...)
	}
	return list
}

func every(from, to, step int) (days []int) {
	for d := from; d <= to; d += step {
		days = append(days, d)
	}
	return days
}

func pinned(list []Artifact, name string) []Artifact {
	for i := range list {
		if list[i].Name == name {
			list[i].PinnedReason = "audit"
		}
	}
	return list
}

func changed(list []Artifact, name string, change func(*Artifact)) []Artifact {
	for i := range list {
		if list[i].Name == name {
			change(&list[i])
		}
	}
	return list
}

func open(a *Artifact) { a.State = StateOpen }

// kept names the bases and segments that stay, a run of daily segments as "s3..s9".
func kept(r Retention) string {
	var words []string
	run := 0 // of consecutive segments at the end of words
	last := -2
	for _, d := range r.Decisions {
		if !d.Keep || d.Artifact.Kind == KindGlobals {
			continue
		}
		var n int
		if k, _ := fmt.Sscanf(d.Artifact.Name, "s%d", &n); k == 1 && n == last+1 && strings.HasPrefix(words[len(words)-1], "s") {
			if run++; run > 1 {
				words[len(words)-1], _, _ = strings.Cut(words[len(words)-1], "..")
			}
			words[len(words)-1] += ".." + d.Artifact.Name
			last = n
			continue
		} else if k == 1 {
			last = n
		}
		run = 0
		words = append(words, d.Artifact.Name)
	}
	return strings.Join(words, " ")
}

func TestRetention(t *testing.T) {
	def := DefaultPolicy()
	days := func(n int) time.Duration { return time.Duration(n) * day }
	weekly := func(n int) Inventory { return inv(dayBases(every(0, n, 7)...), daySegs(0, n+3)) } // a base a week
	cases := []struct {
		name   string
		inv    Inventory
		policy Policy
		now    int // day
		want   string
		why    map[string]string
	}{
		{"nothing", Inventory{}, def, 10, "", nil},
		{"only segments, young", inv(daySegs(0, 3)), def, 5, "s0..s2", nil},
		{"only segments, old", inv(daySegs(0, 3)), def, 50, "s2", map[string]string{"s2": "the stream goes on from its end"}},
		{"one base", inv(dayBases(0)), def, 5, "b0", map[string]string{"b0": "the newest base", "g0": "belongs to b0"}},
		{"one base, ten years old", inv(dayBases(0)), def, 3650, "b0", nil},
		{"one base and its chain, old", inv(dayBases(0), daySegs(0, 5)), def, 500, "b0 s0..s4",
			map[string]string{"s0": "needed from b0, the newest base"}},
		{"one base, streaming for a year", inv(dayBases(0), daySegs(0, 365)), def, 365, "b0 s0..s364", nil},
		{"weekly bases, default", weekly(28), def, 31, "b7 b14 b21 s21..s27 b28 s28..s30",
			map[string]string{"s20": "older than 7 days, and no kept base needs it to reach them",
				"s21": "needed from b21, to reach the last 7 days", "s25": "of the last 7 days"}},
		{"weekly bases for a year, default", weekly(364), def, 367,
			"b28 b56 b91 b119 b147 b175 b210 b238 b266 b301 b329 b343 b350 b357 s357..s363 b364 s364..s366",
			map[string]string{"b28": "the last of month 2025-11", "b329": "the last of month 2026-09", "b343": "of the last 30 days",
				"b14": "not among those of the last 30 days, one a month for 12", "g14": "goes with b14"}},
		{"a base at the edge of the 30 days goes", inv(dayBases(9, 10, 40), daySegs(9, 41)), Policy{Within: days(30), Incremental: days(7)}, 40,
			"s33..s39 b40 s40", map[string]string{"b10": "not among those of the last 30 days"}},
		{"a base just inside stays", inv(dayBases(9, 11, 40), daySegs(9, 41)), Policy{Within: days(30), Incremental: days(7)}, 40,
			"b11 s11..s39 b40 s40", map[string]string{"s11": "needed from b11, to reach the last 7 days"}},
		{"keep-last 1", weekly(28), Policy{Last: 1, Incremental: days(7)}, 31, "s24..s27 b28 s28..s30",
			map[string]string{"b28": "the newest base", "b21": "not among the last 1"}},
		{"keep-last 2", weekly(28), Policy{Last: 2, Incremental: days(7)}, 31, "b21 s21..s27 b28 s28..s30", nil},
		{"keep-last more than there are", weekly(14), Policy{Last: 9, Incremental: days(1)}, 17, "b0 b7 b14 s14..s16", nil},
		{"keep-last counts positions, not names", inv(dayBases(1, 2), changed(dayBases(3), "b3", func(a *Artifact) { a.Name = "b0" })),
			Policy{Last: 2}, 3, "b2 b0", nil},
		{"no rule at all", weekly(28), Policy{}, 31, "b28 s28..s30", map[string]string{"b21": "not among none but the newest"}},
		{"daily", inv(dayBases(every(0, 9, 1)...)), Policy{Daily: 3}, 9, "b7 b8 b9", map[string]string{"b8": "the last of day 2025-11-09"}},
		{"daily, two a day", inv(dayBases(1), changed(changed(dayBases(2), "b2", func(a *Artifact) { a.ReachedAt = dayAt(1).Add(time.Hour) }),
			"b2", func(a *Artifact) { a.Name = "b1b" })), Policy{Daily: 5}, 2, "b1b", nil},
		{"daily counts days that have a base", inv(dayBases(0, 50, 100)), Policy{Daily: 2}, 200, "b50 b100", nil},
		{"weekly", inv(dayBases(every(0, 20, 1)...)), Policy{Weekly: 2}, 20, "b15 b20", map[string]string{"b15": "the last of week 2025-W46"}},
		{"monthly", inv(dayBases(every(0, 100, 10)...)), Policy{Monthly: 3}, 100, "b60 b90 b100", nil},
		{"yearly", inv(dayBases(every(0, 900, 50)...)), Policy{Yearly: 2}, 900, "b750 b900", map[string]string{"b750": "the last of year 2027"}},
		{"rules are joined", inv(dayBases(every(0, 100, 10)...)), Policy{Last: 2, Monthly: 3}, 100, "b60 b90 b100", nil},
		{"a backup that stopped does not age away", inv(dayBases(every(0, 100, 10)...), daySegs(0, 101)), def, 3000, "b20 b60 b90 b100 s100", nil},
		{"pinned", pinnedInv(weekly(364), "b7"), Policy{Last: 1, Incremental: days(7)}, 367, "b7 s360..s363 b364 s364..s366",
			map[string]string{"b7": "pinned: audit", "g7": "belongs to b7"}},
		{"a pinned base alone does not hold segments", pinnedInv(weekly(28), "b0"), Policy{Last: 1, Incremental: days(4)}, 31,
			"b0 s27 b28 s28..s30", map[string]string{"b0": "pinned: audit"}},
		{"a window base ends what an older pin needs", pinnedInv(weekly(28), "b0"), Policy{Last: 2, Incremental: days(4)}, 31,
			"b0 b21 s21..s27 b28 s28..s30", nil},
		{"no segment window", weekly(28), Policy{Last: 3}, 31, "b14 b21 b28 s28..s30", nil},
		{"a window wider than all", weekly(28), Policy{Last: 1, Incremental: days(365)}, 31, "s0..s27 b28 s28..s30", nil},
		{"a base within a segment", inv(dayBases(0, 15), segs(daySeg(0, 10), daySeg(10, 20), daySeg(20, 30))), Policy{Last: 1, Incremental: days(5)}, 30,
			"s10 b15 s20", map[string]string{"s10": "needed from b15, to reach the last 5 days"}},
		{"the open segment", inv(dayBases(0, 9), changed(daySegs(0, 9), "s8", open)), Policy{Last: 1, Incremental: days(1)}, 100,
			"s8 b9", map[string]string{"s8": "it is being written"}},
		{"streaming stopped, then a base", inv(dayBases(0, 50), daySegs(0, 10)), def, 60, "b0 s9 b50",
			map[string]string{"s9": "the stream goes on from its end"}},
		{"a hole before the newest base", inv(dayBases(0, 20), daySegs(0, 5), daySegs(10, 25)), Policy{Last: 1, Incremental: days(3)}, 25,
			"b20 s20..s24", nil},
		{"a hole behind the newest base", inv(dayBases(0, 20), daySegs(0, 25), daySegs(30, 60)), Policy{Last: 1, Incremental: days(3)}, 60,
			"b20 s20..s24 s30..s59", map[string]string{"s20": "needed from b20, the newest base", "s30": "follows one that stays"}},
		{"the window begins behind a hole", inv(dayBases(0, 20, 40), daySegs(0, 25), daySegs(30, 60)), Policy{Last: 3, Incremental: days(10)}, 60,
			"b0 b20 b40 s40..s59", nil},
		{"a window base whose chain breaks before the window", inv(dayBases(0, 55), daySegs(0, 25), daySegs(30, 60)), Policy{Last: 2, Incremental: days(10)}, 60,
			"b0 s50..s54 b55 s55..s59", nil},
		{"overlapping segments", inv(dayBases(0, 10), daySegs(0, 12), segs(with(daySeg(9, 12), func(a *Artifact) { a.ID, a.Name = 7, "x" }))),
			Policy{Last: 1, Incremental: days(1)}, 12, "x b10 s10..s11", nil},
		{"an old timeline goes by age", inv(dayBases(0), daySegs(0, 5), on(2, dayBases(5)...), on(2, daySegs(5, 60)...)), Policy{Last: 1, Incremental: days(7)}, 60,
			"b5-2 s5-2..s59-2", nil},
		{"an old timeline within the window", inv(dayBases(0), daySegs(0, 5), on(2, dayBases(5)...), on(2, daySegs(5, 8)...)), def, 8,
			"b0 s0..s4 b5-2 s5-2..s7-2", nil},
		{"a new timeline without a base keeps the old one", inv(dayBases(0), daySegs(0, 5), on(2, daySegs(5, 90)...)), def, 90,
			"b0 s0..s4 s83-2..s89-2", map[string]string{"s0": "needed from b0, the newest base"}},
		{"a schema gap behind the newest base", withGap(inv(on(1, dayBases(0)...), on(1, daySegs(0, 5)...), on(2, dayBases(5)...), on(2, daySegs(5, 60)...)),
			Gap{Kind: GapSchema, From: 100, Timeline: 2}), Policy{Last: 1, Incremental: days(7)}, 60,
			"b0-1 s0-1..s4-1 b5-2 s5-2..s59-2", map[string]string{"b0-1": "the newest base with an unbroken chain"}},
		{"a base of unknown time", inv(changed(dayBases(0, 50), "b0", func(a *Artifact) { a.ReachedAt, a.FinishedAt = time.Time{}, time.Time{} })),
			Policy{Last: 1}, 60, "b0 b50", map[string]string{"b0": "its time is not known"}},
		{"a segment of unknown time", inv(dayBases(0, 9), changed(daySegs(0, 10), "s4", func(a *Artifact) {
			a.CreatedAt, a.FinishedAt, a.FirstCommitAt, a.LastCommitAt, a.ReachedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		})), Policy{Last: 1}, 60, "s4..s8 b9 s9", map[string]string{"s5": "follows one that stays"}},
		{"a clock that went back makes no hole", inv(dayBases(0, 40), changed(daySegs(0, 41), "s20", func(a *Artifact) { a.LastCommitAt = dayAt(40) })),
			Policy{Last: 1, Incremental: days(2)}, 41, "s20..s39 b40 s40", nil},
		{"clocks ahead of ours", inv(dayBases(10, 20), daySegs(10, 21)), def, 0, "b10 s10..s19 b20 s20", nil},
		{"globals without their base", inv(dayBases(0)[1:]), def, 900, "", map[string]string{"g0": "its base is not known"}},
		{"a base without globals", inv(dayBases(0)[:1], dayBases(40)), Policy{Last: 1}, 50, "b40", nil},
		{"the newest base is damaged", damaged(weekly(28), "b28"), Policy{Last: 1}, 31, "b21 s21..s27 b28 s28..s30",
			map[string]string{"b21": "the newest base with an unbroken chain", "s21": "needed from b21, the newest base with an unbroken chain"}},
		{"the globals of the newest base are damaged", damaged(weekly(28), "g28"), Policy{Last: 1}, 31, "b21 s21..s27 b28 s28..s30", nil},
		{"a segment behind the newest base is damaged", damaged(weekly(28), "s29"), Policy{Last: 1}, 31, "b28 s28..s30", nil},
		{"a segment between the last two bases is damaged", damaged(weekly(28), "s25"), Policy{Last: 1}, 31, "b28 s28..s30", nil},
		{"the newest base and a segment behind it are damaged", damaged(weekly(28), "b28", "s29"), Policy{Last: 1}, 31, "b21 s21..s27 b28 s28..s30",
			map[string]string{"b21": "the newest base that is not damaged"}},
		{"all bases are damaged", damaged(weekly(7), "b0", "b7"), Policy{Last: 1}, 10, "b7 s7..s9", nil},
		{"an idle stream reaches the window with one old segment", inv(dayBases(0), segs(daySeg(0, 1), with(daySeg(1, 2),
			func(a *Artifact) { a.ReachedAt = dayAt(99) }))), def, 100,
			"b0 s0..s1", nil},
	}
	if len(cases) < 40 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Retain(c.inv, c.policy, dayAt(c.now))
			if got := kept(r); got != c.want {
				t.Errorf("\nstays  %s\nwant   %s", got, c.want)
			}
			for _, d := range r.Decisions {
				if why, asked := c.why[d.Artifact.Name]; asked && d.Why != why {
					t.Errorf("%s: %q, want %q", d.Artifact.Name, d.Why, why)
				}
			}
			checkLaws(t, c.inv, r)
		})
	}
}

func pinnedInv(i Inventory, name string) Inventory {
	pinned(i.Artifacts, name)
	return i
}

func damaged(i Inventory, names ...string) Inventory {
	i.Damaged = map[int64]bool{}
	for _, a := range i.Artifacts {
		if slices.Contains(names, a.Name) {
			i.Damaged[a.ID] = true
		}
	}
	return i
}

func explain(r Retention) string {
	var b strings.Builder
	for _, d := range r.Decisions {
		fmt.Fprintf(&b, "%v %s: %s\n", d.Keep, d.Artifact.Name, d.Why)
	}
	return b.String()
}

// checkLaws holds whatever the history and the policy.
func checkLaws(t *testing.T, before Inventory, r Retention) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf(format+"\n%s", append(args, explain(r))...)
	}
	after := before
	after.Artifacts = nil
	stays := map[int64]bool{}
	var bytes int64
	for _, d := range r.Decisions {
		if d.Why == "" {
			fail("%s has no reason", d.Artifact.Name)
		}
		if d.Keep {
			stays[d.Artifact.ID] = true
			after.Artifacts = append(after.Artifacts, d.Artifact)
		} else {
			bytes += d.Artifact.Bytes
		}
	}
	if len(r.Decisions) != len(before.Artifacts) || bytes != r.Bytes {
		fail("%d decisions on %d artifacts, %d bytes instead of %d", len(r.Decisions), len(before.Artifacts), r.Bytes, bytes)
	}
	if !reflect.DeepEqual(r.Before, Windows(before)) || !reflect.DeepEqual(r.After, Windows(after)) {
		fail("the windows are not those before and after")
	}
	for _, a := range before.Artifacts {
		switch {
		case a.PinnedReason != "" && a.Kind == KindBase && !stays[a.ID]:
			fail("%s is pinned and goes", a.Name)
		case a.State == StateOpen && !stays[a.ID]:
			fail("%s is being written and goes", a.Name)
		case a.Kind == KindGlobals && a.Pair != 0 && stays[a.ID] != stays[a.Pair] && hasID(before, a.Pair):
			fail("%s does not go with its base", a.Name)
		}
	}
	// What could be restored last can still be.
	for _, req := range []Request{{}, {AcceptGaps: true}} {
		want, err := MakePlan(before, req)
		if err != nil {
			continue
		}
		got, err := MakePlan(after, req)
		if err != nil || got.Until != want.Until || got.Base.ID != want.Base.ID {
			fail("the latest position was %s from %s, and is %s from %s, %v", want.Until, want.Base.Name, got.Until, got.Base.Name, err)
		}
	}
	// A base that stays restores to its own point as before, with its globals.
	for _, a := range after.Artifacts {
		if a.Kind != KindBase {
			continue
		}
		own := Request{Base: a.Name, Target: Target{Kind: ByLSN, LSN: a.Start}}
		want, werr := MakePlan(before, own)
		got, err := MakePlan(after, own)
		if (err == nil) != (werr == nil) || got.Globals.ID != want.Globals.ID {
			fail("%s does not restore to its own point any more: %v", a.Name, err)
		}
	}
	checkDamage(fail, before, after)
	// No new hole, and of each timeline one run up to its end.
	holes := Holes(before.Artifacts, before.Switches...)
	for _, h := range Holes(after.Artifacts, after.Switches...) {
		if h.Kind != HoleTimeline && !slices.Contains(holes, h) {
			fail("a new hole %+v", h)
		}
	}
	for _, l := range linesOf(before) {
		seen := false
		for _, s := range l.segments {
			if seen && !stays[s.ID] {
				fail("%s goes, though one before it stays", s.Name)
			}
			seen = seen || stays[s.ID]
		}
	}
	if lines := linesOf(before); len(lines) > 0 {
		if l := lines[len(lines)-1]; len(l.segments) > 0 && !stays[l.furthest().ID] {
			fail("the segment that the stream goes on from goes")
		}
	}
}

// checkDamage: the latest position that files which are not damaged lead to can be restored as before.
func checkDamage(fail func(string, ...any), before, after Inventory) {
	best := func(i Inventory, whole bool) (name string, end LSN) {
		for _, l := range linesOf(i) {
			for _, b := range l.bases {
				bad := i.Damaged[b.ID] || slices.ContainsFunc(i.Artifacts, func(g Artifact) bool { return g.Pair == b.ID && i.Damaged[g.ID] })
				c := l.chain(b)
				if _, broken := l.beyond(c); whole && (broken || slices.ContainsFunc(c.segments, func(s Artifact) bool { return i.Damaged[s.ID] })) {
					bad = true
				}
				if !bad && (l.left == 0 || b.Start <= l.left) {
					name, end = b.Name, c.end // lines and bases are in order
				}
			}
		}
		return name, end
	}
	for _, whole := range []bool{false, true} {
		name, end := best(before, whole)
		if got, to := best(after, whole); name != "" && len(before.Gaps) == 0 && (got != name || to != end) {
			fail("without what is damaged %s led to %s, and now %s to %s", name, end, got, to)
		}
	}
}

func hasID(i Inventory, id int64) bool {
	return slices.ContainsFunc(i.Artifacts, func(a Artifact) bool { return a.ID == id })
}

// Over random histories (holes, overlaps, timelines, clocks that jump, pins, gaps, damage) and random policies the laws hold, every moment
// of the segment window that a kept base leads to stays reachable, and what stays once stays when asked again.
func TestRetentionProperty(t *testing.T) {
	rounds := 10000
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 1))
		history, last := randomHistory(rng)
		policy := Policy{Last: rng.IntN(4), Within: time.Duration(rng.IntN(40)) * day, Daily: rng.IntN(4), Weekly: rng.IntN(3),
			Monthly: rng.IntN(4), Yearly: rng.IntN(2), Incremental: time.Duration(rng.IntN(20)) * day}
		now := dayAt(last + rng.IntN(20))
		r := Retain(history, policy, now)
		checkLaws(t, history, r)
		checkWindow(t, history, r, now.Add(-policy.Incremental))
		again := history
		again.Artifacts = nil
		for _, d := range r.Decisions {
			if d.Keep {
				again.Artifacts = append(again.Artifacts, d.Artifact)
			}
		}
		if second := Retain(again, policy, now); second.Bytes != 0 {
			t.Fatalf("round %d: a second run removes more\n%s\n%s", round, explain(r), explain(second))
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// checkWindow: from the bases that stay for more than a pin every position of a segment with a commit in the window is reachable as before.
func checkWindow(t *testing.T, before Inventory, r Retention, cutoff time.Time) {
	t.Helper()
	after := before
	after.Artifacts = nil
	var bases []Artifact
	for _, d := range r.Decisions {
		if d.Keep {
			after.Artifacts = append(after.Artifacts, d.Artifact)
			if d.Artifact.Kind == KindBase && !strings.HasPrefix(d.Why, "pinned") {
				bases = append(bases, d.Artifact)
			}
		}
	}
	for _, s := range before.Artifacts {
		if s.Kind != KindSegment || !s.LastCommitAt.After(cutoff) || s.End == s.Start {
			continue
		}
		reachable := func(i Inventory) bool {
			return slices.ContainsFunc(bases, func(b Artifact) bool {
				_, err := MakePlan(i, Request{Base: b.Name, Target: Target{Kind: ByLSN, LSN: s.End - 1}, AcceptGaps: true})
				return err == nil && b.SystemID == s.SystemID && b.Timeline == s.Timeline
			})
		}
		if reachable(before) && !reachable(after) {
			t.Fatalf("%s commits in the window from %s and cannot be reached any more\n%s", s.Name, cutoff, explain(r))
		}
	}
}

func randomHistory(rng *rand.Rand) (i Inventory, last int) {
	id, at := int64(0), 0
	for timeline := uint32(1); timeline <= uint32(1+rng.IntN(2)); timeline++ {
		if timeline > 1 && rng.IntN(2) == 0 { // the source has gone over to it
			i.Switches = append(i.Switches, Switch{SystemID: "7", Timeline: timeline, Parent: timeline - 1, At: LSN(10*at - rng.IntN(40))})
			i.Repository.SystemID, i.Repository.Timeline = "7", timeline
		}
		begin := at
		for range rng.IntN(25) {
			n := 1 + rng.IntN(4)
			s := on(timeline, daySeg(at, at+n))[0]
			if rng.IntN(15) == 0 {
				s.ReachedAt, s.LastCommitAt = s.ReachedAt.AddDate(0, 0, rng.IntN(40)-20), time.Time{}
			}
			i.Artifacts = append(i.Artifacts, s)
			if rng.IntN(20) == 0 {
				i.Gaps = append(i.Gaps, Gap{Kind: GapSchema, From: s.Start, To: s.Start, Timeline: timeline})
			}
			at += n
			switch rng.IntN(12) {
			case 0:
				at += rng.IntN(9)
			case 1:
				at -= rng.IntN(2)
			}
		}
		points := map[int]bool{}
		for range rng.IntN(8) {
			d := begin + rng.IntN(at-begin+3)
			if points[d] {
				continue
			}
			points[d] = true
			pair := on(timeline, dayBases(d)...)
			if rng.IntN(10) == 0 {
				pair = pair[:1]
			}
			if rng.IntN(10) == 0 {
				pair[0].PinnedReason = "test"
			}
			i.Artifacts = append(i.Artifacts, pair...)
			last = max(last, d)
		}
		last = max(last, at)
	}
	for k := range i.Artifacts { // unique, whatever overlaps
		a := &i.Artifacts[k]
		id++
		if a.Kind == KindBase && k+1 < len(i.Artifacts) && i.Artifacts[k+1].Kind == KindGlobals {
			i.Artifacts[k+1].Pair = id
		}
		a.ID, a.Name = id, fmt.Sprint(a.Name, "#", id)
	}
	if rng.IntN(3) == 0 {
		i.Damaged = map[int64]bool{}
		for range 1 + rng.IntN(4) {
			i.Damaged[int64(1+rng.IntN(len(i.Artifacts)+1))] = true
		}
	}
	rng.Shuffle(len(i.Artifacts), func(a, b int) { i.Artifacts[a], i.Artifacts[b] = i.Artifacts[b], i.Artifacts[a] })
	return i, last
}
