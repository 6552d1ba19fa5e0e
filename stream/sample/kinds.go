package sample

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// A stateKind is something of the source that changes without an event and
// without a row change. It is sampled: the query returns, for each object, a
// key and the SQL that brings its present state about, whatever it was before.
// What differs from the last sample goes into the stream.
type stateKind struct {
	name  string
	tag   func(key string) string // of the commands in the segments
	query func(source.Server) string
	gone  func(key string) string // SQL for an object that is no longer there; nil: its own event says so

	// The SQL is written at the end, when nothing needs the object any more.
	goneLast bool
	// It is written before the others, which it may contradict.
	goneFirst bool
	named     bool // it names roles
	owners    bool // a sample holds the names of roles
	late      bool // pg_dump leaves it out, or reads it late: a base has none of it
	// Where the query returns less than SQL, this makes it, for keys that are
	// new, differ or are gone.
	sql func(ctx context.Context, tx pgx.Tx, keys []string) (map[string]string, error)
}

// same makes a query that every server version understands.
func same(sql string) func(source.Server) string { return func(source.Server) string { return sql } }

// forgiving wraps a command that must not stop a restore, because another
// object of the target's cluster may stand in its way.
const forgiving = `format('DO %L', format('BEGIN %s; EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END', `

func constant(tag string) func(string) string { return func(string) string { return tag } }

