package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/health"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/verify"
	"pg_scribe/stream"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

type statusCmd struct {
	connFlags
	outputFlag
	keyFlags
	File string `short:"f" placeholder:"DIRECTORY" help:"Repository to look at."`
	Slot string `short:"S" placeholder:"NAME" help:"Replication slot to look at (default: that of -f, or pg_scribe)."`
}

// Run judges slot and repository. What can be seen is shown even when the
// server cannot be reached.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	if c.Dbname == "" && c.File == "" {
		return &usageError{"neither a database nor a repository was named", "give -d DATABASE, -f DIRECTORY, or both"}
	}
	s := &statusReport{app: a, Slot: c.Slot}
	if c.File != "" {
		keys, err := c.keys()
		if err != nil {
			return err
		}
		if err := s.repository(ctx, c.File, keys); err != nil {
			return err
		}
	}
	var slotErr error
	if c.Dbname != "" {
		slotErr = s.slot(ctx, c.connFlags)
	}
	if errors.As(slotErr, new(*source.IdentityError)) {
		return slotErr // a verdict would be on two things that have nothing to do with each other
	}
	s.verdict(slotErr)
	s.notLookedAt()
	if c.json() {
		if err := writeJSON(a.stdout, s.doc); err != nil {
			return err
		}
	} else {
		s.print(slotErr)
	}
	switch {
	case slotErr != nil:
		return slotErr
	case s.doc.Verdict != "ok":
		return &exitError{exitWarnings}
	}
	return nil
}

// statusReport gathers what is seen, and what is wrong with it.
type statusReport struct {
	app    *app
	Slot   string
	remote bool // the repository is read from a storage
	keys   *filter.Keys
	doc    statusJSON

	seen     *health.Repository // what was seen of the repository, if one is named
	findings []health.Finding
}

func (s *statusReport) verdict(slotErr error) {
	if slotErr != nil {
		s.findings = append(s.findings, health.Finding{Code: "slot-unseen", Severity: health.Critical, Text: slotErr.Error()})
	}
	s.doc.Verdict = string(health.Worst(s.findings))
	s.doc.Reasons = []reasonJSON{}
	for _, f := range s.findings {
		s.doc.Reasons = append(s.doc.Reasons, reasonJSON{string(f.Severity), f.Text, s.app.hintContext.fix(f.Fix)})
	}
}

// slot looks at the server.
func (s *statusReport) slot(ctx context.Context, flags connFlags) error {
	a := s.app
	if s.Slot == "" {
		s.Slot = stream.DefaultSlot
	}
	a.hintContext.slot = s.Slot
	conn, err := a.connect(ctx, flags)
	if err != nil {
		return err
	}
	if s.seen != nil {
		if _, err := source.CheckIdentity(ctx, conn, s.seen.Inventory); err != nil {
			return err
		}
	}
	if err := capture.CheckOriginal(ctx, conn); err != nil {
		return err
	}
	slot, err := source.FindSlot(ctx, conn, s.Slot)
	if err != nil {
		return err
	}
	if slot.Database != "" && slot.Database != a.hintContext.base {
		return &source.SlotError{Slot: s.Slot, Problem: source.SlotForeign, Database: slot.Database}
	}
	if s.seen != nil && slot.ConfirmedFlush > s.seen.End { // the streamer may have gone on since the repository was looked at
		if err := s.lookAgain(ctx); err != nil {
			return err
		}
	}
	s.doc.Slot = toSlot(slot)
	if r := s.doc.Repository; r != nil && r.FreshnessSeconds != nil {
		lag := 0.0
		if slot.LagBytes > 0 {
			lag = *r.FreshnessSeconds
		}
		s.doc.Slot.LagSeconds = &lag
	}
	s.findings = append(s.findings, health.Slot(slot, s.seen)...)
	publication, mode := stream.DefaultPublication, ""
	if s.doc.Repository != nil {
		publication, mode = s.doc.Repository.Publication, s.doc.Repository.Mode
	}
	findings, err := capture.Check(ctx, conn, publication, mode)
	if err != nil {
		return err
	}
	s.findings = append(s.findings, health.Capture(findings, a.hintContext.dir)...)
	return nil
}

// lookAgain reads how far the repository has come by now.
func (s *statusReport) lookAgain(ctx context.Context) error {
	r, err := s.app.openForReading(ctx, s.seen.Directory, s.keys)
	if err != nil {
		return err
	}
	defer r.Close()
	s.seen.End, err = r.End(ctx)
	s.doc.Repository.EndLSN = s.seen.End
	return err
}

