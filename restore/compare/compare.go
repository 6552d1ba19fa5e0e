// Package compare says where a restored database differs from its source, by
// descriptions of the source's objects, and repairs what can be repaired from
// them. It decides by reading the target again: what it says is repaired is
// equal. It knows no repository and no stream.
package compare

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
)

// A Comparer compares the objects of one target database.
type Comparer struct {
	conn   *pgconn.PgConn
	reader *describe.Reader
	source int // major version
	target int
	spaces map[string]bool // tablespaces of the target
	roles  map[string]bool // its roles, for Quiet
	reads  map[string]bool // catalogs that the role may read
}

// Options say how to compare.
type Options struct {
	Repair bool // execute what makes differences go away
	// Quiet: a replay keeps triggers, rules, event triggers and publications of
	// the target from doing anything, so that their state is not the source's; what
	// has to do with roles that it has not yet comes with a later sample.
	Quiet bool
	// NoRows: the target has definitions alone, so that what only rows bring about
	// is not the source's.
	NoRows bool
	// Undecided says of which objects nobody knows what they should be: they are
	// listed when they differ, and not touched.
	Undecided func(describe.Object) bool
}

// A Difference is one that was found.
type Difference struct {
	describe.Difference
	Repaired bool
	Member   bool   // the object belongs to an extension
	Reason   string // why it was not: what the server said, or that there is no way
}

// A Result is what a comparison found.
type Result struct {
	Objects     int // compared
	Passed      int // attributes and objects that cannot be compared between these servers
	Differences []Difference
	Undecided   []describe.Object // that differ; see Options
}

// Unrepaired are the differences that are there still.
func (r Result) Unrepaired() (list []Difference) {
	for _, d := range r.Differences {
		if !d.Repaired {
			list = append(list, d)
		}
	}
	return list
}

// New begins comparisons with a source of a major version. The connection may
// be used by nobody else meanwhile; only repairs write.
func New(ctx context.Context, conn *pgconn.PgConn, source int) (*Comparer, error) {
	reader, err := describe.NewReader(ctx, conn)
	if err != nil {
		return nil, err
	}
	c := &Comparer{conn: conn, reader: reader, source: source, spaces: map[string]bool{}, reads: map[string]bool{}}
	for _, column := range reader.Metadata.Columns {
		c.reads[column.Catalog] = true
	}
	rows, err := simple.Query(ctx, conn, "SELECT pg_catalog.current_setting('server_version_num')::int / 10000, spcname FROM pg_catalog.pg_tablespace")
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		c.target = number(row[0])
		c.spaces[sqltext.Quoted(row[1])] = true
	}
	return c, nil
}

// All compares every object of the target with what is expected. Objects that
// the source does not have are differences if Expected is complete.
func (c *Comparer) All(ctx context.Context, e *Expected, o Options) (Result, error) {
	var r Result
	found := map[string]pair{}
	left := maps.Clone(e.index)
	err := c.reader.All(ctx, c.conn, func(target describe.Object) error {
		source, known, err := e.get(target.Key())
		if err != nil || ours(target) || !known && (!e.full || target.Class == describe.LargeObject) {
			return err
		}
		if !known && !e.reads(target) {
			r.Passed++
			return nil
		}
		delete(left, target.Key())
		r.Objects++
		c.keep(found, &r, pair{source, target}, o)
		return nil
	})
	if err != nil {
		return r, err
	}
	for key := range left {
		source, _, err := e.get(key)
		if err != nil {
			return r, err
		}
		r.Objects++
		c.keep(found, &r, pair{source: source}, o)
	}
	return r, c.settle(ctx, &r, found, o)
}

// Roles are those of a server.
func Roles(ctx context.Context, conn *pgconn.PgConn) (map[string]bool, error) {
	rows, err := simple.Query(ctx, conn, "SELECT rolname FROM pg_catalog.pg_roles")
	roles := make(map[string]bool, len(rows))
	for _, row := range rows {
		roles[row[0]] = true
	}
	return roles, err
}

// Some compares single objects with their descriptions.
func (c *Comparer) Some(ctx context.Context, objects []describe.Object, o Options) (Result, error) {
	r := Result{Objects: len(objects)}
	targets, err := c.read(ctx, objects)
	if err != nil {
		return r, err
	}
	if c.roles, err = Roles(ctx, c.conn); err != nil {
		return r, err
	}
	found := map[string]pair{}
	for _, source := range objects {
		c.keep(found, &r, pair{source, targets[source.Key()]}, o)
	}
	return r, c.settle(ctx, &r, found, o)
}

// Same reports whether an object of the target is as a description says.
func (c *Comparer) Same(ctx context.Context, description string) (bool, error) {
	source, err := describe.ParseObject([]byte(description))
	if err != nil {
		return false, err
	}
	targets, err := c.read(ctx, []describe.Object{source})
	list, _ := c.compare(pair{source, targets[source.Key()]}, Options{})
	return len(list) == 0, err
}

// pair is one object in source and target; one of them may be empty.
type pair struct{ source, target describe.Object }

func (p pair) key() string {
	if len(p.source.Rows) > 0 {
		return p.source.Key()
	}
	return p.target.Key()
}

// ours tells objects that a restore keeps in its target.
func ours(o describe.Object) bool {
	return len(o.Names) > 0 && o.Names[0] == "scribe_restore"
}

