package restore

import (
	"context"
	"strings"

	"pg_scribe/internal/sqltext"
)

// Rows of the source are facts. A constraint may judge them otherwise in the
// target than it did in the source: one that calls functions, which read other
// rows, settings or the clock, or were replaced since; one of a domain, which
// is checked when a value becomes the domain's and not when it is stored. Such
// constraints are out of force while rows are written, and in force again
// before anything else happens and before the transaction ends.
//
// They are put out of force by their kind in the catalogs, so that all else
// stays as it is. That takes a superuser; for another role they stay in force.
// Constraints that are made of built-in immutable functions only stay in force
// for everybody.

// mayJudge is a condition on an expression of the catalogs: it may have another
// result at another moment, or in another database.
func mayJudge(expression string) string {
	return strings.ReplaceAll(`(EXPR::pg_catalog.text ~ 'SQLVALUEFUNCTION|COERCEVIAIO|COERCETODOMAIN|ARRAYCOERCEEXPR|XMLEXPR'
  OR EXISTS (SELECT FROM pg_catalog.regexp_matches(EXPR::pg_catalog.text, ':(?:op)?funcid (\d+)', 'g') m
    JOIN pg_catalog.pg_proc p ON p.oid = m[1]::pg_catalog.oid
    WHERE p.oid >= 16384 OR p.provolatile <> 'i'))`, "EXPR", expression)
}

// judging is a condition on pg_constraint c: a CHECK that may judge otherwise.
var judging = `c.contype = 'c' AND c.oid >= 16384 AND (c.contypid <> 0 OR ` + mayJudge("c.conbin") + `)`

// The lists of what is out of force are settings of the session: constraints
// and the tables that they are of, and domains that are NOT NULL.
var (
	// findJudging lists what may judge otherwise, after commands may have changed it.
	findJudging = block(`PERFORM pg_catalog.set_config('replay.judging',
    coalesce((SELECT pg_catalog.string_agg(c.oid::pg_catalog.text, ',') FROM pg_catalog.pg_constraint c WHERE ` + judging + `), ''), false),
  pg_catalog.set_config('replay.domains',
    coalesce((SELECT pg_catalog.string_agg(t.oid::pg_catalog.text, ',') FROM pg_catalog.pg_type t
      WHERE t.typtype = 'd' AND t.typnotnull AND t.oid >= 16384), ''), false);`)

	putOutOfForce = block(switchJudging("J", "false"))
	putInForce    = block(switchJudging("c", "true"))
)

// switchJudging gives the listed constraints a kind, and the domains their NOT NULL.
func switchJudging(kind, notNull string) string {
	return strings.NewReplacer("KIND", kind, "VALUE", notNull, "LIST(", "pg_catalog.string_to_array(pg_catalog.current_setting(").Replace(`
  IF pg_catalog.current_setting('replay.judging') <> '' THEN
    UPDATE pg_catalog.pg_constraint SET contype = 'KIND' WHERE oid = ANY (LIST('replay.judging'), ',')::pg_catalog.oid[]);
    UPDATE pg_catalog.pg_class t SET relchecks = (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint c WHERE c.conrelid = t.oid AND c.contype = 'c')
      WHERE oid IN (SELECT conrelid FROM pg_catalog.pg_constraint WHERE oid = ANY (LIST('replay.judging'), ',')::pg_catalog.oid[]) AND conrelid <> 0);
  END IF;
  IF pg_catalog.current_setting('replay.domains') <> '' THEN
    UPDATE pg_catalog.pg_type SET typnotnull = VALUE WHERE oid = ANY (LIST('replay.domains'), ',')::pg_catalog.oid[]);
  END IF;`)
}

func block(body string) string { return "DO " + sqltext.Literal("BEGIN "+body+" END") }

// uncheck makes ready for rows: what failed before them is tried again, and
// constraints that may judge them otherwise are put out of force.
func (l *loader) uncheck(ctx context.Context, f *feed) error {
	if l.unchecked || l.inBlock {
		return nil
	}
	l.unchecked = true
	if err := f.wait(func() error { return l.settleBefore(ctx) }); err != nil {
		return err
	}
	return l.switchChecks(f, findJudging, putOutOfForce)
}

// check puts them in force again.
func (l *loader) check(f *feed) error {
	if !l.unchecked {
		return nil
	}
	l.unchecked = false
	return l.switchChecks(f, putInForce)
}

func (l *loader) switchChecks(f *feed, list ...string) error {
	if !l.x.server.superuser || l.x.p.definitions {
		return nil
	}
	for _, sql := range list {
		if err := f.query([]byte(sql), answer{rows: anyRows, at: l.at, sql: "constraints that may judge rows otherwise"}); err != nil {
			return err
		}
	}
	return nil
}

// uncheck puts constraints that may judge rows otherwise out of force, before rows. A
// transaction of the target begins so; commands have put them in force since.
func (r *replayer) uncheck() {
	if r.own && !r.unchecked {
		r.switchChecks(true)
	}
}

// check puts them in force again, before anything but rows.
func (r *replayer) check() {
	if r.unchecked {
		r.switchChecks(false)
	}
}

func (r *replayer) switchChecks(off bool) {
	if !r.x.server.superuser || r.x.p.definitions {
		return
	}
	list := []string{putInForce}
	if off {
		if list = []string{putOutOfForce}; !r.found {
			list = []string{findJudging, putOutOfForce}
		}
		r.found = true
	}
	for _, sql := range list {
		r.feed.cur.query([]byte(sql), r.command("constraints that may judge rows otherwise", 0))
	}
	r.unchecked = off
}
