package main

import (
	"encoding/json"
	"io"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/health"
	"pg_scribe/repo/verify"
	"pg_scribe/restore"
	"pg_scribe/stream/base"
	"pg_scribe/stream/source"
)

// The JSON documents of --output json. docs/CLI.md describes them. They are
// only ever added to: readers must ignore fields that they do not know. LSNs
// are strings, moments are RFC 3339 in UTC or null, sizes are bytes, spans are
// seconds.

// moment is a time, or null when it is not known.
type moment time.Time

func (m moment) MarshalJSON() ([]byte, error) {
	if time.Time(m).IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(time.Time(m).UTC())
}

type artifactJSON struct {
	Name          string      `json:"name"`
	Kind          string      `json:"kind"`  // base, globals or segment
	State         string      `json:"state"` // sealed, or open while it is written
	StartLSN      catalog.LSN `json:"start_lsn"`
	EndLSN        catalog.LSN `json:"end_lsn"`
	CreatedAt     moment      `json:"created_at"`
	FinishedAt    moment      `json:"finished_at"`
	FirstCommitAt moment      `json:"first_commit_at"`
	LastCommitAt  moment      `json:"last_commit_at"`
	ReachedAt     moment      `json:"reached_at"`
	Transactions  int64       `json:"transactions"`
	Bytes         int64       `json:"bytes"`
	TextBytes     int64       `json:"text_bytes"`
	SHA256        string      `json:"sha256"`
	Filters       string      `json:"filters"`
	ServerVersion string      `json:"server_version"`
	PinnedReason  string      `json:"pinned_reason"` // why expire leaves it alone; empty: it does not
}

func toArtifact(a catalog.Artifact) artifactJSON {
	return artifactJSON{Name: a.Name, Kind: string(a.Kind), State: string(a.State), StartLSN: a.Start, EndLSN: a.End,
		CreatedAt: moment(a.CreatedAt), FinishedAt: moment(a.FinishedAt), FirstCommitAt: moment(a.FirstCommitAt),
		LastCommitAt: moment(a.LastCommitAt), ReachedAt: moment(a.ReachedAt), Transactions: a.Transactions,
		Bytes: a.Bytes, TextBytes: a.TextBytes, SHA256: a.SHA256, Filters: a.Filters, ServerVersion: a.ServerVersion,
		PinnedReason: a.PinnedReason}
}

type pointJSON struct {
	Name string      `json:"name"`
	LSN  catalog.LSN `json:"lsn"`
	XID  uint32      `json:"xid"`
	At   moment      `json:"at"`
}

// baseJSON is what init and full-backup report.
type baseJSON struct {
	Directory string           `json:"directory"`
	Database  string           `json:"database"`
	Slot      string           `json:"slot"`
	Findings  []source.Finding `json:"findings,omitzero"` // init only
	Base      *artifactJSON    `json:"base"`              // null when init stopped at the findings
	Globals   *artifactJSON    `json:"globals"`
	Tables    int              `json:"tables"`
	Rows      int64            `json:"rows"`
	Seconds   float64          `json:"seconds"`
	Fault     string           `json:"fault"`              // what keeps the stream behind the base from being complete; empty: nothing
	Rehearsal *rehearsalJSON   `json:"rehearsal,omitzero"` // of full-backup --rehearse
}

func (b *baseJSON) fill(base base.Result) {
	ours, globals := toArtifact(base.Base), toArtifact(base.Globals)
	b.Base, b.Globals, b.Tables, b.Rows, b.Seconds = &ours, &globals, base.Tables, base.Rows, base.Duration.Seconds()
	b.Fault = base.Fault
}

// listJSON has the lists that were asked for.
type listJSON struct {
	Bases    []artifactJSON `json:"bases,omitzero"`
	Globals  []artifactJSON `json:"globals,omitzero"`
	Segments []artifactJSON `json:"segments,omitzero"`
	Points   []pointJSON    `json:"points,omitzero"`
}

type markJSON struct {
	Name     string `json:"name"`
	Database string `json:"database"`
}

type dropJSON struct {
	Database string   `json:"database"`
	Removed  []string `json:"removed"`
}

type planJSON struct {
	Target       string         `json:"target"` // in words
	Base         artifactJSON   `json:"base"`
	Globals      *artifactJSON  `json:"globals"`
	Segments     []artifactJSON `json:"segments"`
	FromLSN      catalog.LSN    `json:"from_lsn"`
	Last         momentJSON     `json:"last"` // the last transaction to be restored
	Transactions int64          `json:"transactions"`
	Bytes        int64          `json:"bytes"`
	TextBytes    int64          `json:"text_bytes"`
	AcceptedGaps []gapJSON      `json:"accepted_gaps"`
	Tables       []tableJSON    `json:"tables"` // row changes to be replayed
}

