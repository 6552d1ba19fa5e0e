package health

import (
	"pg_scribe/internal/show"
	"pg_scribe/stream/source"
)

// Limits of the verdict on a slot.
const (
	warnLag     = 1 << 30
	criticalLag = 10 << 30

	// Age of catalog_xmin. Autovacuum gets aggressive at 200 million.
	warnXminAge     = 100_000_000
	criticalXminAge = 1_000_000_000
)

// Slot judges a slot, beside the repository that it feeds, if that is known.
func Slot(slot source.Slot, r *Repository) []Finding {
	var l list
	directory := ""
	if r != nil {
		directory = r.Directory
	}
	start := Command{Args: []string{"start", "-f", orRepository(directory)}, Connect: true}
	anew := run("begin a new repository", Command{Args: []string{"init", "-f", "NEW_DIRECTORY"}, Connect: true})
	if r != nil {
		anew = run("begin again with a new slot and base", Command{Args: []string{"full-backup", "-f", directory, "--new-slot"}, Connect: true})
	}
	if f, ok := source.ServerVersionFinding(slot.ServerVersion); !ok {
		l.add("server-version", Warning, words(f.Fix), "%s", f.Problem)
	}
	if r != nil && slot.Timeline != 0 && slot.Timeline != r.Inventory.Repository.Timeline {
		l.add("timeline", Warning, run("start goes over to it, or says why it cannot", start),
			"the source is on timeline %d, the repository on timeline %d", slot.Timeline, r.Inventory.Repository.Timeline)
	}
	if slot.LagBytes >= warnLag {
		severity := Warning
		if slot.LagBytes >= criticalLag {
			severity = Critical
		}
		l.add("slot-lag", severity, run("see that start runs and keeps up", start), "the slot lags by %s", show.Bytes(slot.LagBytes))
	}
	switch {
	case slot.Invalidation != "":
		l.add("slot-lost", Critical, anew, "the slot is lost: the server has given it up: %s", slot.Invalidation)
	case slot.WALStatus == "lost":
		l.add("slot-lost", Critical, anew, "the slot is lost: the server has removed WAL that it needs")
	case !slot.Active:
		l.add("slot-idle", Critical, run("", start), "nothing streams from the slot, and the server keeps WAL for it")
	}
	l.retention(slot, start)
	if r != nil && slot.ConfirmedFlush > r.End {
		l.add("slot-ahead", Critical, anew, "the slot was confirmed up to %s, the repository ends at %s: changes in between are lost", slot.ConfirmedFlush, r.End)
	}
	return l
}

// retention judges what the server keeps for a slot, and what it costs.
func (l *list) retention(slot source.Slot, start Command) {
	const raise = "raise max_slot_wal_keep_size, and see that start keeps up"
	if slot.WALStatus == "unreserved" {
		l.add("slot-wal", Critical, words(raise), "the server is about to remove WAL that the slot needs")
	} else if safe := slot.SafeWALSize; safe != nil && slot.WALStatus != "lost" && *safe < slot.RetainedBytes/4 {
		l.add("slot-wal", Warning, run(raise, start), "the slot is lost when another %s are written: %s are kept for it",
			show.Bytes(max(0, *safe)), show.Bytes(slot.RetainedBytes))
	}
	severity, behind := Warning, ""
	switch {
	case slot.CatalogXminAge >= criticalXminAge:
		severity, behind = Critical, ", and the server stops at two billion"
	case slot.CatalogXminAge < warnXminAge:
		return
	}
	l.add("slot-xmin", severity, run("let start catch up", start),
		"the slot keeps the server from cleaning its system catalogs: it holds back %d transactions%s", slot.CatalogXminAge, behind)
}
