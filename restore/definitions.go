package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/segment"
)

// A rehearsal is a restore of definitions alone: the schema of the base, and the
// commands behind it, without any row. It goes the way of every restore, so that a
// command which fails there fails here, in seconds. What only rows can show
// it cannot show: constraints that they violate, functions that fail on them.

// refreshTag is a command that fills a view from rows.
const refreshTag = "REFRESH MATERIALIZED VIEW"

// PrepareDefinitions plans a restore of the definitions alone, to the end of what
// is stored. Unlike Prepare it compares no file with its checksum and reads no
// segment, so the result knows no transactions and no rows. It fails as
// catalog.MakePlan does, and for files that no key opens.
func PrepareDefinitions(ctx context.Context, r *repo.Repository) (*Prepared, error) {
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := catalog.MakePlan(inv, catalog.Request{})
	if err != nil {
		return nil, err
	}
	p := &Prepared{Plan: plan, Repository: inv.Repository, repo: r, definitions: true}
	// Every commit record below is wanted, and none at or behind it.
	p.Last = Moment{LSN: plan.Until - 1, End: plan.Until}
	if plan.Left != 0 {
		p.Last.LSN = min(p.Last.LSN, plan.Left-1)
	}
	if err = p.hold(); err == nil {
		err = p.readable()
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// openBase opens a plain base, as much of it as is wanted. done closes it.
func (x *execution) openBase(ctx context.Context) (reader *dump.Reader, done func(), err error) {
	if !x.p.definitions {
		reader, err = x.p.repo.OpenDump(x.p.Plan.Base)
		return reader, func() { reader.Close() }, err
	}
	schema, err := x.p.repo.OpenSchema(ctx, x.p.Plan.Base)
	if err != nil {
		return nil, nil, err
	}
	return schema.Reader, func() {
		schema.Close()
		x.report.ReadBytes += schema.Stored()
	}, nil
}

// openSegment opens a segment for the replay, as much of it as is wanted.
func (r *replayer) openSegment(a catalog.Artifact) (*segment.Reader, error) {
	if !r.x.p.definitions {
		return r.x.p.repo.OpenSegment(a)
	}
	part, err := r.x.p.repo.OpenPart(r.feed.ctx, a, repo.Wanted{Definitions: true, From: r.from})
	if err != nil {
		return nil, err
	}
	r.part = part
	return part.Reader, nil
}

// closeSegment notes how much was read of it.
func (r *replayer) closeSegment(reader *segment.Reader) {
	reader.Close()
	if r.part != nil {
		r.x.report.ReadBytes += r.part.Stored()
		r.part = nil
	}
}

// passesOver says whether a replay of definitions leaves an item out: it is about
// rows.
func (p *Prepared) passesOver(item segment.Item) bool {
	if !p.definitions {
		return false
	}
	switch item.Kind {
	case segment.RowChange, segment.CopyBlock, segment.TruncateTable, segment.LargeObject, segment.PieceTable, segment.PieceRow:
		return true
	case segment.DDL:
		return !item.Defines() || item.Tag == refreshTag
	}
	return false
}

// withoutData makes a command that would fill a view from rows make it without
// any: its query may need them. Other commands stay as they are.
func withoutData(sql []byte) []byte {
	if t := sqltext.Tokens(string(sql), true); len(t) < 3 || !t[0].Is("create") || !t[1].Is("materialized") || !t[2].Is("view") {
		return sql
	}
	return append([]byte(sqltext.WithNoData(string(sql), true)), ';')
}

// ofContents says whether a statement of a dump is about rows, values of sequences,
// statistics or large objects.
func ofContents(sql string) bool {
	t := sqltext.Tokens(sql, true)
	if len(t) == 0 {
		return false
	}
	switch strings.ToLower(t[0].Text) {
	case "begin", "commit", "refresh": // the first two surround large objects
		return true
	case "select":
		at := slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is("pg_catalog") })
		if at < 0 || at+2 >= len(t) {
			return false
		}
		name := strings.ToLower(t[at+2].Text)
		return name == "setval" || strings.HasPrefix(name, "lo_") || strings.HasPrefix(name, "lowrite") || strings.HasPrefix(name, "pg_restore_")
	case "alter", "comment", "grant", "revoke", "security":
		for i := 1; i+1 < len(t); i++ {
			if t[i].Is("large") && t[i+1].Is("object") && (t[i-1].Is("on") || i == 1) {
				return true
			}
		}
	}
	return false
}

// withoutRefresh writes a list for pg_restore anew without the entries that fill
// views from rows, which --schema-only does not leave out.
func withoutRefresh(list string) (path string, err error) {
	text, err := os.ReadFile(list)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "pg_scribe-rehearsal-list-")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		// 3345; 0 16400 MATERIALIZED VIEW DATA app v postgres
		if words := strings.Fields(line); len(words) > 5 && strings.Join(words[3:6], " ") == "MATERIALIZED VIEW DATA" {
			continue
		}
		if err == nil {
			_, err = f.WriteString(line)
		}
	}
	return f.Name(), errors.Join(err, f.Close())
}

// leaves says whether a statement of the globals is left out of a rehearsal.
// Tablespaces are, always: their folders are another server's, and may be those of
// the source itself. On a server that others use, nothing is done to roles that
// were there before.
func (g *globals) leaves(s global, sql string) bool {
	switch {
	case !g.rehearsal || s.kind == "TABLESPACE":
		return g.rehearsal
	case g.disposable || strings.HasPrefix(sql, "SET "):
		return false
	case s.member != "":
		return g.before[s.name] && g.before[s.member]
	}
	return s.kind != "ROLE" || s.verb != "CREATE" && g.before[s.name]
}

// madeRole remembers a role that the stream makes, or gives a name.
func (x *execution) madeRole(name string) {
	if x.p.definitions && !x.roles[name] && name != "" && !slices.Contains(x.report.RolesCreated, name) {
		x.report.RolesCreated = append(x.report.RolesCreated, name)
	}
}

// Discard removes a database from a server, and the roles that were made there for
// it; what it could not remove is told in words. It goes on when its context is over.
func Discard(ctx context.Context, maintenance, database string, roles []string) (left []string, err error) {
	if err := dropSubscriptions(ctx, maintenance, database); err != nil {
		left = append(left, fmt.Sprintf("subscriptions of database %q: %v", database, err))
	}
	if err := dropDatabase(ctx, maintenance, database); err != nil {
		return nil, fmt.Errorf("drop database %q: %w", database, err)
	}
	if len(roles) == 0 {
		return left, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	conn, err := connect(ctx, maintenance)
	if err != nil {
		return left, err
	}
	defer closeNow(conn)
	for _, role := range roles {
		if _, err := simple.Query(ctx, conn, "DROP ROLE IF EXISTS "+sqltext.Identifier(role)); err != nil {
			left = append(left, fmt.Sprintf("role %s: %v", sqltext.Bare(role), err))
		}
	}
	return left, nil
}

// dropSubscriptions removes those of a database that keep it from being dropped. No
// other server is asked.
func dropSubscriptions(ctx context.Context, maintenance, database string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	conn, err := connectDatabase(ctx, maintenance, database)
	if state(err) == stateUnknownDatabase {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeNow(conn)
	rows, err := simple.Query(ctx, conn, `SELECT pg_catalog.format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); ' ||
		'DROP SUBSCRIPTION %1$I', subname)
		FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())`)
	for _, row := range rows {
		if err == nil {
			_, err = simple.Query(ctx, conn, row[0])
		}
	}
	return err
}
