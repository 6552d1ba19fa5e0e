package catalog

import "time"

// Kind says what an artifact is.
type Kind string

// The kinds of artifacts.
const (
	KindBase    Kind = "base"
	KindGlobals Kind = "globals"
	KindSegment Kind = "segment"
)

// State says whether the bytes of an artifact may still grow.
type State string

// An open segment is being written and is valid up to its last checkpoint; everything else is sealed and never changes.
const (
	StateOpen   State = "open"
	StateSealed State = "sealed"
)

// Repository is the identity of a repository and of the source it belongs to: the single row of its table. Timeline is
// the one that the stream follows now.
type Repository struct {
	Format         int // version of the file formats
	SystemID       string
	Timeline       uint32
	Database       string
	DatabaseOID    uint32
	Encoding       string
	Collate        string
	CType          string
	LocaleProvider string
	Locale         string
	ServerVersion  string
	Slot           string
	Publication    string
	Compression    string // filters of new files in short form, such as "zstd:3"
	Mode           string // capture mode, such as "guarded"
	CreatedAt      time.Time
	StreamStart    LSN // where the present slot begins, when it was made anew; 0: the first one. Set by Follow
}

// Artifact is one file (or directory) of the repository.
type Artifact struct {
	ID       int64
	Kind     Kind
	State    State
	Name     string // file or directory name inside the repository
	SystemID string
	Timeline uint32
	Database string
	// A segment covers [Start, End). For a base and its globals both are the consistent point P.
	Start, End            LSN
	CreatedAt, FinishedAt time.Time
	Commits
	// The moment on the source's clock for which the stream is proven complete up to End. For a base: that of P.
	ReachedAt        time.Time
	Bytes, TextBytes int64 // stored bytes; SQL text before the filters
	// SHA256 of the stored bytes and of the SQL text, hexadecimal. For an open segment: up to its last checkpoint.
	SHA256, TextSHA256 string
	Filters            string // the chain that made the stored bytes, such as "zstd:3"
	ServerVersion      string
	Pair               int64  // globals: ID of the base they belong to; else 0
	Format             string // "plain", or "directory" for a base made with several jobs
	PinnedReason       string // why retention must leave it alone; empty: not pinned
}

// Commits are the transactions of a file. All is zero when there is none.
type Commits struct {
	// The smallest and the largest commit time inside, which are not those of the first and the last transaction:
	// commit times are not monotonic.
	FirstCommitAt, LastCommitAt time.Time
	Transactions                int64
	MinXID, MaxXID              uint32
}

// Progress is all that a checkpoint changes of an open segment. Numbers are totals of the segment, not increments.
type Progress struct {
	End       LSN
	ReachedAt time.Time
	Commits
	Bytes, TextBytes   int64
	SHA256, TextSHA256 string         // of those bytes; empty: not known
	Tables             []TableCount   // totals of the tables that changed since the last checkpoint, or of all
	Points             []RestorePoint // seen since the last checkpoint; known ones may come again
	Gaps               []Gap          // the same
	State              *StateChanges  // since the last checkpoint; nil: not followed, so that what is recorded no longer counts
}

// TableCount is the number of row changes of one table.
type TableCount struct {
	Table                                 string
	Inserted, Updated, Deleted, Truncated int64
}

// RestorePoint is a position in the stream that a user has named.
type RestorePoint struct {
	Name     string
	LSN      LSN // commit LSN of the transaction that carries the mark
	XID      uint32
	At       time.Time
	Timeline uint32 // of the segment it lies in, set by Checkpoint
}

// The kinds of gaps.
const (
	GapMissing = "missing" // the WAL between From and To is lost
	GapSchema  = "schema"  // a command that changes the schema could not be captured
)

// Gap is a recorded fault of the stream.
type Gap struct {
	ID   int64
	Kind string
	// Missing: the lost interval [From, To). Schema: From is the commit LSN of the transaction, To is From or the end
	// of its commit record.
	From, To LSN
	// Missing: when the loss was noticed. Schema: the commit time of the transaction, because a restore to a moment
	// before it is not affected.
	DetectedAt     time.Time
	Reason         string
	AcknowledgedAt time.Time // zero: nobody has acknowledged it
	Timeline       uint32    // 0: any. Set by Checkpoint to that of the segment.
}

// The outcomes of an operation.
const (
	OutcomeRunning = "running"
	OutcomeOK      = "ok"
	OutcomeFailed  = "failed"
)

// Operation is one run of a command that changed the repository. One whose process died stays "running".
type Operation struct {
	ID                    int64
	Command               string
	StartedAt, FinishedAt time.Time
	Outcome               string
	Detail                string
	PID                   int
}
