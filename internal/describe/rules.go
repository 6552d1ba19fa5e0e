package describe

import (
	"maps"
	"slices"
)

// A rule says what of a catalog is described. In its expressions x is the row.
type rule struct {
	identity string // what names the row; empty: pg_identify_object
	class    string // with object: what the row belongs to; empty: itself
	object   string
	column   string            // of OIDs, by which an object's rows are found; empty: oid
	parts    []string          // what of a list of objects it names beside these: columns and conditions that = ANY (list) follows
	where    string            // which rows are of users
	space    string            // the schema that the row is in; empty: none
	relation string            // whose columns its expressions name; 0: none
	skip     []string          // columns that count, cache or number
	only     []string          // the columns to be described, where they are few
	special  map[string]string // columns that need more than their type says
	extra    [][2]string       // what no column says
}

func (r rule) identityOf(catalog string) string {
	if r.identity != "" {
		return r.identity
	}
	return "(pg_catalog.pg_identify_object('pg_catalog." + catalog + "'::pg_catalog.regclass, x.oid, 0)).identity"
}

func catalogNames() []string { return slices.Sorted(maps.Keys(rules)) }

const (
	ofUsers  = "x.oid >= 16384"
	pgClass  = "'pg_catalog.pg_class'::pg_catalog.regclass"
	pgType   = "'pg_catalog.pg_type'::pg_catalog.regclass"
	database = "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
	// described is the identity of the object that a comment or label is on.
	described = "(pg_catalog.pg_identify_object(x.classoid, x.objoid, x.objsubid)).type || ' ' || (pg_catalog.pg_identify_object(x.classoid, x.objoid, " +
		"x.objsubid)).identity"
)

// indexesOf selects the indexes of tables.
const indexesOf = "indexrelid FROM pg_catalog.pg_index WHERE indrelid"

// spaceOf is the schema of a relation.
func spaceOf(oid string) string {
	return "(SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = " + oid + ")"
}

// elementOr is a column of an array type's elements, and another value of all
// other types.
func elementOr(column, other string) string {
	return "coalesce((SELECT e." + column + " FROM pg_catalog.pg_type e WHERE e.oid = x.typelem AND e.typarray = x.oid), " + other + ")"
}

// tableOf is the table of an index, and any other relation itself.
func tableOf(oid string) string {
	return "coalesce((SELECT i.indrelid FROM pg_catalog.pg_index i WHERE i.indexrelid = " + oid + "), " + oid + ")"
}

// owner is the object that a part of one belongs to: class and OID.
func owner(class, oid string) (string, string) {
	partOf := func(catalog, object string) string {
		return "WHEN '" + "pg_catalog." + catalog + "'::pg_catalog.regclass THEN (SELECT " + object + " FROM pg_catalog." + catalog + " p WHERE p.oid = " + oid + ")"
	}
	object := "CASE " + class + " WHEN " + pgClass + " THEN " + tableOf(oid) +
		" " + partOf("pg_constraint", "greatest(p.conrelid, p.contypid)") + // one of them is 0
		" " + partOf("pg_trigger", "p.tgrelid") + " " + partOf("pg_policy", "p.polrelid") + " " + partOf("pg_rewrite", "p.ev_class") +
		" " + partOf("pg_attrdef", "p.adrelid") + " ELSE " + oid + " END"
	return "CASE WHEN " + class + " IN ('pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_policy'::pg_catalog.regclass, " +
		"'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass) THEN " + pgClass +
		" WHEN " + class + " = 'pg_catalog.pg_constraint'::pg_catalog.regclass THEN (SELECT CASE WHEN p.conrelid <> 0 THEN " + pgClass + " ELSE " + pgType +
		" END FROM pg_catalog.pg_constraint p WHERE p.oid = " + oid + ") ELSE " + class + " END", object
}

