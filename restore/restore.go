// Package restore brings a database back: it is everything of pg_scribe that
// writes to a target server.
//
// Prepare decides, from the repository alone, whether the target can be
// reached and which transaction is the last one; nothing is written. Execute
// then makes the database, the globals, the base, and replays the stream.
//
// What it guarantees:
//
//   - The target ends up behind exactly the transaction that Prepare named, or
//     Execute returns an error. There is no third way: a statement that the
//     server refuses, and a row change that hits other than one row, stop the
//     restore and are named with their file, line and transaction.
//   - Source transactions take effect in their order and as a whole, many of them
//     in one transaction of the target. What is committed in the target and what
//     schema scribe_restore there says of it agree, so that an interrupted replay
//     can be continued (Options.Resume).
//   - A refusal leaves nothing behind. A database that was made for a restore
//     whose base did not get complete is dropped again.
//   - Memory is bounded, however large a transaction is: Options.Memory, and a
//     statement.
//
// How it is fast: only the net effect of row changes goes in, as sets (net.go,
// apply.go). Where that cannot be, they are sent as prepared statements (template.go),
// many at a time and without waiting for each answer (pipe.go), while the next
// ones are read and encoded (feed.go); short source transactions share one
// commit (group.go). Of a base, large tables are loaded (spread.go) and
// indexes built (build.go) by several sessions.
//
// Start with Prepare. The errors that a caller may want to tell apart are in
// errors.go; what they mean for a person is the caller's to say.
package restore

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/simple"
	"pg_scribe/restore/compare"
)

// Options says where and how Execute writes.
type Options struct {
	TargetConn      string // conninfo of the target database
	MaintenanceConn string // … of a database of the same server to make it and the globals from
	CreateDatabase  bool   // make the target, which must not exist
	Force           bool   // take a target that is not empty, or of an older server
	Swap            *Swap  // make Swap.Restored, which TargetConn names, and let it take the source's place
	Globals         string // GlobalsNew (the default), GlobalsAll or GlobalsNone
	// SearchPath lists schemas in which functions may look names up that are
	// called while rows are restored. Empty, the default, is safe against
	// objects that somebody planted, and fails where a function relies on names.
	SearchPath []string
	// AcceptDifferences goes on where an object of the target differs from the
	// source's and cannot be repaired.
	AcceptDifferences bool
	SyncSequences     bool // move sequences behind the values of their columns
	Resume            bool // go on with an interrupted restore of the same plan
	Jobs              int  // sessions that load the base and build its indexes; 0: 2
	Disposable        bool // nobody else uses the server, which is thrown away

	Ordered bool  // apply row changes one after another, not their net effect
	Memory  int64 // bytes for the net effect of row changes; 0: 256 MB
	Limits  Limits

	Command  func(ctx context.Context, name string, arg ...string) *exec.Cmd // for pg_restore; nil: exec.CommandContext
	Progress func(Progress)                                                  // called now and then, never twice at once
	Now      func() time.Time                                                // nil: time.Now
}

func (o *Options) sessions() int {
	if o.Jobs <= 0 {
		return 2
	}
	return o.Jobs
}

// The phases of a restore.
const (
	PhaseConnect   = "connect" // checks, and the database itself
	PhaseGlobals   = "globals"
	PhaseBase      = "base"
	PhaseReplay    = "replay"
	PhaseCompare   = "compare" // with what base and stream say of the source's objects
	PhaseSequences = "sequences"
	PhaseAnalyze   = "analyze"
	PhaseSwap      = "swap" // with Options.Swap
)

// Progress is where a restore stands.
type Progress struct {
	Phase       string
	What        string // table or file
	Done, Total int64  // bytes of SQL text; Total 0: not known
}

// Phase is a phase that has ended.
type Phase struct {
	Name     string
	Duration time.Duration
}

// Report says what a restore has done. It is filled as far as it came also
// when it fails.
type Report struct {
	Database     string
	Server       string // its version
	Created      bool   // this run made the database
	Kept         string // what the source is called since the database took its place; empty: it did not
	Resumed      bool
	Phases       []Phase
	Transactions int64 // source transactions replayed by this run
	Statements   int64 // … and statements
	ReadBytes    int64 // stored bytes of base and segments that were read, if definitions alone are restored
	Last         Moment
	Tables       []catalog.TableCount // rows of the base and changes of the stream; a resumed run does not know the base's
	RolesCreated []string
	RolesKept    []string // existed before
	Sequences    int      // moved
	Compared     int      // objects of the target that were compared with the source's
	NotCompared  int      // attributes and objects that could not be
	Differences  []Difference
	LeftOut      []string // what of the base could not be made, or not as it is in the source
	Notices      []string // what did not go as in the source, and what the server said; no secrets
}

