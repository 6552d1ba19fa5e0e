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
	{name: ddl.StateRoleName, query: same(roleNamesQuery), goneLast: true, tag: func(key string) string { return ddl.RenameTag(ddl.RoleAside(event.ParseOID(key)), "") }, gone: func(key string) string {
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
		return forgivingly("IF EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member WHERE r.rolname = " +
			sqltext.Literal(role) + " AND u.rolname = " + sqltext.Literal(member) + ") THEN REVOKE " + sqltext.Quoted(role) + " FROM " + sqltext.Quoted(member) + "; END IF")
	}},
	{name: "tablespace", named: true, tag: constant(segment.TagTablespace), query: same(tablespaceStates)},
	{name: "parameter", named: true, tag: constant(segment.TagParameter), query: parameterStates, gone: func(key string) string {
		return "DO " + sqltext.Literal("DECLARE g record; BEGIN FOR g IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS name FROM pg_parameter_acl, aclexplode(paracl) WHERE parname = "+
			sqltext.Literal(key)+" LOOP EXECUTE "+sqltext.Literal("REVOKE ALL ON PARAMETER "+key+" FROM ")+" || g.name; END LOOP; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
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
	{name: "sequence", late: true, tag: constant(segment.TagSequence), query: same(`
	  SELECT concat_ws(' ', oid, pg_relation_filenode(oid)), -- the file is another one after RESTART
	    format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NOT NULL THEN PERFORM pg_catalog.setval(%L, %s, %s); END IF; EXCEPTION WHEN numeric_value_out_of_range THEN RAISE WARNING ''%%'', SQLERRM; END', -- it was altered meanwhile
	    format('%I.%I', schema, name), format('%I.%I', schema, name), last_value, is_called::text)) FROM scribe.sequence_values()`)},
	{name: "event trigger", named: true, tag: constant(segment.TagTrigger), query: same(`
	  SELECT evtname, format('DO %L', format('BEGIN DROP EVENT TRIGGER IF EXISTS %I; CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s(); ALTER EVENT TRIGGER %I OWNER TO %I; ALTER EVENT TRIGGER %I %s;%s` + ddl.OrGone + ` END',
	      evtname, evtname, evtevent,
	      (SELECT ' WHEN TAG IN (' || string_agg(quote_literal(t), ', ') || ')' FROM unnest(evttags) t),
	      (SELECT format('%I.%I', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = evtfoid),
	      evtname, pg_get_userbyid(evtowner), evtname,
	      CASE evtenabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
	      (SELECT format(' COMMENT ON EVENT TRIGGER %I IS %L;', evtname, d) FROM obj_description(e.oid, 'pg_event_trigger') d WHERE d IS NOT NULL)))
	  FROM pg_event_trigger e WHERE evtname !~ '^scribe_[a-z]$' AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = e.oid AND deptype = 'e')`),
		gone: func(key string) string { return "DROP EVENT TRIGGER IF EXISTS " + sqltext.Quoted(key) }},
	{name: ddl.StateOwner, owners: true, tag: constant(segment.TagOwner), query: same(ownerStates), sql: ownerCommands},
	{name: ddl.StatePrivileges, tag: constant(segment.TagPrivileges), query: same("SELECT '', NULL WHERE false"), sql: privilegeCommands},
	{name: ddl.StateCluster, tag: constant(segment.TagCluster), query: same(`
	  SELECT format('%I.%I', n.nspname, c.relname) || chr(31) || c.oid, coalesce(
	    (SELECT format('DO %L', format('BEGIN ALTER TABLE %I.%I CLUSTER ON %I;` + ddl.OrGone + ` END', n.nspname, c.relname, x.relname))
	      FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisclustered),
	    format('ALTER TABLE %I.%I SET WITHOUT CLUSTER', n.nspname, c.relname))
	  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe'
	    AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisclustered)`),
		gone: func(key string) string {
			key, _, _ = strings.Cut(key, "\x1f")
			return "DO " + sqltext.Literal("BEGIN IF pg_catalog.to_regclass("+sqltext.Literal(key)+") IS NOT NULL THEN ALTER TABLE "+key+" SET WITHOUT CLUSTER; END IF; END")
		}},
}

// roleStates are the roles with their attributes, settings and, where this
// role may read them, passwords.
func roleStates(s source.Server) string {
	from, password := "pg_roles", "NULL::text" // which says nothing
	if s.ReadsRoles {
		from, password = "pg_authid", "coalesce(quote_literal(r.rolpassword), 'NULL')"
	}
	return `SELECT r.rolname, format('DO %L', format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) THEN CREATE ROLE %I; END IF; ALTER ROLE %I %s%s;%s ALTER ROLE %I RESET ALL;%s COMMENT ON ROLE %I IS %L; END',
	    r.rolname, r.rolname, r.rolname, concat_ws(' ',
	      CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
	      CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
	      CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
	      CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, 'CONNECTION LIMIT ' || r.rolconnlimit::text,
	      'VALID UNTIL ' || quote_literal(r.rolvaliduntil::text)),
	    ' PASSWORD ' || ` + password + `,
	    CASE WHEN r.rolvaliduntil IS NULL THEN format(
	      ' IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L AND rolvaliduntil IS NOT NULL) THEN ALTER ROLE %I VALID UNTIL ''infinity''; END IF;',
	      r.rolname, r.rolname) END,
	    r.rolname, (SELECT string_agg(format(' ALTER ROLE %I SET %s = %s;', r.rolname, split_part(x, '=', 1), ` + settingValue + `), '')
	      FROM pg_db_role_setting g, unnest(g.setconfig) x WHERE g.setrole = r.oid AND g.setdatabase = 0),
	    r.rolname, shobj_description(r.oid, 'pg_authid')))
	  FROM ` + from + ` r WHERE r.oid >= 16384`
}

// settingValue is the value of a NAME=VALUE setting as SET wants it: lists of
// names are stored quoted already.
const settingValue = `CASE WHEN lower(split_part(x, '=', 1)) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries',
	'shared_preload_libraries', 'local_preload_libraries', 'unix_socket_directories')
	THEN coalesce(nullif(substr(x, strpos(x, '=') + 1), ''), '''''') ELSE quote_literal(substr(x, strpos(x, '=') + 1)) END`

// membershipStates are who is a member of which role.
func membershipStates(s source.Server) string {
	options := "CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' END"
	if s.Major() >= 16 {
		options = "format(' WITH ADMIN %s, INHERIT %s, SET %s', m.admin_option::text, m.inherit_option::text, m.set_option::text)"
	}
	return `SELECT DISTINCT ON (1) r.rolname || chr(31) || u.rolname, ` + forgiving + `format('GRANT %I TO %I%s', r.rolname, u.rolname, ` + options + `)))
	  FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE m.member >= 16384 ORDER BY 1, m.admin_option DESC`
}

// forgivingly is like forgiving, for text.
func forgivingly(command string) string {
	return "DO " + sqltext.Literal("BEGIN "+command+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
}

// tablespaceStates are owner, options, privileges and comment of tablespaces.
// They cannot be created within a transaction, nor on a machine whose folders
// are unknown, so that one which the target lacks is only reported.
const tablespaceStates = `
  SELECT spcname, format('DO %L', format('DECLARE g record; BEGIN IF NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = %L) THEN RAISE WARNING ''the target has no tablespace %%, which is in %% on the source'', %L, %L; RETURN; END IF; ALTER TABLESPACE %I OWNER TO %I;%s COMMENT ON TABLESPACE %I IS %L; %s EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END',
      spcname, spcname, pg_tablespace_location(oid), spcname, pg_get_userbyid(spcowner),
      ' ALTER TABLESPACE ' || quote_ident(spcname) || ' SET (' || array_to_string(spcoptions, ', ') || ');', spcname, shobj_description(oid, 'pg_tablespace'),
      scribe.acl_sql('TABLESPACE ' || quote_ident(spcname), coalesce(spcacl, acldefault('t', spcowner)), spcowner,
        format('(SELECT coalesce(spcacl, acldefault(''t'', spcowner)) FROM pg_tablespace WHERE spcname = %L)', spcname))))
  FROM pg_tablespace WHERE oid >= 16384`

// parameterStates are privileges on settings, which a whole cluster shares.
func parameterStates(s source.Server) string {
	if s.Major() < 15 {
		return "SELECT NULL, NULL WHERE false"
	}
	return `SELECT parname, format('DO %L', format('DECLARE g record; BEGIN %s EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END',
	    scribe.acl_sql('PARAMETER ' || parname, paracl, 10, format('(SELECT coalesce((SELECT paracl FROM pg_parameter_acl WHERE parname = %L), acldefault(''p'', 10)))', parname))))
	  FROM pg_parameter_acl`
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
const labelStates = `
  SELECT provider || chr(31) || object, ` + forgiving + `format('EXECUTE format(%L, current_database())', format('SECURITY LABEL FOR %I ON %s IS %L', provider, object, replace(label, '%', '%%')))))
  FROM (SELECT provider, label, CASE l.classoid WHEN 'pg_authid'::regclass THEN 'ROLE ' || quote_ident(replace(pg_get_userbyid(objoid), '%', '%%'))
      WHEN 'pg_tablespace'::regclass THEN 'TABLESPACE ' || (SELECT quote_ident(replace(spcname, '%', '%%')) FROM pg_tablespace WHERE oid = objoid)
      WHEN 'pg_database'::regclass THEN 'DATABASE %I' END AS object
    FROM pg_shseclabel l WHERE l.classoid <> 'pg_database'::regclass OR l.objoid = (SELECT oid FROM pg_database WHERE datname = current_database())) x
  WHERE object IS NOT NULL`

// databaseOwner is the key of the owner and what else only its owner may set. It
// sorts before the privileges, which a new owner takes over.
const databaseOwner = "a owner"

// databaseRole begins the keys of what roles have set in the database.
const databaseRole = "role "

// databaseStates are what belongs to the database itself. The restored one
// may have another name.
func databaseStates(source.Server) string {
	return `SELECT '` + databaseOwner + `', format('DO %L', format('BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) THEN EXECUTE format(''ALTER DATABASE %%I OWNER TO %%I'', current_database(), %L); END IF;
	      EXECUTE format(''ALTER DATABASE %%I CONNECTION LIMIT %s'', current_database()); EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING ''%%'', SQLERRM; END',
	      pg_get_userbyid(datdba), pg_get_userbyid(datdba), datconnlimit))
	  FROM pg_database WHERE datname = current_database()
	  UNION ALL
	  SELECT 'settings', format('DO %L', format('BEGIN EXECUTE format(''ALTER DATABASE %%I RESET ALL'', current_database());%s END',
	    (SELECT string_agg(format(' EXECUTE format(''ALTER DATABASE %%I SET %s = %%s'', current_database(), %L);', split_part(x, '=', 1), ` + settingValue + `), '')
	      FROM pg_db_role_setting g, unnest(g.setconfig) x WHERE g.setrole = 0 AND g.setdatabase = d.oid)))
	  FROM pg_database d WHERE datname = current_database()
	  UNION ALL
	  SELECT '` + databaseRole + `' || r.rolname, format('DO %L', format('BEGIN EXECUTE format(''ALTER ROLE %%I IN DATABASE %%I RESET ALL'', %L, current_database());%s END', r.rolname,
	    (SELECT string_agg(format(' EXECUTE format(''ALTER ROLE %%I IN DATABASE %%I SET %s = %%s'', %L, current_database(), %L);', split_part(x, '=', 1), r.rolname, ` + settingValue + `), '')
	      FROM unnest(g.setconfig) x)))
	  FROM pg_db_role_setting g JOIN pg_roles r ON r.oid = g.setrole WHERE g.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
	  UNION ALL
	  SELECT 'comment', format('DO %L', format('BEGIN EXECUTE format(''COMMENT ON DATABASE %%I IS %%L'', current_database(), %L); END', shobj_description(oid, 'pg_database')))
	  FROM pg_database WHERE datname = current_database()
	  UNION ALL
	  SELECT 'acl', format('DO %L', 'DECLARE g text; BEGIN FOR g IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN ''PUBLIC'' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
	      FROM pg_catalog.pg_database d, pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault(''d'', d.datdba))) a
	      WHERE d.datname = current_database() AND a.grantee <> d.datdba LOOP EXECUTE format(''REVOKE ALL ON DATABASE %I FROM %s CASCADE'', current_database(), g); END LOOP;'
	    || coalesce((SELECT string_agg(format(' EXECUTE format(''GRANT %s ON DATABASE %%I TO %%s%s'', current_database(), %L);',
	      a.privilege_type, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END,
	      coalesce(quote_ident(g.rolname), 'PUBLIC')), '' ORDER BY a.grantee, a.privilege_type)
	    FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles g ON g.oid = a.grantee
	    WHERE a.grantee <> d.datdba AND (g.oid IS NOT NULL OR a.grantee = 0)), '') || ' END')
	  FROM pg_database d WHERE datname = current_database()`
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
