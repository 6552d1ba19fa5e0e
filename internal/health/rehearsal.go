package health

import (
	"fmt"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
)

// rehearsedAgo is how old a rehearsal may be where something came since.
const rehearsedAgo = 7 * 24 * time.Hour

// rehearsal judges what the last one has shown. Where there was none it says
// nothing: not every machine has a server's programs.
func (l *list) rehearsal(r *Repository, now time.Time) {
	last := r.Rehearsed
	if last == nil {
		return
	}
	again := scribe("rehearse", "-f", r.Directory)
	if last.Outcome == catalog.OutcomeFailed && !healed(r.Inventory, *last) {
		*l = append(*l, RehearsalFailed(*last, r.Directory, r.Inventory.Repository.Database))
		return
	}
	if age := now.Sub(last.FinishedAt); age > rehearsedAgo && r.End > last.Proven {
		l.add("rehearsal-old", Warning, run("", again), "the commands behind %s were not rehearsed for %s", last.Proven, show.Span(age))
	}
}

// healed says whether a base stands behind what failed.
func healed(inv catalog.Inventory, last catalog.Rehearsal) bool {
	newest := newestBase(inv)
	if last.FailedLSN != 0 {
		return newest > last.FailedLSN
	}
	for _, a := range inv.Artifacts { // the base itself
		if a.Kind == catalog.KindBase && a.Name == last.Base {
			return newest > a.Start
		}
	}
	return true
}

// RehearsalFailed is the finding on a command that does not run again. The database
// is the source's.
func RehearsalFailed(r catalog.Rehearsal, directory, database string) Finding {
	what := strings.TrimSpace(r.Tag + " " + r.Object)
	if what != "" {
		what += ": "
	}
	base := Command{Args: []string{"full-backup", "-f", directory}, Database: database}
	fix := run("a base behind it makes later moments restorable", base)
	switch {
	case lacksExtension(r):
		fix = run("install the extension where a restore is to run, then", scribe("rehearse", "-f", directory))
	case r.FailedLSN == 0:
		fix = run("set it right on the source, or restore into a server that takes it; then", base)
	}
	where := "the base " + r.Base
	if r.FailedLSN != 0 {
		where = "LSN " + r.FailedLSN.String()
		if !r.FailedAt.IsZero() {
			where += " (" + show.Time(r.FailedAt) + ")"
		}
	}
	return Finding{"rehearsal-failed", Critical, fmt.Sprintf("a restore stops at %s: %s%s", where, what, r.Message), fix}
}

// lacksExtension says whether the server lacked the files of an extension, or of
// another library. A base has it too.
func lacksExtension(r catalog.Rehearsal) bool {
	return r.Tag == "CREATE EXTENSION" || strings.Contains(r.Message, "$libdir/")
}