// execution is one run of Execute.
type execution struct {
	p        *Prepared
	o        Options
	server   server
	roles    map[string]bool // of the target, before this restore
	database string
	spaces   *spaces
	settings map[string]bool // names of the server's
	report   Report

	counts     map[string]catalog.TableCount
	unprepared map[string]bool // forms of statements that cannot be prepared
	applied    atomic.Uint64   // an LSN
	replayed   atomic.Pointer[milestone]
	sampled    catalog.LSN // what committed before was seen by the last sample replayed
	changed    catalog.LSN // of the last transaction replayed that is no sample's

	net      netState
	witness  *witness
	leftSQL  []string // statements of the base that Report.LeftOut tells of, one for each
	touched  bool     // the target holds something of ours
	baseDone bool
	reported time.Time

	mu       sync.Mutex // guards report.Notices
	withheld int
}

// Execute restores into the target. See the package comment for what holds
// when it fails; an IncompleteError then says what is left in the target.
func (p *Prepared) Execute(ctx context.Context, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Command == nil {
		o.Command = exec.CommandContext
	}
	o.CreateDatabase = o.CreateDatabase || o.Swap != nil
	if o.MaintenanceConn == "" && !o.CreateDatabase {
		o.MaintenanceConn = o.TargetConn
	}
	database, err := databaseOf(o.TargetConn)
	if err != nil {
		return Report{}, err
	}
	x := &execution{p: p, o: o, database: database, report: Report{Database: database},
		counts: map[string]catalog.TableCount{}, unprepared: map[string]bool{}, net: netState{ordered: map[string]bool{}}}
	x.replayed.Store(&milestone{})
	err = x.run(ctx)
	x.report.Transactions, x.report.Statements = x.replayed.Load().transactions, x.replayed.Load().statements
	if x.withheld > 0 {
		x.report.Notices = append(x.report.Notices, fmt.Sprintf("%d further notices", x.withheld))
	}
	if err != nil {
		return x.report, x.failed(ctx, err)
	}
	if o.Swap != nil {
		err = x.phase(PhaseSwap, func() error { return x.swap(ctx) })
	}
	x.report.Last = p.Last
	for _, c := range p.Tables {
		addCount(x.counts, c)
	}
	x.report.Tables = sortedCounts(x.counts)
	return x.report, err
}

// failed undoes what can be undone, and says what is left.
func (x *execution) failed(ctx context.Context, err error) error {
	if x.baseDone {
		return &IncompleteError{Database: x.database, Created: x.report.Created, Resumable: true,
			Applied: catalog.LSN(x.applied.Load()), Swap: x.o.Swap, Err: err}
	}
	if x.report.Created {
		undoErr := dropDatabase(ctx, x.o.MaintenanceConn, x.database)
		if undoErr == nil {
			x.report.Created = false
			return err
		}
		err = errors.Join(err, fmt.Errorf("drop database %q again: %w", x.database, undoErr))
	}
	if x.touched {
		return &IncompleteError{Database: x.database, Created: x.report.Created, Swap: x.o.Swap, Err: err}
	}
	return err
}

// phase runs one and notes how long it took.
func (x *execution) phase(name string, f func() error) error {
	start := x.o.Now()
	x.reported = time.Time{}
	x.progress(name, nil, 0, 0)
	err := f()
	x.report.Phases = append(x.report.Phases, Phase{name, x.o.Now().Sub(start)})
	return err
}

const progressEvery = 200 * time.Millisecond // between two calls of the callback

func (x *execution) progress(phase string, what *string, done, total int64) {
	if x.o.Progress == nil {
		return
	}
	now := x.o.Now()
	if now.Sub(x.reported) < progressEvery {
		return
	}
	x.reported = now
	p := Progress{Phase: phase, Done: done, Total: total}
	if what != nil {
		p.What = *what
	}
	x.o.Progress(p)
}

// maxNotices bounds what a report repeats.
const maxNotices = 100

func (x *execution) note(notice string) {
	if notice == "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if slices.Contains(x.report.Notices, notice) {
		return
	}
	if len(x.report.Notices) >= maxNotices {
		x.withheld++
		return
	}
	x.report.Notices = append(x.report.Notices, notice)
}

// leaveOut lists what of the base is missing, or is not as it is in the source.
func (x *execution) leaveOut(what, sql string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.leftSQL = append(x.leftSQL, sql)
	x.report.LeftOut = append(x.report.LeftOut, what)
}

