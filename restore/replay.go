package restore

import (
	"bytes"
	"io"
	"regexp"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// cachedStatements is how many forms of statements stay prepared.
const cachedStatements = 256

// replaySettings are for a session that finds rows by their keys, mostly in
// tables without statistics: a plan made while the table was small must not
// read all of it later.
const replaySettings = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off; " +
	"SET plan_cache_mode = force_generic_plan"

// Around commands the planner is left alone: they read whole tables.
const (
	plannerFree  = "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on"
	plannerBound = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
	ownRole      = "SET LOCAL SESSION AUTHORIZATION DEFAULT"
)

// replayer turns segments into batches.
//
// What a source transaction does is kept in pending until it is known to fit
// into a group: it is short and holds no command. Else it goes on as a
// transaction of its own.
type replayer struct {
	x     *execution
	feed  *feed
	from  catalog.LSN // transactions before it are in the target
	last  catalog.LSN // commit LSN of the last one wanted
	cache *statements
	form  form
	read  txReader
	part  *repo.Part // of definitions; nil: all of a segment is read

	preamble []byte // as executed last

	// The current source transaction.
	at       *place
	pending  batch
	inThis   int64             // statements
	objects  []describe.Object // of the source, as they are behind it
	own      bool              // it has a transaction of the target for itself
	commands bool              // … and holds commands

	// The current transaction of the target.
	open      bool
	free      bool  // the planner is left alone
	found     bool  // the lists of what may judge rows otherwise are right
	unchecked bool  // … and it is out of force
	group     int64 // source transactions
	inGroup   int64 // statements
	end       catalog.LSN
	endAt     *place

	total milestone // of what is complete

	net netEffect
}

// into and room make a replayer a sink.
func (r *replayer) into() *batch {
	if r.own || r.net.on {
		return r.feed.cur
	}
	return &r.pending
}

func (r *replayer) room(inCopy bool) error {
	if r.own || r.net.on {
		return r.feed.room(inCopy)
	}
	if !r.pending.full() {
		return nil
	}
	if err := r.separate(); err != nil {
		return err
	}
	return r.feed.room(inCopy)
}

func (r *replayer) fill() error {
	for _, a := range r.x.p.Plan.Segments {
		if a.End <= r.from {
			r.feed.textBytes.Add(a.TextBytes)
			continue
		}
		before := r.feed.textBytes.Load()
		r.feed.what.Store(&a.Name)
		more, err := r.segment(a)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		r.feed.textBytes.Store(before + a.TextBytes)
	}
	return r.commit()
}

// segment replays one segment. It returns false when the target is reached.
func (r *replayer) segment(a catalog.Artifact) (bool, error) {
	reader, err := r.openSegment(a)
	if err != nil {
		return false, err
	}
	defer r.closeSegment(reader)
	r.at = &place{file: a.Name}
	var preamble []byte
	r.read = txReader{}
	for {
		item, ok, err := r.read.next(reader)
		if err != nil || !ok {
			return true, err
		}
		if item.Kind == segment.Preamble {
			preamble = append(append(preamble, item.SQL...), '\n')
			continue
		}
		if preamble != nil {
			if err := r.setUp(preamble); err != nil {
				return false, err
			}
			preamble = nil
		}
		if item.Kind != segment.Begin {
			continue
		}
		if r.feed.ctx.Err() != nil {
			return false, errStopped
		}
		if r.read.moment.LSN > r.last {
			return false, nil
		}
		r.at = &place{file: a.Name, lsn: r.read.moment.LSN, xid: r.read.moment.XID}
		if err := r.transaction(reader); err != nil {
			return false, err
		}
	}
}

// emptyPaths are the statements by which bases and segments empty the
// search_path.
var emptyPaths = [][]byte{[]byte("SET search_path = '';"), []byte("SET LOCAL search_path = '';"),
	[]byte("SELECT pg_catalog.set_config('search_path', '', false);")}

// searchPath puts the schemas of Options.SearchPath where a statement empties
// the path.
func (x *execution) searchPath(sql []byte) []byte {
	if len(x.o.SearchPath) == 0 || len(sql) > 60 {
		return sql
	}
	for i, empty := range emptyPaths {
		if !bytes.Equal(bytes.TrimSpace(sql), empty) {
			continue
		}
		quoted := make([]string, len(x.o.SearchPath))
		for j, name := range x.o.SearchPath {
			quoted[j] = sqltext.Quoted(name)
		}
		path := strings.Join(quoted, ", ")
		return []byte([]string{"SET search_path = " + path + ";", "SET LOCAL search_path = " + path + ";",
			"SELECT pg_catalog.set_config('search_path', " + sqltext.Literal(path) + ", false);"}[i])
	}
	return sql
}

// setUp executes a segment's preamble, unless the session has it already.
func (r *replayer) setUp(preamble []byte) error {
	if bytes.Equal(preamble, r.preamble) {
		return nil
	}
	if err := r.commit(); err != nil {
		return err
	}
	r.preamble = preamble
	for line := range bytes.Lines(preamble) {
		line = r.x.searchPath(line)
		if err := r.feed.query(bytes.TrimSpace(line), r.command(string(line), 0)); err != nil {
			return err
		}
	}
	settings := replaySettings
	if r.x.server.superuser { // whose rows no policy stops, but commands run as other roles
		settings += "; SET row_security = on"
	}
	return r.feed.query([]byte(settings), r.command(settings, 0))
}

// transaction reads the one that has just begun to its end.
func (r *replayer) transaction(reader *segment.Reader) error {
	skip := r.at.lsn < r.from
	sampled := true // by pg_scribe, and nothing else
	r.pending.reset()
	r.own, r.commands, r.net.within = false, false, false
	r.inThis, r.objects = 0, nil
	if err := r.switchNet(); err != nil {
		return err
	}
	for {
		item, ok, err := r.read.next(reader)
		if err != nil {
			return err
		}
		if !ok {
			return io.ErrUnexpectedEOF // the reader does not end within a transaction
		}
		r.feed.textBytes.Add(int64(len(item.SQL)) + 1)
		if !skip && item.Kind != segment.Commit {
			position, ok := item.Sampled()
			sampled = sampled && ok
			r.x.sampled = max(r.x.sampled, position)
		}
		switch {
		case item.Kind == segment.Commit:
			if skip {
				return nil
			}
			if !sampled {
				r.x.changed = r.at.lsn
			}
			return r.endTransaction(item.LSN)
		case skip, r.x.p.passesOver(item):
		case item.Kind == segment.CopyBlock:
			r.inThis++
			r.uncheck()
			err = r.copyBlock(reader, item)
		default:
			err = r.statement(reader, item)
		}
		if err != nil {
			return err
		}
	}
}

// command is the answer to a statement whose row count does not matter.
func (r *replayer) command(sql string, line int64) answer {
	return answer{rows: anyRows, line: line, at: r.at, sql: shorten(sql)}
}

// statement sends one statement of a source transaction.
func (r *replayer) statement(reader *segment.Reader, item segment.Item) error {
	switch item.Kind {
	case segment.RowChange:
		r.inThis++
		r.uncheck()
		c, err := reader.Change(item)
		if err != nil {
			return err
		}
		if r.net.on {
			if done, err := r.absorb(c, len(item.SQL)); done || err != nil {
				return err
			}
		}
		if !r.form.read(c) {
			return r.plain(item.SQL, r.form.rows, item.Line)
		}
		return r.change(c, item.SQL, item.Line)
	case segment.LargeObject, segment.PieceRow:
		r.inThis++
		r.inOrder()
		return r.plain(item.SQL, anyRows, item.Line)
	case segment.TruncateTable, segment.Setting:
		r.inThis++
		if err := r.separate(); err != nil {
			return err
		}
		r.commands = true
		r.check()
		if item.Kind == segment.Setting {
			r.forget()
		}
		return r.rewritten(r.x.searchPath(item.SQL), item.Line)
	case segment.DDL, segment.Block, segment.PieceTable:
		r.inThis++
		return r.ddl(item)
	case segment.Object:
		o, ok, err := r.x.witness.take(item.Object)
		if ok {
			r.objects = append(r.objects, o)
		}
		return err
	case segment.Unknown:
		return reader.Unknown(item)
	}
	return nil // a line that means nothing to the target
}

// change sends a row change, which r.form has read, as an execution of a
// prepared statement. sql is its text, or nil.
func (r *replayer) change(c *segment.Change, sql []byte, line int64) error {
	b := r.into()
	if r.free {
		r.free = false
		b.query([]byte(plannerBound), r.command(plannerBound, 0))
	}
	st, known := r.cache.get(r.form.text)
	if !known {
		if r.x.unprepared[string(r.form.text)] {
			if sql == nil {
				sql = segment.AppendChange(nil, c)
			}
			return r.plain(sql, r.form.rows, line)
		}
		var evicted *statement
		if st, evicted = r.cache.add(r.form.text); evicted != nil {
			b.wire = appendClose(b.wire, evicted.name)
			b.answers = append(b.answers, answer{kind: answerClose, at: r.at})
		}
		b.wire = appendParse(b.wire, st.name, r.form.text)
		b.answers = append(b.answers, answer{kind: answerParse, line: line, at: r.at, sql: st.text, table: r.net.name})
	}
	b.wire = appendRun(b.wire, st.name, r.form.values)
	b.answers = append(b.answers, answer{kind: answerRun, rows: r.form.rows, line: line, at: r.at, table: r.net.name})
	return r.room(false)
}

// plain sends a statement as it stands.
func (r *replayer) plain(sql []byte, rows, line int64) error {
	b := r.into()
	b.query(sql, answer{rows: rows, line: line, at: r.at, table: r.net.name})
	return r.room(false)
}

// rewritten sends a command as far as the target can run it.
func (r *replayer) rewritten(sql []byte, line int64) error {
	text, notice := r.x.spaces.rewrite(string(sql))
	r.x.note(notice)
	if text == "" {
		return nil
	}
	return r.plain([]byte(text), anyRows, line)
}

// firing tells commands that can change which triggers and rules fire, or what
// publications publish, events
// those that can change which event triggers do.
var (
	firing = regexp.MustCompile(`(?i)trigger|rule|partition|extension|publication`)
	events = regexp.MustCompile(`(?i)event\s+trigger|extension`)
)

// ddl sends a command. The source transaction that holds it stands alone.
func (r *replayer) ddl(item segment.Item) error {
	r.x.witness.command(item)
	if role, ok := strings.CutPrefix(item.Tag, "ROLE "); ok {
		if r.x.leavesRole(role) {
			return nil
		}
		name, _ := sqltext.Part(role)
		r.x.madeRole(name)
	}
	if (item.Tag == segment.TagTablespace || item.Tag == segment.TagParameter) && r.x.o.Globals != GlobalsAll {
		return nil // they belong to the target's cluster, not to this database
	}
	if err := r.separate(); err != nil {
		return err
	}
	r.commands = true
	r.check()
	r.forget()
	r.found = false
	b := r.into()
	if was, now, ok := renamedRole(item.Tag); ok && r.x.keepsRole(was, now) {
		b.query([]byte(keepRole), r.command(keepRole, 0))
		defer func() { r.into().query([]byte(unkeepRole), r.command(unkeepRole, 0)) }()
	}
	for _, name := range r.cache.clear() {
		// Their parameters have the types of yesterday's columns.
		b.wire = appendClose(b.wire, name)
		b.answers = append(b.answers, answer{kind: answerClose, at: r.at})
	}
	r.freePlanner()
	if r.x.p.definitions && item.Tag == "CREATE MATERIALIZED VIEW" {
		item.SQL = withoutData(item.SQL)
	}
	if !firing.Match(item.SQL) {
		return r.rewritten(item.SQL, item.Line)
	}
	before := revive
	if events.Match(item.SQL) {
		before = reviveEvents
	}
	b.query([]byte(before), r.command(before, 0))
	if err := r.rewritten(item.SQL, item.Line); err != nil {
		return err
	}
	r.into().query([]byte(silence), r.command(silence, 0))
	return r.room(false)
}
