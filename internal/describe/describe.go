// Package describe writes the query that describes the objects of a database
// in a form that compares between databases: what defines each of them, with
// names in place of OIDs and attribute numbers, expressions as the server
// prints them, privileges and options in order, and nothing that only counts,
// caches or numbers.
//
// The query is made from what the server says of its own catalogs: their
// columns, and pg_get_catalog_foreign_keys() (PostgreSQL 14 and later,
// documentation "System Information Functions"). A column that a new version
// brings is described without a change here. A catalog that it brings is named
// by Metadata.Unknown, so that nothing is left out without a word.
//
// A Reader runs it and returns Objects, whose text is canonical, so that equal
// objects have equal fingerprints, and Compare says where two of them differ.
package describe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// columnsSQL lists the columns of all system catalogs that the session's role may
// read: catalog, column, type.
const columnsSQL = `SELECT c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, NULL)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY 1, a.attnum`

// referencesSQL lists which columns of a catalog refer to which other catalog:
// catalog, columns, referenced catalog, whether the last column is an array.
const referencesSQL = `SELECT fktable::text, pg_catalog.to_json(fkcols), pktable::text, is_array FROM pg_catalog.pg_get_catalog_foreign_keys()`

// settingsSQL is what a transaction needs before it runs the query: the settings
// that the text of values depends on.
const settingsSQL = `SET LOCAL search_path = ''; SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = postgres; SET LOCAL timezone = 'UTC';
SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = hex; SET LOCAL quote_all_identifiers = off; SET LOCAL lc_monetary = 'C';
SET LOCAL xmlbinary = base64; SET LOCAL standard_conforming_strings = on; SET LOCAL jit = off`

// undoTimeout bounds how long a description waits for its own end.
const undoTimeout = 10 * time.Second

// A Column is a row of columnsSQL.
type Column struct{ Catalog, Name, Type string }

// A Reference is a row of referencesSQL.
type Reference struct {
	Catalog string
	Columns []string
	Target  string
	Array   bool
}

// Metadata is what a server says of its catalogs.
type Metadata struct {
	Columns    []Column
	References []Reference
}

// Unknown lists the catalogs that are neither described nor known to need no
// description.
func (m Metadata) Unknown() []string {
	var list []string
	for _, c := range m.Columns {
		_, described := rules[c.Catalog]
		_, passed := passedOver[c.Catalog]
		if !described && !passed && !slices.Contains(list, c.Catalog) {
			list = append(list, c.Catalog)
		}
	}
	return list
}

