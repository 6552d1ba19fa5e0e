package health

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/verify"
	"pg_scribe/stream/source"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sound is a repository in which nothing is wrong.
func sound() *Repository {
	return &Repository{Directory: "d", Running: true, End: 0x300, Inventory: catalog.Inventory{
		Repository: catalog.Repository{SystemID: "7", Timeline: 1, Database: "app"},
		Artifacts:  []catalog.Artifact{{Kind: catalog.KindBase, Start: 0x100, End: 0x200, ReachedAt: now.Add(-time.Minute)}}}}
}

// show is a finding in one line.
func shown(f Finding) string {
	text := fmt.Sprintf("%s %s: %s", f.Severity, f.Code, f.Text)
	for _, s := range f.Fix {
		text += " | " + s.Words
		if c := s.Command; c.Given() {
			text += fmt.Sprintf(" %s%v%s", c.Program, c.Args, c.Database)
			if c.Connect {
				text += "+"
			}
		}
	}
	return text
}

// check compares findings with what they look like; each want is what a finding holds.
func check(t *testing.T, about string, findings []Finding, want ...string) {
	t.Helper()
	var got []string
	for _, f := range findings {
		got = append(got, shown(f))
		if strings.Contains(f.Text, "\n") || f.Code == "" || f.Severity != Warning && f.Severity != Critical {
			t.Errorf("%s: %+v is no finding", about, f)
		}
	}
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		ok = ok && strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("%s:\n got %s\nwant %s", about, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestRepository(t *testing.T) {
	check(t, "nothing", sound().Judge(now))
	old := now.Add(-25 * time.Hour)
	for about, c := range map[string]struct {
		spoil func(r *Repository)
		want  string
	}{
		"an error": {func(r *Repository) { r.Running, r.Trouble = false, Trouble{At: now, Message: "no"} },
			"warning streamer: the last run of start ended with an error: no | fix the cause; then start streams again [start -f d]+"},
		"a lost connection":      {func(r *Repository) { r.Trouble = Trouble{At: now, Message: "no"} }, "warning streamer: the streamer has no connection: no"},
		"an error that is over":  {func(r *Repository) { r.Trouble = Trouble{At: now, Message: "no", Over: now} }, ""},
		"unlisted segments":      {func(r *Repository) { r.Uncatalogued = []string{"a", "b"} }, "restored: a, b | take them in first [catalog rebuild --force -f d]"},
		"a failed verification":  {func(r *Repository) { r.Verified = &catalog.Verification{Outcome: catalog.OutcomeFailed, Detail: "x"} }, "critical verify-failed"},
		"an unsure verification": {func(r *Repository) { r.Verified = &catalog.Verification{Outcome: catalog.OutcomeInconclusive} }, "warning verify-inconclusive"},
		"a good verification":    {func(r *Repository) { r.Verified = &catalog.Verification{Outcome: catalog.OutcomeOK} }, ""},
		"no base": {func(r *Repository) { r.Inventory.Artifacts[0].Kind = catalog.KindGlobals }, "critical no-base: there is no base: nothing can " +
			"be restored |  [full-backup -f d]app"},
		"missing files": {func(r *Repository) { r.Damage = verify.Damage{Missing: []string{"a"}} }, "critical files-missing: missing: a | bring " +
			"the files back"},
		"files of other sizes": {func(r *Repository) { r.Damage = verify.Damage{Resized: []string{"a"}} }, "critical files-resized: not of the recorded size: a"},
		"damaged files":        {func(r *Repository) { r.Damage = verify.Damage{Failed: []string{"a"}} }, "critical files-failed: verify found damaged: a"},
		"unreadable files": {func(r *Repository) { r.Damage = verify.Damage{Unseen: []string{"a"}} }, "warning files-unreadable: this user cannot read: a | give " +
			"them to the owner of the repository ls[-l d]"},
		"one damaged file, found": {func(r *Repository) {
			r.Damage, r.Verified = verify.Damage{Failed: []string{"a"}}, &catalog.Verification{Outcome: catalog.OutcomeFailed}
		}, "critical verify-failed"},
		"a hole": {func(r *Repository) {
			r.Inventory.Artifacts = append(r.Inventory.Artifacts, catalog.Artifact{Kind: catalog.KindSegment, Timeline: 1, Start: 0x200, End: 0x300},
				catalog.Artifact{Kind: catalog.KindSegment, Timeline: 1, Start: 0x400, End: 0x500})
		}, "warning hole: the chain of segments has 1 break, the last between 0/300 and 0/400 | a base behind it"},
		"a gap": {func(r *Repository) { r.Inventory.Gaps = []catalog.Gap{{From: 0x100, DetectedAt: now, Reason: "x"}} },
			"warning gap: at 0/100 (2026-11-21 12:00:00Z): x | a new base heals it [full-backup -f d]app"},
		"a gap before the base": {func(r *Repository) { r.Inventory.Gaps = []catalog.Gap{{From: 0xff}} }, ""},
		"an acknowledged gap":   {func(r *Repository) { r.Inventory.Gaps = []catalog.Gap{{From: 0x100, AcknowledgedAt: now}} }, ""},
		"nothing stored lately": {func(r *Repository) { r.Inventory.Artifacts[0].ReachedAt = old }, "critical stale: nothing was stored for 25h0m0s |  [start -f " +
			"d]app"},
		"a full disk": {func(r *Repository) { r.Disk = Disk{"d", 81, 1 << 20} }, "warning disk: the file system is 81 % full: 1.0 MB are free | make room " +
			"df[-h d]"},
		"a disk with room": {func(r *Repository) { r.Disk = Disk{"d", 80, 1 << 20} }, ""},
		"a full spool": {func(r *Repository) { r.Spool = Disk{"s", 99, 0} }, "warning spool-disk: the file system of the spool directory is 99 % full: 0 B " +
			"are free | make room df[-h s]"},
		"samples that fail": {func(r *Repository) { r.Unsampled = "x" }, "warning unsampled: not everything could be sampled: x"},
		"a storage that fails": {func(r *Repository) {
			r.Storages = []catalog.Storage{{Spec: "/x", Pending: 1, FailedSince: now, Error: "no"}}
		}, "warning storage-failing: storage /x fails since 2026-11-21 12:00:00Z, 1 file not there yet: no | fix the cause; then start sends what waits, or [copy " +
			"-f d] | if it is gone for good [copy -f d --forget /x]"},
		"a slow storage": {func(r *Repository) {
			r.Storages = []catalog.Storage{{Spec: "/x", Pending: 2, PendingSince: now.Add(-61 * time.Minute)}}
		}, "warning storage-slow: storage /x lacks 2 files"},
		"a new storage": {func(r *Repository) {
			r.Storages = []catalog.Storage{{Spec: "/x", Pending: 2, PendingSince: old, AddedAt: now.Add(-59 * time.Minute)}}
		}, ""},
		"a storage nobody serves": {func(r *Repository) {
			r.Running, r.Storages = false, []catalog.Storage{{Spec: "/x", Pending: 2, PendingSince: now}}
		}, "warning storage-behind: 2 files not on storage /x, and nothing sends them |  [copy -f d]"},
	} {
		r := sound()
		c.spoil(r)
		if c.want == "" {
			check(t, about, r.Judge(now))
		} else {
			check(t, about, r.Judge(now), c.want)
		}
	}
}

// TestBranch: a branching is wrong only when the repository has gone on behind it.
func TestBranch(t *testing.T) {
	r := sound()
	r.Inventory.Switches = []catalog.Switch{{SystemID: "7", Timeline: 2, Parent: 1, At: 0x300}}
	check(t, "at the end", r.Judge(now))
	r.End = 0x301
	check(t, "before the end", r.Judge(now), "critical branch: timeline 2 of the source branched off at 0/300, before the repository's end 0/301 on timeline 1"+
		" | if that is the source from now on, begin there [full-backup -f d --new-slot]app")
}

func TestSlot(t *testing.T) {
	few, many := int64(1<<20), int64(64<<30)
	for want, slot := range map[string]source.Slot{
		"warning slot-wal: the slot is lost when another 1.0 MB are written: 1.0 GB are kept for it": {Active: true,
			WALStatus: "extended", RetainedBytes: 1 << 30, SafeWALSize: &few},
		"critical slot-wal: the server is about to remove WAL": {Active: true,
			WALStatus: "unreserved"},
		"critical slot-lost: the slot is lost: the server has removed": {WALStatus: "lost",
			SafeWALSize: &few, RetainedBytes: 1 << 30},
		"critical slot-lost: the slot is lost: the server has given it up: wal_removed | begin a new repository [init -f NEW_DIRECTORY]+": {WALStatus: "lost",
			Invalidation: "wal_removed"},
		"critical slot-idle: nothing streams from the slot, and the server keeps WAL for it |  [start -f REPOSITORY]+": {WALStatus: "reserved"},
		"warning slot-lag: the slot lags by 2.0 GB":                      {Active: true, LagBytes: 2 << 30},
		"critical slot-lag: the slot lags by 20 GB":                      {Active: true, LagBytes: 20 << 30},
		"warning server-version: PostgreSQL 15.13 can run out of memory": {Active: true, ServerVersion: "15.13"},
		"warning server-version: PostgreSQL 17.2 can lose rows":          {Active: true, ServerVersion: "17.2"},
		"warning slot-xmin: the slot keeps the server from cleaning":     {Active: true, CatalogXminAge: 150_000_000},
		"two billion | let start catch up [start -f REPOSITORY]+":        {Active: true, CatalogXminAge: 1_500_000_000},
	} {
		check(t, fmt.Sprintf("%+v", slot), Slot(slot, nil), want)
	}
	for _, slot := range []source.Slot{{Active: true, WALStatus: "reserved", ServerVersion: "15.14"},
		{Active: true, WALStatus: "extended", RetainedBytes: 1 << 30, SafeWALSize: &many}} {
		check(t, fmt.Sprintf("%+v", slot), Slot(slot, nil))
	}
	r := sound()
	check(t, "the same timeline and end", Slot(source.Slot{Active: true, Timeline: 1, ConfirmedFlush: 0x300}, r))
	check(t, "another timeline", Slot(source.Slot{Active: true, Timeline: 2}, r), "warning timeline: the source is on timeline 2, the repository on timeline 1 "+
		"| start goes over to it, or says why it cannot [start -f d]+")
	check(t, "a slot ahead", Slot(source.Slot{Active: true, ConfirmedFlush: 0x301}, r),
		"critical slot-ahead: the slot was confirmed up to 0/301, the repository ends at 0/300: changes in between are lost | begin again with a new slot and base "+
			"[full-backup -f d --new-slot]+")
}

func TestCapture(t *testing.T) {
	found := []source.Finding{{Problem: "a", Fix: "do x"}, {Problem: "b", Fix: "install it", Command: []string{"init", "--capture-only"}}}
	check(t, "a capture", Capture(found, "d"), "critical capture: a | do x", "critical capture: b | install it [init -f d --capture-only]+")
	check(t, "a capture without a repository", Capture(found[1:], ""), "[init -f REPOSITORY --capture-only]+")
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		severities []Severity
		want       Severity
	}{{nil, OK}, {[]Severity{Warning}, Warning}, {[]Severity{Critical, Warning}, Critical}, {[]Severity{Warning, Critical, Warning}, Critical}} {
		var findings []Finding
		for _, s := range c.severities {
			findings = append(findings, Finding{Severity: s})
		}
		if got := Worst(findings); got != c.want {
			t.Errorf("%v: %s", c.severities, got)
		}
	}
	// Judging changes nothing of what was seen.
	r, again := sound(), sound()
	r.Judge(now)
	if !reflect.DeepEqual(r, again) {
		t.Errorf("judged, %+v", r)
	}
}

func TestRehearsal(t *testing.T) {
	week := now.Add(-8 * 24 * time.Hour)
	failed := catalog.Rehearsal{FinishedAt: week, Base: "base-1", Outcome: catalog.OutcomeFailed, Proven: 0x280, FailedLSN: 0x280, FailedAt: now,
		Tag:    "CREATE VIEW",
		Object: "a.v", Message: "there is no t"}
	ofBase := failed
	ofBase.FailedLSN, ofBase.Proven = 0, 0
	extension := failed
	extension.Tag, extension.Object, extension.Message = "CREATE EXTENSION", "crate", `could not open extension control file "crate.control"`
	ok := catalog.Rehearsal{FinishedAt: week, Base: "base-1", Outcome: catalog.OutcomeOK, Proven: 0x280}
	for _, c := range []struct {
		about  string
		last   *catalog.Rehearsal
		end    catalog.LSN
		newest catalog.LSN // of another base; 0: there is none
		want   []string
	}{
		{"never", nil, 0x300, 0, nil},
		{"old", &ok, 0x300, 0, []string{"warning rehearsal-old: the commands behind 0/280 were not rehearsed for 8 days |  [rehearse -f d]"}},
		{"old, and nothing came since", &ok, 0x280, 0, nil},
		{"failed", &failed, 0x300, 0, []string{"critical rehearsal-failed: a restore stops at LSN 0/280 (2026-11-21 12:00:00Z): CREATE VIEW a.v: there is no t | " +
			"a base behind it makes later moments restorable [full-backup -f d]app"}},
		{"healed, and old", &failed, 0x300, 0x290, []string{"warning rehearsal-old"}},
		{"failed in the base", &ofBase, 0x300, 0, []string{"a restore stops at the base base-1: CREATE VIEW a.v"}},
		{"healed in the base", &ofBase, 0, 0x290, nil},
		{"an extension", &extension, 0x300, 0, []string{"install the extension where a restore is to run, then [rehearse -f d]"}},
	} {
		r := sound()
		r.Rehearsed, r.End = c.last, c.end
		r.Inventory.Artifacts[0].Name = "base-1"
		if c.newest != 0 {
			newer := r.Inventory.Artifacts[0]
			newer.Name, newer.Start = "base-2", c.newest
			r.Inventory.Artifacts = append(r.Inventory.Artifacts, newer)
		}
		check(t, c.about, r.Judge(now), c.want...)
	}
}