// repository looks at the files and the catalog, and judges them.
func (s *statusReport) repository(ctx context.Context, dir string, keys *filter.Keys) error {
	s.app.hintContext.dir, s.keys = dir, keys
	r, err := s.app.openForReading(ctx, dir, keys)
	if err != nil {
		return err
	}
	defer r.Close()
	s.remote = r.Remote()
	if s.seen, err = lookAt(ctx, r, dir); err != nil {
		return err
	}
	if s.Slot == "" {
		s.Slot = s.seen.Inventory.Repository.Slot
	}
	now := s.app.now()
	s.doc.Repository = summarize(s.seen, now)
	if !s.remote { // of one that is read there, none of this is here
		s.doc.Repository.Spool = s.seen.Spool.Directory
		s.doc.Repository.Disk, s.doc.Repository.SpoolDisk = diskUse(dir), diskUse(s.seen.Spool.Directory)
		s.seen.Disk, s.seen.Spool = s.doc.Repository.Disk.of(dir), s.doc.Repository.SpoolDisk.of(s.seen.Spool.Directory)
	}
	s.findings = append(s.findings, s.seen.Judge(now)...)
	return nil
}

// lookAt gathers what can be seen of a repository.
func lookAt(ctx context.Context, r *repo.Repository, dir string) (*health.Repository, error) {
	seen := &health.Repository{Directory: dir, Running: r.StreamerRunning()}
	var err error
	if seen.Inventory, err = r.Catalog().Inventory(ctx); err != nil {
		return nil, err
	}
	if seen.Damage, err = verify.FindDamage(ctx, r, seen.Inventory); err != nil {
		return nil, err
	}
	seen.Damage.Mark(&seen.Inventory)
	// One that holds no base has no end; that is a finding.
	if seen.End, err = r.End(ctx); err != nil && !errors.As(err, new(*repo.NotRepositoryError)) {
		return nil, err
	}
	if !r.Remote() { // there segments may be on their way, before their catalog, which is older than the streamer
		last, err := stream.ReadLastError(ctx, r)
		if err != nil {
			return nil, err
		}
		seen.Trouble = health.Trouble(last)
		seen.Spool.Directory = r.SpoolDir()
		if seen.Storages, err = r.Catalog().Storages(ctx); err != nil {
			return nil, err
		}
		if seen.Uncatalogued, err = verify.Uncatalogued(ctx, r); err != nil {
			return nil, err
		}
	}
	switch last, err := r.Catalog().LastVerification(ctx); {
	case err == nil:
		seen.Verified = &last
	case !errors.Is(err, catalog.ErrNotFound):
		return nil, err
	}
	switch last, err := r.Catalog().LastRehearsal(ctx); {
	case err == nil:
		seen.Rehearsed = &last
	case !errors.Is(err, catalog.ErrNotFound):
		return nil, err
	}
	seen.Unsampled, _, err = r.Catalog().Setting(ctx, sample.FaultSetting)
	return seen, err
}

// summarize puts what was seen into the document.
func summarize(seen *health.Repository, now time.Time) *repositoryJSON {
	inv, info := seen.Inventory, seen.Inventory.Repository
	doc := &repositoryJSON{
		Directory: seen.Directory, StreamerRunning: seen.Running, Storages: toStorages(seen.Storages),
		ofJSON: ofJSON{info.SystemID, info.Timeline, info.Database, info.ServerVersion, info.Slot, info.Publication, info.Mode, info.Compression,
			moment(info.CreatedAt)},
		contentsJSON: contentsJSON{Points: len(inv.Points), Gaps: toGaps(inv.Gaps), EndLSN: seen.End},
		damageJSON: damageJSON{orEmpty(seen.Damage.Missing), orEmpty(seen.Damage.Resized), orEmpty(seen.Damage.Failed), orEmpty(seen.Damage.Unseen),
			seen.Damage.NotRead},
	}
	var reached, last time.Time
	for _, art := range inv.Artifacts {
		switch art.Kind {
		case catalog.KindBase:
			doc.Bases.add(art)
		case catalog.KindGlobals:
			doc.Globals.add(art)
		case catalog.KindSegment:
			doc.Segments.add(art)
			doc.Transactions += art.Transactions
			if art.LastCommitAt.After(last) {
				last = art.LastCommitAt
			}
		}
		if at := art.KnownAt(); at.After(reached) {
			reached = at
		}
	}
	doc.ReachedAt, doc.LastTransactionAt = moment(reached), moment(last)
	doc.Holes, doc.Windows = toHoles(catalog.Holes(inv.Artifacts, inv.Switches...)), toWindows(catalog.Windows(inv))
	if age, known := seen.Freshness(now); known {
		seconds := age.Seconds()
		doc.FreshnessSeconds = &seconds
	}
	if t := seen.Trouble; !t.At.IsZero() {
		doc.LastError = &errorJSON{At: moment(t.At), Message: t.Message, OverAt: moment(t.Over)}
	}
	if seen.Verified != nil {
		verified := toVerified(*seen.Verified)
		doc.Verification = &verified
	}
	if seen.Rehearsed != nil {
		rehearsed := toRehearsed(*seen.Rehearsed)
		doc.Rehearsal = &rehearsed
	}
	return doc
}

func (g *groupJSON) add(a catalog.Artifact) {
	at := cmp.Or(a.KnownAt(), a.FinishedAt)
	if g.Count == 0 {
		g.First, g.FirstAt = a.Name, moment(at)
	}
	g.Count++
	g.Bytes += a.Bytes
	g.TextBytes += a.TextBytes
	g.Last, g.LastAt = a.Name, moment(at)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