// query returns the SQL that describes objects, one row for each catalog row
// that defines something: catalog text, class oid and object oid of the object
// that the row belongs to (a column, constraint, index or trigger belongs to
// its table), identity text, definition jsonb. The rows of one object sort
// alike in every database: ORDER BY catalog, identity COLLATE "C".
//
// objects is an SQL expression of type oid[]: only what belongs to these objects is described; empty: everything is.
// Objects of pg_scribe's capture, temporary objects and those that every new
// database has as it is are left out.
//
// The catalogs of without are left out.
func (m Metadata) query(objects string, without ...string) string {
	var parts []string
	for _, name := range catalogNames() {
		if slices.Contains(without, name) {
			continue
		}
		if part := m.part(name, objects); part != "" {
			parts = append(parts, part)
		}
	}
	for _, g := range grantable {
		parts = append(parts, builtIn(g[0], g[1], g[2], objects))
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// builtIn is the query of the privileges of a catalog's built-in objects that
// are others than at first.
func builtIn(catalog, acl, owner, objects string) string {
	class := "'pg_catalog." + catalog + "'::pg_catalog.regclass"
	query := fmt.Sprintf("SELECT '%[1]s'::text, %[2]s::oid, x.oid, (pg_catalog.pg_identify_object(%[2]s, x.oid, 0)).identity,\n"+
		" pg_catalog.jsonb_build_object('%[3]s', %[5]s, '%[4]s', pg_catalog.pg_get_userbyid(x.%[4]s))\nFROM pg_catalog.%[1]s x\n"+
		"LEFT JOIN pg_catalog.pg_init_privs i ON i.classoid = %[2]s AND i.objoid = x.oid AND i.objsubid = 0\n"+
		"WHERE x.oid < 16384 AND x.%[3]s IS DISTINCT FROM i.initprivs", catalog, class, acl, owner, sortedArray("x."+acl))
	switch catalog {
	case "pg_namespace":
		query += " AND x.nspname <> 'public'" // which has a description of its own
	case "pg_class": // initdb notes no privileges of the information schema
		query += " AND (i.initprivs IS NOT NULL OR ARRAY['0 SELECT'] IS DISTINCT FROM (SELECT pg_catalog.array_agg(a.grantee || ' ' || a.privilege_type)" +
			" FROM pg_catalog.aclexplode(x.relacl) a WHERE a.grantee <> x.relowner))"
	}
	if objects != "" {
		query += " AND x.oid = ANY (" + objects + ")"
	}
	return query
}

// part is the query of one catalog; empty: this server does not have it.
func (m Metadata) part(catalog, objects string) string {
	r := rules[catalog]
	var pairs []string
	there := false
	for _, c := range m.Columns {
		if c.Catalog != catalog {
			continue
		}
		there = true
		if slices.Contains(r.skip, c.Name) || c.Name == "oid" || len(r.only) > 0 && !slices.Contains(r.only, c.Name) {
			continue
		}
		pairs = append(pairs, fmt.Sprintf("'%s', %s", c.Name, m.expression(r, c)))
	}
	if !there {
		return ""
	}
	for _, e := range r.extra {
		pairs = append(pairs, fmt.Sprintf("'%s', %s", e[0], e[1]))
	}
	class, object := r.class, r.object
	if r.column == "" {
		r.column = "x.oid"
	}
	if class == "" {
		class, object = "'pg_catalog."+catalog+"'::pg_catalog.regclass", "x.oid"
	}
	where := "(" + r.where + ")"
	if r.space != "" {
		where += " AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid = " + r.space +
			" AND n.nspname ~ '^(pg_toast|pg_temp_|scribe$|information_schema$)')"
	}
	query := fmt.Sprintf("SELECT '%s'::text AS catalog, (%s)::oid AS class, (%s)::oid AS object, (%s)::text AS identity,\n"+
		" %s AS definition\nFROM pg_catalog.%s x WHERE %s", catalog, class, object, r.identityOf(catalog), buildObject(pairs), catalog,
		where)
	if objects != "" {
		// The first condition is for an index, the second decides.
		query += fmt.Sprintf(" AND %s = ANY (%s) AND (%s)::oid = ANY (%s)", r.column, with(r.parts, objects), object, objects)
		if catalog == "pg_depend" { // of which no index begins with the object
			query += " AND (x.classid = " + pgClass + " OR x.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)"
		}
	}
	return query
}

// with is a list of OIDs together with those of parts of these objects.
func with(parts []string, objects string) string {
	if len(parts) == 0 {
		return objects
	}
	query := "SELECT pg_catalog.unnest(" + objects + ")"
	for _, p := range parts {
		query += " UNION ALL SELECT " + p + " = ANY (" + objects + ")"
	}
	return "ARRAY(" + query + ")"
}

// buildObject is a call of jsonb_build_object, or several: a function takes at
// most a hundred arguments.
func buildObject(pairs []string) string {
	var calls []string
	for part := range slices.Chunk(pairs, 48) {
		calls = append(calls, "pg_catalog.jsonb_build_object("+strings.Join(part, ", ")+")")
	}
	return strings.Join(calls, " || ")
}

// expression is how one column is described.
func (m Metadata) expression(r rule, c Column) string {
	if e := r.special[c.Name]; e != "" {
		return e
	}
	column := "x." + c.Name
	if c.Type == "pg_node_tree" {
		return fmt.Sprintf("pg_catalog.pg_get_expr(%s, %s)", column, r.relation)
	}
	for _, ref := range m.References {
		if ref.Catalog == c.Catalog && ref.Columns[len(ref.Columns)-1] == c.Name {
			return reference(ref)
		}
	}
	switch {
	case c.Type == "aclitem[]":
		if d := defaultPrivileges[c.Catalog+"."+c.Name]; d != "" {
			column = "coalesce(" + column + ", pg_catalog.acldefault(" + d + "))"
		}
		return sortedArray(column)
	case strings.HasSuffix(c.Name, "options") && c.Type == "text[]", strings.HasSuffix(c.Name, "config") && c.Type == "text[]":
		return "(SELECT pg_catalog.string_agg(" + withoutSecret(c.Name) + ", ', ' ORDER BY o COLLATE \"C\") FROM pg_catalog.unnest(" + column +
			") o WHERE o !~ '^pg_attver=')"
	}
	return column + "::text"
}

// Secret stands for the value of an option that may be a secret; a hash of it follows.
const Secret = "sha256:"

// withoutSecret is an option o as it is described. How users log in elsewhere is
// for the server's eyes only; so is what foreign data wrappers may take for it.
func withoutSecret(column string) string {
	secret := "true"
	switch column {
	case "umoptions":
	case "srvoptions", "fdwoptions", "ftoptions", "attfdwoptions":
		secret = "pg_catalog.split_part(o, '=', 1) ~* 'pass|secret|token|key|cred|auth'"
	default:
		return "o"
	}
	return "CASE WHEN " + secret + " THEN pg_catalog.split_part(o, '=', 1) || '=" + Secret +
		"' || pg_catalog.encode(pg_catalog.sha256(pg_catalog.textsend(o)), 'hex') ELSE o END"
}

func sortedArray(column string) string {
	return "(SELECT pg_catalog.string_agg(i::text, ', ' ORDER BY i::text COLLATE \"C\") FROM pg_catalog.unnest(" + column + ") i)"
}

// reference names what a column refers to.
func reference(ref Reference) string {
	column := "x." + ref.Columns[len(ref.Columns)-1]
	switch {
	case ref.Target == "pg_attribute" && len(ref.Columns) == 2:
		attribute := "(SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = x." + ref.Columns[0] + " AND a.attnum = %s)"
		if !ref.Array {
			return fmt.Sprintf(attribute, column)
		}
		return "(SELECT pg_catalog.string_agg(coalesce(" + fmt.Sprintf(attribute, "u.n") +
			", '(expression)'), ', ' ORDER BY u.o) FROM pg_catalog.unnest(" + column + "::pg_catalog.int2[]) WITH ORDINALITY u (n, o))"
	case ref.Array && ref.Target == "pg_authid": // roles, whose order means nothing
		return "(SELECT pg_catalog.string_agg(r, ', ' ORDER BY r COLLATE \"C\") FROM pg_catalog.unnest(" + column +
			"::oid[]) u (n), LATERAL (SELECT CASE WHEN u.n = 0 THEN '-' ELSE pg_catalog.pg_get_userbyid(u.n)::text END) v (r))"
	case ref.Array:
		return "(SELECT pg_catalog.string_agg(" + identify(ref.Target, "u.n") + ", ', ' ORDER BY u.o) FROM pg_catalog.unnest(" + column +
			"::oid[]) WITH ORDINALITY u (n, o))"
	case ref.Target == "pg_authid":
		return "CASE WHEN " + column + " = 0 THEN '-' ELSE pg_catalog.pg_get_userbyid(" + column + ") END"
	}
	return identify(ref.Target, column+"::oid")
}

// identify names the object of a catalog, which may be none (0).
func identify(catalog, oid string) string {
	return fmt.Sprintf("CASE WHEN %[2]s = 0 THEN '-' ELSE (pg_catalog.pg_identify_object('pg_catalog.%[1]s'::pg_catalog.regclass, %[2]s, 0)).identity END",
		catalog, oid)
}