type momentJSON struct {
	LSN    catalog.LSN `json:"lsn"` // 0/0: the base alone
	EndLSN catalog.LSN `json:"end_lsn"`
	At     moment      `json:"at"`
	XID    uint32      `json:"xid"`
}

func toMoment(m restore.Moment) momentJSON {
	return momentJSON{LSN: m.LSN, EndLSN: m.End, At: moment(m.Time), XID: m.XID}
}

type tableJSON struct {
	Table     string `json:"table"`
	Inserted  int64  `json:"inserted"`
	Updated   int64  `json:"updated"`
	Deleted   int64  `json:"deleted"`
	Truncated int64  `json:"truncated"`
}

func toTables(list []catalog.TableCount) []tableJSON {
	tables := []tableJSON{}
	for _, t := range list {
		tables = append(tables, tableJSON(t))
	}
	return tables
}

type phaseJSON struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

type restoreJSON struct {
	DryRun       bool        `json:"dry_run"`
	Plan         planJSON    `json:"plan"`
	Database     string      `json:"database"`
	Created      bool        `json:"created"`
	Resumed      bool        `json:"resumed"`
	Kept         string      `json:"kept_database"` // what the source is called now; empty: as before
	Phases       []phaseJSON `json:"phases"`
	Transactions int64       `json:"transactions"`
	Statements   int64       `json:"statements"`
	Tables       []tableJSON `json:"tables"`
	RolesCreated []string    `json:"roles_created"`
	RolesKept    []string    `json:"roles_kept"`
	Sequences    int         `json:"sequences"`
	Compared     int         `json:"compared"`     // objects compared with the source's
	NotCompared  int         `json:"not_compared"` // objects and attributes that could not be
	Differences  []diffJSON  `json:"differences"`  // repaired or accepted
	LeftOut      []string    `json:"left_out"`     // what of the base could not be made, or not as it is in the source
	Notices      []string    `json:"notices"`
	Seconds      float64     `json:"seconds"`
}

// diffJSON is a difference between source and restored database.
type diffJSON struct {
	Object    string `json:"object"`    // class and identity
	Part      string `json:"part"`      // catalog and row; empty: the object as a whole
	Attribute string `json:"attribute"` // empty: the part as a whole
	Kind      string `json:"kind"`      // changed, missing or extra
	Source    string `json:"source"`
	Target    string `json:"target"`
	Outcome   string `json:"outcome"` // repaired or accepted
	Reason    string `json:"reason"`  // why it was not repaired
}

type statusJSON struct {
	Verdict    string          `json:"verdict"` // ok, warning or critical
	Reasons    []reasonJSON    `json:"reasons"`
	Slot       *slotJSON       `json:"slot"`       // null without -d, or when it could not be read
	Repository *repositoryJSON `json:"repository"` // null without -f

	NotLookedAt []string `json:"not_looked_at"` // what the verdict does not rest on, in words
}