// keep remembers a pair if it differs.
func (c *Comparer) keep(found map[string]pair, r *Result, p pair, o Options) {
	list, passed := c.compare(p, o)
	r.Passed += passed
	if len(list) == 0 {
		return
	}
	any := p.source
	if len(any.Rows) == 0 {
		any = p.target
	}
	if o.Undecided != nil && o.Undecided(any) {
		r.Undecided = append(r.Undecided, any)
		return
	}
	found[p.key()] = p
}

// read describes the objects of the target that have the addresses of these.
func (c *Comparer) read(ctx context.Context, objects []describe.Object) (map[string]describe.Object, error) {
	addresses := make([]describe.Address, len(objects))
	for i, o := range objects {
		addresses[i] = o.Address()
	}
	targets := map[string]describe.Object{}
	err := c.reader.At(ctx, c.conn, addresses, func(o describe.Object) error { targets[o.Key()] = o; return nil })
	return targets, err
}

// maxRounds bounds how often a repair is followed by another one: an owner by
// privileges, a policy by its comment.
const maxRounds = 5

// settle repairs what was found, if that is wanted, and lists the differences:
// those of the beginning, and those that a repair brought about and left.
func (c *Comparer) settle(ctx context.Context, r *Result, found map[string]pair, o Options) error {
	list, err := c.differences(ctx, found, o)
	if err != nil {
		return err
	}
	left, reasons := list, map[describe.Difference]string{}
	for round := 0; o.Repair && len(left) > 0 && round < maxRounds; round++ {
		if err := c.repair(ctx, found, left, reasons); err != nil {
			return err
		}
		if err := c.readAgain(ctx, found); err != nil {
			return err
		}
		now, err := c.differences(ctx, found, o)
		if err != nil {
			return err
		}
		if slices.Equal(now, left) {
			break
		}
		left = now
	}
	still := map[describe.Difference]bool{}
	for _, d := range left {
		still[d.Place()] = true
		if !slices.ContainsFunc(list, func(f describe.Difference) bool { return f.Place() == d.Place() }) {
			list = append(list, d)
		}
	}
	for _, d := range list {
		result := Difference{Difference: d, Repaired: o.Repair && !still[d.Place()]}
		p := found[describe.Object{Class: d.Class, Identity: d.Identity}.Key()]
		result.Member = member(p.source) || member(p.target)
		if o.Repair && !result.Repaired {
			if result.Reason = reasons[d.Place()]; result.Reason == "" {
				result.Reason = "no command makes it so"
			}
		}
		r.Differences = append(r.Differences, result)
	}
	return nil
}

// readAgain describes the objects of the target anew.
func (c *Comparer) readAgain(ctx context.Context, found map[string]pair) error {
	var objects []describe.Object
	for _, p := range found {
		if len(p.source.Rows) > 0 {
			objects = append(objects, p.source)
		} else {
			objects = append(objects, p.target)
		}
	}
	targets, err := c.read(ctx, objects)
	for key, p := range found {
		found[key] = pair{p.source, targets[key]}
	}
	return err
}

func (c *Comparer) differences(ctx context.Context, found map[string]pair, o Options) (all []describe.Difference, err error) {
	for _, key := range slices.Sorted(maps.Keys(found)) {
		list, _ := c.compare(found[key], o)
		for _, d := range list {
			same, err := c.reprinted(ctx, found[key], d)
			if err != nil {
				return nil, err
			}
			if !same {
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// repair executes what may make differences go away. What the server refuses
// is a reason, not an error.
func (c *Comparer) repair(ctx context.Context, found map[string]pair, left []describe.Difference, reasons map[describe.Difference]string) error {
	done := map[string]bool{}
	for _, d := range left {
		f := newFixer(found[describe.Object{Class: d.Class, Identity: d.Identity}.Key()])
		for _, group := range f.fix(d) {
			if done[group.key()] {
				continue
			}
			done[group.key()] = true
			err := c.execute(ctx, group)
			if err == nil {
				continue
			}
			var refused *pgconn.PgError
			if !errors.As(err, &refused) || c.conn.IsClosed() || ctx.Err() != nil {
				return err
			}
			reasons[d.Place()] = refused.Message
		}
	}
	return nil
}

// repairSettings are of each repair: names are qualified, bodies are the
// source's, and nobody is waited for who works in the target.
const repairSettings = "SET LOCAL search_path = ''; SET LOCAL check_function_bodies = off; SET LOCAL standard_conforming_strings = on; " +
	"SET LOCAL client_min_messages = error; SET LOCAL lock_timeout = '10s'"

// execute runs statements as a whole.
func (c *Comparer) execute(ctx context.Context, g group) error {
	return c.within(ctx, true, func() error {
		for _, sql := range g {
			if _, err := simple.Query(ctx, c.conn, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// within runs something in a transaction, or a savepoint of the one that is
// open, which stays only if nothing failed and it is to.
func (c *Comparer) within(ctx context.Context, stay bool, f func() error) error {
	begin, commit, undo := "BEGIN", "COMMIT", "ROLLBACK"
	if c.conn.TxStatus() != 'I' {
		begin, commit = "SAVEPOINT pg_scribe_repair", "RELEASE SAVEPOINT pg_scribe_repair"
		undo = "ROLLBACK TO SAVEPOINT pg_scribe_repair; " + commit
	}
	if _, err := simple.Query(ctx, c.conn, begin+"; "+repairSettings); err != nil {
		return err
	}
	err := f()
	if err == nil && stay {
		_, err = simple.Query(ctx, c.conn, commit)
		return err
	}
	if _, back := simple.Query(ctx, c.conn, undo); back != nil {
		return errors.Join(back, err)
	}
	return err
}
