package restore

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
)

// Schema scribe_restore exists in the target from the end of the base to the
// end of the restore. Its one row is written in the transactions that apply
// the stream, so that what it says is what the target holds.
//
// It also remembers what is disabled for the time of the replay: triggers,
// rules and event triggers that fire even under session_replication_role =
// replica. What they did on the source is in the stream already. Publications
// publish nothing meanwhile: PostgreSQL refuses to change rows of a published
// table without replica identity, and the source's tables may have had one
// only for the backup.
//
// Its functions run with the restore's own rights, because the stream sets the
// roles that gave the commands on the source.
//
//go:embed progress.sql
var createProgress string

const (
	silence      = "SELECT scribe_restore.silence()"
	revive       = "SELECT scribe_restore.revive(false)"
	reviveEvents = "SELECT scribe_restore.revive(true)"
	dropProgress = "DROP SCHEMA IF EXISTS scribe_restore CASCADE"
)

// advance is the statement that records how far a transaction leads.
func advance(end catalog.LSN, transactions int64) string {
	return fmt.Sprintf("UPDATE scribe_restore.progress SET applied = '%s', transactions = transactions + %d", end, transactions)
}

// beginProgress records that the base is complete. The stream's first
// transactions belong behind the base's point.
func (x *execution) beginProgress(ctx context.Context, conn *pgconn.PgConn) error {
	// The user's event triggers must not see our schema. These commands fire
	// none themselves.
	events, err := simple.Query(ctx, conn, `SELECT oid, evtname, evtenabled FROM pg_catalog.pg_event_trigger
		WHERE evtenabled IN ('A', 'R') AND pg_catalog.current_setting('is_superuser') = 'on'`)
	if err != nil {
		return err
	}
	var sql strings.Builder
	sql.WriteString("BEGIN;")
	for _, e := range events {
		sql.WriteString("ALTER EVENT TRIGGER " + sqltext.Quoted(e[1]) + " DISABLE;")
	}
	sql.WriteString(createProgress)
	for _, e := range events {
		fmt.Fprintf(&sql, "INSERT INTO scribe_restore.quiet VALUES (0, 'EVENT TRIGGER', %s, 0, '%s');", e[0], e[2])
	}
	for name := range x.roles {
		fmt.Fprintf(&sql, "INSERT INTO scribe_restore.roles VALUES (%s);", sqltext.Literal(name))
	}
	for i, what := range x.report.LeftOut {
		fmt.Fprintf(&sql, "INSERT INTO scribe_restore.left_out VALUES (%s, %s);", sqltext.Literal(what), sqltext.Literal(x.leftSQL[i]))
	}
	p := x.p
	base := p.Plan.Base
	fmt.Fprintf(&sql, "INSERT INTO scribe_restore.progress VALUES (%s, %s, %s, '%s', '%s', 0);",
		sqltext.Literal(base.SystemID), sqltext.Literal(base.Database), sqltext.Literal(base.Name), p.Plan.From, p.Plan.From)
	sql.WriteString(silence + "; COMMIT")
	_, err = simple.Query(ctx, conn, sql.String())
	return err
}

// endProgress leaves the target as the source was, without a trace of the
// restore.
func endProgress(ctx context.Context, conn *pgconn.PgConn) error {
	events, err := simple.Query(ctx, conn, `SELECT e.evtname, CASE q.state WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END
		FROM scribe_restore.quiet q JOIN pg_catalog.pg_event_trigger e ON q.rank = 0 AND e.oid = q.object
		WHERE e.evtenabled = 'D'`)
	if err != nil {
		return err
	}
	sql := "BEGIN; " + revive + "; " + dropProgress + ";"
	for _, e := range events {
		sql += "ALTER EVENT TRIGGER " + sqltext.Quoted(e[0]) + " ENABLE " + e[1] + ";"
	}
	_, err = simple.Query(ctx, conn, sql+" COMMIT")
	return err
}

// readProgress returns the position up to which the target holds the stream.
// It fails with ResumeError when the target holds no part of this plan.
func readProgress(ctx context.Context, conn *pgconn.PgConn, p *Prepared, database string) (catalog.LSN, error) {
	// The row is locked for a moment: a session that was cut off while it
	// committed is then over.
	rows, err := simple.Query(ctx, conn, `SELECT system_id, database, base, base_point, applied
		FROM scribe_restore.progress FOR UPDATE`)
	switch code := state(err); {
	case code == stateUndefinedTable || code == stateInvalidSchema, err == nil && len(rows) != 1:
		return 0, &ResumeError{database, "it holds no complete base of an interrupted restore"}
	case err != nil:
		return 0, err
	}
	row, base := rows[0], p.Plan.Base
	if row[0] != base.SystemID || row[1] != base.Database || row[2] != base.Name || row[3] != base.Start.String() {
		return 0, &ResumeError{database, fmt.Sprintf("it was begun with base %q", row[2])}
	}
	applied, err := catalog.ParseLSN(row[4])
	if err != nil {
		return 0, err
	}
	if applied > max(p.Last.End, p.Plan.From) {
		return 0, &ResumeError{database, fmt.Sprintf("it is at LSN %s already, behind the target", applied)}
	}
	return applied, nil
}

// Advisory locks in the target: one restore holds the first from its start to
// its end, the session that replays holds the second.
const (
	lockRestore = 0x7067736372657300 + iota // "pgscres"
	lockReplay
)

// lock waits for an advisory lock for a short time: the sessions of a run that
// was cut off may need a moment to end.
func lock(ctx context.Context, conn *pgconn.PgConn, key int64, database string) error {
	for try := 0; ; try++ {
		rows, err := simple.Query(ctx, conn, fmt.Sprintf("SELECT pg_catalog.pg_try_advisory_lock(%d)", key))
		if err != nil || rows[0][0] == "t" {
			return err
		}
		if try == 30 {
			return &BusyError{database}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
