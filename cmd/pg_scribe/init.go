package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/stream"
	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

type initCmd struct {
	connFlags
	outputFlag
	filterFlags
	keyFlags
	File        string   `short:"f" required:"" placeholder:"DIRECTORY" help:"Directory of the new repository: empty, or absent."`
	Slot        string   `short:"S" default:"pg_scribe" placeholder:"NAME" help:"Replication slot to make (default: ${default})."`
	Publication string   `default:"pg_scribe" placeholder:"NAME" help:"Publication to make (default: ${default})."`
	Mode        string   `enum:"guarded,no-harm" default:"guarded" placeholder:"MODE" help:"Give tables without usable key REPLICA IDENTITY FULL (guarded), or leave them alone and mark what is not captured of them (no-harm)."`
	Storage     []string `aliases:"target" sep:"none" placeholder:"WHERE" help:"Also keep every file there: /DIRECTORY, s3://BUCKET/PREFIX, sftp://USER@HOST/DIRECTORY or shell …; repeat it for more."`
	SpoolDir    string   `placeholder:"DIRECTORY" help:"Existing directory below which a folder takes what is not encrypted: catalog, open segment, bases of --jobs in progress (default: in the repository)."`
	Failover    bool     `help:"Let standbys keep the slot in step, so that the stream goes on after a failover (PostgreSQL 17 and later)."`
	RecordUser  bool     `help:"Record user, application name and client address of the session that runs a DDL command."`
	GrantTo     string   `placeholder:"ROLE" help:"Role, without superuser's rights, that is to run start, mark, status and full-backup."`
	Force       bool     `help:"Go on in spite of critical findings."`
}

// Run begins a repository.
func (c *initCmd) Run(ctx context.Context, a *app) error {
	a.hintContext.dir, a.hintContext.slot = c.File, c.Slot
	if err := checkNames(c.Slot, c.Publication, c.Mode); err != nil {
		return err
	}
	chain, err := c.chain()
	if err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	if err := c.checkDirectory(a); err != nil {
		return err
	}
	if _, err := a.parseStorages(c.Storage); err != nil {
		return err
	}
	conn, err := a.connect(ctx, c.connFlags)
	if err != nil {
		return err
	}
	report := baseJSON{Directory: c.File, Database: a.hintContext.base, Slot: c.Slot}
	if report.Findings, err = c.preflight(ctx, a, conn); err != nil {
		if c.json() && report.Findings != nil {
			writeJSON(a.stdout, report)
		}
		return err
	}
	storages, err := a.bindStorages(ctx, "", c.File, c.Storage)
	if err != nil {
		return err
	}
	opts := stream.InitOptions{BaseOptions: a.baseOptions(conn, c.Publication, nil),
		Dir: c.File, Slot: c.Slot, Mode: c.Mode, GrantTo: c.GrantTo, Step: func(s string) { a.words.say("%s", s) }}
	opts.Failover, opts.Record = c.Failover, c.RecordUser
	spool := "" // the folder
	base, err := stream.Init(ctx, opts, func(info catalog.Repository) (*repo.Repository, error) {
		r, err := repo.CreateWithSpool(ctx, c.File, c.SpoolDir, info, a.now)
		if err != nil {
			return nil, err
		}
		spool = r.SpoolDir()
		if chain != nil {
			r.Keys(keys)
			a.step("trying the filters")
			err = r.SetChain(ctx, chain)
		}
		if err == nil {
			err = storages.Record(ctx, r)
		}
		if err != nil {
			return nil, errors.Join(err, r.Undo())
		}
		return r, nil
	})
	if err != nil {
		storages.Undo(context.WithoutCancel(ctx))
		return err
	}
	if err := a.uploadDirectory(ctx, c.File, keys); err != nil {
		return err
	}
	report.fill(base)
	if c.json() {
		err = writeJSON(a.stdout, report)
	} else {
		c.printReady(a, base, spool)
	}
	if err != nil {
		return err
	}
	return a.warnFault(base, c.File)
}

// checkDirectory makes sure that a repository can be begun where it is to be.
func (c *initCmd) checkDirectory(a *app) error {
	if isStorage(c.File) {
		return &usageError{"init needs a local directory: " + c.File + " can only be a storage", "give a directory with -f, and this with --storage"}
	}
	if c.SpoolDir != "" {
		if err := repo.CheckSpool(c.File, c.SpoolDir); err != nil {
			return err
		}
		a.hintContext.spool = c.SpoolDir
	}
	return repo.CheckEmpty(c.File)
}

