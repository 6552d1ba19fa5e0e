package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
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

	// The SQL is written at the end, when nothing needs the object any more.
	goneLast bool
	// It is written before the others, which it may contradict.
	goneFirst bool
	named     bool // it names roles
	// Where the query returns less than SQL, this makes it, for keys that are
	// new, differ or are gone.
	sql func(ctx context.Context, tx pgx.Tx, keys []string) (map[string]string, error)
}

// same makes a query that every server version understands.
func same(sql string) func(server) string { return func(server) string { return sql } }

// forgiving wraps a command that must not stop a restore, because another
// object of the target's cluster may stand in its way.
const forgiving = `format('DO %L', format('BEGIN %s; EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END', `

// orGone ends a command on an object that somebody may have dropped after the
// sample looked and before it committed. It is part of a pattern of format().
const orGone = ` EXCEPTION WHEN undefined_object OR undefined_table OR undefined_function OR invalid_schema_name OR wrong_object_type THEN RAISE WARNING ''%%'', SQLERRM;`

// roleTag names the role that a command changes, because roles belong to the
// target's cluster and not to the restored database: restore may leave alone
// those that it finds there.
func roleTag(name string) string { return repo.TagRole + " " + quoteName(name) }

func constant(tag string) func(string) string { return func(string) string { return tag } }

