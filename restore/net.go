package restore

import (
	"cmp"
	"errors"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/restore/fold"
)

// Between two commands nobody looks at the target, so that of all changes to a
// row only their net effect is needed. A window (fold.Window) takes the changes
// of many source transactions, and what is left of them goes in as sets
// (apply.go). What a window refuses, and everything else, goes in order, as it
// does without windows; only the changes of its own table have to stand before
// it, since tables are independent of each other: under session_replication_role
// = replica no foreign key and no trigger acts.
//
// If anything goes wrong in a transaction of the target that has sets, it is
// rolled back, and what it held is applied in order, which decides.

const (
	defaultMemory = 256 << 20

	// largeRow is from where on a change goes in order, so that it is held once.
	largeRow = 1 << 20

	// A window takes a part of the memory, what waits to be sent another, and
	// garbage as much as both.
	windowPart, queuePart = 6, 8
)

// Limits says where sets begin to pay. Zeros mean the usual values.
type Limits struct {
	// Changes of a table that go in order before the catalogs are asked for its
	// shape, behind each command: the question is asked in the stream, and waits
	// for all before it. 32; a change that names the complete row asks at once.
	LookAfter int
	// Rows to update or to delete that are a set. 50.
	Set int
	// Rows to insert that are a set. 10.
	NewSet int
	// Rows of a COPY block that the window takes; a longer one is passed on as it
	// stands. 1,000.
	Copy int
	// Source transactions that share one of the target. 20,000.
	Transactions int64
}

func (l Limits) filled() Limits {
	return Limits{cmp.Or(l.LookAfter, 32), cmp.Or(l.Set, 50), cmp.Or(l.NewSet, 10), cmp.Or(l.Copy, 1000), cmp.Or(l.Transactions, 20_000)}
}

// netEffect is the part of a replayer that applies net effects.
type netEffect struct {
	on     bool
	limits Limits
	memory int64 // that the window may take
	window *fold.Window
	tables map[string]*netTable
	last   *netTable
	stages map[string]string // their names by their columns
	made   int               // of them
	name   string            // of the table whose set is being applied as single statements

	within bool // the window, or the target's transaction, has changes of the current source transaction
	heavy  bool // the target's transaction ends with the current source transaction
	slow   int  // statements in it that went in order
	taken  int  // changes that the window has taken

	copy   segment.Copy
	row    []segment.Value
	change segment.Change
}

// netTable is a table since the last command.
type netTable struct {
	name  string
	seen  int         // changes that went in order
	fold  *fold.Table // nil: it is not known, or ordered
	plain bool        // its changes go in order

	analyzed bool // for sets of counted rows
}

// netError: something went wrong where net effects were applied.
type netError struct {
	table string      // whose sets it was; empty: no set's
	upTo  catalog.LSN // source transactions up to here are to be applied in order
	err   error
}

func (e *netError) Error() string { return e.err.Error() }
func (e *netError) Unwrap() error { return e.err }

// judged says that the server judged a statement, rather than that it, or the
// way to it, ended.
func (e *netError) judged() bool {
	var p *pgconn.PgError
	if errors.As(e.err, &p) {
		return p.SeverityUnlocalized == "ERROR" && !strings.HasPrefix(p.Code, "57") // operator intervention
	}
	return errors.As(e.err, new(*RowCountError))
}

// netState is what an execution knows of net effects.
type netState struct {
	allowed     bool
	orderedUpTo catalog.LSN     // source transactions up to here go in order
	ordered     map[string]bool // … and changes of these tables
	notice      string          // for once it has turned out that in order all is well
}

func newNet(o Options) netEffect {
	memory := cmp.Or(max(o.Memory, 0), defaultMemory)
	return netEffect{limits: o.Limits.filled(), memory: memory / windowPart, window: fold.New(), tables: map[string]*netTable{}, stages: map[string]string{}}
}

// ahead is how many bytes may wait to be sent.
func (n *netEffect) ahead() int64 { return n.memory * windowPart / queuePart }

// failed is the error of a batch's answer.
func (b *batch) failed(a *answer, err error) error {
	if !b.net {
		return err
	}
	return &netError{table: a.table, upTo: a.at.lsn, err: err}
}

// switchNet decides how the source transaction that begins is applied.
func (r *replayer) switchNet() error {
	on := r.x.net.allowed && r.at.lsn > r.x.net.orderedUpTo
	if on == r.net.on {
		return nil
	}
	if err := r.commit(); err != nil {
		return err
	}
	r.net.on = on
	return nil
}

