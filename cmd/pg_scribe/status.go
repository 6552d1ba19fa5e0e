package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/stream"
	"pg_scribe/stream/source"
)

type statusCmd struct {
	connFlags
	outputFlag
	keyFlags
	File string `short:"f" placeholder:"DIRECTORY" help:"Repository to look at."`
	Slot string `short:"S" placeholder:"NAME" help:"Replication slot to look at (default: that of -f, or pg_scribe)."`
}

// Limits of the verdict.
const (
	warnLag     = 1 << 30
	criticalLag = 10 << 30
	staleAfter  = 24 * time.Hour
	fullPercent = 80

	// Age of catalog_xmin. Autovacuum gets aggressive at 200 million.
	warnXminAge     = 100_000_000
	criticalXminAge = 1_000_000_000
)

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
	remote bool // the repository is read from a target
	doc    statusJSON

	inventory *catalog.Inventory // of the repository, if one is named
}

// lastError takes what last went wrong with the streamer. It is a warning
// until the stream has gone on.
func (s *statusReport) lastError(ctx context.Context, r *repo.Repository, doc *repositoryJSON) error {
	if r.Remote() { // what it knows is older than the streamer
		return nil
	}
	last, err := stream.ReadLastError(ctx, r)
	if err != nil || last.At.IsZero() {
		return err
	}
	doc.LastError = &errorJSON{At: moment(last.At), Message: last.Message, OverAt: moment(last.Over)}
	if !last.Over.IsZero() {
		return nil
	}
	what := "the last run of start ended with an error"
	if doc.StreamerRunning {
		what = "the streamer has no connection"
	}
	s.warn(what+": "+last.Message, "fix the cause; then start streams again: "+s.app.facts.onSource("start", "-f", s.app.facts.dir))
	return nil
}

func (s *statusReport) warn(message, hint string)     { s.reason("warning", message, hint) }
func (s *statusReport) critical(message, hint string) { s.reason("critical", message, hint) }

func (s *statusReport) reason(level, message, hint string) {
	s.doc.Reasons = append(s.doc.Reasons, reasonJSON{level, message, hint})
}

func (s *statusReport) verdict(slotErr error) {
	s.doc.Verdict = "ok"
	if slotErr != nil {
		s.critical(slotErr.Error(), "")
	}
	for _, r := range s.doc.Reasons {
		if r.Level == "critical" || s.doc.Verdict == "ok" {
			s.doc.Verdict = r.Level
		}
	}
	if s.doc.Reasons == nil {
		s.doc.Reasons = []reasonJSON{}
	}
}

// slot looks at the server.
func (s *statusReport) slot(ctx context.Context, flags connFlags) error {
	a := s.app
	if s.Slot == "" {
		s.Slot = stream.DefaultSlot
	}
	a.facts.slot = s.Slot
	conn, err := a.connect(ctx, flags)
	if err != nil {
		return err
	}
	if s.inventory != nil {
		if _, err := source.CheckIdentity(ctx, conn, *s.inventory); err != nil {
			return err
		}
	}
	if err := stream.CheckOriginal(ctx, conn); err != nil {
		return err
	}
	slot, err := source.FindSlot(ctx, conn, s.Slot)
	if err != nil {
		return err
	}
	if slot.Database != "" && slot.Database != a.facts.base {
		return &source.SlotError{Slot: s.Slot, Problem: source.SlotForeign, Database: slot.Database}
	}
	s.doc.Slot = toSlot(slot)
	if r := s.doc.Repository; r != nil && r.FreshnessSeconds != nil {
		lag := 0.0
		if slot.LagBytes > 0 {
			lag = *r.FreshnessSeconds
		}
		s.doc.Slot.LagSeconds = &lag
	}
	s.judgeSlot(slot)
	publication, mode := stream.DefaultPublication, ""
	if s.doc.Repository != nil {
		publication, mode = s.doc.Repository.Publication, s.doc.Repository.Mode
	}
	findings, err := stream.CheckCapture(ctx, conn, publication, mode)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if len(f.Command) > 0 {
			f.Fix += ": " + a.facts.scribe(f.Command[0], "-f", cmp.Or(a.facts.dir, "REPOSITORY"))
			f.Fix = strings.Join(append([]string{f.Fix}, f.Command[1:]...), " ")
		}
		s.critical(f.Problem, f.Fix)
	}
	return nil
}