type reasonJSON struct {
	Level   string `json:"level"` // warning or critical
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

type slotJSON struct {
	Name           string      `json:"name"`
	Database       string      `json:"database"`
	Plugin         string      `json:"plugin"`
	Active         bool        `json:"active"`
	ActivePID      int32       `json:"active_pid"`
	RestartLSN     catalog.LSN `json:"restart_lsn"`
	ConfirmedLSN   catalog.LSN `json:"confirmed_lsn"`
	CurrentLSN     catalog.LSN `json:"current_lsn"`
	LagBytes       int64       `json:"lag_bytes"`
	LagSeconds     *float64    `json:"lag_seconds"` // null without -f
	RetainedBytes  int64       `json:"retained_bytes"`
	WALStatus      string      `json:"wal_status"`
	SafeBytes      *int64      `json:"safe_bytes"` // null: no limit
	CatalogXminAge int64       `json:"catalog_xmin_age"`
	Invalidation   string      `json:"invalidation"` // why the server gave the slot up, if it tells
	Failover       bool        `json:"failover"`
}

func toSlot(s source.Slot) *slotJSON {
	return &slotJSON{Name: s.Name, Database: s.Database, Plugin: s.Plugin, Active: s.Active, ActivePID: s.ActivePID,
		RestartLSN: s.RestartLSN, ConfirmedLSN: s.ConfirmedFlush, CurrentLSN: s.CurrentLSN, LagBytes: s.LagBytes,
		RetainedBytes: s.RetainedBytes, WALStatus: s.WALStatus, SafeBytes: s.SafeWALSize, CatalogXminAge: s.CatalogXminAge,
		Invalidation: s.Invalidation, Failover: s.Failover}
}

// errorJSON is what last went wrong with the streamer.
type errorJSON struct {
	At      moment `json:"at"`
	Message string `json:"message"`
	OverAt  moment `json:"over_at"` // when it streamed again; null: not yet
}

// verifiedJSON is how a run of verify ended.
type verifiedJSON struct {
	StartedAt    moment `json:"started_at"`
	FinishedAt   moment `json:"finished_at"`
	Outcome      string `json:"outcome"` // ok, failed or inconclusive
	Subset       string `json:"subset"`  // that was read whole; empty: all
	Files        int    `json:"files"`
	FilesRead    int    `json:"files_read"`
	BytesRead    int64  `json:"bytes_read"`
	Failed       int    `json:"failed"`
	Inconclusive int    `json:"inconclusive"`
}

func toVerified(v catalog.Verification) verifiedJSON {
	return verifiedJSON{moment(v.StartedAt), moment(v.FinishedAt), v.Outcome, v.Subset, v.Files, v.FilesRead, v.BytesRead, v.Failed, v.Inconclusive}
}

// storageJSON is a place that the files are sent to.
type storageJSON struct {
	Storage      string `json:"target"`
	Files        int    `json:"files"`
	Bytes        int64  `json:"bytes"`
	Pending      int    `json:"pending_files"` // sealed, and not there yet
	PendingBytes int64  `json:"pending_bytes"`
	SeenAt       moment `json:"seen_at"` // when it was last found in order
	FailedSince  moment `json:"failed_since"`
	Error        string `json:"error"`
}

func toStorages(known []catalog.Storage) []storageJSON {
	list := []storageJSON{}
	for _, t := range known {
		list = append(list, storageJSON{Storage: t.Spec, Files: t.Copies, Bytes: t.CopiesBytes, Pending: t.Pending, PendingBytes: t.PendingBytes,
			SeenAt: moment(t.SeenAt), FailedSince: moment(t.FailedSince), Error: t.Error})
	}
	return list
}

// groupJSON sums up the files of one kind.
type groupJSON struct {
	Count     int    `json:"count"`
	Bytes     int64  `json:"bytes"`
	TextBytes int64  `json:"text_bytes"`
	First     string `json:"first"`
	FirstAt   moment `json:"first_at"`
	Last      string `json:"last"`
	LastAt    moment `json:"last_at"`
}

type holeJSON struct {
	Kind    string      `json:"kind"` // gap, overlap or timeline
	FromLSN catalog.LSN `json:"from_lsn"`
	ToLSN   catalog.LSN `json:"to_lsn"`
	Since   moment      `json:"since"`
	Until   moment      `json:"until"`
}

type gapJSON struct {
	ID             int64       `json:"id"`
	Kind           string      `json:"kind"` // missing or schema
	FromLSN        catalog.LSN `json:"from_lsn"`
	ToLSN          catalog.LSN `json:"to_lsn"`
	DetectedAt     moment      `json:"detected_at"`
	AcknowledgedAt moment      `json:"acknowledged_at"`
	Reason         string      `json:"reason"`
}

func toGaps(list []catalog.Gap) []gapJSON {
	gaps := []gapJSON{}
	for _, g := range list {
		gaps = append(gaps, gapJSON{ID: g.ID, Kind: g.Kind, FromLSN: g.From, ToLSN: g.To, DetectedAt: moment(g.DetectedAt),
			AcknowledgedAt: moment(g.AcknowledgedAt), Reason: g.Reason})
	}
	return gaps
}

type windowJSON struct {
	FromLSN catalog.LSN `json:"from_lsn"`
	ToLSN   catalog.LSN `json:"to_lsn"`
	FromAt  moment      `json:"from_at"`
	ToAt    moment      `json:"to_at"`
	Bases   int         `json:"bases"`
	LeftLSN catalog.LSN `json:"left_lsn"` // what is at or behind it, the source has lost; 0/0: nothing is lost
	Ahead   bool        `json:"ahead"`    // a base that the stream has not reached yet
}

type diskJSON struct {
	TotalBytes  int64   `json:"total_bytes"`
	FreeBytes   int64   `json:"free_bytes"`
	UsedPercent float64 `json:"used_percent"`
}

// of is what of it is judged.
func (d *diskJSON) of(dir string) health.Disk {
	if d == nil {
		return health.Disk{Directory: dir}
	}
	return health.Disk{Directory: dir, UsedPercent: d.UsedPercent, FreeBytes: d.FreeBytes}
}

func toWindows(list []catalog.Window) []windowJSON {
	windows := []windowJSON{}
	for _, w := range list {
		windows = append(windows, windowJSON{w.From, w.To, moment(w.FromAt), moment(w.ToAt), w.Bases, w.Left, w.Ahead})
	}
	return windows
}

func toHoles(list []catalog.Hole) []holeJSON {
	holes := []holeJSON{}
	for _, h := range list {
		holes = append(holes, holeJSON{string(h.Kind), h.From, h.To, moment(h.Since), moment(h.Until)})
	}
	return holes
}

type expireJSON struct {
	Directory     string         `json:"directory"`
	Policy        string         `json:"policy"` // in words
	Confirmed     bool           `json:"confirmed"`
	Artifacts     []decisionJSON `json:"artifacts"`
	Remove        int            `json:"remove"` // files that the policy removes
	Bytes         int64          `json:"bytes"`  // theirs
	Removed       int            `json:"removed"`
	RemovedBytes  int64          `json:"removed_bytes"`
	InUse         []string       `json:"in_use"` // left, because a restore reads them
	WindowsBefore []windowJSON   `json:"windows_before"`
	WindowsAfter  []windowJSON   `json:"windows_after"`
}

type decisionJSON struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	StartLSN catalog.LSN `json:"start_lsn"`
	EndLSN   catalog.LSN `json:"end_lsn"`
	Bytes    int64       `json:"bytes"`
	Keep     bool        `json:"keep"`
	Why      string      `json:"why"`
}

