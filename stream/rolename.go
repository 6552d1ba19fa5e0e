package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// A rename of a role tells no event, and everything that it may do and owns
// follows it. So samples and commands tell the OIDs of roles, and the facts of
// the stream know the name that each has in the target.

// roleNames is the state of that kind: by OID the name.
const roleNames = "role name"

const roleNamesQuery = "SELECT oid::text, rolname::text FROM pg_roles WHERE oid >= 16384"

// roleAside is the name of a role whose old name another role bears, until a
// sample tells its own.
func roleAside(oid uint32) string { return fmt.Sprint(asidePrefix, oid) }

const asidePrefix = "scribe_role_"

// nameRole gives a role the name that it has on the source from here on; none:
// it is gone. What had that name before has another one by now, or is gone,
// which the sample tells.
func (r *renderer) nameRole(oid uint32, name string) {
	was := r.facts.names[oid]
	if oid == 0 || was == name {
		return
	}
	if holder := r.facts.named[name]; name != "" && holder != 0 {
		r.stale.add(roleNames, fmt.Sprint(holder))
		r.renameRole(holder, name, roleAside(holder))
	}
	if was == "" || name == "" {
		r.facts.nameRole(oid, name)
		return
	}
	r.renameRole(oid, was, name)
}

// nameRoles gives the roles that a command may name the names that they had.
func (r *renderer) nameRoles(roles []event.Role) {
	for _, f := range roles {
		r.nameRole(f.OID, f.Name)
	}
}

func (r *renderer) renameRole(oid uint32, was, name string) {
	r.open()
	clear(r.granted)
	clear(r.owners)
	r.facts.nameRole(oid, name)
	r.out = segment.AppendDDL(r.out, renameTag(was, name), renameRole(was, name))
}

func renameTag(was, name string) string {
	return segment.TagRename + " " + sqltext.Quoted(was) + " " + sqltext.Quoted(name)
}

// renameRole is the SQL of a rename, if the target has the role by its old name.
// What has the new name there already is another database's, or the one that
// restores says by a setting that it does not own the role: then what the role
// has in this database goes to the one of the new name instead.
func renameRole(was, name string) string {
	end := "END"
	if strings.HasPrefix(was, asidePrefix) {
		end = doing("EXECUTE format('DROP ROLE %I', was);") + end
	}
	return "DO " + sqltext.Literal("DECLARE was CONSTANT name := "+sqltext.Literal(was)+"; now CONSTANT name := "+sqltext.Literal(name)+`; old oid; here oid; o record; i record; steps text[]; step text; BEGIN
SELECT oid INTO old FROM pg_roles WHERE rolname = was;
SELECT oid INTO here FROM pg_database WHERE datname = current_database();
IF old IS NULL THEN RETURN; END IF;
IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = now) THEN
  IF current_setting('`+segment.KeepRole+`', true) IS DISTINCT FROM 'on' THEN
    BEGIN EXECUTE format('ALTER ROLE %I RENAME TO %I', was, now); RETURN; EXCEPTION WHEN feature_not_supported THEN NULL; /* the session's own */ END;
  END IF;
  EXECUTE format('CREATE ROLE %I', now);
END IF;
`+moveOwned+movePrivileges+moveDefaults+movePolicies+moveMappings+end)
}

// doing runs plpgsql that must not stop a restore.
func doing(sql string) string {
	return "BEGIN " + sql + " EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;\n"
}

