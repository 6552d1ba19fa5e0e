package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/internal/show"
	"pg_scribe/restore"
)

// printPlan shows what a restore will read, and where it ends.
func (a *app) printPlan(p *restore.Prepared, zone *time.Location) {
	row := func(name, format string, args ...any) {
		a.print("  %-12s %s", name, oneLine(fmt.Sprintf(format, args...)))
	}
	a.print("Plan")
	row("target", "%s", targetWords(p.Plan.Target, zone))
	row("base", "%s, point %s at %s, %s", p.Plan.Base.Name, p.Plan.From, show.Time(p.Plan.Base.ReachedAt), show.Bytes(p.Plan.Base.Bytes))
	globals := p.Plan.Globals.Name
	if globals == "" {
		globals = "none in the repository"
	}
	row("globals", "%s", globals)
	switch list := p.Plan.Segments; len(list) {
	case 0:
		row("segments", "none")
	case 1:
		row("segments", "1, %s", list[0].Name)
	default:
		row("segments", "%d, %s to %s", len(list), list[0].Name, list[len(list)-1].Name)
	}
	row("replay", "%s, %s changed", show.Plural(p.Transactions, "transaction"), show.Plural(changes(p.Tables), "row"))
	row("read", "%s stored, %s of SQL", show.Bytes(p.Plan.Bytes), show.Bytes(p.Plan.TextBytes))
	if p.Last.LSN == 0 {
		row("ends", "with the base, at %s", p.Plan.From)
	} else {
		row("ends", "behind transaction %d, committed at %s (LSN %s)", p.Last.XID, zoned(p.Last.Time, zone), p.Last.LSN)
	}
	for _, g := range p.Plan.Gaps {
		row("gap", "accepted, at %s: %s", g.From, g.Reason)
	}
}

// zoned shows a moment in UTC and, if another one was used, in that zone.
func zoned(t time.Time, zone *time.Location) string {
	if _, offset := t.In(zone).Zone(); offset == 0 {
		return show.Time(t)
	}
	return fmt.Sprintf("%s = %s", t.In(zone).Format("2006-01-02 15:04:05.999999-07:00"), show.Time(t))
}

func targetWords(t catalog.Target, zone *time.Location) string {
	if t.Kind != catalog.ByTime {
		return t.String()
	}
	words := "time " + zoned(t.Time, zone)
	if t.Exclusive {
		words += ", exclusive"
	}
	return words
}

func changes(list []catalog.TableCount) (n int64) {
	for _, t := range list {
		n += t.Inserted + t.Updated + t.Deleted
	}
	return n
}

// reportRepairs is how many repaired differences a report names.
const reportRepairs = 20

// reportTables is how many tables a report names.
const reportTables = 20

// printReport tells what a restore has done.
func (a *app) printReport(r restore.Report, took time.Duration) {
	row := func(name, format string, args ...any) {
		a.print("  %-12s %s", name, oneLine(fmt.Sprintf(format, args...)))
	}
	a.print("\nDatabase %q is restored.", r.Database)
	for _, phase := range r.Phases {
		row(phase.Name, "%s", show.Span(phase.Duration))
	}
	row("total", "%s", show.Span(took))
	row("replayed", "%s, %s", show.Plural(r.Transactions, "transaction"), show.Plural(r.Statements, "statement"))
	if len(r.RolesCreated)+len(r.RolesKept) > 0 {
		row("roles", "created: %s; existed: %s", listed(r.RolesCreated), listed(r.RolesKept))
	}
	row("sequences", "%d moved", r.Sequences)
	a.printTables(r.Tables)
	for _, notice := range r.Notices {
		a.words.warn("%s", notice)
	}
	if r.Compared > 0 {
		row("compared", "%s, %d not comparable", show.Plural(int64(r.Compared), "object"), r.NotCompared)
	}
	repaired := 0
	for _, d := range r.Differences {
		if d.Accepted {
			a.words.warn("differs: %s", difference(d))
		} else if repaired++; repaired <= reportRepairs {
			a.words.warn("repaired: %s", difference(d))
		}
	}
	if more := repaired - reportRepairs; more > 0 {
		a.words.warn("repaired: %s; --output json lists them", show.Plural(int64(more), "further difference"))
	}
	for _, left := range r.LeftOut {
		a.words.warn("left out: %s", left)
	}
}