// printReady says what there is now, and what comes next.
func (c *initCmd) printReady(a *app, base base.Result, spool string) {
	a.print("Repository %s is ready.", oneLine(c.File))
	a.printBase(base)
	if spool != "" {
		a.print("  spool     %s", oneLine(spool))
	}
	a.print("\nKeep the stream running, under a supervisor or in another terminal:\n  %s\nLook at it:\n  %s\nRestore:\n  %s",
		a.hintContext.scribe("start", "-f", c.File), a.hintContext.scribe("status", "-f", c.File),
		commandLine("pg_scribe", "restore", "-f", c.File, "-C", "-d", "NEW_DATABASE"))
}

// preflight prints all findings at once and decides whether init may go on.
func (c *initCmd) preflight(ctx context.Context, a *app, conn string) ([]source.Finding, error) {
	a.step("checking the source")
	findings, err := source.Check(ctx, conn, c.Mode == capture.ModeNoHarm, a.command)
	if err != nil {
		return nil, err
	}
	critical := 0
	for i, f := range findings {
		if f.Tool != "" {
			f.Fix = inPath(f.Tool, f.Major, a.hintContext)
			findings[i].Fix = f.Fix
		}
		level := "warning"
		if f.Critical {
			level = "critical"
			critical++
		}
		a.words.finding(level, f.Problem, f.Fix)
	}
	switch {
	case critical > 0 && !c.Force:
		return findings, &validationError{critical}
	case critical > 0:
		a.words.warn("going on in spite of %s, because of --force", show.Plural(int64(critical), "critical finding"))
	default:
		a.words.say("the source is fit: no critical findings, %s", show.Plural(int64(len(findings)), "warning"))
	}
	return findings, nil
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// checkNames refuses what the server would refuse later, half-way.
func checkNames(slot, publication, mode string) error {
	if err := checkSlotName(slot); err != nil {
		return err
	}
	longest := capture.MaxPublication(mode)
	if publication == "" || len(publication) > longest {
		return &usageError{fmt.Sprintf("%q cannot be a publication's name", publication), fmt.Sprintf("give a name of 1 to %d bytes with --publication", longest)}
	}
	return nil
}

func checkSlotName(slot string) error {
	if !slotName.MatchString(slot) {
		return &usageError{fmt.Sprintf("%q cannot be a replication slot's name", slot),
			"PostgreSQL allows 1 to 63 lower-case letters, digits and underscores, as in -S pg_scribe"}
	}
	return nil
}

// baseOptions are those of every base, with its progress in words.
func (a *app) baseOptions(conn, publication string, chain filter.Chain) stream.BaseOptions {
	var last time.Time
	return stream.BaseOptions{ConnString: conn, Publication: publication, Filters: chain, Command: a.command,
		Notice: func(s string) { a.words.say("%s", s) },
		Report: func(p base.Progress) {
			if now := a.now(); now.Sub(last) >= 2*time.Second {
				last = now
				a.words.say("base: %s read, %s stored, table %d of %d: %s",
					show.Bytes(p.TextBytes), show.Bytes(p.StoredBytes), min(p.Tables+1, p.TotalTables), p.TotalTables, p.Table)
			}
		}}
}

// printBase reports one.
func (a *app) printBase(b base.Result) {
	share := ""
	if b.Base.TextBytes > 0 {
		share = fmt.Sprintf(" (%.0f %%)", 100*float64(b.Base.Bytes)/float64(b.Base.TextBytes))
	}
	a.print("  base      %s", b.Base.Name)
	a.print("  globals   %s", b.Globals.Name)
	a.print("  point     %s at %s", b.Base.Start, show.Time(b.Base.ReachedAt))
	a.print("  content   %s, %s", show.Plural(int64(b.Tables), "table"), show.Plural(b.Rows, "row"))
	a.print("  size      %s of SQL, %s stored%s", show.Bytes(b.Base.TextBytes), show.Bytes(b.Base.Bytes), share)
	a.print("  duration  %s", show.Span(b.Duration))
}
