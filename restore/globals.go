package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
)

// What to do with the roles, memberships and tablespaces of the globals file.
const (
	GlobalsNew  = "new"  // create what is missing, leave alone what exists; the default
	GlobalsAll  = "all"  // bring what exists to the state of the file too
	GlobalsNone = "none" // nothing
)

// globals applies the text of pg_dumpall --globals-only, one statement at a
// time. Only a lost connection stops it: a target may well lack the folder of
// a tablespace, and still take the database.
type globals struct {
	conn *pgconn.PgConn
	mode string

	rehearsal, disposable bool            // see leaves
	before                map[string]bool // roles of the server, before the restore

	kept, created []string        // roles
	old           map[string]bool // "ROLE name" and "TABLESPACE name" that existed before
	notices       []string
}

func (g *globals) run(ctx context.Context, p *Prepared) error {
	reader, err := p.repo.OpenDump(p.Plan.Globals)
	if err != nil {
		return err
	}
	defer reader.Close()
	g.old = map[string]bool{}
	for {
		item, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if item.Kind != segment.Statement {
			continue
		}
		if err := g.statement(ctx, string(item.SQL)); err != nil {
			return err
		}
	}
}

func (g *globals) statement(ctx context.Context, sql string) error {
	s := readGlobal(sql)
	if g.leaves(s, sql) {
		return nil
	}
	if s.kind != "" && s.verb != "CREATE" && g.old[s.object()] && g.mode != GlobalsAll {
		return nil
	}
	if s.member != "" {
		known, err := g.hasMembership(ctx, s)
		if err != nil || known && g.mode != GlobalsAll {
			return err
		}
	}
	_, err := simple.Query(ctx, g.conn, sql)
	switch {
	case err == nil:
		if s.verb == "CREATE" && s.kind == "ROLE" {
			g.created = append(g.created, s.name)
		}
	case g.conn.IsClosed() || ctx.Err() != nil:
		return err
	case s.verb == "CREATE" && state(err) == stateDuplicateObject:
		g.old[s.object()] = true
		if s.kind == "ROLE" {
			g.kept = append(g.kept, s.name)
		}
	default:
		g.notices = append(g.notices, fmt.Sprintf("globals: %v: %s", err, shorten(sql)))
	}
	return nil
}

func (g *globals) hasMembership(ctx context.Context, s global) (bool, error) {
	rows, err := simple.Query(ctx, g.conn, fmt.Sprintf(`SELECT 1 FROM pg_catalog.pg_auth_members m
		JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member
		WHERE r.rolname = %s AND u.rolname = %s`, sqltext.Literal(s.name), sqltext.Literal(s.member)))
	return len(rows) > 0, err
}

// leavesRole tells whether the stream's changes of a role, given quoted, are
// not for this target.
func (x *execution) leavesRole(quoted string) bool {
	name, _ := sqltext.Part(quoted)
	return x.o.Globals == GlobalsNone || x.o.Globals != GlobalsAll && x.roles[name]
}

// keepRole and unkeepRole surround a rename of a role that is not for this target.
const (
	keepRole   = "SET " + segment.KeepRole + " = 'on'"
	unkeepRole = "SET " + segment.KeepRole + " = 'off'"
)

// keepsRole tells whether a role, given quoted before its new name, was in the
// target before the restore: it may serve other databases under its name.
func (x *execution) keepsRole(was, now string) bool {
	if x.roles[was] && now != "" {
		x.note(fmt.Sprintf("role %s, which was there before, was not renamed to %s as on the source: what it had in the restored database was given to %[2]s", was,
			now))
	}
	if !x.roles[was] {
		x.madeRole(now)
	}
	return x.roles[was]
}

// renamedRole reads the tag of a command that renames a role.
func renamedRole(tag string) (was, now string, ok bool) {
	names, ok := strings.CutPrefix(tag, segment.TagRename+" ")
	if !ok {
		return "", "", false
	}
	was, n := sqltext.Part(names)
	now, _ = sqltext.Part(strings.TrimPrefix(names[n:], " "))
	return was, now, true
}

// global is what matters of a statement of pg_dumpall's.
type global struct {
	verb string // CREATE, ALTER, COMMENT or GRANT; empty: anything else
	kind string // ROLE or TABLESPACE; empty: anything else
	name string // of the role or tablespace, unquoted; for a membership of the group
	// For a membership: who belongs to the group.
	member string
}

func (g global) object() string { return g.kind + " " + g.name }

var (
	globalHead = regexp.MustCompile(`^(CREATE|ALTER|COMMENT ON|SECURITY LABEL (?:FOR \S+ )?ON) (ROLE|TABLESPACE) `)
	grantHead  = regexp.MustCompile(`^GRANT `)
	// grantSpace: privileges on a tablespace.
	grantSpace = regexp.MustCompile(`^(?:GRANT|REVOKE) [A-Z, ]+ ON TABLESPACE `)
)

// readGlobal reads the start of a statement.
func readGlobal(sql string) global {
	if m := globalHead.FindStringSubmatch(sql); m != nil {
		verb, _, _ := strings.Cut(m[1], " ")
		name, _ := sqltext.Part(sql[len(m[0]):])
		return global{verb: verb, kind: m[2], name: name}
	}
	if m := grantSpace.FindString(sql); m != "" {
		name, _ := sqltext.Part(sql[len(m):])
		return global{verb: "GRANT", kind: "TABLESPACE", name: name}
	}
	if m := grantHead.FindString(sql); m != "" {
		group, n := sqltext.Part(sql[len(m):])
		rest, ok := strings.CutPrefix(sql[len(m)+n:], " TO ")
		if !ok {
			return global{}
		}
		member, _ := sqltext.Part(rest)
		return global{verb: "GRANT", name: group, member: member}
	}
	return global{}
}

// A password stands in a constant of its own, or, in a command that is itself
// a constant, between several quotes. What is cut off may lack its end.
var (
	nestedPassword = regexp.MustCompile(`(?i)\b(password\s+)E?''+[^']+(?:'+|$)`)
	plainPassword  = regexp.MustCompile(`(?i)\b(password\s+)E?'(?:[^']|'')*(?:'|$)`)
	connPassword   = regexp.MustCompile(`(?i)\b(password\s*=\s*)[^\s']+`)
)

// redact takes passwords out of a statement that is shown.
func redact(sql string) string {
	sql = nestedPassword.ReplaceAllString(sql, "$1'…'")
	sql = plainPassword.ReplaceAllString(sql, "$1'…'")
	return connPassword.ReplaceAllString(sql, "$1…")
}

// bringGlobals brings roles and tablespaces.
func (x *execution) bringGlobals(ctx context.Context) error {
	conn, err := connect(ctx, x.o.MaintenanceConn)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	if _, err := simple.Query(ctx, conn, x.server.settings()); err != nil {
		return err
	}
	g := &globals{conn: conn, mode: x.o.Globals, rehearsal: x.p.definitions, disposable: x.o.Disposable, before: x.roles}
	err = g.run(ctx, x.p)
	x.report.RolesCreated, x.report.RolesKept = g.created, g.kept
	for _, n := range g.notices {
		x.note(n)
	}
	return err
}
