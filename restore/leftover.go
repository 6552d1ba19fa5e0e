package restore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"pg_scribe/internal/simple"
	"pg_scribe/restore/compare"

	"github.com/jackc/pgx/v5/pgconn"
)

// A base is what pg_dump wrote, and some of its statements fail in the place
// where they stand: circles of functions and views, names that are found by a
// search_path which the dump does not have, constraints that rows of the source
// violate. What failed is tried again behind the others, then in the ways that
// are known to help. What fails still is listed in the report: rows come first.

// leftover is a statement of a base that failed.
type leftover struct {
	step buildStep
	err  error
}

// leftovers collects them in the order of the dump, from several sessions.
type leftovers struct {
	mu   sync.Mutex
	list []leftover
}

func (l *leftovers) add(step buildStep, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, leftover{step, err})
}

func (l *leftovers) take() []leftover {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

// notForLater are statements that are no matter of order.
var notForLater = regexp.MustCompile(`^(?:SET|SELECT)\b`)

// ofRoles are statements whose undefined object is a role: that the target lacks
// one is for a person to know at once.
var ofRoles = regexp.MustCompile(`^(?:GRANT|REVOKE|ALTER DEFAULT|CREATE POLICY|ALTER POLICY|CREATE USER MAPPING)\b|^ALTER [A-Z ]+ .* OWNER TO [^']*;?\s*$`)

// forLater reports whether a statement of a base may succeed later, or can be
// done without: the server did not refuse it for the role, for want of room, or
// because it was asked to stop.
func forLater(sql string, err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Severity != "ERROR" && e.SeverityUnlocalized != "ERROR" || notForLater.MatchString(sql) {
		return false
	}
	if e.Code == stateUndefinedObject && ofRoles.MatchString(sql) {
		return false
	}
	switch e.Code[:2] {
	case "22", "23", "P0":
		return true
	}
	switch e.Code {
	case "55000", "42846", "42804", "42725", "42P17", "42P16", "42P13", "42P10":
		return true
	}
	return missingName(err)
}

// missingName reports that the server did not find something by its name.
func missingName(err error) bool {
	switch state(err) {
	case stateUndefinedTable, "42883", "42703", stateUndefinedObject, stateInvalidSchema:
		return true
	}
	return false
}

// again runs leftovers until none succeeds any more, and returns the others.
func again(ctx context.Context, conn *pgconn.PgConn, list []leftover, run func(leftover) error) ([]leftover, error) {
	for {
		var rest []leftover
		for _, l := range list {
			err := run(l)
			if ctx.Err() != nil || conn.IsClosed() {
				return nil, errors.Join(err, context.Cause(ctx))
			}
			if err != nil {
				rest = append(rest, leftover{l.step, err})
			}
		}
		if len(rest) == len(list) || len(rest) == 0 {
			return rest, nil
		}
		list = rest
	}
}

// settleBefore tries again what failed before the rows: without a table there
// is no place for them.
func (l *loader) settleBefore(ctx context.Context) error {
	rest, err := l.retry(ctx, nil)
	for _, r := range rest {
		if err == nil && strings.HasPrefix(r.step.sql, "CREATE TABLE ") {
			err = (&answer{at: l.at, line: r.step.line, sql: shorten(r.step.sql)}).fail(r.err)
		}
	}
	l.left.list = append(rest, l.left.list...)
	return err
}

// settle tries again what failed, at the end of the base, and lists what does
// not succeed.
func (l *loader) settle(ctx context.Context) error {
	rest, err := l.retry(ctx, l.otherwise)
	for _, r := range rest {
		l.x.leaveOut(fmt.Sprintf("%s, line %d: %v: %s", l.at.file, r.step.line, r.err, shorten(r.step.sql)), r.step.sql)
	}
	return err
}

// retry opens a session like those that load the base, and runs leftovers as
// they stand and then, if that is given, in another way.
func (l *loader) retry(ctx context.Context, otherwise func(context.Context, *pgconn.PgConn, leftover) error) ([]leftover, error) {
	list := l.left.take()
	if len(list) == 0 {
		return nil, nil
	}
	conn, err := l.x.server.open(ctx, l.x.o.TargetConn)
	if err != nil {
		return list, err
	}
	defer closeNow(conn)
	for _, sql := range l.state.list() {
		if _, err := simple.Query(ctx, conn, sql); err != nil {
			return list, err
		}
	}
	list, err = again(ctx, conn, list, func(f leftover) error { return buildOne(ctx, conn, f.step) })
	if err != nil || otherwise == nil {
		return list, err
	}
	return again(ctx, conn, list, func(f leftover) error { return otherwise(ctx, conn, f) })
}

// addConstraint is a statement that adds a constraint of the kinds that may be
// NOT VALID.
var addConstraint = regexp.MustCompile(`(?s)^ALTER TABLE (?:ONLY )?\S.*?\s+ADD CONSTRAINT .*(?:FOREIGN KEY|CHECK) .*;$`)

// otherwise runs a statement in the way that its error asks for: with the
// database's own search_path where a name was not found, or as a constraint
// that is NOT VALID where rows violate it.
func (l *loader) otherwise(ctx context.Context, conn *pgconn.PgConn, f leftover) error {
	switch {
	case missingName(f.err):
		path := l.x.ownPath(ctx, conn)
		if _, err := simple.Query(ctx, conn, "SET search_path = "+path); err != nil {
			return err
		}
		err := buildOne(ctx, conn, f.step)
		if _, back := simple.Query(ctx, conn, l.state.statements["search_path"]); back != nil {
			return back
		}
		if err != nil {
			return f.err
		}
		l.x.note(fmt.Sprintf("%s, line %d: names in it were found with search_path = %s only: %s", l.at.file, f.step.line, path, shorten(f.step.sql)))
		return nil
	case state(f.err) == "23503" || state(f.err) == "23514":
		if !addConstraint.MatchString(f.step.sql) {
			return f.err
		}
		step := f.step
		step.sql = strings.TrimSuffix(step.sql, ";") + " NOT VALID;"
		if err := buildOne(ctx, conn, step); err != nil {
			return f.err
		}
		l.x.leaveOut(fmt.Sprintf("%s, line %d: the constraint is NOT VALID, because rows of the source violate it: %v: %s", l.at.file, f.step.line, f.err,
			shorten(f.step.sql)), f.step.sql)
		return nil
	}
	return buildOne(ctx, conn, f.step)
}

// ownPath is the search_path that sessions of the target database begin with:
// that of ALTER DATABASE, which a base has, or the server's own.
func (x *execution) ownPath(ctx context.Context, conn *pgconn.PgConn) string {
	rows, err := simple.Query(ctx, conn, `SELECT coalesce((SELECT pg_catalog.substr(c, 13) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
	  WHERE s.setrole = 0 AND s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AND c LIKE 'search_path=%'),
	  '"$user", public')`)
	if err != nil || len(rows) == 0 {
		return `"$user", public`
	}
	return rows[0][0]
}

// leftOut finds what the report lists as left out and a difference is about; -1:
// nothing.
func (x *execution) leftOut(d compare.Difference) int {
	name := d.Identity
	if d.Row != "" {
		name, _, _ = strings.Cut(d.Row, " on ")
	}
	name = lastName(name)
	return slices.IndexFunc(x.leftSQL, func(sql string) bool {
		return name != "" && slices.Contains(word.FindAllString(strings.ToLower(sql), -1), name)
	})
}

// forgetLeftOut takes from the list what is there now.
func (x *execution) forgetLeftOut(made func(i int) bool) {
	n := 0
	for i := range x.leftSQL {
		if !made(i) {
			x.leftSQL[n], x.report.LeftOut[n] = x.leftSQL[i], x.report.LeftOut[i]
			n++
		}
	}
	x.leftSQL, x.report.LeftOut = x.leftSQL[:n], x.report.LeftOut[:n]
}

// recallLeftOut takes over what an interrupted run could not make.
func (x *execution) recallLeftOut(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := simple.Query(ctx, conn, "SELECT what, sql FROM scribe_restore.left_out")
	for _, row := range rows {
		x.leaveOut(row[0], row[1])
	}
	return err
}
