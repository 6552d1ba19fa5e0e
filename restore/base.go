package restore

import (
	"context"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/segment"
)

// loader brings a plain base into the target: every statement of the dump in
// its order, except that indexes which stand side by side are built at the
// same time.
type loader struct {
	x      *execution
	reader *dump.Reader
	at     *place
	state  sessionState
	build  *buildPlan // index statements put aside; nil: none
	bytes  map[string]int64
	counts map[string]catalog.TableCount

	helper  *helper // a second session for large COPY blocks
	alone   bool    // there can be none
	inBlock bool    // between BEGIN and COMMIT, where another session sees nothing

	left      leftovers
	unchecked bool // constraints that may judge otherwise are out of force
}

// sessionState is the settings that a dump has made so far, for the sessions
// that help to build its indexes.
type sessionState struct {
	names      []string
	statements map[string]string
}

var setting = regexp.MustCompile(`(?s)^(?:SET ([a-z_.]+) (?:=|TO) |SELECT pg_catalog\.set_config\('([a-z_.]+)', )`)

// take remembers a statement if it is a setting, and tells whether it is.
func (s *sessionState) take(sql string) (name string, ok bool) {
	m := setting.FindStringSubmatch(sql)
	if m == nil {
		return "", false
	}
	name = m[1] + m[2]
	if _, known := s.statements[name]; !known {
		s.names = append(s.names, name)
	}
	if s.statements == nil {
		s.statements = map[string]string{}
	}
	s.statements[name] = sql
	return name, true
}

func (s *sessionState) drop(name string) {
	delete(s.statements, name)
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return n == name })
}

func (s *sessionState) list() []string {
	list := make([]string, len(s.names))
	for i, name := range s.names {
		list[i] = s.statements[name]
	}
	return list
}

// loadBase executes the base's text on a session of its own.
func (x *execution) loadBase(ctx context.Context) error {
	base := x.p.Plan.Base
	reader, done, err := x.openBase(ctx)
	if err != nil {
		return err
	}
	defer done()
	reader.Described = x.witness.ofBase
	conn, err := x.server.open(ctx, x.o.TargetConn)
	if err != nil {
		return err
	}
	l := &loader{x: x, reader: reader, at: &place{file: base.Name}, bytes: map[string]int64{},
		counts: map[string]catalog.TableCount{}}
	f, err := newFeed(ctx, conn, 0, x.listen)
	if err != nil {
		return err
	}
	go f.fill(func() error { return l.fill(ctx, f) })
	err = f.run(ctx, func() { x.progress(PhaseBase, f.what.Load(), f.textBytes.Load(), base.TextBytes) })
	for _, c := range l.counts {
		addCount(x.counts, c)
	}
	return err
}

func (l *loader) fill(ctx context.Context, f *feed) (err error) {
	defer func() { err = l.endHelper(err) }()
	for {
		item, err := l.reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f.textBytes.Add(int64(len(item.SQL)) + 1)
		switch item.Kind {
		case segment.CopyBlock:
			err = l.copy(ctx, f, item)
		case segment.Statement:
			err = l.statement(ctx, f, item)
		case segment.End:
			if err = l.check(f); err == nil {
				err = l.buildNow(ctx, f)
			}
			if err == nil {
				err = f.wait(func() error { return l.settle(ctx) })
			}
		}
		if err != nil {
			return err
		}
	}
}

func (l *loader) answer(item segment.Item) answer {
	return answer{rows: anyRows, line: item.Line, at: l.at, sql: shorten(string(item.SQL))}
}