// These move what one role has in the database to another. Extensions keep
// their owner: nothing can change it.
var (
	moveOwned = `FOR o IN SELECT a.what FROM pg_shdepend s, LATERAL ` + alterable("s.classid", "s.objid") + ` a WHERE s.deptype = 'o' AND s.objsubid = 0 AND s.dbid = here AND s.refobjid = old
  AND s.classid NOT IN ('pg_extension'::regclass, 'pg_user_mapping'::regclass, 'pg_default_acl'::regclass)
  AND NOT (s.classid = 'pg_class'::regclass AND s.objid IN (SELECT oid FROM pg_class WHERE relkind NOT IN ('r', 'p', 'v', 'm', 'f', 'S') OR relpersistence = 't'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = s.classid AND d.objid = s.objid AND d.objsubid = 0
    AND (d.deptype = 'i' AND NOT (s.classid = 'pg_type'::regclass AND s.objid IN (SELECT oid FROM pg_type WHERE typtype = 'm')) OR d.deptype = 'a' AND s.classid = 'pg_class'::regclass AND s.objid IN (SELECT oid FROM pg_class WHERE relkind = 'S')))
LOOP ` + doing(`EXECUTE format('ALTER %s OWNER TO %I', o.what, now);`) + `END LOOP;
`
	// All privileges on an object are taken and given anew in their order, which
	// pg_dump relies on, each by who granted it: a CASCADE leaves what a role may
	// still grant as a member of another. Who does that must see the schema.
	movePrivileges = `SELECT array_agg(revokes ORDER BY class = 'pg_namespace'::regclass) || array_agg(grants ORDER BY class <> 'pg_namespace'::regclass) INTO steps FROM (SELECT class,
    string_agg(format('%s REVOKE %s%s ON %s FROM %s CASCADE; SET LOCAL ROLE NONE;', CASE WHEN grantor <> owner THEN 'SET LOCAL ROLE ' || quote_ident(pg_get_userbyid(grantor)) || ';' END, privilege, columns, what, coalesce(quote_ident(pg_get_userbyid(nullif(grantee, 0))), 'PUBLIC')),
      ' ' ORDER BY grantor = owner, sub DESC, n DESC) AS revokes,
    string_agg(format('%s GRANT %s%s ON %s TO %s%s; SET LOCAL ROLE NONE;', CASE WHEN grantor <> owner THEN 'SET LOCAL ROLE ' || quote_ident(CASE grantor WHEN old THEN now ELSE pg_get_userbyid(grantor) END) || ';' END, privilege, columns, what,
      CASE grantee WHEN old THEN quote_ident(now) ELSE coalesce(quote_ident(pg_get_userbyid(nullif(grantee, 0))), 'PUBLIC') END, CASE WHEN grantable THEN ' WITH GRANT OPTION' END),
      ' ' ORDER BY grantor <> owner, sub, n) AS grants
  FROM (SELECT c.*, CASE class WHEN 'pg_class'::regclass THEN CASE (SELECT relkind FROM pg_class WHERE oid = object) WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END WHEN 'pg_proc'::regclass THEN 'ROUTINE '
      WHEN 'pg_type'::regclass THEN 'TYPE ' WHEN 'pg_foreign_server'::regclass THEN 'FOREIGN SERVER ' ELSE replace(upper(k.type), '-', ' ') || ' ' END || k.identity AS what
    FROM (SELECT 'pg_class'::regclass::oid AS class, oid AS object, relacl AS acl, relowner AS owner FROM pg_class UNION ALL SELECT 'pg_proc'::regclass, oid, proacl, proowner FROM pg_proc
      UNION ALL SELECT 'pg_namespace'::regclass, oid, nspacl, nspowner FROM pg_namespace UNION ALL SELECT 'pg_type'::regclass, oid, typacl, typowner FROM pg_type
      UNION ALL SELECT 'pg_language'::regclass, oid, lanacl, lanowner FROM pg_language UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwacl, fdwowner FROM pg_foreign_data_wrapper
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvacl, srvowner FROM pg_foreign_server UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomacl, lomowner FROM pg_largeobject_metadata) c, pg_identify_object(class, object, 0) k
    WHERE (class, object) IN (SELECT classid, objid FROM pg_shdepend WHERE deptype = 'a' AND dbid = here AND refobjid = old)) x, LATERAL (SELECT 0 AS sub, '' AS columns, a.* FROM aclexplode(acl) WITH ORDINALITY a(grantor, grantee, privilege, grantable, n)
    UNION ALL SELECT attnum, format(' (%I)', attname), a.* FROM pg_attribute, aclexplode(attacl) WITH ORDINALITY a WHERE class = 'pg_class'::regclass AND attrelid = object AND attacl IS NOT NULL) i
  WHERE grantee <> owner GROUP BY class, object) y;
FOREACH step IN ARRAY coalesce(steps, '{}') LOOP ` + doing("EXECUTE step;") + `END LOOP;
`
	// A row for all schemas holds everything; others add to it.
	moveDefaults = `FOR o IN SELECT defaclrole AS owner, defaclacl AS acl, defaclnamespace = 0 AS whole, 'ALTER DEFAULT PRIVILEGES FOR ROLE %I' || CASE WHEN defaclnamespace = 0 THEN '' ELSE format(' IN SCHEMA %I', replace(nspname, '%', '%%')) END || ' ' AS head,
    ' ON ' || CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS what
  FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace WHERE defaclrole = old OR EXISTS (SELECT FROM aclexplode(defaclacl) WHERE grantee = old)
LOOP ` + doing(`IF o.owner = old AND o.whole THEN EXECUTE format(o.head || 'REVOKE ALL%s FROM PUBLIC, %I', now, o.what, now); END IF;
FOR i IN SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' WHEN old THEN quote_ident(now) ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS receiver,
    a.is_grantable FROM aclexplode(o.acl) a WHERE old IN (o.owner, a.grantee) LOOP
  EXECUTE format(o.head || 'GRANT %s%s TO %s%s', CASE o.owner WHEN old THEN now ELSE pg_get_userbyid(o.owner) END, i.privilege_type, o.what, i.receiver, CASE WHEN i.is_grantable THEN ' WITH GRANT OPTION' END);
END LOOP;
FOR i IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS receiver FROM aclexplode(o.acl) WHERE old IN (o.owner, grantee) LOOP
  EXECUTE format(o.head || 'REVOKE ALL%s FROM %s', pg_get_userbyid(o.owner), o.what, i.receiver);
END LOOP;
IF o.owner = old AND o.whole THEN
  EXECUTE format(o.head || 'GRANT ALL%s TO %I%s', was, o.what, was, CASE WHEN o.what IN (' ON FUNCTIONS', ' ON TYPES') THEN ', PUBLIC' END);
END IF;`) + `END LOOP;
`
	movePolicies = `FOR o IN SELECT polname, polrelid::regclass AS rel, (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' WHEN old THEN quote_ident(now) ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(polroles) r) AS roles
  FROM pg_policy WHERE old = ANY (polroles)
LOOP ` + doing(`EXECUTE format('ALTER POLICY %I ON %s TO %s', o.polname, o.rel, o.roles);`) + `END LOOP;
`
	moveMappings = `FOR o IN SELECT srvname, (SELECT ' OPTIONS (' || string_agg(format('%I %L', split_part(x, '=', 1), substr(x, strpos(x, '=') + 1)), ', ') || ')' FROM unnest(umoptions) x) AS options
  FROM pg_user_mapping m JOIN pg_foreign_server s ON s.oid = m.umserver WHERE umuser = old
LOOP ` + doing(`EXECUTE format('CREATE USER MAPPING IF NOT EXISTS FOR %I SERVER %I%s', now, o.srvname, o.options); EXECUTE format('DROP USER MAPPING FOR %I SERVER %I', was, o.srvname);`) + `END LOOP;
`
)

