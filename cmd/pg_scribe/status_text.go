package main

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"pg_scribe/internal/show"
)

// print writes the report for a person: the verdict, what is wrong, and
// behind it the details.
func (s *statusReport) print(slotErr error) {
	s.app.print("%s", s.headline())
	for _, r := range s.doc.Reasons {
		if slotErr == nil || r.Message != slotErr.Error() { // that one is the program's error
			s.app.words.finding(levelWord(r.Level), r.Message, r.Hint)
		}
	}
	s.app.print("")
	if s.doc.Slot != nil {
		s.printSlot(*s.doc.Slot)
	}
	if s.doc.Repository != nil {
		s.printRepository(*s.doc.Repository)
	}
	if len(s.doc.NotLookedAt) > 0 {
		s.app.print("Not looked at: %s", oneLine(strings.Join(s.doc.NotLookedAt, "; ")))
	}
}

// headline is the verdict with its reasons, or with what it does not cover.
func (s *statusReport) headline() string {
	if s.doc.Verdict != "ok" {
		var reasons []string
		for _, r := range s.doc.Reasons {
			reasons = append(reasons, r.Message)
		}
		return strings.ToUpper(levelWord(s.doc.Verdict)) + ": " + oneLine(strings.Join(reasons, "; "))
	}
	r := s.doc.Repository
	switch {
	case r == nil:
		return "OK, as far as the slot; the files were not looked at: add -f DIRECTORY"
	case s.doc.Slot != nil:
		return "OK"
	case r.StreamerRunning || s.remote:
		return "OK, as far as the files; the slot was not looked at: add " + commandLine("-d", r.Database)
	}
	return "OK, as far as the files; no streamer is running, and the slot was not looked at: add " + commandLine("-d", r.Database)
}

// levelWord is the word for a level of the JSON document.
func levelWord(level string) string {
	if level == "critical" {
		return "error"
	}
	return level
}

// notLookedAt names what the verdict does not rest on.
func (s *statusReport) notLookedAt() {
	s.doc.NotLookedAt = []string{}
	add := func(format string, args ...any) {
		s.doc.NotLookedAt = append(s.doc.NotLookedAt, fmt.Sprintf(format, args...))
	}
	r := s.doc.Repository
	if r == nil {
		add("the files (add -f DIRECTORY)")
		return
	}
	if s.doc.Slot == nil {
		add("the slot (add %s)", commandLine("-d", r.Database))
	}
	if r.unread > 0 {
		add("the contents of %s, which verify has not read (%s)", show.Plural(int64(r.unread), "file"), commandLine("pg_scribe", "verify", "-f", r.Directory))
	}
	if r.Rehearsal == nil {
		add("whether the commands behind the newest base run again (%s)", commandLine("pg_scribe", "rehearse", "-f", r.Directory))
	}
	if len(r.Storages) > 0 {
		add("the files on the %s (verify reads them)", show.Plural(int64(len(r.Storages)), "storage"))
	}
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
	lag := show.Bytes(d.LagBytes)
	if d.LagSeconds != nil {
		lag += fmt.Sprintf(", %s", show.Span(time.Duration(*d.LagSeconds*float64(time.Second))))
	}
	s.row("lag", "%s", lag)
	s.row("WAL kept", "%s, from %s", show.Bytes(d.RetainedBytes), d.RestartLSN)
	safe := "no limit (max_slot_wal_keep_size)"
	switch {
	case d.WALStatus == "lost" || d.Invalidation != "":
		safe = "the server has removed WAL that it needs"
		if d.Invalidation != "" {
			safe = "the server has given it up: " + d.Invalidation
		}
	case d.SafeBytes != nil:
		safe = show.Bytes(*d.SafeBytes) + " more may be written before the slot is lost"
	}
	s.row("WAL status", "%s, %s", d.WALStatus, safe)
	s.row("catalog xmin", "%d transactions old", d.CatalogXminAge)
	s.app.print("")
}

