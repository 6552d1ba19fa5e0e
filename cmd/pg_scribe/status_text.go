package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// print writes the report for a person.
func (s *statusReport) print(slotErr error) {
	if s.doc.Slot != nil {
		s.printSlot(*s.doc.Slot)
	}
	if s.doc.Repository != nil {
		s.printRepository(*s.doc.Repository)
	}
	line := strings.ToUpper(s.doc.Verdict)
	var reasons []string
	for _, r := range s.doc.Reasons {
		reasons = append(reasons, r.Message)
		if slotErr == nil || r.Message != slotErr.Error() { // that one is the program's error
			s.app.words.finding(r.Level, r.Message, r.Hint)
		}
	}
	if len(reasons) > 0 {
		line += ": " + oneLine(strings.Join(reasons, "; "))
	}
	s.app.print("%s", line)
}

func (s *statusReport) row(name, format string, args ...any) {
	s.app.print("  %-14s %s", name, oneLine(fmt.Sprintf(format, args...)))
}

func (s *statusReport) printSlot(d slotJSON) {
	s.app.print("Slot %s of database %q", d.Name, d.Database)
	active := "no"
	if d.Active {
		active = fmt.Sprintf("yes, process %d", d.ActivePID)
	}
	s.row("active", "%s", active)
	s.row("confirmed", "%s", d.ConfirmedLSN)
	s.row("server", "%s", d.CurrentLSN)
	lag := showBytes(d.LagBytes)
	if d.LagSeconds != nil {
		lag += fmt.Sprintf(", %s", showSpan(time.Duration(*d.LagSeconds*float64(time.Second))))
	}
	s.row("lag", "%s", lag)
	s.row("WAL kept", "%s, from %s", showBytes(d.RetainedBytes), d.RestartLSN)
	safe := "no limit (max_slot_wal_keep_size)"
	switch {
	case d.WALStatus == "lost" || d.Invalidation != "":
		safe = "the server has removed WAL that it needs"
		if d.Invalidation != "" {
			safe = "the server has given it up: " + d.Invalidation
		}
	case d.SafeBytes != nil:
		safe = showBytes(*d.SafeBytes) + " more may be written before the slot is lost"
	}
	s.row("WAL status", "%s, %s", d.WALStatus, safe)
	s.row("catalog xmin", "%d transactions old", d.CatalogXminAge)
	s.app.print("")
}

func (s *statusReport) printRepository(d repositoryJSON) {
	s.app.print("Repository %s of database %q", oneLine(d.Directory), d.Database)
	s.row("source", "PostgreSQL %s, system %s, timeline %d", d.ServerVersion, d.SystemID, d.Timeline)
	s.row("slot", "%s, publication %q, %s mode", d.Slot, d.Publication, d.Mode)
	s.row("bases", "%s", d.Bases)
	s.row("globals", "%s", d.Globals)
	s.row("segments", "%s, %s", d.Segments, plural(d.Transactions, "transaction"))
	s.row("marks", "%d", d.Points)
	for _, w := range d.Windows {
		lost := ""
		if w.LeftLSN != 0 {
			lost = fmt.Sprintf("; the source has lost what is at or behind %s", w.LeftLSN)
		}
		s.row("restorable", "from %s (%s) to %s (%s)%s", w.FromLSN, showTime(time.Time(w.FromAt)), w.ToLSN, showTime(time.Time(w.ToAt)), lost)
	}
	if len(d.Windows) == 0 {
		s.row("restorable", "nothing")
	}
	for _, h := range d.Holes {
		s.row("break", "%s between %s and %s, since %s", h.Kind, h.FromLSN, h.ToLSN, showTime(time.Time(h.Since)))
	}
	for _, g := range d.Gaps {
		s.row("gap", "%s at %s (%s): %s", g.Kind, g.FromLSN, showTime(time.Time(g.DetectedAt)), g.Reason)
	}
	s.row("last commit", "%s", showTime(time.Time(d.LastTransactionAt)))
	fresh := "unknown"
	if d.FreshnessSeconds != nil {
		fresh = showSpan(time.Duration(*d.FreshnessSeconds*float64(time.Second))) + " ago"
	}
	s.row("reached", "%s at %s, %s", d.EndLSN, showTime(time.Time(d.ReachedAt)), fresh)
	running := "not running"
	if d.StreamerRunning {
		running = "running"
	}
	s.row("streamer", "%s", running)
	verified := "never"
	if v := d.Verification; v != nil {
		verified = fmt.Sprintf("%s at %s, %d of %s read", v.Outcome, showTime(time.Time(v.FinishedAt)), v.FilesRead, plural(int64(v.Files), "file"))
	}
	s.row("verified", "%s", verified)
	for i, t := range d.Targets {
		name := "target"
		if i > 0 {
			name = "copy"
		}
		line := fmt.Sprintf("%s: %s, %s", t.Target, plural(int64(t.Files), "file"), showBytes(t.Bytes))
		if t.Pending > 0 {
			line += fmt.Sprintf("; %s (%s) not there yet", plural(int64(t.Pending), "file"), showBytes(t.PendingBytes))
		}
		s.row(name, "%s", line)
	}
	if d.Disk != nil {
		s.row("disk", "%.0f %% used, %s free", d.Disk.UsedPercent, showBytes(d.Disk.FreeBytes))
	}
	if d.Spool != "" {
		free := ""
		if d.SpoolDisk != nil {
			free = fmt.Sprintf(", %.0f %% used, %s free", d.SpoolDisk.UsedPercent, showBytes(d.SpoolDisk.FreeBytes))
		}
		s.row("spool", "%s%s", d.Spool, free)
	}
	s.app.print("")
}

// String sums a group up in words.
func (g groupJSON) String() string {
	switch g.Count {
	case 0:
		return "none"
	case 1:
		return fmt.Sprintf("1, %s, %s", showBytes(g.Bytes), showTime(time.Time(g.LastAt)))
	}
	return fmt.Sprintf("%d, %s, from %s to %s", g.Count, showBytes(g.Bytes), showTime(time.Time(g.FirstAt)), showTime(time.Time(g.LastAt)))
}

// statFiles looks for files that are not there, or not as long as recorded,
// without reading them.
func statFiles(ctx context.Context, r *repo.Repository, inv catalog.Inventory) (missing, damaged []string) {
	missing, damaged = []string{}, []string{}
	for _, a := range inv.Artifacts {
		size, err := r.StoredSize(a)
		var none *repo.MissingFileError
		switch {
		case errors.As(err, &none) && a.State == catalog.StateOpen:
			// Sealed a moment ago, unless it is not found under its new name either.
			if release, err := r.Hold(a); err == nil {
				release()
			} else if now, kerr := r.Catalog().Artifact(ctx, a.ID); errors.As(err, &none) && kerr == nil && now.State == catalog.StateOpen {
				missing = append(missing, a.Name)
			}
		case errors.As(err, &none):
			missing = append(missing, a.Name)
		case err != nil:
		case a.State == catalog.StateOpen && size < a.Bytes, a.State != catalog.StateOpen && size != a.Bytes:
			damaged = append(damaged, a.Name)
		}
	}
	return missing, damaged
}

// diskUse asks the file system; nil when it does not say.
func diskUse(dir string) *diskJSON {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return nil
	}
	block := int64(st.Bsize)
	used := int64(st.Blocks) - int64(st.Bfree)
	free := int64(st.Bavail)
	return &diskJSON{TotalBytes: int64(st.Blocks) * block, FreeBytes: free * block, // as df counts
		UsedPercent: 100 * float64(used) / float64(max(1, used+free))}
}
