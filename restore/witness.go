package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/internal/simple"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/restore/compare"
)

// Bases and segments say what the objects of the source are, each line as of its
// place. The target is compared with that behind the base, at each group of
// lines of the stream, and at the end: a command is replayed as a text in
// another world, and nothing else shows whether it made the same. What differs
// is repaired from the description. What stays different ends the restore,
// unless Options.AcceptDifferences.

// A Difference is one between source and target, as a restore leaves it.
type Difference struct {
	compare.Difference
	Accepted bool        // it is there still
	LSN      catalog.LSN // of the transaction behind which it was found first; 0: behind the base
}

// witness holds what is known of the source's objects.
type witness struct {
	x        *execution
	expected *compare.Expected
	conn     *pgconn.PgConn
	comparer *compare.Comparer
	base     bool // the base says what its objects are

	// What the stream said when, counted in commands and lines: a command
	// behind the last line about an object may have changed it.
	clock         int64
	named         map[string]int64 // by word: the last command that has it
	told          map[string]int64 // by object: the last line
	defined, line int64            // the last command that defines something, and the last line

	renamed []renamedAt // roles: what descriptions before that say of them has other names now

	ahead map[string]bool                     // by object: a line behind the end is about it
	first map[describe.Difference]catalog.LSN // by place: behind which transaction it differed first
}

func newWitness(x *execution) (*witness, error) {
	expected, err := compare.NewExpected()
	if err != nil {
		return nil, err
	}
	return &witness{x: x, expected: expected, named: map[string]int64{}, told: map[string]int64{}, ahead: map[string]bool{},
		first: map[describe.Difference]catalog.LSN{}}, nil
}

func (w *witness) close() {
	w.expected.Close()
	if w.conn != nil {
		closeNow(w.conn)
	}
}

// take takes a line, and returns the description if it has one.
func (w *witness) take(f segment.Fingerprint) (o describe.Object, ok bool, err error) {
	w.clock++
	w.line = w.clock
	key := describe.Object{Class: f.Class, Identity: f.Identity}.Key()
	w.told[key] = w.clock
	if f.Description == "" {
		w.expected.Gone(f.Class, f.Identity)
		if f.SHA256 != segment.Gone { // what it is nobody knows
			w.named[lastName(f.Identity)] = w.clock + 1
		}
		return o, false, nil
	}
	if o, err = describe.ParseObject([]byte(f.Description)); err != nil {
		return o, false, err
	}
	return o, true, w.expected.Put(o)
}

// ofBase takes a line of the base.
func (w *witness) ofBase(f segment.Fingerprint) error {
	w.base = true
	_, _, err := w.take(f)
	return err
}

// ofDirectory takes what stands beside a base that is a directory. An older one
// says nothing.
func (w *witness) ofDirectory(dir string) error {
	path := filepath.Join(dir, repo.DirObjects)
	if !present(path) {
		return nil
	}
	return repo.ReadObjects(path, w.ofBase)
}

// word is a name or a part of one, as a command may have it.
var word = regexp.MustCompile(`[\pL_][\pL\pN_$]*`)

// command notes what a command may have changed: whatever it names.
func (w *witness) command(item segment.Item) {
	w.clock++
	if item.Defines() {
		w.defined = w.clock
	}
	for _, name := range word.FindAllString(strings.ToLower(string(item.SQL)), -1) {
		w.named[name] = w.clock
	}
	if was, now, ok := renamedRole(item.Tag); ok {
		w.renamed = append(w.renamed, renamedAt{w.clock, words(was), words(now)})
	}
}

// renamedAt is a role that got another name; was and now are the words of both.
type renamedAt struct {
	clock    int64
	was, now [][]byte
}

func words(name string) [][]byte { return word.FindAll([]byte(name), -1) }