// stateKinds are sampled in this order, and replayed in it.
var stateKinds = []stateKind{
	{name: roleNames, query: same(roleNamesQuery), goneLast: true, tag: func(key string) string { return renameTag(roleAside(parseOID(key)), "") }, gone: func(key string) string {
		return forgivingly("DROP ROLE IF EXISTS " + roleAside(parseOID(key)))
	}},
	{name: "role", named: true, tag: roleTag, query: roleStates, goneLast: true, gone: func(key string) string {
		return "DO " + quoteLiteral("BEGIN DROP ROLE IF EXISTS "+quoteName(key)+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
	}},
	{name: "membership", named: true, tag: func(key string) string {
		_, member, _ := strings.Cut(key, "\x1f")
		return roleTag(member)
	}, query: membershipStates, goneFirst: true, gone: func(key string) string {
		role, member, _ := strings.Cut(key, "\x1f")
		return forgivingly("IF EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member WHERE r.rolname = " +
			quoteLiteral(role) + " AND u.rolname = " + quoteLiteral(member) + ") THEN REVOKE " + quoteName(role) + " FROM " + quoteName(member) + "; END IF")
	}},
	{name: "tablespace", named: true, tag: constant(repo.TagTablespace), query: same(tablespaceStates)},
	{name: "parameter", named: true, tag: constant(repo.TagParameter), query: parameterStates, gone: func(key string) string {
		return "DO " + quoteLiteral("DECLARE g record; BEGIN FOR g IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS name FROM pg_parameter_acl, aclexplode(paracl) WHERE parname = "+
			quoteLiteral(key)+" LOOP EXECUTE "+quoteLiteral("REVOKE ALL ON PARAMETER "+key+" FROM ")+" || g.name; END LOOP; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
	}},
	{name: "label", named: true, tag: labelTag, query: same(labelStates), gone: func(key string) string {
		provider, object, _ := strings.Cut(key, "\x1f")
		return forgivingly("EXECUTE format(" + quoteLiteral("SECURITY LABEL FOR "+quoteName(provider)+" ON "+object+" IS NULL") + ", current_database())")
	}},
	{name: "database", named: true, tag: constant(repo.TagDatabase), query: databaseStates, gone: func(key string) string {
		role := strings.TrimPrefix(key, databaseRole)
		return "DO " + quoteLiteral("BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = "+quoteLiteral(role)+
			") THEN EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', "+quoteLiteral(role)+", current_database()); END IF; END")
	}},
	{name: "sequence", tag: constant(repo.TagSequence), query: same(`
	  SELECT concat_ws(' ', oid, pg_relation_filenode(oid)), -- the file is another one after RESTART
	    format('DO %L', format('BEGIN IF pg_catalog.to_regclass(%L) IS NOT NULL THEN PERFORM pg_catalog.setval(%L, %s, %s); END IF; EXCEPTION WHEN numeric_value_out_of_range THEN RAISE WARNING ''%%'', SQLERRM; END', -- it was altered meanwhile
	    format('%I.%I', schema, name), format('%I.%I', schema, name), last_value, is_called::text)) FROM scribe.sequence_values()`)},
	{name: "event trigger", named: true, tag: constant(repo.TagTrigger), query: same(`
	  SELECT evtname, format('DO %L', format('BEGIN DROP EVENT TRIGGER IF EXISTS %I; CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s(); ALTER EVENT TRIGGER %I OWNER TO %I; ALTER EVENT TRIGGER %I %s;%s` + orGone + ` END',
	      evtname, evtname, evtevent,
	      (SELECT ' WHEN TAG IN (' || string_agg(quote_literal(t), ', ') || ')' FROM unnest(evttags) t),
	      (SELECT format('%I.%I', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = evtfoid),
	      evtname, pg_get_userbyid(evtowner), evtname,
	      CASE evtenabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
	      (SELECT format(' COMMENT ON EVENT TRIGGER %I IS %L;', evtname, d) FROM obj_description(e.oid, 'pg_event_trigger') d WHERE d IS NOT NULL)))
	  FROM pg_event_trigger e WHERE evtname !~ '^scribe_[a-z]$' AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = e.oid AND deptype = 'e')`),
		gone: func(key string) string { return "DROP EVENT TRIGGER IF EXISTS " + quoteName(key) }},
	{name: "owner", tag: constant(repo.TagOwner), query: same(ownerStates), sql: ownerCommands},
	{name: "cluster", tag: constant(repo.TagCluster), query: same(`
	  SELECT format('%I.%I', n.nspname, c.relname) || chr(31) || c.oid, coalesce(
	    (SELECT format('DO %L', format('BEGIN ALTER TABLE %I.%I CLUSTER ON %I;` + orGone + ` END', n.nspname, c.relname, x.relname))
	      FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisclustered),
	    format('ALTER TABLE %I.%I SET WITHOUT CLUSTER', n.nspname, c.relname))
	  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe'
	    AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisclustered)`),
		gone: func(key string) string {
			key, _, _ = strings.Cut(key, "\x1f")
			return "DO " + quoteLiteral("BEGIN IF pg_catalog.to_regclass("+quoteLiteral(key)+") IS NOT NULL THEN ALTER TABLE "+key+" SET WITHOUT CLUSTER; END IF; END")
		}},
}

// roleStates are the roles with their attributes, settings and, where this
// role may read them, passwords.
func roleStates(s server) string {
	from, password := "pg_roles", "NULL::text" // which says nothing
	if s.ReadsRoles {
		from, password = "pg_authid", "coalesce(quote_literal(r.rolpassword), 'NULL')"
	}
	return `SELECT r.rolname, format('DO %L', format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) THEN CREATE ROLE %I; END IF; ALTER ROLE %I %s%s; ALTER ROLE %I RESET ALL;%s COMMENT ON ROLE %I IS %L; END',
	    r.rolname, r.rolname, r.rolname, concat_ws(' ',
	      CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
	      CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
	      CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
	      CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, 'CONNECTION LIMIT ' || r.rolconnlimit,
	      'VALID UNTIL ' || quote_literal(coalesce(r.rolvaliduntil::text, 'infinity'))),
	    ' PASSWORD ' || ` + password + `,
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
func membershipStates(s server) string {
	options := "CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' END"
	if s.major() >= 16 {
		options = "format(' WITH ADMIN %s, INHERIT %s, SET %s', m.admin_option::text, m.inherit_option::text, m.set_option::text)"
	}
	return `SELECT DISTINCT ON (1) r.rolname || chr(31) || u.rolname, ` + forgiving + `format('GRANT %I TO %I%s', r.rolname, u.rolname, ` + options + `)))
	  FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE m.member >= 16384 ORDER BY 1, m.admin_option DESC`
}

// forgivingly is like forgiving, for text.
func forgivingly(command string) string {
	return "DO " + quoteLiteral("BEGIN "+command+"; EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END")
}

// tablespaceStates are owner, options, privileges and comment of tablespaces.
// They cannot be created within a transaction, nor on a machine whose folders
// are unknown, so that one which the target lacks is only told.
const tablespaceStates = `
  SELECT spcname, format('DO %L', format('DECLARE g record; BEGIN IF NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = %L) THEN RAISE WARNING ''the target has no tablespace %%, which is in %% on the source'', %L, %L; RETURN; END IF; ALTER TABLESPACE %I OWNER TO %I;%s COMMENT ON TABLESPACE %I IS %L; %s EXCEPTION WHEN OTHERS THEN RAISE WARNING ''%%'', SQLERRM; END',
      spcname, spcname, pg_tablespace_location(oid), spcname, pg_get_userbyid(spcowner),
      ' ALTER TABLESPACE ' || quote_ident(spcname) || ' SET (' || array_to_string(spcoptions, ', ') || ');', spcname, shobj_description(oid, 'pg_tablespace'),
      scribe.acl_sql('TABLESPACE ' || quote_ident(spcname), coalesce(spcacl, acldefault('t', spcowner)), spcowner,
        format('(SELECT coalesce(spcacl, acldefault(''t'', spcowner)) FROM pg_tablespace WHERE spcname = %L)', spcname))))
  FROM pg_tablespace WHERE oid >= 16384`

// parameterStates are privileges on settings, which a whole cluster shares.
func parameterStates(s server) string {
	if s.major() < 15 {
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
		return repo.TagRole + " " + strings.ReplaceAll(name, "%%", "%")
	case "TABLESPACE":
		return repo.TagTablespace
	}
	return repo.TagDatabase
}

// labelStates are security labels of the database, of roles and tablespaces,
// which no event tells. The target may lack their provider.
const labelStates = `
  SELECT provider || chr(31) || object, ` + forgiving + `format('EXECUTE format(%L, current_database())', format('SECURITY LABEL FOR %I ON %s IS %L', provider, object, replace(label, '%', '%%')))))
  FROM (SELECT provider, label, CASE l.classoid WHEN 'pg_authid'::regclass THEN 'ROLE ' || quote_ident(replace(pg_get_userbyid(objoid), '%', '%%'))
      WHEN 'pg_tablespace'::regclass THEN 'TABLESPACE ' || (SELECT quote_ident(replace(spcname, '%', '%%')) FROM pg_tablespace WHERE oid = objoid)
      WHEN 'pg_database'::regclass THEN 'DATABASE %I' END AS object
    FROM pg_shseclabel l WHERE l.classoid <> 'pg_database'::regclass OR l.objoid = (SELECT oid FROM pg_database WHERE datname = current_database())) x
  WHERE object IS NOT NULL`

// databaseRole begins the keys of what roles have set in the database.
const databaseRole = "role "

// databaseStates are what belongs to the database itself. The restored one
// may have another name.
func databaseStates(server) string {
	return `SELECT 'settings', format('DO %L', format('BEGIN EXECUTE format(''ALTER DATABASE %%I RESET ALL'', current_database());%s END',
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

// quoteLiteral quotes text within SQL that goes through the server once more.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// stateStore keeps the last sample of each kind, so that what changed while
// no streamer ran is noticed. The repository's catalog is one.
type stateStore interface {
	Setting(ctx context.Context, key string) (string, bool, error)
	SetSetting(ctx context.Context, key, value string) error
}

// A reconciliation is what one sample found, on its way into the stream.
type reconciliation struct {
	sampling
	samples map[string]map[string]string // to be kept once what differs has committed
	last    []stateCommand               // of what can go only when nothing needs it
	lastOf  map[string]map[string]string // samples of the kinds that these are of
	errs    []error
	taken   map[string]map[string]bool // from stale
	renames renames                    // of roles
}

// reconcile samples every kind and emits what differs from the last sample
// into the stream, in one transaction. The samples are kept only after that
// has committed: sent twice, a state does no harm. A kind that cannot be
// sampled keeps none of the others from it.
//
// The transaction carries a mark of the sample if anything could have happened
// since the last one: restore learns from it how far sequences can be relied
// on.
func (s sampling) reconcile(ctx context.Context, conn *pgx.Conn) (_ *reconciliation, err error) {
	r := &reconciliation{sampling: s, samples: map[string]map[string]string{}, lastOf: map[string]map[string]string{}, taken: s.stale.take()}
	defer func() {
		if err != nil {
			s.stale.giveBack(r.taken)
		}
	}()
	// What a sequence had handed out to what commits before this position is
	// seen below.
	position, err := inserted(ctx, conn)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var next string
	if err := tx.QueryRow(ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text").Scan(&next); err != nil {
		return nil, err
	}
	changed, complete := 0, true
	for _, kind := range stateKinds {
		n, err := r.kind(ctx, tx, kind)
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("sample of %s: %w", kind.name, err))
			complete = false
			r.giveBack(kind.name)
		}
		changed += n
	}
	marked, _, err := s.store.Setting(ctx, sampleMark)
	if err != nil {
		return nil, err
	}
	if changed == 0 && (marked == next || !complete) {
		return r, keepSamples(ctx, s.store, r.samples) // objects may be gone
	}
	if complete {
		if err := emitState(ctx, tx, s.slot, []stateCommand{{Tag: repo.TagSample, SQL: repo.SampleMark(position)}}); err != nil {
			return nil, err
		}
	}
	if err := tx.QueryRow(ctx, "SELECT (pg_current_xact_id()::text::bigint + 1)::text").Scan(&next); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	if complete {
		if err := s.store.SetSetting(ctx, sampleMark, next); err != nil {
			return nil, err
		}
	}
	return r, keepSamples(ctx, s.store, r.samples)
}

