package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/sqltext"
)

// replay applies the stream up to the last transaction wanted, and returns
// when it is committed.
func (x *execution) replay(ctx context.Context) error {
	x.net.allowed = !x.o.Ordered && x.server.superuser && !x.p.definitions
	for {
		err := x.replayOnce(ctx)
		var p *parseError
		if errors.As(err, &p) && !x.unprepared[p.sql] {
			// It says something only with its values in place. Go on behind the
			// last commit, and send this form as it stands.
			x.unprepared[p.sql] = true
			continue
		}
		var n *netError
		if errors.As(err, &n) && n.judged() && n.upTo > x.net.orderedUpTo {
			x.putInOrder(n)
			continue
		}
		if err == nil {
			x.note(x.net.notice)
		}
		return x.explain(err)
	}
}

// putInOrder has changes applied in order, since their net effect failed. The
// table's go on in order to the end.
func (x *execution) putInOrder(n *netError) {
	x.net.orderedUpTo = n.upTo
	if n.table != "" {
		x.net.ordered[n.table] = true
		reason := n.err.Error()
		var p *pgconn.PgError
		var c *RowCountError
		switch {
		case errors.As(n.err, &p):
			reason = p.Message
		case errors.As(n.err, &c):
			reason = fmt.Sprintf("%d rows changed instead of %d", c.Rows, c.Want)
		}
		x.note(x.net.notice) // of another table
		x.net.notice = fmt.Sprintf("changes of %s are applied one after another, since their net effect could not be: %s", sqltext.DisplayName(n.table), reason)
	}
}

func (x *execution) replayOnce(ctx context.Context) error {
	conn, err := x.server.open(ctx, x.o.TargetConn)
	if err != nil {
		return err
	}
	if err := lock(ctx, conn, lockReplay, x.database); err != nil {
		closeNow(conn)
		return err
	}
	from, err := readProgress(ctx, conn, x.p, x.database)
	if err != nil {
		closeNow(conn)
		return err
	}
	x.applied.Store(uint64(from))
	r := &replayer{x: x, from: from, last: x.p.Last.LSN, cache: newStatements(cachedStatements), net: newNet(x.o)}
	before := x.replayed.Load()
	listen := func(p *pipe) {
		x.listen(p)
		p.committed = func(m *milestone) {
			x.applied.Store(uint64(m.end))
			x.replayed.Store(before.plus(m))
		}
	}
	total := int64(0)
	for _, a := range x.p.Plan.Segments {
		total += a.TextBytes
	}
	ahead := int64(0)
	if x.net.allowed {
		ahead = r.net.ahead()
	}
	f, err := newFeed(ctx, conn, ahead, listen)
	if err != nil {
		return err
	}
	r.feed = f
	go f.fill(r.fill)
	err = f.run(ctx, func() { x.progress(PhaseReplay, f.what.Load(), f.textBytes.Load(), total) })
	if err == nil {
		x.replayed.Store(before.plus(&r.total)) // with transactions that changed nothing
	}
	return err
}

// explain adds the statement to an error that knows only its line.
func (x *execution) explain(err error) error {
	var s *StatementError
	var c *RowCountError
	switch {
	case errors.As(err, &s) && s.SQL == "":
		s.SQL = x.statementAt(s.File, s.Line)
	case errors.As(err, &c) && c.SQL == "":
		c.SQL = x.statementAt(c.File, c.Line)
	}
	return err
}

// statementAt reads a segment again up to a line. Errors are rare, and keeping
// the text of every statement in flight would cost more.
func (x *execution) statementAt(file string, line int64) string {
	for _, a := range x.p.Plan.Segments {
		if a.Name != file || line == 0 {
			continue
		}
		reader, err := x.p.repo.OpenSegment(a)
		if err != nil {
			return ""
		}
		defer reader.Close()
		for {
			item, err := reader.Next()
			if err != nil || item.Line > line {
				return ""
			}
			if item.Line == line {
				return shorten(strings.TrimSpace(string(item.SQL)))
			}
		}
	}
	return ""
}
