package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/rebuild"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/verify"
)

type verifyCmd struct {
	outputFlag
	keyFlags
	File           string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	ReadDataSubset subset `placeholder:"PART" help:"Read only a part of the files whole: 5%, 2/7, or 10GB (default: all)."`
}

// Run compares the files with the catalog.
func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := a.openRepository(ctx, c.File)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		r, err = repo.OpenReadOnly(ctx, c.File)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	r.Keys(keys)
	var last time.Time
	storages, _, err := a.storagesOf(ctx, r)
	if err != nil {
		return err
	}
	report, err := verify.Run(ctx, r, verify.Options{Subset: verify.Subset(c.ReadDataSubset), Storages: storages, Report: func(f verify.File) {
		if f.Outcome != catalog.OutcomeOK {
			a.words.warn("%s: %s: %s", f.Place(), f.Outcome, f.Reason)
		} else if a.verbose || a.now().Sub(last) >= 5*time.Second && f.Read {
			last = a.now()
			a.words.say("%s is in order", f.Place())
		}
	}})
	if err != nil {
		return err
	}
	doc := toVerify(c.File, report)
	if c.json() {
		err = writeJSON(a.stdout, doc)
	} else {
		a.printVerify(doc)
	}
	if err != nil {
		return err
	}
	if !report.Recorded {
		a.words.warn("the result is not in the catalog, which cannot be written")
	}
	return verdictOf(a, doc)
}

// judge is the verdict in words and the exit code that belongs to it: damage
// before what is not certain.
func (doc verifyJSON) judge() (verdict string, code int) {
	var reasons []string
	if n := len(doc.Holes); n > 0 {
		reasons = append(reasons, "the chain of segments has "+show.Plural(int64(n), "break"))
	}
	unseen := 0
	for _, g := range doc.Gaps {
		if time.Time(g.AcknowledgedAt).IsZero() {
			unseen++
		}
	}
	if unseen > 0 {
		reasons = append(reasons, show.Plural(int64(unseen), "gap")+" behind the newest base")
	}
	if n := len(doc.Strays); n > 0 {
		reasons = append(reasons, "the catalog does not know "+show.Plural(int64(n), "file"))
	}
	switch verdict = strings.ToUpper(doc.Outcome); {
	case doc.Outcome == catalog.OutcomeFailed:
		return verdict, exitBackup
	case doc.Outcome == catalog.OutcomeInconclusive:
		return verdict, exitWarnings
	case len(reasons) > 0:
		return "WARNING: the files are in order, but " + strings.Join(reasons, "; "), exitWarnings
	}
	return verdict, exitOK
}

// verdictOf ends the command as it was judged.
func verdictOf(a *app, doc verifyJSON) error {
	if len(doc.Strays) > 0 {
		a.words.finding("warning", fmt.Sprintf("the catalog does not know %s", show.Names(doc.Strays)),
			"take them in with: "+commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", doc.Directory)+", or move them away")
	}
	if _, code := doc.judge(); code != exitOK {
		return &exitError{code}
	}
	return nil
}

func (a *app) printVerify(doc verifyJSON) {
	part := ""
	if doc.Subset != "" {
		part = " (" + doc.Subset + ")"
	}
	a.print("Repository %s", oneLine(doc.Directory))
	a.print("  files         %d, %d of them read whole%s, %s", doc.Files, doc.FilesRead, part, show.Bytes(doc.BytesRead))
	a.print("  failed        %d", doc.Failed)
	a.print("  inconclusive  %d", doc.Inconclusive)
	for _, w := range doc.Windows {
		if w.Ahead {
			a.print("  restorable    at %s (%s): a base that the stream has not reached yet", w.FromLSN, a.showTime(time.Time(w.FromAt)))
			continue
		}
		a.print("  restorable    from %s (%s) to %s (%s)", w.FromLSN, a.showTime(time.Time(w.FromAt)), w.ToLSN, a.showTime(time.Time(w.ToAt)))
	}
	for _, h := range doc.Holes {
		a.print("  break         %s between %s and %s, since %s", h.Kind, h.FromLSN, h.ToLSN, a.showTime(time.Time(h.Since)))
	}
	for _, g := range doc.Gaps {
		a.print("  gap           %s at %s (%s): %s", g.Kind, g.FromLSN, a.showTime(time.Time(g.DetectedAt)), oneLine(g.Reason))
	}
	for _, name := range doc.Others {
		a.print("  not ours      %s", oneLine(name))
	}
	if len(doc.Windows) == 0 {
		a.print("  restorable    nothing")
	}
	verdict, _ := doc.judge()
	a.print("%s", verdict)
}

// subset is the part of the data that verify reads.
type subset verify.Subset

func (s *subset) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	bad := fmt.Errorf("%q is no part of the data: give a share (5%%), one part of several (2/7) or a size (10GB)", t)
	if number, found := strings.CutSuffix(t, "%"); found {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n > 0 && n <= 100) {
			return bad
		}
		*s = subset{Percent: n}
		return nil
	}
	if part, parts, found := strings.Cut(t, "/"); found {
		k, err1 := strconv.Atoi(part)
		n, err2 := strconv.Atoi(parts)
		if err1 != nil || err2 != nil || k < 1 || n < k {
			return bad
		}
		*s = subset{Part: k, Parts: n}
		return nil
	}
	var n size
	if last := t[max(0, len(t)-1):]; strings.ContainsAny(last, "kKMGT") { // 10G as well as 10GB
		t += "B"
	}
	if err := n.UnmarshalText([]byte(t)); err != nil || n == 0 {
		return bad
	}
	*s = subset{Bytes: int64(n)}
	return nil
}

