package health

import (
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
	"pg_scribe/repo/verify"
)

// Limits of the verdict on a repository.
const (
	staleAfter  = 24 * time.Hour
	fullPercent = 80

	// slowStorage is how far behind a storage may be that does not fail. A base may
	// take that long.
	slowStorage = time.Hour
)

// Repository is what was seen of a repository.
type Repository struct {
	Directory    string
	Inventory    catalog.Inventory // with what Damage affects marked
	End          catalog.LSN
	Running      bool // start is at work
	Trouble      Trouble
	Damage       verify.Damage
	Uncatalogued []string              // segments that the catalog does not know
	Verified     *catalog.Verification // the last run of verify; nil: there was none
	Rehearsed    *catalog.Rehearsal    // the last run of rehearse; nil: there was none
	Storages     []catalog.Storage
	Disk         Disk // of the directory
	Spool        Disk
	Unsampled    string // why not everything could be sampled
}

// Trouble is what last went wrong with the streamer; the zero value: nothing ever did.
type Trouble struct {
	At      time.Time
	Message string
	Over    time.Time // when it streamed again; zero: not yet
}

// Disk is how full a file system is; the zero value: not known.
type Disk struct {
	Directory   string
	UsedPercent float64
	FreeBytes   int64
}

// Freshness is how old the newest thing is that is known to be stored.
func (r *Repository) Freshness(now time.Time) (age time.Duration, known bool) {
	var reached time.Time
	for _, a := range r.Inventory.Artifacts {
		if at := a.KnownAt(); at.After(reached) {
			reached = at
		}
	}
	return max(0, now.Sub(reached)), !reached.IsZero()
}

// Judge judges a repository.
func (r *Repository) Judge(now time.Time) []Finding {
	var l list
	l.streamer(r)
	if len(r.Uncatalogued) > 0 {
		l = append(l, Uncatalogued(r.Uncatalogued, scribe("catalog", "rebuild", "--force", "-f", r.Directory)))
	}
	l.verification(r)
	l.rehearsal(r, now)
	l.files(r)
	l.continuity(r)
	if age, known := r.Freshness(now); known && age > staleAfter {
		l.add("stale", Critical, run("", r.source("start")), "nothing was stored for %s", show.Span(age))
	}
	for _, t := range r.Storages {
		l.storage(r, t, now)
	}
	l.disk(r.Disk, "disk", "the file system")
	l.disk(r.Spool, "spool-disk", "the file system of the spool directory")
	if r.Unsampled != "" {
		l.add("unsampled", Warning, words("fix the cause; the next sample catches up"), "not everything could be sampled: %s", r.Unsampled)
	}
	return l
}

// source is a command that needs the source, of which the database is known.
func (r *Repository) source(command string, args ...string) Command {
	return Command{Args: append([]string{command, "-f", r.Directory}, args...), Database: r.Inventory.Repository.Database}
}

// streamer judges what last went wrong with the streamer. It is a warning until the
// stream has gone on.
func (l *list) streamer(r *Repository) {
	if r.Trouble.At.IsZero() || !r.Trouble.Over.IsZero() {
		return
	}
	what := "the last run of start ended with an error"
	if r.Running {
		what = "the streamer has no connection"
	}
	l.add("streamer", Warning, run("fix the cause; then start streams again", Command{Args: []string{"start", "-f", r.Directory}, Connect: true}),
		"%s: %s", what, r.Trouble.Message)
}

// Uncatalogued is the finding on segments that the catalog does not know; rebuild is
// what takes them in.
func Uncatalogued(names []string, rebuild Command) Finding {
	return Finding{"unlisted", Warning,
		"the catalog does not know newer segments, and what they hold is not restored: " + show.Names(names), run("take them in first", rebuild)}
}

// copied is how damaged files come back.
const copied = "bring the files back from a copy of the repository"

// verification passes on what the last run of verify has found.
func (l *list) verification(r *Repository) {
	if r.Verified == nil {
		return
	}
	again := scribe("verify", "-f", r.Directory)
	at := show.Time(r.Verified.FinishedAt)
	switch r.Verified.Outcome {
	case catalog.OutcomeFailed:
		l.add("verify-failed", Critical, run(copied+", or take a base, and then", again), "verify found damage at %s: %s", at, r.Verified.Detail)
	case catalog.OutcomeInconclusive:
		l.add("verify-inconclusive", Warning, run("", again), "verify could not judge all files at %s: %s", at, r.Verified.Detail)
	}
}