func (x *execution) run(ctx context.Context) error {
	var control *pgconn.PgConn
	defer func() {
		if control != nil {
			closeNow(control)
		}
	}()
	err := x.phase(PhaseConnect, func() (err error) {
		control, err = x.connect(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if x.witness, err = newWitness(x); err != nil {
		return err
	}
	defer x.witness.close()
	if x.report.Resumed {
		err = x.witness.recall(ctx, catalog.LSN(x.applied.Load()))
	} else {
		err = x.bringBase(ctx, control)
	}
	if err != nil {
		return err
	}
	x.baseDone = true
	if err := x.phase(PhaseReplay, func() error { return x.replay(ctx) }); err != nil {
		return err
	}
	if err := x.witness.atEnd(ctx, control); err != nil {
		return err
	}
	if x.p.definitions {
		return endProgress(ctx, control)
	}
	if x.o.SyncSequences {
		err := x.phase(PhaseSequences, func() (err error) {
			x.report.Sequences, err = x.settleSequences(ctx, control)
			return err
		})
		if err != nil {
			return err
		}
	}
	err = x.phase(PhaseAnalyze, func() error {
		notices, err := analyze(ctx, control)
		for _, n := range notices {
			x.note(n)
		}
		return err
	})
	if err != nil {
		return err
	}
	return endProgress(ctx, control)
}

// connect makes all checks, then the database if that is asked for, and
// returns the session that keeps other restores away.
func (x *execution) connect(ctx context.Context) (*pgconn.PgConn, error) {
	if x.o.CreateDatabase {
		if err := x.create(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := connectUnheard(ctx, x.o.TargetConn)
	if err != nil {
		return nil, err
	}
	if err := x.inspect(ctx, conn); err != nil {
		closeNow(conn)
		return nil, err
	}
	return conn, nil
}

// create makes the target database, unless there is one to go on with.
func (x *execution) create(ctx context.Context) error {
	conn, err := connect(ctx, x.o.MaintenanceConn)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	if err := x.meet(ctx, conn); err != nil {
		return err
	}
	if x.o.Swap != nil {
		if err := x.checkSwap(ctx, conn); err != nil {
			return err
		}
	}
	exists, err := databaseExists(ctx, conn, x.database)
	switch {
	case err != nil:
		return err
	case exists && x.o.Resume:
		return nil
	case exists:
		return &ExistsError{x.database}
	}
	like, err := x.p.header()
	if err != nil {
		return err
	}
	if err := createDatabase(ctx, conn, x.server, x.database, like); err != nil {
		return err
	}
	x.report.Created = true
	return nil
}

// meet gets to know the target's server.
func (x *execution) meet(ctx context.Context, conn *pgconn.PgConn) (err error) {
	if x.server, err = inspectServer(ctx, conn); err != nil {
		return err
	}
	x.report.Server = x.server.version
	if x.roles == nil {
		if x.roles, err = compare.Roles(ctx, conn); err != nil {
			return err
		}
	}
	source := x.p.Plan.Base.ServerVersion
	if x.server.major < MajorOf(source) && !x.o.Force {
		return &OlderTargetError{Source: source, Target: x.server.version}
	}
	return nil
}

// inspect decides whether the target may be written to.
func (x *execution) inspect(ctx context.Context, conn *pgconn.PgConn) error {
	if err := x.meet(ctx, conn); err != nil {
		return err
	}
	rows, err := simple.Query(ctx, conn, "SELECT oid, datname FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()")
	if err != nil {
		return err
	}
	if !x.report.Created && x.p.isSource(x.server.system, rows[0][0], rows[0][1]) {
		return &SourceTargetError{x.database}
	}
	if _, err := simple.Query(ctx, conn, x.server.settings()); err != nil {
		return err
	}
	if err := lock(ctx, conn, lockRestore, x.database); err != nil {
		return err
	}
	if x.spaces, err = readSpaces(ctx, conn); err != nil {
		return err
	}
	if x.settings, err = readSettings(ctx, conn); err != nil {
		return err
	}
	return x.vacant(ctx, conn)
}

// vacant makes sure that the target is new or empty, or holds what is to be
// gone on with.
func (x *execution) vacant(ctx context.Context, conn *pgconn.PgConn) error {
	switch {
	case x.report.Created:
	case x.o.Resume:
		applied, err := readProgress(ctx, conn, x.p, x.database)
		if err != nil {
			return err
		}
		rows, err := simple.Query(ctx, conn, "SELECT name FROM scribe_restore.roles")
		if err != nil {
			return err
		}
		x.roles = map[string]bool{} // as the first run found them
		for _, row := range rows {
			x.roles[row[0]] = true
		}
		x.applied.Store(uint64(applied))
		x.report.Resumed = true
		return x.recallLeftOut(ctx, conn)
	case x.o.Force:
		if _, err := simple.Query(ctx, conn, dropProgress); err != nil {
			return err
		}
		return x.compareEncoding(ctx, conn)
	default:
		if err := checkEmpty(ctx, conn, x.database); err != nil {
			return err
		}
		return x.compareEncoding(ctx, conn)
	}
	return nil
}

// bringBase brings globals and base, and records that they are complete.
func (x *execution) bringBase(ctx context.Context, control *pgconn.PgConn) error {
	if x.o.Globals != GlobalsNone && x.p.Plan.Globals.Name != "" {
		if err := x.phase(PhaseGlobals, func() error { return x.bringGlobals(ctx) }); err != nil {
			return err
		}
	}
	var err error
	if x.spaces, err = readSpaces(ctx, control); err != nil {
		return err
	}
	x.touched = true
	return x.phase(PhaseBase, func() error {
		load := x.loadBase
		if x.p.Plan.Base.Format == directoryFormat {
			load = x.loadDirectory
		}
		if err := load(ctx); err != nil {
			return err
		}
		if err := x.witness.behindBase(ctx); err != nil {
			return err
		}
		x.applied.Store(uint64(x.p.Plan.From))
		return x.beginProgress(ctx, control)
	})
}