type catalogCmd struct {
	outputFlag
	filterFlags
	keyFlags
	Action   string `arg:"" enum:"check,rebuild" help:"check, or rebuild from the files alone."`
	File     string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	SpoolDir string `placeholder:"DIRECTORY" help:"rebuild: make a folder for what is not encrypted below this directory, as init does, in place of one that is lost."`
	Storage  string `aliases:"target" placeholder:"WHERE" help:"rebuild: bring the files that are missing from this storage first; -f may be empty, or absent."`
	Force    bool   `help:"Rebuild a catalog that is whole."`
}

// Run checks the catalog, or makes it again.
func (c *catalogCmd) Run(ctx context.Context, a *app) error {
	a.hintContext.dir = c.File
	if c.Action == "check" {
		if c.SpoolDir != "" {
			return &usageError{"--spool-dir with catalog check", "it is for catalog rebuild; check finds the folder by itself"}
		}
		return c.check(ctx, a)
	}
	chain, err := c.chain()
	if err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	if storage.IsSpec(c.File) {
		return &usageError{"catalog rebuild needs a local directory: " + c.File + " can only be a storage",
			"its files are brought into a directory: " + commandLine("pg_scribe", "catalog", "rebuild", "-f", "NEW_DIRECTORY", "--storage", c.File)}
	}
	opts := rebuild.Options{Force: c.Force, Keys: keys, Chain: chain, Spool: c.SpoolDir}
	a.hintContext.spool = c.SpoolDir
	if c.Storage != "" {
		a.step("bringing the files")
		if opts.From, err = a.parseStorage(c.Storage); err != nil {
			return err
		}
	}
	report, err := rebuild.Run(ctx, c.File, a.now, opts)
	if err != nil {
		return err
	}
	doc := rebuildJSON{Directory: c.File, Artifacts: []artifactJSON{}, LeftOut: toFiles(report.LeftOut), Assumed: report.Assumed,
		Salvaged: report.Salvaged, OldCatalog: report.Old, Sealed: report.Sealed}
	if doc.Assumed == nil {
		doc.Assumed = []string{}
	}
	if doc.Salvaged == nil {
		doc.Salvaged = map[string]int{}
	}
	for _, art := range report.Artifacts {
		doc.Artifacts = append(doc.Artifacts, toArtifact(art))
	}
	if c.json() {
		err = writeJSON(a.stdout, doc)
	} else {
		a.printRebuild(doc)
	}
	for _, f := range doc.LeftOut {
		a.words.warn("%s is left out: %s", f.Name, f.Reason)
	}
	if err == nil && len(doc.LeftOut) > 0 {
		err = &exitError{exitWarnings}
	}
	return err
}

func (a *app) printRebuild(doc rebuildJSON) {
	a.print("The catalog of %s is rebuilt: %s.", oneLine(doc.Directory), show.Plural(int64(len(doc.Artifacts)), "file"))
	if doc.OldCatalog != "" {
		a.print("  old catalog  %s", doc.OldCatalog)
	}
	if doc.Sealed != "" {
		a.print("  sealed       %s, which a streamer had left open", doc.Sealed)
	}
	for _, what := range []string{"pins", "settings", "gaps", "operations", "verifications"} {
		a.print("  %-12s %d taken over from the old catalog", what, doc.Salvaged[what])
	}
	for _, what := range doc.Assumed {
		a.print("  assumed      %s, which files of earlier versions do not tell", oneLine(what))
	}
}

// check looks at the catalog's own file, and at presence and size of what it
// lists.
func (c *catalogCmd) check(ctx context.Context, a *app) error {
	r, err := repo.OpenReadOnly(ctx, c.File)
	if err != nil {
		return err
	}
	defer r.Close()
	faults, err := r.Catalog().IntegrityCheck(ctx)
	if err != nil {
		return err
	}
	doc := catalogCheckJSON{verifyJSON: verifyJSON{Directory: c.File, verifiedJSON: verifiedJSON{Outcome: catalog.OutcomeFailed}}, Faults: faults}
	if len(faults) == 0 {
		doc.Faults = []string{}
		report, err := verify.Run(ctx, r, verify.Options{Presence: true, Report: func(f verify.File) {
			if f.Outcome != catalog.OutcomeOK {
				a.words.warn("%s: %s: %s", f.Name, f.Outcome, f.Reason)
			}
		}})
		if err != nil {
			return err
		}
		doc.verifyJSON = toVerify(c.File, report)
	}
	for _, fault := range faults {
		a.words.finding("critical", fault, "make it again from the files: "+commandLine("pg_scribe", "catalog", "rebuild", "-f", c.File))
	}
	if c.json() {
		err = writeJSON(a.stdout, doc)
	} else {
		a.print("Catalog of %s: %s, %s", oneLine(c.File), show.Plural(int64(len(faults)), "fault"), show.Plural(int64(doc.Files), "file"))
		verdict, _ := doc.judge()
		a.print("%s", verdict)
	}
	if err != nil {
		return err
	}
	return verdictOf(a, doc.verifyJSON)
}
