package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/verify"
)

type expireCmd struct {
	outputFlag
	keyFlags
	File            string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	KeepLast        int    `placeholder:"N" help:"Keep the last N bases."`
	KeepWithin      span   `placeholder:"AGE" help:"Keep bases younger than this: 30d, 8w, 1y, 36h."`
	KeepDaily       int    `placeholder:"N" help:"Keep the last base of each of N days that have one."`
	KeepWeekly      int    `placeholder:"N" help:"The same of weeks."`
	KeepMonthly     int    `placeholder:"N" help:"The same of months."`
	KeepYearly      int    `placeholder:"N" help:"The same of years."`
	KeepIncremental span   `default:"7d" placeholder:"AGE" help:"Keep segments younger than this (default: ${default})."`
	Confirm         bool   `help:"Remove. Without it nothing is removed, only shown."`
}

func (c *expireCmd) shows() bool { return !c.Confirm || c.json() }

// policy is what the flags say. Without any rule for bases the default ones
// hold: 30 days, and then one a month for a year.
func (c *expireCmd) policy() (catalog.Policy, error) {
	p := catalog.Policy{Last: c.KeepLast, Within: time.Duration(c.KeepWithin), Daily: c.KeepDaily, Weekly: c.KeepWeekly,
		Monthly: c.KeepMonthly, Yearly: c.KeepYearly}
	if p == (catalog.Policy{}) {
		p = catalog.DefaultPolicy()
	}
	p.Incremental = time.Duration(c.KeepIncremental)
	for _, n := range []int{p.Last, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
		if n < 0 {
			return p, &usageError{"a number of bases to keep cannot be negative", "leave the flag out to keep none by that rule"}
		}
	}
	return p, nil
}

// Run shows what the policy removes, and with --confirm removes it.
func (c *expireCmd) Run(ctx context.Context, a *app) error {
	policy, err := c.policy()
	if err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Keys(keys) // what a shell filter makes of the storages' catalog is read back
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	damage, err := verify.FindDamage(ctx, r, inv)
	if err != nil {
		return err
	}
	damage.Mark(&inv)
	if bad := slices.Concat(damage.Missing, damage.Resized, damage.Failed); len(bad) > 0 {
		a.words.finding("warning", "missing or damaged, and not relied on: "+show.Names(bad), "see what it is: "+commandLine("pg_scribe", "verify", "-f", c.File))
	}
	plan := catalog.Retain(inv, policy, a.now())
	doc := expireJSON{Directory: c.File, Policy: policy.String(), Confirmed: c.Confirm, Artifacts: []decisionJSON{},
		WindowsBefore: toWindows(plan.Before), WindowsAfter: toWindows(plan.After)}
	var goes []catalog.Artifact
	for _, d := range plan.Decisions {
		doc.Artifacts = append(doc.Artifacts, decisionJSON{d.Artifact.Name, string(d.Artifact.Kind), d.Artifact.Start, d.Artifact.End,
			d.Artifact.Bytes, d.Keep, d.Why})
		if !d.Keep {
			goes = append(goes, d.Artifact)
		}
	}
	doc.Remove, doc.Bytes = len(goes), plan.Bytes
	if !c.json() {
		a.printRetention(policy, plan)
	}
	doc.InUse = []string{}
	if c.Confirm {
		if err := c.remove(ctx, a, r, goes, damage, &doc); err != nil {
			return err
		}
		await, err := r.Catalog().RemovalsAwait(ctx)
		if err != nil {
			return err
		}
		if await || doc.Removed > 0 { // from the storages too
			if err := a.upload(ctx, r); err != nil {
				return err
			}
		}
	}
	if c.json() {
		err = writeJSON(a.stdout, doc)
	} else {
		c.conclude(a, doc)
	}
	if err == nil && len(doc.InUse) > 0 {
		a.words.warn("%s left because a restore reads them: %s", show.Plural(int64(len(doc.InUse)), "file"), show.Names(doc.InUse))
		err = &exitError{exitWarnings}
	}
	return err
}

// open opens the repository, for reading only when nothing is to be removed.
func (c *expireCmd) open(ctx context.Context, a *app) (*repo.Repository, error) {
	if c.Confirm {
		return a.openRepository(ctx, c.File)
	}
	a.hintContext.dir = c.File
	r, err := repo.OpenReadOnly(ctx, c.File)
	if err == nil {
		a.hintContext.of(ctx, r)
	}
	return r, err
}

func (c *expireCmd) remove(ctx context.Context, a *app, r *repo.Repository, goes []catalog.Artifact, damage verify.Damage, doc *expireJSON) error {
	if len(goes) == 0 { // an earlier one may have been interrupted
		_, err := r.Remove(ctx, nil)
		return err
	}
	return a.operation(ctx, r, "expire", func() error {
		done, err := r.Remove(ctx, goes)
		for _, art := range done.Removed {
			doc.Removed++
			doc.RemovedBytes += art.Bytes
		}
		for _, art := range done.InUse {
			doc.InUse = append(doc.InUse, art.Name)
		}
		if err == nil && len(done.InUse) > 0 { // it is not what was planned
			inv, ierr := r.Catalog().Inventory(ctx)
			err = ierr
			damage.Mark(&inv)
			doc.WindowsAfter = toWindows(catalog.Windows(inv))
		}
		return err
	})
}