// judgeSlot finds what is wrong with a slot.
func (s *statusReport) judgeSlot(slot source.Slot) {
	facts := s.app.facts
	start := facts.scribe("start", "-f", cmp.Or(facts.dir, "REPOSITORY"))
	anew := "begin a new repository: " + facts.scribe("init", "-f", "NEW_DIRECTORY")
	if facts.dir != "" {
		anew = "begin again with a new slot and base: " + facts.newSlot()
	}
	if f, ok := source.ServerVersionFinding(slot.ServerVersion); !ok {
		s.warn(f.Problem, f.Fix)
	}
	if r := s.doc.Repository; r != nil && slot.Timeline != 0 && slot.Timeline != r.Timeline {
		s.warn(fmt.Sprintf("the source is on timeline %d, the repository on timeline %d", slot.Timeline, r.Timeline),
			"start goes over to it, or says why it cannot: "+start)
	}
	switch {
	case slot.LagBytes >= criticalLag:
		s.critical(fmt.Sprintf("the slot lags by %s", showBytes(slot.LagBytes)), "see that start runs and keeps up: "+start)
	case slot.LagBytes >= warnLag:
		s.warn(fmt.Sprintf("the slot lags by %s", showBytes(slot.LagBytes)), "see that start runs and keeps up: "+start)
	}
	switch {
	case slot.Invalidation != "":
		s.critical("the slot is lost: the server has given it up: "+slot.Invalidation, anew)
	case slot.WALStatus == "lost":
		s.critical("the slot is lost: the server has removed WAL that it needs", anew)
	case !slot.Active:
		s.critical("nothing streams from the slot, and the server keeps WAL for it", start)
	}
	if slot.WALStatus == "unreserved" {
		s.critical("the server is about to remove WAL that the slot needs", "raise max_slot_wal_keep_size, and see that start keeps up")
	} else if safe := slot.SafeWALSize; safe != nil && slot.WALStatus != "lost" && *safe < slot.RetainedBytes/4 {
		s.warn(fmt.Sprintf("the slot is lost when another %s are written: %s are kept for it", showBytes(max(0, *safe)), showBytes(slot.RetainedBytes)),
			"raise max_slot_wal_keep_size, and see that start keeps up: "+start)
	}
	old := fmt.Sprintf("the slot keeps the server from cleaning its system catalogs: it holds back %d transactions", slot.CatalogXminAge)
	switch {
	case slot.CatalogXminAge >= criticalXminAge:
		s.critical(old+", and the server stops at two billion", "let start catch up: "+start)
	case slot.CatalogXminAge >= warnXminAge:
		s.warn(old, "let start catch up: "+start)
	}
	if r := s.doc.Repository; r != nil && slot.ConfirmedFlush > r.EndLSN {
		s.critical(fmt.Sprintf("the slot was confirmed up to %s, the repository ends at %s: changes in between are lost", slot.ConfirmedFlush, r.EndLSN), anew)
	}
}

// repository looks at the files and the catalog.
func (s *statusReport) repository(ctx context.Context, dir string, keys *filter.Keys) error {
	s.app.facts.dir = dir
	r, err := s.app.openForReading(ctx, dir, keys)
	if err != nil {
		return err
	}
	defer r.Close()
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	s.inventory = &inv
	if s.Slot == "" {
		s.Slot = inv.Repository.Slot
	}
	damage, err := r.FindDamage(ctx, inv)
	if err != nil {
		return err
	}
	damage.Mark(&inv)
	doc := summarize(inv)
	doc.Directory, s.remote = dir, r.Remote()
	doc.Missing, doc.Damaged, doc.Failed = orEmpty(damage.Missing), orEmpty(damage.Resized), orEmpty(damage.Failed)
	doc.Unseen, doc.unread = orEmpty(damage.Unseen), damage.NotRead
	doc.EndLSN, err = r.End(ctx)
	if none := (*repo.NotRepositoryError)(nil); errors.As(err, &none) {
		err = nil // it holds no base; that is said below
	}
	if err != nil {
		return err
	}
	if at := time.Time(doc.ReachedAt); !at.IsZero() {
		age := max(0, s.app.now().Sub(at).Seconds())
		doc.FreshnessSeconds = &age
	}
	doc.StreamerRunning = r.StreamerRunning()
	if err := s.lastError(ctx, r, doc); err != nil {
		return err
	}
	if !r.Remote() {
		doc.Disk = diskUse(dir)
		if doc.Spool = r.SpoolDir(); doc.Spool != "" {
			doc.SpoolDisk = diskUse(doc.Spool)
		}
		if doc.Storages, err = copyStorages(ctx, r); err != nil {
			return err
		}
	}
	if !r.Remote() { // to a target segments may be on their way, before their catalog
		problem, fix, err := unlisted(ctx, r, dir)
		if err != nil {
			return err
		}
		if problem != "" {
			s.warn(problem, fix)
		}
	}
	switch last, err := r.Catalog().LastVerification(ctx); {
	case err == nil:
		verified := toVerified(last)
		doc.Verification = &verified
		s.judgeVerification(doc, last)
	case !errors.Is(err, catalog.ErrNotFound):
		return err
	}
	s.doc.Repository = doc
	s.judge(doc, inv)
	fault, _, err := r.Catalog().Setting(ctx, stream.SampleFault)
	if err != nil {
		return err
	}
	if fault != "" {
		s.warn("not everything could be sampled: "+fault, "fix the cause; the next sample catches up")
	}
	return nil
}

