package ddl

import (
	"fmt"
	"regexp"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
)

// OwnedObjects is the rest of a query of pg_shdepend: objects of every kind have
// their owner there, if it is not a role that every cluster begins with.
var OwnedObjects = `
  FROM pg_shdepend s
  WHERE s.deptype = 'o' AND s.objsubid = 0
    AND (s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      OR s.dbid = 0 AND s.classid = 'pg_subscription'::regclass AND s.objid IN (SELECT oid FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())))
    AND ` + Givable("s.classid", "s.objid")

// Givable is a condition that leaves out what cannot be given away by itself
// (indexes, composite types' relations, sequences of columns, members of
// extensions, extensions, user mappings, default privileges) and what is
// sampled otherwise (event triggers, large objects).
func Givable(class, oid string) string {
	return strings.NewReplacer("CLASS", class, "OBJECT", oid).Replace(`CLASS NOT IN ('pg_extension'::regclass, 'pg_user_mapping'::regclass,
      'pg_default_acl'::regclass, 'pg_event_trigger'::regclass, 'pg_largeobject'::regclass)
    AND NOT (CLASS = 'pg_class'::regclass AND OBJECT IN (SELECT oid FROM pg_class WHERE relkind NOT IN ('r', 'p', 'v', 'm', 'f', 'S') OR relpersistence = 't'))
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = CLASS AND d.objid = OBJECT AND d.objsubid = 0
      AND (d.deptype = 'e' OR d.deptype = 'i' AND CLASS <> 'pg_proc'::regclass ` +
		`AND NOT (CLASS = 'pg_type'::regclass AND OBJECT IN (SELECT oid FROM pg_type WHERE typtype = 'm')) ` +
		`OR d.deptype = 'a' AND CLASS = 'pg_class'::regclass AND OBJECT IN (SELECT oid FROM pg_class WHERE relkind = 'S')))`)
}

// WrapperOwner gives a foreign-data wrapper to its owner unless it has it: that
// has to be a superuser to become it, and not to stay it.
const WrapperOwner = `IF NOT EXISTS (SELECT FROM pg_catalog.pg_foreign_data_wrapper
  WHERE pg_catalog.quote_ident(fdwname) = %3$L AND pg_catalog.pg_get_userbyid(fdwowner) = %2$L) THEN ALTER END IF;`

// OrGone ends a command on an object that somebody may have dropped after the
// sample looked and before it committed. It is part of a pattern of format().
const OrGone = ` EXCEPTION WHEN undefined_object OR undefined_table OR undefined_function OR invalid_schema_name OR wrong_object_type THEN RAISE WARNING ` +
	`''%%'', SQLERRM;`

// Alterable is a subquery that names an object, if it is there, as ALTER … OWNER wants
// it: its type in the words of the grammar and its identity.
func Alterable(class, oid string) string {
	return `(SELECT schema, identity, CASE WHEN type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE' WHEN type = 'statistics object' THEN 'STATISTICS'
	    WHEN type = 'composite type' THEN 'TYPE' ELSE replace(upper(type), '-', ' ') END || ' ' || identity AS what FROM pg_identify_object(` +
		class + `, ` + oid + `, 0)
	  WHERE identity IS NOT NULL AND schema IS DISTINCT FROM 'pg_temp' AND schema IS DISTINCT FROM 'pg_toast')`
}

// alterKinds are the words for types that ALTER calls by other names.
var alterKinds = map[string]string{"function": "ROUTINE", "procedure": "ROUTINE", "aggregate": "ROUTINE",
	"statistics object": "STATISTICS", "composite type": "TYPE"}

// ownerNeeds gives the objects that a command may name to the owners that they
// had on the source, where REASSIGN OWNED may have done so without an event.
func ownerNeeds(owners []event.Owned) (needs []Need) {
	for _, o := range owners {
		kind := alterKinds[o.Type]
		if kind == "" {
			kind = strings.ToUpper(strings.ReplaceAll(o.Type, "-", " "))
		}
		alter := fmt.Sprintf("ALTER %s %s OWNER TO %s;", kind, o.Identity, sqltext.Identifier(o.Owner))
		if o.Type == "foreign-data wrapper" {
			alter = strings.NewReplacer("ALTER", alter, "%3$L", sqltext.Literal(o.Identity), "%2$L", sqltext.Literal(o.Owner)).Replace(WrapperOwner)
		}
		key := event.Key(o.Class, o.OID)
		needs = append(needs, Need{Kind: NeedOwner, Key: key, Value: o.Owner, Sample: State{StateOwner, key}, Commands: []Command{
			{Tag: segment.TagOwner, SQL: "DO " + sqltext.Literal("BEGIN "+alter+strings.ReplaceAll(OrGone, "''%%''", "'%'")+" END")}}})
	}
	return needs
}