// inserted is the end of the source's WAL, whether written out or not.
func inserted(ctx context.Context, conn interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (catalog.LSN, error) {
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return 0, err
	}
	return catalog.ParseLSN(text)
}

// sampleMark is the setting that holds the next transaction ID as of the last
// such mark.
const sampleMark = "state mark"

// kind samples one kind, in a subtransaction, and emits what differs.
func (r *reconciliation) kind(ctx context.Context, tx pgx.Tx, kind stateKind) (changed int, err error) {
	sub, err := tx.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer sub.Rollback(context.WithoutCancel(ctx))
	now, err := kind.sample(ctx, sub, r.src)
	if err != nil {
		return 0, err
	}
	before, err := keptSample(ctx, r.store, kind.name)
	if err != nil {
		return 0, err
	}
	if kind.name == roleNames {
		r.renames = findRenames(before, now, r.taken[kind.name])
	}
	r.renames.follow(kind, before)
	for key := range r.taken[kind.name] {
		before[key] = ""
	}
	var differ, gone []string
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if before[key] != now[key] {
			differ = append(differ, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[key]; !there {
			gone = append(gone, key)
		}
	}
	if len(differ)+len(gone) == 0 {
		return 0, nil
	}
	sql := now
	if kind.sql != nil {
		if sql, err = kind.sql(ctx, sub, append(differ, gone...)); err != nil {
			return 0, err
		}
		differ, gone = slices.Sorted(maps.Keys(sql)), nil
	}
	var commands, last []stateCommand
	if kind.name == roleNames {
		// A name is free before another role takes it. What was put aside is
		// dropped when nothing needs it.
		for _, key := range append(slices.Clone(gone), differ...) {
			commands = append(commands, stateCommand{Role: &roleName{parseOID(key), now[key]}})
		}
		gone = slices.DeleteFunc(gone, func(key string) bool { return !r.taken[roleNames][key] })
		differ = nil
	}
	for _, key := range differ {
		commands = append(commands, stateCommand{Tag: kind.tag(key), SQL: sql[key]})
	}
	if kind.gone != nil {
		for _, key := range gone {
			last = append(last, stateCommand{Tag: kind.tag(key), SQL: kind.gone(key)})
		}
	}
	switch {
	case kind.goneFirst:
		commands, last = append(last, commands...), nil
	case !kind.goneLast:
		commands, last = append(commands, last...), nil
	}
	if err := emitState(ctx, sub, r.slot, commands); err != nil {
		return 0, err
	}
	if err := sub.Commit(ctx); err != nil {
		return 0, err
	}
	if len(last) > 0 {
		r.last = append(last, r.last...)
		r.lastOf[kind.name] = now
	} else {
		r.samples[kind.name] = now
	}
	return len(commands), nil
}

// giveBack leaves the stale states of a kind to the next sample.
func (r *reconciliation) giveBack(kind string) {
	r.stale.giveBack(map[string]map[string]bool{kind: r.taken[kind]})
}

// finish emits what had to wait for everything else.
func (r *reconciliation) finish(ctx context.Context, conn *pgx.Conn) (err error) {
	defer func() {
		for kind := range r.lastOf {
			if err != nil {
				r.giveBack(kind)
			}
		}
	}()
	if len(r.last) > 0 {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		if err := emitState(ctx, tx, r.slot, r.last); err != nil {
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			return err
		}
		if err := keepSamples(ctx, r.store, r.lastOf); err != nil {
			return err
		}
	}
	return errors.Join(r.errs...)
}

// keptSample is the last sample of a kind; empty if there is none.
func keptSample(ctx context.Context, store stateStore, name string) (map[string]string, error) {
	sample := map[string]string{}
	text, known, err := store.Setting(ctx, "state "+name)
	if err == nil && known {
		err = json.Unmarshal([]byte(text), &sample)
	}
	return sample, err
}

// emitState sends statements of a slot's sample in messages of moderate size.
func emitState(ctx context.Context, tx pgx.Tx, slot string, sql []stateCommand) error {
	for part := range slices.Chunk(sql, 500) {
		if err := emitStates(ctx, tx, slot, part); err != nil {
			return err
		}
	}
	return nil
}

// emitStates sends one message, which tells too whose sample what follows in
// the transaction is.
func emitStates(ctx context.Context, tx pgx.Tx, slot string, sql []stateCommand) error {
	payload, err := json.Marshal(map[string]any{"ev": "state", "slot": slot, "states": sql})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT scribe.emit($1)", string(payload))
	return err
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
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
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
	if err := baselineLargeObjects(ctx, tx, store); err != nil {
		return fmt.Errorf("sample of large objects: %w", err)
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