// table returns the window's table of a name; nil: its changes go in order. at is
// the number of changes from which on the catalogs are asked for its shape.
func (r *replayer) table(name []byte, at int) (*netTable, error) {
	n := &r.net
	if n.last == nil || n.last.name != string(name) {
		n.last = n.tables[string(name)]
	}
	t := n.last
	if t == nil {
		t = &netTable{name: string(name), plain: r.x.net.ordered[string(name)]}
		n.tables[t.name], n.last = t, t
	}
	if t.fold != nil || t.plain {
		return t, nil
	}
	if t.seen++; t.seen < at {
		return t, nil
	}
	return t, r.look(t)
}

// look asks the target what a table is.
func (r *replayer) look(t *netTable) error {
	t.plain = true
	parts, n := sqltext.Name(t.name)
	if len(parts) != 2 || n != len(t.name) {
		return nil
	}
	var rows [][]string
	sql := readShape(parts[0], parts[1])
	a := r.command("what is a table", 0)
	a.row = func(values [][]byte) {
		row := make([]string, len(values))
		for i := range values {
			row[i] = string(values[i])
		}
		rows = append(rows, row)
	}
	if err := r.feed.query([]byte(sql), a); err != nil {
		return err
	}
	answered := make(chan struct{})
	if err := r.feed.wait(func() error { close(answered); return nil }); err != nil {
		return err
	}
	select {
	case <-answered:
	case <-r.feed.ctx.Done():
		return errStopped
	}
	if shape, ok := shapeOf(rows); ok {
		t.plain, t.fold = false, r.net.window.Table([]byte(t.name), shape)
	}
	return nil
}

// absorb takes a change into the window, if that can be. Else it has been made
// ready for the change to go in order.
func (r *replayer) absorb(c *segment.Change, size int) (bool, error) {
	if r.commands {
		return false, nil
	}
	after := r.net.limits.LookAfter
	if c.Full {
		after = 1 // in order each may have the server read all of the table
	}
	t, err := r.table(c.Table, after)
	if err != nil {
		return false, err
	}
	if t.fold != nil {
		if size <= largeRow && t.fold.Absorb(c) {
			return true, r.bounded()
		}
		if err := r.apply(t); err != nil {
			return false, err
		}
	}
	r.inOrder()
	return false, nil
}

// inOrder makes ready for a statement of the current source transaction that
// goes in order.
func (r *replayer) inOrder() {
	if r.net.on && !r.own {
		r.net.within = true
		r.net.slow++
		r.begin()
	}
}

// bounded is called when the window has taken something. It applies the window
// when that has reached its limit.
func (r *replayer) bounded() error {
	r.net.within = true
	if r.net.taken++; r.net.taken%1000 == 0 && r.feed.ctx.Err() != nil {
		return errStopped // else nobody would notice before the window is full
	}
	if r.net.window.Bytes() < r.net.memory {
		return nil
	}
	r.net.heavy = true
	return r.applyAll()
}

// copyBlock takes the rows of a COPY block into the window if they are few, or
// passes them on.
func (r *replayer) copyBlock(reader *segment.Reader, item segment.Item) error {
	from := reader.Offset()
	if r.net.on && !r.commands {
		done, err := r.absorbCopy(reader, item)
		if done || err != nil {
			return err
		}
		r.inOrder()
	}
	err := copyBlock(r, item.SQL, r.command("", item.Line), reader.CopyData(), &r.feed.textBytes)
	r.net.heavy = r.net.heavy || reader.Offset()-from > roomBytes
	return err
}

// absorbCopy returns whether the window has all rows of a block. Those that it
// has not yet read go on in order.
func (r *replayer) absorbCopy(reader *segment.Reader, item segment.Item) (done bool, err error) {
	n := &r.net
	if err := segment.ParseCopy(item.SQL, &n.copy); err != nil {
		return false, err
	}
	t, err := r.table(n.copy.Table, n.limits.LookAfter)
	if err != nil || t.fold == nil {
		t.seen = n.limits.LookAfter // they are many
		return false, err
	}
	n.within = true
	for range n.limits.Copy {
		if n.row, err = reader.Row(n.row[:0]); errors.Is(err, io.EOF) {
			return true, r.bounded()
		}
		if err != nil {
			return false, err
		}
		size := 0
		for _, v := range n.row {
			size += len(v.Text)
		}
		if size <= largeRow && t.fold.AbsorbRow(n.copy.Columns, n.row) {
			continue
		}
		if err := r.apply(t); err != nil {
			return false, err
		}
		r.inOrder()
		n.change = segment.Change{Op: segment.Insert, Table: n.copy.Table, Columns: n.copy.Columns, New: n.row}
		r.form.read(&n.change)
		return false, r.change(&n.change, nil, item.Line)
	}
	return false, r.apply(t)
}

// forget is called before a command: nothing is known of tables behind it, and
// stages have columns of types that it may change.
func (r *replayer) forget() {
	n := &r.net
	clear(n.tables)
	n.last = nil
	r.dropStages()
}