func (c *expireCmd) conclude(a *app, doc expireJSON) {
	switch {
	case doc.Remove == 0:
		a.print("\nNothing to remove.")
	case !c.Confirm:
		a.print("\n%s, %s, would be removed. To remove: add --confirm", show.Plural(int64(doc.Remove), "file"), show.Bytes(doc.Bytes))
	default:
		a.print("\nRemoved %s, %s.", show.Plural(int64(doc.Removed), "file"), show.Bytes(doc.RemovedBytes))
	}
}

// printRetention shows every file with its reason, and what can be restored.
func (a *app) printRetention(policy catalog.Policy, plan catalog.Retention) {
	a.print("Keep %s", policy)
	show := func(title string, keep bool) {
		var rows [][]any
		for _, run := range runsOf(plan.Decisions, keep) {
			rows = append(rows, []any{run.name, run.files, show.Bytes(run.bytes), run.why})
		}
		a.print("")
		a.table(title, "FILE\tFILES\tSTORED\tWHY", rows)
	}
	show("Stays", true)
	show("Goes", false)
	windows := func(title string, list []catalog.Window) {
		var rows [][]any
		for _, w := range list {
			rows = append(rows, []any{w.From, a.cellTime(w.FromAt), w.To, a.cellTime(w.ToAt), w.Bases})
		}
		a.print("")
		a.table(title, "FROM\tTIME\tTO\tTIME\tBASES", rows)
	}
	windows("Restorable now", plan.Before)
	windows("Restorable afterwards", plan.After)
}

// retentionRun is one line of the report: neighbouring segments that stay or go
// for the same reason share it.
type retentionRun struct {
	name, why string
	files     int
	bytes     int64
}

func runsOf(decisions []catalog.Decision, keep bool) []retentionRun {
	var runs []retentionRun
	joins := false // the last decision was the last of runs
	for _, d := range decisions {
		if d.Keep != keep {
			joins = false
			continue
		}
		segment := d.Artifact.Kind == catalog.KindSegment
		if n := len(runs); joins && segment && runs[n-1].why == d.Why && strings.HasPrefix(runs[n-1].name, "incremental-") {
			last := &runs[n-1]
			first, _, _ := strings.Cut(last.name, " … ")
			last.name, last.files, last.bytes = first+" … "+d.Artifact.Name, last.files+1, last.bytes+d.Artifact.Bytes
			continue
		}
		runs = append(runs, retentionRun{d.Artifact.Name, d.Why, 1, d.Artifact.Bytes})
		joins = true
	}
	return runs
}

type keepCmd struct {
	outputFlag
	File   string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	Base   string `arg:"" help:"Base that expire leaves alone."`
	Reason string `default:"kept by hand" placeholder:"TEXT" help:"Why (default: ${default})."`
}

// Run pins a base.
func (c *keepCmd) Run(ctx context.Context, a *app) error {
	if strings.TrimSpace(c.Reason) == "" {
		return &usageError{"a pin needs a reason", "leave out --reason, or give some words"}
	}
	return a.pin(ctx, c.File, c.Base, c.Reason, c.json())
}

type unkeepCmd struct {
	outputFlag
	File string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	Base string `arg:"" help:"Base that expire may remove again."`
}

// Run removes the pin.
func (c *unkeepCmd) Run(ctx context.Context, a *app) error {
	return a.pin(ctx, c.File, c.Base, "", c.json())
}

func (a *app) pin(ctx context.Context, dir, base, reason string, asJSON bool) error {
	r, err := a.openRepository(ctx, dir)
	if err != nil {
		return err
	}
	defer r.Close()
	base = base[strings.LastIndexByte(base, '/')+1:]
	err = r.Catalog().SetPin(ctx, base, reason)
	if errors.Is(err, catalog.ErrNotFound) {
		bases, berr := r.Catalog().Artifacts(ctx, catalog.KindBase)
		if berr != nil {
			return berr
		}
		unknown := catalog.UnknownBaseError{Name: base}
		for _, b := range bases {
			unknown.Known = append(unknown.Known, b.Name)
		}
		return unknown
	}
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.stdout, keepJSON{Base: base, Kept: reason != "", Reason: reason})
	}
	if reason == "" {
		a.print("expire may remove %s again.", base)
	} else {
		a.print("expire leaves %s alone: %s", base, oneLine(reason))
	}
	return nil
}

// span is an age in days, weeks or years.
type span time.Duration

var spanUnits = map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}

const maxSpan = 100 * 365 * 24 * time.Hour

func (s *span) UnmarshalText(text []byte) error {
	total, n, digits := time.Duration(0), int64(0), 0
	for _, b := range text {
		unit, known := spanUnits[b]
		switch {
		case b >= '0' && b <= '9' && digits < 6:
			n, digits = 10*n+int64(b-'0'), digits+1
		case known && digits > 0 && n <= int64(maxSpan/unit) && total <= maxSpan-time.Duration(n)*unit:
			total += time.Duration(n) * unit
			n, digits = 0, 0
		default:
			return badSpan(text)
		}
	}
	if len(text) == 0 || digits > 0 && string(text) != "0" {
		return badSpan(text)
	}
	*s = span(total)
	return nil
}

func badSpan(text []byte) error {
	return fmt.Errorf("%q is not an age: give hours, days, weeks or years, as in 36h, 30d, 8w, 1y", text)
}