type keepJSON struct {
	Base   string `json:"base"`
	Kept   bool   `json:"kept"`
	Reason string `json:"reason"`
}

type verifyJSON struct {
	Directory string `json:"directory"`
	verifiedJSON
	Recorded bool         `json:"recorded"` // in the catalog
	Findings []fileJSON   `json:"findings"` // files that are not in order
	Strays   []string     `json:"strays"`   // files of a repository that the catalog does not know
	Others   []string     `json:"others"`   // files that are no repository's
	Holes    []holeJSON   `json:"holes"`
	Gaps     []gapJSON    `json:"gaps"`
	Windows  []windowJSON `json:"windows"`
}

type fileJSON struct {
	Name    string `json:"name"`
	Storage string `json:"target"`  // where it lies; empty: in the directory
	Kind    string `json:"kind"`    // base, globals, segment, or empty for anything else
	Outcome string `json:"outcome"` // failed or inconclusive
	Reason  string `json:"reason"`
}

func toFiles(list []verify.File) []fileJSON {
	files := []fileJSON{}
	for _, f := range list {
		if f.Outcome != catalog.OutcomeOK {
			files = append(files, fileJSON{f.Name, f.Storage, string(f.Kind), f.Outcome, f.Reason})
		}
	}
	return files
}

func toVerify(dir string, r verify.Report) verifyJSON {
	doc := verifyJSON{Directory: dir, verifiedJSON: toVerified(r.Verification), Recorded: r.Recorded, Findings: toFiles(r.Reports),
		Strays: r.Strays, Others: r.Others, Holes: toHoles(r.Holes), Gaps: toGaps(r.Gaps), Windows: toWindows(r.Windows)}
	if doc.Strays == nil {
		doc.Strays = []string{}
	}
	if doc.Others == nil {
		doc.Others = []string{}
	}
	return doc
}

type catalogCheckJSON struct {
	verifyJSON
	Faults []string `json:"faults"` // of the catalog's own file
}

type rebuildJSON struct {
	Directory  string         `json:"directory"`
	Artifacts  []artifactJSON `json:"artifacts"`
	LeftOut    []fileJSON     `json:"left_out"`
	Assumed    []string       `json:"assumed"`     // what no file told
	Salvaged   map[string]int `json:"salvaged"`    // rows from the old catalog: pins, settings, gaps, operations, verifications
	OldCatalog string         `json:"old_catalog"` // its name now; empty: there was none
	Sealed     string         `json:"sealed"`      // the segment that had been left open; empty: none
}

// writeJSON prints one document.
func writeJSON(w io.Writer, document any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(document)
}

// reencryptJSON is what reencrypt did.
type reencryptJSON struct {
	Directory string          `json:"directory"`
	Filters   string          `json:"filters"`
	Files     []rewrittenJSON `json:"files"`
}

type rewrittenJSON struct {
	Old   string `json:"old"`
	New   string `json:"new"`
	Bytes int64  `json:"bytes"`
}