// difference is one in words.
func difference(d restore.Difference) string {
	text := d.Class + " " + d.Identity
	if d.Catalog != "" {
		text += ", " + strings.TrimSpace(d.Catalog+" "+d.Row+" "+d.Attribute)
	}
	switch d.Kind {
	case describe.Missing:
		text += " is missing"
	case describe.Extra:
		text += " is not in the source"
	default:
		text += fmt.Sprintf(": %s; source: %s", shortened(d.Target), shortened(d.Source))
	}
	if d.Accepted && d.Reason != "" {
		text += " (" + d.Reason + ")"
	}
	if !d.Accepted && d.Kind != describe.Changed {
		text = strings.Replace(strings.Replace(text, " is missing", " was missing", 1), " is not in", " was not in", 1)
	}
	return text
}

// shortened is a value as a report shows it.
func shortened(value string) string {
	const most = 200
	if value == "" {
		return "nothing"
	}
	value = strings.Join(strings.Fields(value), " ")
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	return value
}

// printSwap says what became of the source, and what that means for its backup.
func (a *app) printSwap(s *restore.Swap, slot string) {
	f, kept := a.hintContext.onDatabase(s.Source), a.hintContext.onDatabase(s.Kept)
	stamp := s.Kept[len(s.Kept)-len("20060102_150405"):]
	a.print("\nThe source is kept as database %q, as it was.", s.Kept)
	a.print("Slot %s and the repository belong to the kept database: start -d %s is refused from now on, and the slot keeps WAL until that backup goes on or "+
		"ends.",
		slot, shellQuote(s.Source))
	a.print("Back up the restored one in a new repository:\n  %s", f.scribe("init", "-S", "pg_scribe_"+stamp, "-f", "NEW_DIRECTORY"))
	a.print("Go on with the backup of the kept one:\n  %s", kept.scribe("start", "-f", f.dir))
	a.print("Or end it; what is stored stays restorable:\n  %s", kept.scribe("drop", "-f", f.dir))
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// printTables names the tables with the most rows brought.
func (a *app) printTables(list []catalog.TableCount) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y catalog.TableCount) int {
		return cmp.Compare(changes([]catalog.TableCount{y}), changes([]catalog.TableCount{x}))
	})
	var rows [][]any
	for _, t := range list[:min(len(list), reportTables)] {
		rows = append(rows, []any{t.Table, t.Inserted, t.Updated, t.Deleted})
	}
	a.table("Rows by table", "TABLE\tINSERTED\tUPDATED\tDELETED", rows)
	if more := len(list) - reportTables; more > 0 {
		a.print("  and %s", show.Plural(int64(more), "further table"))
	}
}

// toPlan puts a plan into its document.
func toPlan(p *restore.Prepared) planJSON {
	plan := planJSON{Target: p.Plan.Target.String(), Base: toArtifact(p.Plan.Base), Segments: []artifactJSON{}, FromLSN: p.Plan.From,
		Last: toMoment(p.Last), Transactions: p.Transactions, Bytes: p.Plan.Bytes, TextBytes: p.Plan.TextBytes,
		AcceptedGaps: toGaps(p.Plan.Gaps), Tables: toTables(p.Tables)}
	if p.Plan.Globals.Name != "" {
		globals := toArtifact(p.Plan.Globals)
		plan.Globals = &globals
	}
	for _, s := range p.Plan.Segments {
		plan.Segments = append(plan.Segments, toArtifact(s))
	}
	return plan
}

// fill takes the report into the document.
func (d *restoreJSON) fill(r restore.Report, took time.Duration) {
	d.Database, d.Created, d.Resumed, d.Kept = r.Database, r.Created, r.Resumed, r.Kept
	d.Transactions, d.Statements, d.Sequences, d.Seconds = r.Transactions, r.Statements, r.Sequences, took.Seconds()
	d.Tables, d.Phases = toTables(r.Tables), []phaseJSON{}
	for _, p := range r.Phases {
		d.Phases = append(d.Phases, phaseJSON{p.Name, p.Duration.Seconds()})
	}
	d.RolesCreated, d.RolesKept, d.Notices = append([]string{}, r.RolesCreated...), append([]string{}, r.RolesKept...), append([]string{}, r.Notices...)
	d.LeftOut = append([]string{}, r.LeftOut...)
	d.Compared, d.NotCompared, d.Differences = r.Compared, r.NotCompared, []diffJSON{}
	for _, f := range r.Differences {
		outcome := "repaired"
		if f.Accepted {
			outcome = "accepted"
		}
		d.Differences = append(d.Differences, diffJSON{f.Class + " " + f.Identity, strings.TrimSpace(f.Catalog + " " + f.Row), f.Attribute, string(f.Kind),
			f.Source, f.Target, outcome, f.Reason})
	}
}