func (l *loader) copy(ctx context.Context, f *feed, item segment.Item) error {
	if err := l.uncheck(ctx, f); err != nil || l.x.p.definitions {
		return err
	}
	table := sqltext.DisplayName(string(item.SQL[len("COPY "):]))
	f.what.Store(&table)
	before := f.textBytes.Load()
	a, sql := l.answer(item), string(item.SQL)
	rows := l.reader.CopyData()
	c := beginCopy(f, item.SQL, a)
	err := c.rows(rows, spreadFrom, &f.textBytes)
	helped := int64(0)
	if err == nil && c.started.Load() && l.haveHelper(ctx) {
		helped, err = l.spread(f, c, rows, spreadCopy{sql, a})
	} else {
		if err == nil {
			err = c.rows(rows, math.MaxInt, &f.textBytes)
		}
		if errors.Is(err, io.EOF) {
			err = c.end()
		}
	}
	l.bytes[table] += f.textBytes.Load() - before
	addCount(l.counts, catalog.TableCount{Table: table, Inserted: c.sent.Load() + helped})
	return err
}

func (l *loader) statement(ctx context.Context, f *feed, item segment.Item) error {
	sql, notice := l.x.spaces.rewrite(string(l.x.searchPath(item.SQL)))
	l.x.note(notice)
	if sql == "" || l.x.p.definitions && ofContents(sql) {
		return nil
	}
	switch sql {
	case "BEGIN;":
		l.inBlock = true
	case "COMMIT;":
		l.inBlock = false
	}
	if name, ok := l.state.take(sql); ok {
		if !l.x.settings[name] && !strings.Contains(name, ".") {
			// pg_dump of a later version sets what only later servers know.
			l.state.drop(name)
			return nil
		}
		if name == "row_security" && l.x.server.superuser { // whose rows no policy stops, but REFRESH runs as the owner
			sql = "SET row_security = on;"
			l.state.statements[name] = sql
		}
		if l.build != nil {
			return nil // taken along by what is put aside, and sent behind it
		}
		return f.query([]byte(sql), l.answer(item))
	}
	if !ofRows.MatchString(sql) {
		if err := l.check(f); err != nil {
			return err
		}
	}
	if l.build == nil {
		l.build = &buildPlan{groups: map[string]*buildGroup{}, byIndex: map[string]*buildGroup{}}
	}
	step := buildStep{sql: sql, line: item.Line, space: l.state.statements["default_tablespace"]}
	if l.build.take(sql, step) {
		return nil
	}
	if err := l.buildNow(ctx, f); err != nil {
		return err
	}
	a := l.answer(item)
	if !l.inBlock {
		a.forgive = func(err error) bool { return l.forgive(step, err) }
	}
	return f.query([]byte(sql), a)
}

// forgive keeps a statement that failed for later, if that may help.
func (l *loader) forgive(step buildStep, err error) bool {
	if !forLater(step.sql, err) {
		return false
	}
	var s *StatementError
	if errors.As(err, &s) {
		err = s.Err
	}
	l.left.add(step, err)
	return true
}

// ofRows are statements of the part of a dump that holds the rows.
var ofRows = regexp.MustCompile(`^(?:SELECT pg_catalog\.(?:setval|lo|set_config)|SET |BEGIN;|COMMIT;|ALTER LARGE OBJECT |COMMENT ON LARGE OBJECT ` +
	`|(?:GRANT|REVOKE) .* ON LARGE OBJECT )`)

// buildNow builds what was put aside, and waits for it.
func (l *loader) buildNow(ctx context.Context, f *feed) error {
	plan := l.build
	l.build = nil
	if plan == nil || len(plan.groups) == 0 {
		return nil
	}
	session := l.state.list()
	what := "indexes"
	f.what.Store(&what)
	plan.largestFirst(l.bytes)
	if err := f.wait(func() error { return l.buildIndexes(ctx, plan, session) }); err != nil {
		return err
	}
	// Settings that came while statements were put aside.
	for _, sql := range session {
		if err := f.query([]byte(sql), answer{rows: anyRows, at: l.at, sql: shorten(sql)}); err != nil {
			return err
		}
	}
	return nil
}

// listen takes what a pipe hears besides answers.
func (x *execution) listen(p *pipe) {
	p.notice = func(n *pgconn.Notice) { x.note(strings.TrimSpace(n.Severity + ": " + n.Message)) }
}