// files judges what is there of the files.
func (l *list) files(r *Repository) {
	if !hasBase(r.Inventory) {
		l.add("no-base", Critical, run("", r.source("full-backup")), "there is no base: nothing can be restored")
	}
	d := r.Damage
	if len(d.Missing) > 0 {
		l.add("files-missing", Critical, words(copied), "missing: %s", show.Names(d.Missing))
	}
	if len(d.Resized) > 0 {
		l.add("files-resized", Critical, words(copied), "not of the recorded size: %s", show.Names(d.Resized))
	}
	// One file that the last run found is named by its own finding.
	if len(d.Failed) > 0 && (r.Verified == nil || r.Verified.Outcome != catalog.OutcomeFailed || len(d.Failed) > 1) {
		l.add("files-failed", Critical, run(copied+", or take a base, and then", scribe("verify", "-f", r.Directory)), "verify found damaged: %s",
			show.Names(d.Failed))
	}
	if len(d.Unseen) > 0 {
		l.add("files-unreadable", Warning, run("give them to the owner of the repository", Command{Program: "ls", Args: []string{"-l", r.Directory}}),
			"this user cannot read: %s", show.Names(d.Unseen))
	}
}

func hasBase(inv catalog.Inventory) bool {
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase {
			return true
		}
	}
	return false
}

// continuity judges the chain of segments: where it breaks, where it branches off,
// and where it holds less than the source did.
func (l *list) continuity(r *Repository) {
	inv, info := r.Inventory, r.Inventory.Repository
	base := r.source("full-backup")
	if holes := catalog.Holes(inv.Artifacts, inv.Switches...); len(holes) > 0 {
		h := holes[len(holes)-1]
		l.add("hole", Warning, run("a base behind it makes later moments restorable", base),
			"the chain of segments has %s, the last between %s and %s", show.Plural(int64(len(holes)), "break"), h.From, h.To)
	}
	for _, sw := range inv.Switches {
		if at, known := catalog.Leaves(inv.Switches, info.SystemID, info.Timeline, sw.Timeline); known && sw.SystemID == info.SystemID && at < r.End &&
			sw.Timeline > info.Timeline {
			l.add("branch", Critical, run("if that is the source from now on, begin there", r.source("full-backup", "--new-slot")),
				"timeline %d of the source branched off at %s, before the repository's end %s on timeline %d", sw.Timeline, at, r.End, info.Timeline)
		}
	}
	newest := newestBase(inv)
	for _, g := range inv.Gaps {
		if g.AcknowledgedAt.IsZero() && g.From >= newest {
			l.add("gap", Warning, run("a new base heals it", base), "at %s (%s): %s", g.From, show.Time(g.DetectedAt), g.Reason)
		}
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

// storage judges one storage.
func (l *list) storage(r *Repository, t catalog.Storage, now time.Time) {
	send := scribe("copy", "-f", r.Directory)
	lacks := show.Plural(int64(t.Pending), "file")
	since := t.PendingSince // the oldest file could not be there before the storage was known
	if since.Before(t.AddedAt) {
		since = t.AddedAt
	}
	switch {
	case !t.FailedSince.IsZero():
		l.add("storage-failing", Warning,
			[]Step{{"fix the cause; then start sends what waits, or", send}, {"if it is gone for good", scribe("copy", "-f", r.Directory, "--forget", t.Spec)}},
			"storage %s fails since %s, %s not there yet: %s", t.Spec, show.Time(t.FailedSince), lacks, t.Error)
	case t.Pending > 0 && r.Running && !since.IsZero() && now.Sub(since) > slowStorage:
		l.add("storage-slow", Warning, words("see what start says; it is too slow, or hangs"),
			"storage %s lacks %s, the oldest of %s, though start runs", t.Spec, lacks, show.Time(since))
	case t.Pending > 0 && !r.Running:
		l.add("storage-behind", Warning, run("", send), "%s not on storage %s, and nothing sends them", lacks, t.Spec)
	}
}

func (l *list) disk(d Disk, code Code, what string) {
	if d.UsedPercent > fullPercent {
		l.add(code, Warning, run("make room", Command{Program: "df", Args: []string{"-h", d.Directory}}),
			"%s is %.0f %% full: %s are free", what, d.UsedPercent, show.Bytes(d.FreeBytes))
	}
}