// renames are what became of the names of roles since the last sample.
type renames struct {
	// Names, old and new, that belong to other roles than before: what is
	// sampled by name means something else, even where it reads the same.
	changed map[string]bool
	to      map[string]string // of roles that are still there
}

// findRenames compares names by OID. stale are roles that the stream may have
// named otherwise.
func findRenames(before, now map[string]string, stale map[string]bool) renames {
	r := renames{changed: map[string]bool{}, to: map[string]string{}}
	bearer := map[string]string{}
	for oid, name := range now {
		bearer[name] = oid
	}
	for oid, was := range before {
		name := now[oid]
		if stale[oid] || name != was && (name != "" || bearer[was] != "") {
			r.changed[was], r.changed[name] = true, true
		}
		if name != "" && name != was {
			r.to[was] = name
		}
	}
	for oid := range stale {
		r.changed[now[oid]] = true
	}
	delete(r.changed, "")
	return r
}

// follow makes a kind's last sample differ from any where it tells of roles by
// names that belong to others now, and adds what followed roles to other names.
func (r renames) follow(kind stateKind, before map[string]string) {
	if len(r.changed) == 0 {
		return
	}
	if kind.name == "owner" {
		for key, name := range before {
			if r.changed[name] {
				before[key] = ""
			}
		}
	} else if kind.named {
		for _, key := range slices.Collect(maps.Keys(before)) {
			before[key] = ""
			names := strings.Split(key, "\x1f")
			for i, name := range names {
				setting, _ := strings.CutPrefix(name, databaseRole)
				if to := r.to[setting]; to != "" {
					names[i] = strings.TrimSuffix(name, setting) + to
				}
			}
			before[strings.Join(names, "\x1f")] = ""
		}
	}
}

// sampleNames reads the names of the roles in a transaction's snapshot.
func sampleNames(ctx context.Context, q source.Querier) (map[string]string, error) {
	return readTexts(ctx, q, roleNamesQuery)
}

// checkNames makes sure that a dump can be relied on for the names of roles,
// given those of its snapshot.
func (d *dumper) checkNames(ctx context.Context, names map[string]string) error {
	now, err := sampleNames(ctx, d.conn)
	if err == nil {
		err = sameNames(names, now)
	}
	if err != nil {
		return err
	}
	return sameNames(d.names, names)
}

// sameNames makes sure that no role of before has another name now: a dump
// names roles both as of its snapshot and as of when it comes to them, and the
// stream goes on from the names that it has brought.
func sameNames(before, now map[string]string) error {
	for oid, was := range before {
		if name := now[oid]; name != "" && name != was {
			return &FenceError{"role " + was + " was renamed to " + name}
		}
	}
	return nil
}

// takeNames takes the names of a sample for those in the target.
func (f *facts) takeNames(sample map[string]string) {
	for oid, name := range sample {
		f.nameRole(parseOID(oid), name)
	}
}

func parseOID(text string) uint32 {
	oid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		panic(err) // pg_scribe wrote it
	}
	return uint32(oid)
}

// nameRole notes the name that a role has in the target; empty: it is gone.
func (f *facts) nameRole(oid uint32, name string) {
	if was := f.names[oid]; f.named[was] == oid {
		delete(f.named, was)
	}
	if name == "" {
		delete(f.names, oid)
	} else {
		f.names[oid], f.named[name] = name, oid
	}
	f.dirty[roleKey(oid)] = true
}