// attached is a rule for a catalog whose rows are attached to any object.
func attached(r rule, class, oid string) rule {
	r.class, r.object = owner(class, oid)
	r.column, r.parts = oid, []string{indexesOf, "oid FROM pg_catalog.pg_constraint WHERE conrelid", "oid FROM pg_catalog.pg_constraint WHERE contypid",
		"oid FROM pg_catalog.pg_trigger WHERE tgrelid", "oid FROM pg_catalog.pg_policy WHERE polrelid", "oid FROM pg_catalog.pg_rewrite WHERE ev_class",
		"oid FROM pg_catalog.pg_attrdef WHERE adrelid"}
	return r
}

// ofRelation is a rule for a catalog whose rows are parts of a relation.
func ofRelation(column string, r rule) rule {
	r.class, r.object, r.relation = pgClass, tableOf("x."+column), "x."+column
	r.space, r.column, r.parts = spaceOf("x."+column), "x."+column, []string{indexesOf}
	if r.where == "" {
		r.where = "x." + column + " >= 16384"
	}
	return r
}

// inSchema is a rule for a catalog whose rows are objects in schemas.
func inSchema(column string, r rule) rule {
	r.space, r.relation = "x."+column, "0"
	if r.where == "" {
		r.where = ofUsers
	}
	return r
}

var plain = rule{where: ofUsers, relation: "0"}