// Overtaken is what a command brings about that samples bring too: set back
// without an event, it is in the next sample what it was in the last one.
func (c *Case) Overtaken() (states []State) {
	owners := c.ChangesOwners()
	cluster := c.Unknown != nil || changesCluster.MatchString(c.Statement)
	for _, o := range c.End.Objects {
		if o.Class != 0 && owners { // ALTER DEFAULT PRIVILEGES names no object
			states = append(states, State{StateOwner, o.Key()})
		}
		if o.Class == event.ClassRelation && cluster {
			states = append(states, State{StateCluster, o.Identity + "\x1f" + fmt.Sprint(o.OID)})
		}
	}
	return states
}

// ChangesOwners says whether objects may have other owners behind the command.
func (c *Case) ChangesOwners() bool {
	return c.Unknown != nil || changesOwners.MatchString(c.Statement)
}

// changesCluster finds commands that may choose a table's index for CLUSTER.
var changesCluster = regexp.MustCompile(`(?i)\bcluster\b`)

// changesOwners finds commands after which objects may have other owners.
var changesOwners = regexp.MustCompile(`(?i)\bowne(?:r\s+to|d\s+by)\b`)

// dropOwned finds the roles that a DROP OWNED names.
var dropOwned = regexp.MustCompile(`(?is)^\s*drop\s+owned\s+by\s+(.*?)\s*(?:cascade|restrict)?\s*;?\s*$`)

// ownedKinds are the objects that DROP names by their identity as the event
// triggers give it, and that somebody owns.
var ownedKinds = map[string]bool{"table": true, "view": true, "materialized view": true, "sequence": true, "foreign table": true,
	"type": true, "function": true, "procedure": true, "aggregate": true, "schema": true, "server": true, "collation": true, "conversion": true}

// keepOwned is the command to run before a DROP OWNED: of what the roles own
// in the target, it takes away what the source did not drop, because it
// belonged to others there since a REASSIGN OWNED. The next sample says to whom.
func keepOwned(sql string, start *event.Command, dropped []event.Object) (string, bool) {
	m := dropOwned.FindStringSubmatch(sql)
	if m == nil {
		return "", false
	}
	var roles []string
	for _, name := range strings.Split(m[1], ",") {
		switch name = strings.TrimSpace(name); strings.ToLower(name) {
		case "current_user", "current_role":
			name = sqltext.Identifier(start.Role)
		case "session_user":
			name = sqltext.Identifier(start.Session)
		}
		roles = append(roles, "to_regrole("+sqltext.Escaped(name)+")")
	}
	gone := []string{"''"}
	for _, o := range dropped {
		gone = append(gone, sqltext.Escaped(o.Type+" "+o.Identity))
	}
	objects := strings.Replace(OwnedObjects, ", 'pg_largeobject'::regclass", "", 1) // they come with the rest
	return "DO " + sqltext.Escaped(`DECLARE o record; BEGIN FOR o IN SELECT a.what FROM (SELECT classid, objid `+objects+
		` AND refobjid IN (`+strings.Join(roles, ", ")+`)) s, LATERAL `+Alterable("s.classid", "s.objid")+` a, pg_identify_object(s.classid, s.objid, 0) i
	  WHERE i.type || ' ' || i.identity NOT IN (`+strings.Join(gone, ", ")+`)
	  LOOP EXECUTE 'ALTER ' || o.what || ' OWNER TO ' || quote_ident(session_user); END LOOP; END`), true
}

// dropsOwned prepares the target for a DROP OWNED: what the roles own there and
// did not on the source stays, and what they owned on the source only goes.
func dropsOwned(sql string, start *event.Command, dropped []event.Object) (commands []Command) {
	keep, ok := keepOwned(sql, start, dropped)
	if !ok {
		return nil
	}
	commands = append(commands, Command{Tag: segment.TagOwner, SQL: keep})
	for _, o := range dropped {
		if o.Original && !o.Temporary() && ownedKinds[o.Type] {
			commands = append(commands, Command{Tag: start.Tag, SQL: dropObject(o)})
		}
	}
	return commands
}