// summarize puts the catalog's facts into the document.
func summarize(inv catalog.Inventory) *repositoryJSON {
	info := inv.Repository
	doc := &repositoryJSON{SystemID: info.SystemID, Timeline: info.Timeline, Database: info.Database,
		ServerVersion: info.ServerVersion, Slot: info.Slot, Publication: info.Publication, Mode: info.Mode, Compression: info.Compression,
		CreatedAt: moment(info.CreatedAt), Points: len(inv.Points), Gaps: toGaps(inv.Gaps)}
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

// judge finds what is wrong with a repository.
func (s *statusReport) judge(doc *repositoryJSON, inv catalog.Inventory) {
	base := "pg_scribe full-backup -d " + shellQuote(doc.Database) + " -f " + shellQuote(doc.Directory)
	start := "pg_scribe start -d " + shellQuote(doc.Database) + " -f " + shellQuote(doc.Directory)
	if doc.Bases.Count == 0 {
		s.critical("there is no base: nothing can be restored", base)
	}
	if len(doc.Missing) > 0 {
		s.critical(fmt.Sprintf("missing: %s", named(doc.Missing)), "bring the files back from a copy of the repository")
	}
	if len(doc.Damaged) > 0 {
		s.critical(fmt.Sprintf("not of the recorded size: %s", named(doc.Damaged)), "bring the files back from a copy of the repository")
	}
	if len(doc.Failed) > 0 && (doc.Verification == nil || doc.Verification.Outcome != catalog.OutcomeFailed || len(doc.Failed) > 1) {
		s.critical(fmt.Sprintf("verify found damaged: %s", named(doc.Failed)),
			"bring the files back from a copy of the repository, or take a base, and then: "+commandLine("pg_scribe", "verify", "-f", doc.Directory))
	}
	if len(doc.Unseen) > 0 {
		s.warn(fmt.Sprintf("this user cannot read: %s", named(doc.Unseen)), "give them to the owner of the repository: "+commandLine("ls", "-l", doc.Directory))
	}
	if n := len(doc.Holes); n > 0 {
		h := doc.Holes[n-1]
		s.warn(fmt.Sprintf("the chain of segments has %s, the last between %s and %s", plural(int64(n), "break"), h.FromLSN, h.ToLSN),
			"a base behind it makes later moments restorable: "+base)
	}
	for _, sw := range inv.Switches {
		if at, known := catalog.Leaves(inv.Switches, doc.SystemID, doc.Timeline, sw.Timeline); known && sw.SystemID == doc.SystemID && at < doc.EndLSN && sw.Timeline > doc.Timeline {
			s.critical(fmt.Sprintf("timeline %d of the source branched off at %s, before the repository's end %s on timeline %d", sw.Timeline, at, doc.EndLSN, doc.Timeline),
				"if that is the source from now on, begin there: "+base+" --new-slot")
		}
	}
	newest := newestBase(inv)
	for _, g := range inv.Gaps {
		if g.AcknowledgedAt.IsZero() && g.From >= newest {
			s.warn(fmt.Sprintf("at %s (%s): %s", g.From, showTime(g.DetectedAt), g.Reason), "a new base heals it: "+base)
		}
	}
	if doc.FreshnessSeconds != nil {
		if age := time.Duration(*doc.FreshnessSeconds * float64(time.Second)); age > staleAfter {
			s.critical("nothing was stored for "+showSpan(age), start)
		}
	}
	s.judgeStorages(doc)
	for _, disk := range []struct {
		use       *diskJSON
		dir, what string
	}{{doc.Disk, doc.Directory, "the file system"}, {doc.SpoolDisk, doc.Spool, "the file system of the spool directory"}} {
		if disk.use != nil && disk.use.UsedPercent > fullPercent {
			s.warn(fmt.Sprintf("%s is %.0f %% full: %s are free", disk.what, disk.use.UsedPercent, showBytes(disk.use.FreeBytes)),
				"make room: "+commandLine("df", "-h", disk.dir))
		}
	}
}

// judgeVerification passes on what the last run of verify has found.
func (s *statusReport) judgeVerification(doc *repositoryJSON, last catalog.Verification) {
	again := commandLine("pg_scribe", "verify", "-f", doc.Directory)
	switch last.Outcome {
	case catalog.OutcomeFailed:
		s.critical(fmt.Sprintf("verify found damage at %s: %s", showTime(last.FinishedAt), last.Detail),
			"bring the files back from a copy of the repository, or take a base, and then: "+again)
	case catalog.OutcomeInconclusive:
		s.warn(fmt.Sprintf("verify could not judge all files at %s: %s", showTime(last.FinishedAt), last.Detail), again)
	}
}

func newestBase(inv catalog.Inventory) catalog.LSN {
	var newest catalog.LSN
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase {
			newest = max(newest, a.Start)
		}
	}
	return newest
}

func named(list []string) string {
	if len(list) > 5 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", len(list)-5)
	}
	return strings.Join(list, ", ")
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