func (s *statusReport) printRepository(d repositoryJSON) {
	s.app.print("Repository %s of database %q", oneLine(d.Directory), d.Database)
	s.row("source", "PostgreSQL %s, system %s, timeline %d", d.ServerVersion, d.SystemID, d.Timeline)
	s.row("slot", "%s, publication %q, %s mode", d.Slot, d.Publication, d.Mode)
	s.row("bases", "%s", s.group(d.Bases))
	s.row("globals", "%s", s.group(d.Globals))
	s.row("segments", "%s, %s", s.group(d.Segments), show.Plural(d.Transactions, "transaction"))
	s.row("marks", "%d", d.Points)
	for _, w := range d.Windows {
		if w.Ahead {
			s.row("restorable", "at %s (%s): a base that the stream has not reached yet", w.FromLSN, s.app.showTime(time.Time(w.FromAt)))
			continue
		}
		lost := ""
		if w.LeftLSN != 0 {
			lost = fmt.Sprintf("; the source has lost what is at or behind %s", w.LeftLSN)
		}
		s.row("restorable", "from %s (%s) to %s (%s)%s", w.FromLSN, s.app.showTime(time.Time(w.FromAt)), w.ToLSN, s.app.showTime(time.Time(w.ToAt)), lost)
	}
	if len(d.Windows) == 0 {
		s.row("restorable", "nothing")
	}
	for _, h := range d.Holes {
		s.row("break", "%s between %s and %s, since %s", h.Kind, h.FromLSN, h.ToLSN, s.app.showTime(time.Time(h.Since)))
	}
	for _, g := range d.Gaps {
		s.row("gap", "%s at %s (%s): %s", g.Kind, g.FromLSN, s.app.showTime(time.Time(g.DetectedAt)), g.Reason)
	}
	s.row("last commit", "%s", s.app.showTime(time.Time(d.LastTransactionAt)))
	fresh := "unknown"
	if d.FreshnessSeconds != nil {
		fresh = show.Span(time.Duration(*d.FreshnessSeconds*float64(time.Second))) + " ago"
	}
	s.row("reached", "%s at %s, %s", d.EndLSN, s.app.showTime(time.Time(d.ReachedAt)), fresh)
	running := "not running"
	if d.StreamerRunning {
		running = "running"
	}
	s.row("streamer", "%s", running)
	if e := d.LastError; e != nil {
		over := ""
		if at := time.Time(e.OverAt); !at.IsZero() {
			over = "; it streamed again at " + s.app.showTime(at)
		}
		s.row("last error", "%s: %s%s", s.app.showTime(time.Time(e.At)), e.Message, over)
	}
	verified := "never"
	if v := d.Verification; v != nil {
		verified = fmt.Sprintf("%s at %s, %d of %s read", v.Outcome, s.app.showTime(time.Time(v.FinishedAt)), v.FilesRead, show.Plural(int64(v.Files), "file"))
	}
	s.row("verified", "%s", verified)
	rehearsed := "never"
	if r := d.Rehearsal; r != nil {
		rehearsed = fmt.Sprintf("%s at %s, commands of %s proven up to %s", r.Outcome, s.app.showTime(time.Time(r.FinishedAt)), r.Base, r.ProvenLSN)
	}
	s.row("rehearsed", "%s", rehearsed)
	for i, t := range d.Storages {
		name := "storage"
		if i > 0 {
			name = "copy"
		}
		line := fmt.Sprintf("%s: %s, %s", t.Storage, show.Plural(int64(t.Files), "file"), show.Bytes(t.Bytes))
		if t.Pending > 0 {
			line += fmt.Sprintf("; %s (%s) not there yet", show.Plural(int64(t.Pending), "file"), show.Bytes(t.PendingBytes))
		}
		s.row(name, "%s", line)
	}
	if d.Disk != nil {
		s.row("disk", "%.0f %% used, %s free", d.Disk.UsedPercent, show.Bytes(d.Disk.FreeBytes))
	}
	if d.Spool != "" {
		free := ""
		if d.SpoolDisk != nil {
			free = fmt.Sprintf(", %.0f %% used, %s free", d.SpoolDisk.UsedPercent, show.Bytes(d.SpoolDisk.FreeBytes))
		}
		s.row("spool", "%s%s", d.Spool, free)
	}
	s.app.print("")
}

// group sums a group up in words.
func (s *statusReport) group(g groupJSON) string {
	switch g.Count {
	case 0:
		return "none"
	case 1:
		return fmt.Sprintf("1, %s, %s", show.Bytes(g.Bytes), s.app.showTime(time.Time(g.LastAt)))
	}
	return fmt.Sprintf("%d, %s, from %s to %s", g.Count, show.Bytes(g.Bytes), s.app.showTime(time.Time(g.FirstAt)), s.app.showTime(time.Time(g.LastAt)))
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