// rules are the catalogs that define objects of a database.
var rules = map[string]rule{
	"pg_namespace": {where: "(" + ofUsers + " OR x.nspname = 'public') AND x.nspname !~ '^pg_toast|^pg_temp_|^scribe$'"},
	"pg_class": {identity: "(pg_catalog.pg_identify_object(" + pgClass + ", x.oid, 0)).identity || ' ' || x.relkind::text",
		class: pgClass, object: tableOf("x.oid"), parts: []string{indexesOf}, where: ofUsers + " AND x.relkind <> 't'", space: "x.relnamespace", relation: "x.oid",
		// relreplident is what the capture changes; pg_toast and the rest is the server's.
		skip: []string{"relfilenode", "relpages", "reltuples", "relallvisible", "relallfrozen", "relfrozenxid", "relminmxid", "reltoastrelid", "relrewrite",
			"relhastriggers", "relhasrules", "relhassubclass", "relhasindex", "reltype", "relchecks", "relnatts", "relreplident"}},
	"pg_attribute": ofRelation("attrelid", rule{identity: "x.attrelid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(x.attname)",
		where: "x.attrelid >= 16384 AND x.attnum > 0 AND NOT x.attisdropped AND (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = x.attrelid) NOT IN " +
			"('t', 'S')",
		// The number of dimensions is what was written once; nothing is enforced by it, and a dump does not keep it.
		skip: []string{"attrelid", "attnum", "atthasmissing", "attmissingval", "attcacheoff", "attlen", "attbyval", "attalign", "attinhcount", "attndims"},
		special: map[string]string{"attstattarget": "nullif(x.attstattarget::int, -1)",
			"attstorage": "CASE WHEN (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = x.attrelid) IN ('r', 'p', 'm', 'f') THEN x.attstorage END"},
		extra: [][2]string{{"position", "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.attrelid AND a.attnum > 0 AND a.attnum <= " +
			"x.attnum AND NOT a.attisdropped)"}}}),
	"pg_attrdef": ofRelation("adrelid", rule{identity: "x.adrelid::pg_catalog.regclass::text || '.' || (SELECT pg_catalog.quote_ident(a.attname) FROM " +
		"pg_catalog.pg_attribute a WHERE a.attrelid = x.adrelid AND a.attnum = x.adnum)"}),
	"pg_constraint": {class: "CASE WHEN x.conrelid <> 0 THEN " + pgClass + " ELSE " + pgType + " END", object: "greatest(x.conrelid, x.contypid)",
		parts: []string{"oid FROM pg_catalog.pg_constraint WHERE conrelid", "oid FROM pg_catalog.pg_constraint WHERE contypid"},
		where: ofUsers, space: "x.connamespace", relation: "x.conrelid", skip: []string{"coninhcount"},
		// Of keys these say only how a partition came to its table.
		special: map[string]string{"connoinherit": "CASE WHEN x.contype IN ('c', 'n') THEN x.connoinherit END",
			"conislocal": "CASE WHEN x.conparentid = 0 THEN x.conislocal END"},
		extra: [][2]string{{"create", "pg_catalog.pg_get_constraintdef(x.oid)"}}},
	"pg_index": ofRelation("indrelid", rule{identity: "x.indexrelid::pg_catalog.regclass::text", where: "x.indexrelid >= 16384",
		skip: []string{"indcheckxmin", "indisreplident"}, special: map[string]string{"indoption": "x.indoption::text"},
		extra: [][2]string{{"create", "pg_catalog.pg_get_indexdef(x.indexrelid)"}}}),
	"pg_rewrite": ofRelation("ev_class", rule{where: ofUsers, skip: []string{"ev_qual"},
		special: map[string]string{"ev_action": "pg_catalog.pg_get_ruledef(x.oid)"}}),
	"pg_trigger": ofRelation("tgrelid", rule{where: ofUsers + " AND NOT x.tgisinternal", skip: []string{"tgconstrindid"},
		special: map[string]string{"tgqual": "pg_catalog.pg_get_triggerdef(x.oid)"}}),
	"pg_policy":            ofRelation("polrelid", rule{where: ofUsers}),
	"pg_inherits":          ofRelation("inhrelid", rule{identity: "x.inhrelid::pg_catalog.regclass::text || ' < ' || x.inhparent::pg_catalog.regclass::text"}),
	"pg_partitioned_table": ofRelation("partrelid", rule{identity: "x.partrelid::pg_catalog.regclass::text"}),
	"pg_sequence":          ofRelation("seqrelid", rule{identity: "x.seqrelid::pg_catalog.regclass::text"}),
	"pg_foreign_table":     ofRelation("ftrelid", rule{identity: "x.ftrelid::pg_catalog.regclass::text"}),
	"pg_statistic_ext": {where: ofUsers, space: "x.stxnamespace", relation: "x.stxrelid",
		special: map[string]string{"stxstattarget": "nullif(x.stxstattarget::int, -1)"},
		extra:   [][2]string{{"create", "pg_catalog.pg_get_statisticsobjdef(x.oid)"}}},
	"pg_proc": inSchema("pronamespace", rule{special: map[string]string{"proargdefaults": "pg_catalog.pg_get_function_arguments(x.oid)",
		"prosqlbody": "pg_catalog.pg_get_function_sqlbody(x.oid)"}, extra: [][2]string{{"result", "pg_catalog.pg_get_function_result(x.oid)"}}}),
	"pg_aggregate": {identity: "x.aggfnoid::pg_catalog.regprocedure::text", class: "'pg_catalog.pg_proc'::pg_catalog.regclass", object: "x.aggfnoid::oid",
		column: "x.aggfnoid::oid",
		where:  "x.aggfnoid::oid >= 16384", relation: "0"},
	// The row type of a table is the table; an array type comes with its elements'.
	"pg_type": inSchema("typnamespace", rule{class: pgType, object: elementOr("oid", "x.oid"), parts: []string{"typarray FROM pg_catalog.pg_type WHERE oid"},
		where: ofUsers + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relkind <> 'c' AND c.oid = " + elementOr("typrelid", "x.typrelid") + ")",
		skip:  []string{"typarray", "typrelid"}}),
	"pg_enum": {identity: "x.enumtypid::pg_catalog.regtype::text || '.' || x.enumlabel", class: pgType, object: "x.enumtypid", column: "x.enumtypid",
		where: "x.enumtypid >= 16384",
		skip:  []string{"enumsortorder"},
		extra: [][2]string{{"position", "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_enum e WHERE e.enumtypid = x.enumtypid AND e.enumsortorder <= " +
			"x.enumsortorder)"}}},
	"pg_range":       {identity: "x.rngtypid::pg_catalog.regtype::text", class: pgType, object: "x.rngtypid", column: "x.rngtypid", where: "x.rngtypid >= 16384"},
	"pg_operator":    inSchema("oprnamespace", rule{}),
	"pg_opclass":     inSchema("opcnamespace", rule{}),
	"pg_opfamily":    inSchema("opfnamespace", rule{}),
	"pg_collation":   inSchema("collnamespace", rule{skip: []string{"collversion", "collencoding"}}), // of the library, and what a dump does not keep
	"pg_conversion":  inSchema("connamespace", rule{}),
	"pg_ts_config":   inSchema("cfgnamespace", rule{}),
	"pg_ts_dict":     inSchema("dictnamespace", rule{}),
	"pg_ts_parser":   inSchema("prsnamespace", rule{}),
	"pg_ts_template": inSchema("tmplnamespace", rule{}),
	"pg_ts_config_map": {identity: "(SELECT c.cfgnamespace::pg_catalog.regnamespace::text || '.' || c.cfgname FROM pg_catalog.pg_ts_config c WHERE c.oid = " +
		"x.mapcfg) || ' ' || x.maptokentype::text || ' ' || x.mapseqno::text",
		class: "'pg_catalog.pg_ts_config'::pg_catalog.regclass", object: "x.mapcfg", column: "x.mapcfg", where: "x.mapcfg >= 16384"},
	"pg_amop":                 {class: "'pg_catalog.pg_opfamily'::pg_catalog.regclass", object: "x.amopfamily", column: "x.amopfamily", where: ofUsers},
	"pg_amproc":               {class: "'pg_catalog.pg_opfamily'::pg_catalog.regclass", object: "x.amprocfamily", column: "x.amprocfamily", where: ofUsers},
	"pg_cast":                 plain,
	"pg_transform":            plain,
	"pg_am":                   plain,
	"pg_language":             plain,
	"pg_extension":            {where: ofUsers},
	"pg_foreign_data_wrapper": plain,
	"pg_foreign_server":       plain,
	"pg_user_mapping":         plain,
	"pg_default_acl":          plain,
	"pg_event_trigger": {where: ofUsers + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE " +
		"p.oid = x.evtfoid AND n.nspname = 'scribe')",
		special: map[string]string{"evttags": sortedArray("x.evttags")}},
	"pg_publication": {where: ofUsers + " AND x.pubname !~ '^pg_scribe'"},
	"pg_publication_rel": {where: ofUsers + " AND (SELECT p.pubname FROM pg_catalog.pg_publication p WHERE p.oid = x.prpubid) !~ '^pg_scribe'",
		class: "'pg_catalog.pg_publication'::pg_catalog.regclass", object: "x.prpubid", column: "x.prpubid", relation: "x.prrelid",
		special: map[string]string{"prattrs": "(SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY a.attname COLLATE \"C\") FROM pg_catalog.pg_attribute a " +
			"WHERE a.attrelid = x.prrelid AND a.attnum = ANY (x.prattrs))"}},
	"pg_publication_namespace": {where: ofUsers, class: "'pg_catalog.pg_publication'::pg_catalog.regclass", object: "x.pnpubid", column: "x.pnpubid"},
	"pg_subscription": {where: "x.subdbid = " + database, only: []string{"subowner", "subpublications", "subbinary", "substream", "subtwophasestate",
		"subdisableonerr", "subpasswordrequired", "subrunasowner", "subsynccommit", "suborigin"}},
	"pg_largeobject_metadata": {identity: "x.oid::text", where: "true",
		class: "'pg_catalog.pg_largeobject'::pg_catalog.regclass", object: "x.oid"}, // as the server addresses them
	"pg_database": {identity: "'this database'", where: "x.oid = " + database, only: []string{"datdba", "datacl", "datconnlimit", "datistemplate",
		"datallowconn", "encoding", "datcollate", "datctype"}},
	"pg_db_role_setting": {identity: "CASE WHEN x.setrole = 0 THEN 'this database' ELSE 'this database, role ' || pg_catalog.pg_get_userbyid(x.setrole) END",
		class: "'pg_catalog.pg_database'::pg_catalog.regclass", object: "x.setdatabase", column: "x.setdatabase", where: "x.setdatabase = " + database,
		only: []string{"setconfig"}},
	"pg_description": attached(rule{identity: described, where: "(x.objoid >= 16384 OR x.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND (SELECT " +
		"n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = x.objoid) = 'public')" +
		" AND " + described + " !~ '^(schema scribe|[a-z ]+ scribe[._])'", only: []string{"description"}}, "x.classoid", "x.objoid"),
	"pg_seclabel":   attached(rule{identity: described + " || ' ' || x.provider", where: "true", only: []string{"label"}}, "x.classoid", "x.objoid"),
	"pg_init_privs": attached(rule{identity: described, where: "x.objoid >= 16384", only: []string{"privtype", "initprivs"}}, "x.classoid", "x.objoid"),
	// What belongs to or depends on an extension, and which column owns a sequence.
	"pg_depend": attached(rule{identity: "(pg_catalog.pg_identify_object(x.classid, x.objid, 0)).type || ' ' || (pg_catalog.pg_identify_object(x.classid, " +
		"x.objid, 0)).identity || ' ' || x.deptype::text || ' ' || (pg_catalog.pg_identify_object(x.refclassid, x.refobjid, x.refobjsubid)).identity",
		where: "x.objid >= 16384 AND (x.deptype IN ('e', 'x') OR x.deptype IN ('a', 'i') AND x.classid = " + pgClass + " AND x.refclassid = " + pgClass +
			" AND x.refobjsubid > 0 AND (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = x.objid) = 'S')", only: []string{"deptype"}}, "x.classid", "x.objid"),
}

