package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A stateKind is something of the source that changes without an event and
// without a row change. It is sampled: the query returns, for each object, a
// key and the SQL that brings its present state about, whatever it was before.
// What differs from the last sample goes into the stream.
type stateKind struct {
	name  string
	tag   func(key string) string // of the commands in the segments
	query func(server) string
	gone  func(key string) string // SQL for an object that is no longer there; nil: its own event tells
}

// same makes a query that every server version understands.
func same(sql string) func(server) string { return func(server) string { return sql } }

// forgiving wraps a command that must not stop a restore, because another
// object of the target's cluster may stand in its way.
const forgiving = `format('DO %L', format('BEGIN %s; EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END', `

// roleTag names the role that a command changes, because roles belong to the
// target's cluster and not to the restored database: restore may leave alone
// those that it finds there.
func roleTag(name string) string { return "ROLE " + quoteName(name) }

func constant(tag string) func(string) string { return func(string) string { return tag } }

// stateKinds are sampled in this order, and replayed in it.
var stateKinds = []stateKind{
	{name: "role", tag: roleTag, query: roleStates, gone: func(key string) string {
		return "DO " + quoteLiteral("BEGIN DROP ROLE IF EXISTS "+quoteName(key)+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
	}},
	{name: "membership", tag: func(key string) string {
		_, member, _ := strings.Cut(key, "\x1f")
		return roleTag(member)
	}, query: membershipStates, gone: func(key string) string {
		role, member, _ := strings.Cut(key, "\x1f")
		return "DO " + quoteLiteral("BEGIN REVOKE "+quoteName(role)+" FROM "+quoteName(member)+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
	}},
	{name: "database", tag: constant("ALTER DATABASE"), query: databaseStates},
	{name: "sequence", tag: constant("SEQUENCE"), query: same(`
	  SELECT format('%I.%I', schema, name), format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NOT NULL THEN PERFORM pg_catalog.setval(%L, %s, %s); END IF; END',
	    format('%I.%I', schema, name), format('%I.%I', schema, name), last_value, is_called::text)) FROM scribe.sequence_values()`)},
	{name: "event trigger", tag: constant("EVENT TRIGGER"), query: same(`
	  SELECT evtname, format('DO %L', format('BEGIN DROP EVENT TRIGGER IF EXISTS %I; CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s(); ALTER EVENT TRIGGER %I OWNER TO %I; ALTER EVENT TRIGGER %I %s;%s END',
	      evtname, evtname, evtevent,
	      (SELECT ' WHEN TAG IN (' || string_agg(quote_literal(t), ', ') || ')' FROM unnest(evttags) t),
	      (SELECT format('%I.%I', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = evtfoid),
	      evtname, pg_get_userbyid(evtowner), evtname,
	      CASE evtenabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
	      (SELECT format(' COMMENT ON EVENT TRIGGER %I IS %L;', evtname, d) FROM obj_description(e.oid, 'pg_event_trigger') d WHERE d IS NOT NULL)))
	  FROM pg_event_trigger e WHERE evtname !~ '^scribe_[a-z]$' AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = e.oid AND deptype = 'e')`),
		gone: func(key string) string { return "DROP EVENT TRIGGER IF EXISTS " + quoteName(key) }},
	{name: "owner", tag: constant("OWNER"), query: same(ownerStates)},
	{name: "cluster", tag: constant("CLUSTER"), query: same(`
	  SELECT format('%I.%I', n.nspname, c.relname), coalesce(
	    (SELECT format('ALTER TABLE %I.%I CLUSTER ON %I', n.nspname, c.relname, x.relname)
	      FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisclustered),
	    format('ALTER TABLE %I.%I SET WITHOUT CLUSTER', n.nspname, c.relname))
	  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe'
	    AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisclustered)`),
		gone: func(key string) string {
			return "DO " + quoteLiteral("BEGIN IF pg_catalog.to_regclass("+quoteLiteral(key)+") IS NOT NULL THEN ALTER TABLE "+key+" SET WITHOUT CLUSTER; END IF; END")
		}},
}

// roleStates are the roles with their attributes, settings and, where this
// role may read them, passwords.
func roleStates(s server) string {
	from, password := "pg_roles", "NULL::text"
	if s.IsSuperuser {
		from, password = "pg_authid", "r.rolpassword"
	}
	return `SELECT r.rolname, format('DO %L', format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) THEN CREATE ROLE %I; END IF; ALTER ROLE %I %s%s;%s END',
	    r.rolname, r.rolname, r.rolname, concat_ws(' ',
	      CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
	      CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
	      CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
	      CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, 'CONNECTION LIMIT ' || r.rolconnlimit,
	      'VALID UNTIL ' || quote_literal(coalesce(r.rolvaliduntil::text, 'infinity'))),
	    ' PASSWORD ' || quote_literal(` + password + `),
	    (SELECT string_agg(format(' ALTER ROLE %I SET %s = %s;', r.rolname, split_part(x, '=', 1), ` + settingValue + `), '')
	      FROM pg_db_role_setting g, unnest(g.setconfig) x WHERE g.setrole = r.oid AND g.setdatabase = 0)
	    || (SELECT format(' COMMENT ON ROLE %I IS %L;', r.rolname, d) FROM shobj_description(r.oid, 'pg_authid') d WHERE d IS NOT NULL)))
	  FROM ` + from + ` r WHERE r.oid >= 16384`
}

// settingValue is the value of a NAME=VALUE setting as SET wants it: lists of
// names are stored quoted already.
const settingValue = `CASE WHEN lower(split_part(x, '=', 1)) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries',
	'shared_preload_libraries', 'local_preload_libraries', 'unix_socket_directories')
	THEN coalesce(nullif(substr(x, strpos(x, '=') + 1), ''), '''''') ELSE quote_literal(substr(x, strpos(x, '=') + 1)) END`

// membershipStates are who is a member of which role.
func membershipStates(s server) string {
	options := "CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' END"
	if s.major() >= 16 {
		options = "format(' WITH ADMIN %s, INHERIT %s, SET %s', m.admin_option::text, m.inherit_option::text, m.set_option::text)"
	}
	return `SELECT DISTINCT ON (1) r.rolname || chr(31) || u.rolname, ` + forgiving + `format('GRANT %I TO %I%s', r.rolname, u.rolname, ` + options + `)))
	  FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE m.member >= 16384 ORDER BY 1, m.admin_option DESC`
}

// databaseStates are what belongs to the database itself. The restored one
// may have another name.
func databaseStates(server) string {
	return `SELECT 'settings', format('DO %L', format('BEGIN EXECUTE format(''ALTER DATABASE %%I RESET ALL'', current_database());%s END',
	    (SELECT string_agg(format(' EXECUTE format(''ALTER DATABASE %%I SET %s = %%s'', current_database(), %L);', split_part(x, '=', 1), ` + settingValue + `), '')
	      FROM pg_db_role_setting g, unnest(g.setconfig) x WHERE g.setrole = 0 AND g.setdatabase = d.oid)))
	  FROM pg_database d WHERE datname = current_database()
	  UNION ALL
	  SELECT 'role ' || r.rolname, format('DO %L', format('BEGIN%s END',
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
	      CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END), '' ORDER BY a.grantee, a.privilege_type)
	    FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee <> d.datdba), '') || ' END')
	  FROM pg_database d WHERE datname = current_database()`
}

// ownerStates are the owners of what REASSIGN OWNED may give away silently.
const ownerStates = `
  SELECT 'relation ' || c.oid, format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NOT NULL THEN ALTER %s %I.%I OWNER TO %I; END IF; END',
      format('%I.%I', n.nspname, c.relname), CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
        WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, n.nspname, c.relname, pg_get_userbyid(c.relowner)))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
  UNION ALL
  SELECT 'schema ' || oid, format('DO %L', format('BEGIN IF pg_catalog.to_regnamespace(%L) IS NOT NULL THEN ALTER SCHEMA %I OWNER TO %I; END IF; END',
      quote_ident(nspname), nspname, pg_get_userbyid(nspowner)))
  FROM pg_namespace WHERE oid >= 16384 AND nspname <> 'scribe' AND nspname !~ '^pg_'
  UNION ALL
  SELECT 'routine ' || p.oid, format('DO %L', format('BEGIN IF pg_catalog.to_regprocedure(%L) IS NOT NULL THEN ALTER ROUTINE %s OWNER TO %I; END IF; END',
      s.sig, s.sig, pg_get_userbyid(p.proowner)))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
    LATERAL (SELECT format('%I.%I(%s)', n.nspname, p.proname, (SELECT string_agg(format_type(a, NULL), ', ' ORDER BY o) FROM unnest(p.proargtypes) WITH ORDINALITY u(a, o))) AS sig) s
  WHERE p.oid >= 16384 AND p.prokind IN ('f', 'p', 'w') AND n.nspname NOT IN ('scribe') AND n.nspname !~ '^pg_temp'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
  UNION ALL
  SELECT 'type ' || t.oid, format('DO %L', format('BEGIN IF pg_catalog.to_regtype(%L) IS NOT NULL THEN ALTER TYPE %I.%I OWNER TO %I; END IF; END',
      format('%I.%I', n.nspname, t.typname), n.nspname, t.typname, pg_get_userbyid(t.typowner)))
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE t.oid >= 16384 AND t.typtype IN ('e', 'd', 'r') AND n.nspname <> 'scribe' AND n.nspname !~ '^pg_temp'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')`

// quoteLiteral quotes text within SQL that goes through the server once more.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// stateStore keeps the last sample of each kind, so that what changed while
// no streamer ran is noticed. The repository's catalog is one.
type stateStore interface {
	Setting(ctx context.Context, key string) (string, bool, error)
	SetSetting(ctx context.Context, key, value string) error
}

// reconcile samples every kind and emits what differs from the last sample
// into the stream, in one transaction. The samples are kept only after that
// has committed: sent twice, a state does no harm.
func reconcile(ctx context.Context, conn *pgx.Conn, src server, store stateStore, stale *staleStates) (changed int, err error) {
	taken := stale.take()
	defer func() {
		if err != nil {
			stale.giveBack(taken)
		}
	}()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	samples := map[string]map[string]string{}
	for _, kind := range stateKinds {
		now, err := kind.sample(ctx, tx, src)
		if err != nil {
			return 0, fmt.Errorf("sample of %s: %w", kind.name, err)
		}
		before := map[string]string{}
		text, known, err := store.Setting(ctx, "state "+kind.name)
		if err != nil {
			return 0, err
		}
		if known {
			if err := json.Unmarshal([]byte(text), &before); err != nil {
				return 0, err
			}
		}
		for key := range taken[kind.name] {
			before[key] = ""
		}
		var sql []stateCommand
		for _, key := range slices.Sorted(maps.Keys(now)) {
			if before[key] != now[key] {
				sql = append(sql, stateCommand{kind.tag(key), now[key]})
			}
		}
		for _, key := range slices.Sorted(maps.Keys(before)) {
			if _, there := now[key]; !there && kind.gone != nil {
				sql = append(sql, stateCommand{kind.tag(key), kind.gone(key)})
			}
		}
		if len(sql) == 0 {
			continue
		}
		changed += len(sql)
		samples[kind.name] = now
		if err := emitState(ctx, tx, sql); err != nil {
			return 0, err
		}
	}
	if changed == 0 {
		return 0, nil
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, err
	}
	return changed, keepSamples(ctx, store, samples)
}

// emitState sends statements in messages of moderate size.
func emitState(ctx context.Context, tx pgx.Tx, sql []stateCommand) error {
	for part := range slices.Chunk(sql, 500) {
		payload, err := json.Marshal(map[string]any{"ev": "state", "states": part})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT scribe.emit($1)", string(payload)); err != nil {
			return err
		}
	}
	return nil
}

func keepSamples(ctx context.Context, store stateStore, samples map[string]map[string]string) error {
	for name, sample := range samples {
		text, err := json.Marshal(sample)
		if err != nil {
			return err
		}
		if err := store.SetSetting(ctx, "state "+name, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// baseline keeps the present sample without emitting it: a base that is about
// to be taken holds it.
func baseline(ctx context.Context, conn *pgx.Conn, src server, store stateStore) error {
	samples := map[string]map[string]string{}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	for _, kind := range stateKinds {
		if kind.name == "database" || kind.name == "sequence" {
			continue // pg_dump leaves the one out and reads the other late
		}
		if samples[kind.name], err = kind.sample(ctx, tx, src); err != nil {
			return fmt.Errorf("sample of %s: %w", kind.name, err)
		}
	}
	return keepSamples(ctx, store, samples)
}

func (k stateKind) sample(ctx context.Context, tx pgx.Tx, src server) (map[string]string, error) {
	rows, err := tx.Query(ctx, k.query(src))
	if err != nil {
		return nil, err
	}
	now := map[string]string{}
	var key string
	var sql *string
	_, err = pgx.ForEachRow(rows, []any{&key, &sql}, func() error {
		if sql != nil {
			now[key] = *sql
		}
		return nil
	})
	return now, err
}

// sampler samples beside the stream, on a connection of its own. A sample
// that fails is told and tried again; it never ends the stream.
type sampler struct {
	asked chan chan struct{}
	done  chan struct{}
}

// startSampler samples at once, at every interval, and when asked, until ctx
// ends.
func startSampler(ctx context.Context, s *streamer, src server) *sampler {
	m := &sampler{asked: make(chan chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		ticker := time.NewTicker(s.opts.StateInterval)
		defer ticker.Stop()
		for {
			if err := sampleOnce(ctx, s, src); err != nil && ctx.Err() == nil {
				s.opts.Notice("sequences and roles were not sampled: " + err.Error())
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			case answer := <-m.asked:
				if err := sampleOnce(ctx, s, src); err != nil && ctx.Err() == nil {
					s.opts.Notice("sequences and roles were not sampled: " + err.Error())
				}
				close(answer)
			}
		}
	}()
	return m
}

// sampleOnce reconciles, guards tables that lost their replica identity, and
// makes sure that the publication is still there.
func sampleOnce(ctx context.Context, s *streamer, src server) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := Connect(ctx, s.opts.ConnString)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := mendCapture(ctx, conn, s.opts.Publication, s.repo); err != nil {
		return err
	}
	if _, err := guardTables(ctx, conn, shortPatience); err != nil {
		return err
	}
	_, err = reconcile(ctx, conn, src, s.repo.Catalog(), s.stale)
	return err
}

// last takes a last sample, or gives up after a while.
func (m *sampler) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer := make(chan struct{})
	select {
	case m.asked <- answer:
	case <-m.done:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-answer:
	case <-m.done:
	case <-ctx.Done():
	}
}
