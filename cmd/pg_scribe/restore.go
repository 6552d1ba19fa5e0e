package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/health"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/verify"
	"pg_scribe/restore"
	"pg_scribe/stream/source"
)

type restoreCmd struct {
	connFlags
	outputFlag
	keyFlags
	File              string   `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	Create            bool     `short:"C" help:"Create the target database."`
	BaseBackup        string   `placeholder:"NAME" help:"Base to start from (default: the newest that the target allows)."`
	TargetLsn         string   `name:"target-lsn" xor:"target" placeholder:"LSN" help:"Stop behind the transaction that commits at this LSN, or the last before it."`
	TargetTime        string   `xor:"target" placeholder:"TIME" help:"Stop before the first transaction that commits later than this time; its zone must be said."`
	TargetXid         string   `xor:"target" placeholder:"XID" help:"Stop behind this transaction."`
	TargetName        string   `xor:"target" placeholder:"NAME" help:"Stop behind this mark."`
	TargetExclusive   bool     `help:"Leave out the transaction at the target."`
	NoSyncSequences   bool     `help:"Leave sequences where base and stream left them."`
	DryRun            bool     `help:"Show the plan and stop."`
	Force             bool     `help:"Restore into a database that is not empty, or a server of an older version."`
	AllowSource       bool     `help:"Put what is restored in the place of the database that was backed up: into a new one, then swap their names; the old one is kept."`
	AcceptGaps        bool     `help:"Restore across schema changes that could not be captured."`
	AcceptDifferences bool     `help:"Go on where an object differs from the source's and cannot be repaired; all are listed."`
	Globals           string   `enum:"new,all,none" default:"new" placeholder:"WHICH" help:"Roles and tablespaces: new creates missing ones, all brings existing ones to their old state too, none (default: ${default})."`
	SearchPath        []string `placeholder:"SCHEMA,…" help:"Schemas where functions called by constraints, indexes and generated columns find names (default: none)."`
	Resume            bool     `help:"Go on with an interrupted restore."`
	Jobs              int      `short:"j" default:"2" placeholder:"NUMBER" help:"Sessions that build indexes (default: ${default})."`
	Apply             string   `enum:"net,ordered" default:"net" placeholder:"HOW" help:"Row changes: net applies what is left of many, as sets; ordered each one (default: ${default})."`
	Memory            size     `default:"256MB" placeholder:"SIZE" help:"Memory for --apply net (default: ${default})."`
}

func (c *restoreCmd) shows() bool { return c.DryRun || c.json() }

// errTargetNeeded: there is no database to restore into.
var errTargetNeeded = errors.New("restore needs a target database")

// Run plans, shows the plan, and executes it.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	a.hintContext.dir = c.File
	request, zone, err := c.request()
	if err != nil {
		return err
	}
	if c.Dbname == "" && !c.DryRun {
		return errTargetNeeded
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := a.openForReading(ctx, c.File, keys)
	if err != nil {
		return err
	}
	defer r.Close()
	a.step("checking the files and looking for the target")
	prepared, err := restore.Prepare(ctx, r, request)
	if err != nil {
		return err
	}
	defer prepared.Close()
	doc := restoreJSON{DryRun: c.DryRun, Plan: toPlan(prepared)}
	doc.fill(restore.Report{}, 0)
	if !c.json() {
		a.printPlan(prepared, zone)
	}
	if err := a.warnUnlisted(ctx, r, c.File); err != nil {
		return err
	}
	if c.DryRun {
		if c.json() {
			return writeJSON(a.stdout, doc)
		}
		return nil
	}
	opts, err := c.options(ctx, a)
	if err != nil {
		return err
	}
	began := a.now()
	report, err := prepared.Execute(ctx, opts)
	if err != nil && !errors.As(err, new(*restore.SwapError)) { // after that too it is restored, and both are there
		return err
	}
	doc.fill(report, a.now().Sub(began))
	if err == nil && (len(report.LeftOut) > 0 || slices.ContainsFunc(report.Differences, func(d restore.Difference) bool { return d.Accepted })) {
		err = &exitError{exitWarnings}
	}
	if c.json() {
		return errors.Join(err, writeJSON(a.stdout, doc))
	}
	a.printReport(report, a.now().Sub(began))
	if report.Kept != "" {
		a.printSwap(opts.Swap, prepared.Repository.Slot)
	}
	return err
}

// warnUnlisted tells of segments that an older catalog does not know: without
// it a restore of all that there is would silently be one of less.
func (a *app) warnUnlisted(ctx context.Context, r *repo.Repository, file string) error {
	names, err := verify.Uncatalogued(ctx, r)
	if err != nil || len(names) == 0 {
		return err
	}
	rebuild := []string{"catalog", "rebuild", "--force", "-f", file}
	if r.Remote() {
		rebuild = []string{"catalog", "rebuild", "-f", "NEW_DIRECTORY", "--storage", file}
	}
	f := health.Uncatalogued(names, health.Command{Args: rebuild})
	a.words.finding("warning", f.Text, a.hintContext.fix(f.Fix))
	return nil
}

// request reads the target. zone is that of a time, to be shown back.
func (c *restoreCmd) request() (catalog.Request, *time.Location, error) {
	t := catalog.Target{Exclusive: c.TargetExclusive}
	zone := time.UTC
	switch {
	case c.TargetLsn != "":
		lsn, err := catalog.ParseLSN(c.TargetLsn)
		if err != nil {
			return catalog.Request{}, nil, badLSN(c.TargetLsn)
		}
		t.Kind, t.LSN = catalog.ByLSN, lsn
	case c.TargetTime != "":
		at, err := parseTargetTime(c.TargetTime)
		if err != nil {
			return catalog.Request{}, nil, err
		}
		t.Kind, t.Time, zone = catalog.ByTime, at, at.Location()
	case c.TargetXid != "":
		xid, err := strconv.ParseUint(c.TargetXid, 10, 32)
		if err != nil || xid == 0 {
			return catalog.Request{}, nil, &usageError{strconv.Quote(c.TargetXid) + " is not a transaction ID", "write it as --target-xid 743"}
		}
		t.Kind, t.XID = catalog.ByXID, uint32(xid)
	case c.TargetName != "":
		t.Kind, t.Name = catalog.ByName, c.TargetName
	case c.TargetExclusive:
		return catalog.Request{}, nil, &usageError{"--target-exclusive without a target", "give one of --target-lsn, --target-time, --target-xid and --target-name"}
	}
	if c.AllowSource && (c.Create || c.Resume) {
		return catalog.Request{}, nil, &usageError{"--allow-source always makes a new database, which then gets the name of -d", "leave out -C and --resume"}
	}
	if c.Jobs < 1 {
		return catalog.Request{}, nil, &usageError{"--jobs must be at least 1", "write it as -j 4"}
	}
	if c.Memory < 1<<20 {
		return catalog.Request{}, nil, &usageError{"--memory must be at least 1MB", "write it as --memory 256MB"}
	}
	return catalog.Request{Target: t, Base: c.BaseBackup, AcceptGaps: c.AcceptGaps}, zone, nil
}

func badLSN(text string) error {
	return &usageError{strconv.Quote(text) + " is not an LSN", "write it as PostgreSQL shows it: --target-lsn 16/B374D848"}
}

// options connects to the target's server and says how to write there.
func (c *restoreCmd) options(ctx context.Context, a *app) (restore.Options, error) {
	opts := restore.Options{CreateDatabase: c.Create, Force: c.Force, AcceptDifferences: c.AcceptDifferences, Globals: c.Globals,
		SyncSequences: !c.NoSyncSequences, Resume: c.Resume, SearchPath: c.SearchPath, Jobs: c.Jobs, Command: a.command, Progress: a.restoreProgress(), Now: a.now,
		Ordered: c.Apply == "ordered", Memory: int64(c.Memory)}
	if !c.Create && !c.AllowSource {
		conn, err := a.connect(ctx, c.connFlags)
		opts.TargetConn = conn
		return opts, err
	}
	// The target does not exist yet: another database of the server is used
	// to create it. One to which somebody is connected cannot be renamed.
	maintenance := "postgres"
	conn, err := a.connectTo(ctx, c.connFlags, maintenance)
	refused := (*source.ConnectError)(nil)
	if errors.As(err, &refused) && refused.Fault == source.FaultDatabase || err == nil && c.AllowSource && a.hintContext.base == maintenance {
		maintenance = "template1"
		conn, err = a.connectTo(ctx, c.connFlags, maintenance)
	}
	if err != nil {
		return opts, err
	}
	opts.TargetConn = conn
	opts.MaintenanceConn, err = withDatabase(conn, maintenance)
	if err == nil && c.AllowSource {
		opts.Swap = restore.NewSwap(a.hintContext.base, a.now())
		opts.TargetConn, err = withDatabase(conn, opts.Swap.Restored)
	}
	return opts, err
}

// restoreProgress prints a line where a phase begins, and now and then.
func (a *app) restoreProgress() func(restore.Progress) {
	var phase string
	var last time.Time
	return func(p restore.Progress) {
		now := a.now()
		if p.Phase == phase && now.Sub(last) < 2*time.Second {
			return
		}
		begins := p.Phase != phase
		phase, last = p.Phase, now
		switch {
		case begins:
			a.words.say("%s", phaseWords[p.Phase])
		case p.Total > 0:
			a.words.say("%s: %s of %s, %s", p.Phase, show.Bytes(p.Done), show.Bytes(p.Total), p.What)
		default:
			a.words.say("%s: %s, %s", p.Phase, show.Bytes(p.Done), p.What)
		}
	}
}

var phaseWords = map[string]string{
	restore.PhaseConnect:   "checking the target",
	restore.PhaseGlobals:   "restoring roles and tablespaces",
	restore.PhaseBase:      "restoring the base",
	restore.PhaseReplay:    "replaying the segments",
	restore.PhaseSequences: "moving sequences on where they may lie behind",
	restore.PhaseAnalyze:   "collecting statistics for the planner",
	restore.PhaseSwap:      "putting it in the source's place",
}