// defaultPrivileges are the arguments of acldefault for the privileges of an
// object that nobody has granted or revoked: the catalog has no value for them,
// or has them one by one once somebody did both.
var defaultPrivileges = map[string]string{
	"pg_class.relacl": "CASE x.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", x.relowner", "pg_proc.proacl": "'f', x.proowner",
	"pg_type.typacl": "'T', x.typowner", "pg_namespace.nspacl": "'n', x.nspowner", "pg_language.lanacl": "'l', x.lanowner",
	"pg_database.datacl": "'d', x.datdba", "pg_foreign_data_wrapper.fdwacl": "'F', x.fdwowner", "pg_foreign_server.srvacl": "'S', x.srvowner",
	"pg_largeobject_metadata.lomacl": "'L', x.lomowner",
}

// grantable are the catalogs whose built-in objects can be given other
// privileges than they had when the cluster was made; with the columns of those
// and of the owner.
var grantable = [][3]string{
	{"pg_class", "relacl", "relowner"}, {"pg_language", "lanacl", "lanowner"}, {"pg_namespace", "nspacl", "nspowner"},
	{"pg_proc", "proacl", "proowner"}, {"pg_type", "typacl", "typowner"},
}

// passedOver are the catalogs that define nothing of a database, each with the reason.
var passedOver = map[string]string{
	"pg_authid": "of the cluster", "pg_auth_members": "of the cluster", "pg_tablespace": "of the cluster", "pg_parameter_acl": "of the cluster",
	"pg_replication_origin": "of the cluster", "pg_shdescription": "of the cluster", "pg_shseclabel": "of the cluster",
	"pg_shdepend": "follows from the others", "pg_largeobject": "data", "pg_statistic": "statistics", "pg_statistic_ext_data": "statistics",
	"pg_subscription_rel": "state of a subscription",
}