// rolesRenamed reports whether a role that the object has to do with was renamed
// behind the last line about it.
func (w *witness) rolesRenamed(o describe.Object) bool {
	told := w.told[o.Key()]
	return slices.ContainsFunc(w.renamed, func(r renamedAt) bool {
		return r.clock > told && slices.ContainsFunc(o.Rows, func(row describe.Row) bool {
			has := func(name []byte) bool {
				return bytes.Contains(row.Definition, name) || strings.Contains(row.Identity, string(name))
			}
			return !slices.ContainsFunc(r.was, func(n []byte) bool { return !has(n) }) || !slices.ContainsFunc(r.now, func(n []byte) bool { return !has(n) })
		})
	})
}

// lastName is the last word of an object's identity, without arguments.
func lastName(identity string) string {
	name, _, _ := strings.Cut(identity, "(")
	words := word.FindAllString(strings.ToLower(name), -1)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// undecided reports whether a command may have changed an object behind the
// last line about it: one that names it or renames a role that it has to do with,
// or, where no line followed at all, any one, since it may have made sequences,
// members and the like of other names.
func (w *witness) undecided(o describe.Object) bool {
	if w.defined > w.line && !w.ahead[o.Key()] || w.rolesRenamed(o) {
		return true
	}
	name := lastName(o.Identity)
	if o.Class == "operator" || name == "" {
		return w.clock > w.told[o.Key()]
	}
	return w.named[name] > w.told[o.Key()]
}

// ready opens the session that compares.
func (w *witness) ready(ctx context.Context) (err error) {
	if w.comparer != nil {
		return nil
	}
	if w.conn, err = w.x.server.open(ctx, w.x.o.TargetConn); err != nil {
		return err
	}
	w.comparer, err = compare.New(ctx, w.conn, MajorOf(w.x.p.Plan.Base.ServerVersion))
	return err
}

// behindBase compares everything that the base made.
func (w *witness) behindBase(ctx context.Context) error {
	if !w.base {
		return nil
	}
	if !w.x.o.Force { // else there is what was there before
		w.expected.Complete()
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	r, err := w.comparer.All(ctx, w.expected, compare.Options{Repair: true, NoRows: w.x.p.definitions})
	if err != nil {
		return err
	}
	return w.judge(r, w.x.p.Plan.Base.Name, 0)
}

// behindLines compares the objects of some lines of the stream, when their
// transaction is committed.
func (w *witness) behindLines(ctx context.Context, objects []describe.Object, at *place) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	r, err := w.comparer.Some(ctx, objects, compare.Options{Repair: true, Quiet: true, NoRows: w.x.p.definitions})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(r.Differences, func(d compare.Difference) bool { return d.Repaired }) {
		if _, err := simple.Query(ctx, w.conn, silence); err != nil {
			return err
		}
	}
	return w.judge(r, fmt.Sprintf("transaction %d (commit LSN %s)", at.xid, at.lsn), at.lsn)
}

// atEnd compares all objects. control is the session that holds the restore's
// own schema.
func (w *witness) atEnd(ctx context.Context, control *pgconn.PgConn) error {
	if w.expected.Len() == 0 && !w.base {
		return nil
	}
	return w.x.phase(PhaseCompare, func() error { return w.compareEnd(ctx, control) })
}

func (w *witness) compareEnd(ctx context.Context, control *pgconn.PgConn) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	if _, err := simple.Query(ctx, control, reviveEvents); err != nil {
		return err
	}
	err := w.compareAll(ctx)
	if err != nil { // the restore may go on
		_, quiet := simple.Query(context.WithoutCancel(ctx), control, silence)
		return errors.Join(err, quiet)
	}
	return nil
}

func (w *witness) compareAll(ctx context.Context) error {
	find := compare.Options{Undecided: w.undecided, NoRows: w.x.p.definitions}
	r, err := w.comparer.All(ctx, w.expected, find)
	if err != nil {
		return err
	}
	if err := w.lookOn(ctx, r); err != nil {
		return err
	}
	if len(r.Undecided)+len(r.Differences) > 0 {
		find.Repair = true
		if r, err = w.comparer.All(ctx, w.expected, find); err != nil {
			return err
		}
	}
	for _, o := range r.Undecided {
		w.x.note(o.Class + " " + o.Identity + " was not compared with the source: a command behind its last description may have changed it")
	}
	w.x.report.Compared, w.x.report.NotCompared = r.Objects-len(r.Undecided), r.Passed+len(r.Undecided)
	return w.judge(r, "", w.x.p.Last.LSN)
}