// stateKinds are sampled in this order, and replayed in it.
var stateKinds = []stateKind{
	{name: ddl.StateRoleName, query: same(roleNamesQuery), goneLast: true, tag: func(key string) string {
		return ddl.RenameTag(ddl.RoleAside(event.ParseOID(key)),
			"")
	}, gone: func(key string) string {
		return forgivingly("DROP ROLE IF EXISTS " + ddl.RoleAside(event.ParseOID(key)))
	}},
	{name: ddl.StateRole, named: true, tag: ddl.RoleTag, query: roleStates, goneLast: true, gone: func(key string) string {
		return "DO " + sqltext.Literal("BEGIN DROP ROLE IF EXISTS "+sqltext.Quoted(key)+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
	}},
	{name: ddl.StateMembership, named: true, tag: func(key string) string {
		_, member, _ := strings.Cut(key, "\x1f")
		return ddl.RoleTag(member)
	}, query: membershipStates, goneFirst: true, gone: func(key string) string {
		role, member, _ := strings.Cut(key, "\x1f")
		return forgivingly("IF EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON " +
			"u.oid = m.member WHERE r.rolname = " +
			sqltext.Literal(role) + " AND u.rolname = " + sqltext.Literal(member) + ") THEN REVOKE " + sqltext.Quoted(role) + " FROM " + sqltext.Quoted(member) +
			"; END IF")
	}},
	{name: "tablespace", named: true, tag: constant(segment.TagTablespace), query: same(tablespaceStates)},
	{name: "parameter", named: true, tag: constant(segment.TagParameter), query: parameterStates, gone: func(key string) string {
		return "DO " + sqltext.Literal("DECLARE g record; BEGIN FOR g IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE "+
			"quote_ident(pg_get_userbyid(grantee)) END AS name FROM pg_parameter_acl, aclexplode(paracl) WHERE parname = "+
			sqltext.Literal(key)+" LOOP EXECUTE "+sqltext.Literal("REVOKE ALL ON PARAMETER "+key+" FROM ")+" || g.name; END LOOP; EXCEPTION WHEN OTHERS THEN RAISE "+
			"WARNING '%', SQLERRM; END")
	}},
	{name: "label", named: true, tag: labelTag, query: same(labelStates), gone: func(key string) string {
		provider, object, _ := strings.Cut(key, "\x1f")
		return forgivingly("EXECUTE format(" + sqltext.Literal("SECURITY LABEL FOR "+sqltext.Quoted(provider)+" ON "+object+" IS NULL") + ", current_database())")
	}},
	{name: ddl.StateDatabase, named: true, late: true, tag: constant(segment.TagDatabase), query: databaseStates, gone: func(key string) string {
		role := strings.TrimPrefix(key, databaseRole)
		return "DO " + sqltext.Literal("BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = "+sqltext.Literal(role)+
			") THEN EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', "+sqltext.Literal(role)+", current_database()); END IF; END")
	}},
	{name: "sequence", late: true, tag: constant(segment.TagSequence), query: same(query("sequence.sql"))},
	{name: "event trigger", named: true, tag: constant(segment.TagTrigger), query: same(query("event_trigger.sql", "or_gone", ddl.OrGone)),
		gone: func(key string) string { return "DROP EVENT TRIGGER IF EXISTS " + sqltext.Quoted(key) }},
	{name: ddl.StateOwner, owners: true, tag: constant(segment.TagOwner), query: same(ownerStates), sql: ownerCommands},
	{name: ddl.StatePrivileges, tag: constant(segment.TagPrivileges), query: same("SELECT '', NULL WHERE false"), sql: privilegeCommands},
	{name: ddl.StateCluster, tag: constant(segment.TagCluster), query: same(query("cluster.sql", "or_gone", ddl.OrGone)),
		gone: func(key string) string {
			key, _, _ = strings.Cut(key, "\x1f")
			return "DO " + sqltext.Literal("BEGIN IF pg_catalog.to_regclass("+sqltext.Literal(key)+") IS NOT NULL THEN ALTER TABLE "+key+" SET WITHOUT CLUSTER; END "+
				"IF; END")
		}},
}

// roleStates are the roles with their attributes, settings and, where this
// role may read them, passwords.
func roleStates(s source.Server) string {
	from, password := "pg_roles", "NULL::text" // which says nothing
	if s.ReadsRoles {
		from, password = "pg_authid", "coalesce(quote_literal(r.rolpassword), 'NULL')"
	}
	return query("role.sql", "from", from, "password", password, "setting", settingValue)
}

// settingValue is the value of a NAME=VALUE setting as SET wants it: lists of
// names are stored quoted already.
var settingValue = query("setting_value.sql")

// membershipStates are who is a member of which role.
func membershipStates(s source.Server) string {
	options := "CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' END"
	if s.Major() >= 16 {
		options = "format(' WITH ADMIN %s, INHERIT %s, SET %s', m.admin_option::text, m.inherit_option::text, m.set_option::text)"
	}
	return query("membership.sql", "forgiving", forgiving, "options", options)
}

// forgivingly is like forgiving, for text.
func forgivingly(command string) string {
	return "DO " + sqltext.Literal("BEGIN "+command+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
}

// tablespaceStates are owner, options, privileges and comment of tablespaces.
// They cannot be created within a transaction, nor on a machine whose folders
// are unknown, so that one which the target lacks is only reported.
var tablespaceStates = query("tablespace.sql")

// parameterStates are privileges on settings, which a whole cluster shares.
func parameterStates(s source.Server) string {
	if s.Major() < 15 {
		return "SELECT NULL, NULL WHERE false"
	}
	return query("parameter.sql")
}

// labelTag is that of the object which bears the label.
func labelTag(key string) string {
	_, object, _ := strings.Cut(key, "\x1f")
	kind, name, _ := strings.Cut(object, " ")
	switch kind {
	case "ROLE":
		return segment.TagRole + " " + strings.ReplaceAll(name, "%%", "%")
	case "TABLESPACE":
		return segment.TagTablespace
	}
	return segment.TagDatabase
}

// labelStates are security labels of the database, of roles and tablespaces,
// which no event reports. The target may lack their provider.
var labelStates = query("label.sql", "forgiving", forgiving)

// databaseOwner is the key of the owner and what else only its owner may set. It
// sorts before the privileges, which a new owner takes over.
const databaseOwner = "a owner"

// databaseRole begins the keys of what roles have set in the database.
const databaseRole = "role "

// databaseStates are what belongs to the database itself. The restored one
// may have another name.
func databaseStates(source.Server) string {
	return query("database.sql", "owner", databaseOwner, "role", databaseRole, "setting", settingValue)
}

// DatabaseSettings are the settings, the comment and the privileges of the
// database, as statements.
func DatabaseSettings(ctx context.Context, tx pgx.Tx, src source.Server) (map[string]string, error) {
	return readTexts(ctx, tx, databaseStates(src))
}

func (k stateKind) sample(ctx context.Context, tx pgx.Tx, src source.Server) (map[string]string, error) {
	return readTexts(ctx, tx, k.query(src))
}

// readTexts reads rows of a key and a text. Those without a text are left out.
func readTexts(ctx context.Context, q source.Querier, query string, args ...any) (map[string]string, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	var key string
	var text *string
	_, err = pgx.ForEachRow(rows, []any{&key, &text}, func() error {
		if text != nil {
			texts[key] = *text
		}
		return nil
	})
	return texts, err
}