// judge keeps what was found for the report, behind the transaction with an LSN.
// What is different still is an error, unless it is known or accepted; a rehearsal
// goes on, and lists it.
func (w *witness) judge(r compare.Result, where string, lsn catalog.LSN) error {
	var left []compare.Difference
	repaired, still := map[int]bool{}, map[int]bool{} // of what the base left out
	for _, d := range r.Differences {
		if !d.Repaired && ofExtension(d, r) {
			w.x.note(difference(d) + ": it is as the extension makes it in the target")
			continue
		}
		known := w.x.leftOut(d)
		switch {
		case d.Repaired:
			w.x.report.Differences = appendDifference(w.x.report.Differences, Difference{Difference: d, LSN: lsn})
			repaired[known] = true
		case lsn != 0 && where != "" && (d.Kind == describe.Missing && d.Row == "" || d.OfRoles()):
			// What no event told, as of REASSIGN OWNED, and privileges of transactions that
			// overlapped come with the next sample; else they differ at the end.
		case known < 0:
			left = append(left, d)
		default:
			still[known] = true
		}
	}
	w.x.forgetLeftOut(func(i int) bool { return repaired[i] && !still[i] })
	if len(left) == 0 {
		return nil
	}
	if !w.x.o.AcceptDifferences && !w.x.p.definitions {
		return &DifferenceError{Where: where, Differences: left}
	}
	for _, d := range left {
		_, seen := w.first[d.Place()]
		if !seen {
			w.first[d.Place()] = lsn
		}
		// Those that are there at the end count, and all in a rehearsal: a restore would have ended.
		if w.x.p.definitions && !seen || !w.x.p.definitions && where == "" {
			w.x.report.Differences = append(w.x.report.Differences, Difference{d, true, w.first[d.Place()]})
		}
	}
	return nil
}

// ofExtension reports whether a difference is the extension's doing: its version
// in the target is another, or its script does not make what the source's user
// put into it.
func ofExtension(d compare.Difference, r compare.Result) bool {
	version := func(d compare.Difference) bool { return d.Attribute == "extversion" && !d.Repaired }
	return version(d) || d.Member && (d.Kind == describe.Missing && d.Row == "" || slices.ContainsFunc(r.Differences, version))
}

// appendDifference lists one place once, apart from what was accepted there.
func appendDifference(list []Difference, d Difference) []Difference {
	same := func(o Difference) bool { return !o.Accepted && o.Place() == d.Place() }
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = d
		return list
	}
	return append(list, d)
}

// recall takes what base and segments said before the place where an
// interrupted restore goes on.
func (w *witness) recall(ctx context.Context, from catalog.LSN) error {
	if err := w.recallBase(ctx); err != nil {
		return err
	}
	if w.base && !w.x.o.Force {
		w.expected.Complete()
	}
	for _, a := range w.x.p.Plan.Segments {
		if a.Start >= from {
			break
		}
		part, err := w.x.p.repo.OpenPart(ctx, a, repo.Wanted{Definitions: true, To: from})
		if err != nil {
			return err
		}
		err = w.recallSegment(part.Reader, from)
		part.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *witness) recallSegment(reader *segment.Reader, from catalog.LSN) error {
	for {
		item, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if item.Tx.Commit < w.x.p.Plan.From || item.Tx.Commit >= from {
			continue
		}
		switch item.Kind {
		case segment.DDL:
			w.command(item)
		case segment.Object:
			if _, _, err := w.take(item.Object); err != nil {
				return err
			}
		}
	}
}

func (w *witness) recallBase(ctx context.Context) error {
	base := w.x.p.Plan.Base
	if base.Format == directoryFormat {
		dir, release, err := w.x.archive(ctx)
		if err != nil {
			return err
		}
		defer release()
		return w.ofDirectory(dir)
	}
	reader, err := w.x.p.repo.OpenDump(base)
	if err != nil {
		return err
	}
	defer reader.Close()
	reader.Described = w.ofBase
	for {
		if _, err := reader.Next(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
