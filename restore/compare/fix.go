package compare

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/sqltext"
)

// A group is commands that make one difference go away, executed as a whole.
type group []string

func (g group) key() string { return strings.Join(g, ";\n") }

// columns are the attributes of a catalog row.
type columns map[string]json.RawMessage

func (c columns) text(name string) string { return describe.Text(c[name]) }

// has reports whether an attribute has a value.
func (c columns) has(name string) bool { v := c[name]; return len(v) > 0 && string(v) != "null" }

// yes reads a boolean.
func (c columns) yes(name string) bool { return c.text(name) == "true" || c.text(name) == "t" }

// rows are those of one description.
type rows map[[2]string]columns

func rowsOf(o describe.Object) rows {
	m := make(rows, len(o.Rows))
	for _, r := range o.Rows {
		m[[2]string{r.Catalog, r.Identity}] = r.Attributes()
	}
	return m
}

func (r rows) of(d describe.Difference) columns { return r[[2]string{d.Catalog, d.Row}] }

// A fixer writes the commands that make an object of the target the source's.
type fixer struct {
	source, target describe.Object
	s, t           rows
}

func newFixer(p pair) *fixer {
	return &fixer{source: p.source, target: p.target, s: rowsOf(p.source), t: rowsOf(p.target)}
}

// fixers write commands for the rows of each catalog. What has no entry is not
// repaired.
var fixers = map[string]func(*fixer, describe.Difference) []group{
	"pg_class": (*fixer).relation, "pg_attribute": (*fixer).column, "pg_attrdef": (*fixer).columnDefault,
	"pg_constraint": (*fixer).constraint, "pg_index": (*fixer).index, "pg_trigger": (*fixer).trigger, "pg_rewrite": (*fixer).rule,
	"pg_policy": (*fixer).policy, "pg_inherits": (*fixer).inheritance, "pg_sequence": (*fixer).sequence, "pg_statistic_ext": (*fixer).statistics,
	"pg_foreign_table": (*fixer).foreign, "pg_foreign_server": (*fixer).foreign, "pg_foreign_data_wrapper": (*fixer).foreign,
	"pg_user_mapping": (*fixer).foreign, "pg_proc": (*fixer).routine, "pg_aggregate": (*fixer).aggregate, "pg_type": (*fixer).typ, "pg_enum": (*fixer).label,
	"pg_operator": (*fixer).operator, "pg_cast": (*fixer).cast, "pg_extension": (*fixer).extension, "pg_depend": (*fixer).dependency,
	"pg_event_trigger": (*fixer).eventTrigger, "pg_publication": (*fixer).publication, "pg_publication_rel": (*fixer).published,
	"pg_namespace": (*fixer).schema, "pg_default_acl": (*fixer).defaultPrivileges, "pg_database": (*fixer).database, "pg_db_role_setting": (*fixer).settings,
	"pg_description": (*fixer).comment, "pg_seclabel": (*fixer).securityLabel, "pg_ts_dict": (*fixer).dictionary,
	"pg_ts_config_map": (*fixer).mapping,
}

// fix returns commands for one difference.
func (f *fixer) fix(d describe.Difference) (list []group) {
	if d.Catalog == "" {
		return f.whole(d)
	}
	if d.Kind == describe.Changed {
		if command := f.changeOwner(d); command != nil {
			return []group{command}
		}
		if strings.HasSuffix(d.Attribute, "acl") && d.Catalog != "pg_default_acl" {
			return f.privileges(d)
		}
	}
	if by := fixers[d.Catalog]; by != nil {
		return by(f, d)
	}
	return nil
}

// whole makes an object that is missing, or drops one that is too much and
// holds no rows.
func (f *fixer) whole(d describe.Difference) (list []group) {
	if d.Kind == describe.Extra {
		switch d.Class {
		case "function", "procedure", "aggregate", "view", "schema", "statistics object", "event trigger", "publication", "cast", "operator", "default acl":
			if rows := f.target.Rows; rows[0].Catalog != "pg_default_acl" && builtIn(f.target) == nil {
				return []group{{"DROP " + keyword(d.Class) + " " + d.Identity}}
			}
		}
	}
	for _, r := range f.source.Rows {
		if d.Kind == describe.Missing && fixers[r.Catalog] != nil {
			part := describe.Difference{Kind: d.Kind, Class: d.Class, Identity: d.Identity, Catalog: r.Catalog, Row: r.Identity}
			list = append(list, fixers[r.Catalog](f, part)...)
		}
	}
	if columns := builtIn(f.source); columns != nil && d.Kind == describe.Missing {
		return f.builtIn(f.source.Rows[0].Catalog, columns)
	}
	for _, r := range f.target.Rows { // default privileges, comments
		if d.Kind == describe.Extra && slices.Contains([]string{"pg_default_acl", "pg_db_role_setting"}, r.Catalog) {
			list = append(list, fixers[r.Catalog](f, describe.Difference{Kind: d.Kind, Class: d.Class, Identity: d.Identity, Catalog: r.Catalog, Row: r.Identity})...)
		}
	}
	return list
}

// keyword is how commands call a class of objects.
func keyword(class string) string {
	switch class {
	case "composite type", "domain":
		return "TYPE"
	case "foreign-data wrapper":
		return "FOREIGN DATA WRAPPER"
	case "statistics object":
		return "STATISTICS"
	}
	return strings.ToUpper(class)
}

// kinds are the words for relations by pg_class.relkind.
var kinds = map[string]string{"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "f": "FOREIGN TABLE", "S": "SEQUENCE", "i": "INDEX",
	"I": "INDEX", "c": "TYPE"}

// relationOf splits the identity of a row of pg_class: its name and its kind.
func relationOf(row string) (relation, kind string) {
	at := strings.LastIndexByte(row, ' ')
	if at < 0 {
		return row, ""
	}
	return row[:at], kinds[row[at+1:]]
}

// columnOf splits the identity of a column's row: its relation and its quoted
// name, by its plain one.
func columnOf(row, name string) (relation, column string) {
	for _, c := range []string{name, `"` + strings.ReplaceAll(name, `"`, `""`) + `"`} {
		if before, ok := strings.CutSuffix(row, "."+c); ok {
			return before, c
		}
	}
	return "", ""
}

// owners are the columns that hold the owner, with what ALTER calls the object;
// empty: as its class is called.
var owners = map[string]string{"nspowner": "", "typowner": "TYPE", "proowner": "ROUTINE", "oprowner": "", "opcowner": "", "opfowner": "",
	"collowner": "", "conowner": "", "stxowner": "", "fdwowner": "", "srvowner": "", "pubowner": "", "subowner": "", "evtowner": "", "lomowner": "",
	"datdba": "", "lanowner": "", "cfgowner": "", "dictowner": "", "relowner": ""}

func (f *fixer) changeOwner(d describe.Difference) group {
	what, is := owners[d.Attribute]
	if !is {
		return nil
	}
	object := d.Identity
	switch {
	case d.Attribute == "relowner":
		object, what = relationOf(d.Row)
		if what == "INDEX" {
			return nil // goes with its table
		}
	case what == "":
		what = keyword(d.Class)
	}
	if d.Class == "database" {
		object = currentDatabase
	}
	return command("ALTER " + what + " " + object + " OWNER TO " + sqltext.Quoted(d.Source))
}

// currentDatabase stands for the name of the database that a command runs in.
const currentDatabase = "<this database>"

// command is a group of one, in which the database may stand for its name.
func command(sql string) group {
	if !strings.Contains(sql, currentDatabase) {
		return group{sql}
	}
	parts := strings.Split(sql, currentDatabase)
	for i, p := range parts {
		parts[i] = sqltext.Literal(p)
	}
	whole := strings.Join(parts, ", pg_catalog.quote_ident(pg_catalog.current_database()), ")
	return group{"DO " + sqltext.Literal("BEGIN EXECUTE pg_catalog.concat("+whole+"); END")}
}

// privileges makes those of an object, or of a column, the source's.
func (f *fixer) privileges(d describe.Difference) []group {
	on, columns, row := "", "", f.s.of(d)
	var ownerColumn string
	switch d.Catalog {
	case "pg_class":
		relation, kind := relationOf(d.Row)
		on, ownerColumn = "ON TABLE "+relation, "relowner"
		if kind == "SEQUENCE" {
			on = "ON SEQUENCE " + relation
		}
	case "pg_attribute":
		relation, column := columnOf(d.Row, row.text("attname"))
		on, columns, ownerColumn = "ON TABLE "+relation, " ("+column+")", "relowner"
		row = f.relationRow(f.s, relation)
	case "pg_proc":
		on, ownerColumn = "ON ROUTINE "+d.Identity, "proowner"
	case "pg_type":
		on, ownerColumn = "ON TYPE "+d.Identity, "typowner"
	case "pg_namespace":
		on, ownerColumn = "ON SCHEMA "+d.Identity, "nspowner"
	case "pg_language":
		on, ownerColumn = "ON LANGUAGE "+d.Identity, "lanowner"
	case "pg_foreign_data_wrapper":
		on, ownerColumn = "ON FOREIGN DATA WRAPPER "+d.Identity, "fdwowner"
	case "pg_foreign_server":
		on, ownerColumn = "ON FOREIGN SERVER "+d.Identity, "srvowner"
	case "pg_largeobject_metadata":
		on, ownerColumn = "ON LARGE OBJECT "+d.Identity, "lomowner"
	case "pg_database":
		on, ownerColumn = "ON DATABASE "+currentDatabase, "datdba"
	default:
		return nil
	}
	list := grants(on, columns, row.text(ownerColumn), parseACL(d.Source), parseACL(d.Target))
	for i, g := range list {
		for j, sql := range g {
			list[i][j] = command(sql)[0]
		}
	}
	return list
}

// relationRow is the row of pg_class of a relation.
func (f *fixer) relationRow(all rows, relation string) columns {
	for key, c := range all {
		if r, _ := relationOf(key[1]); key[0] == "pg_class" && r == relation {
			return c
		}
	}
	return nil
}

// builtIn is the only row of an object of the server's own, which says its
// privileges alone.
func builtIn(o describe.Object) columns {
	if len(o.Rows) != 1 {
		return nil
	}
	if c := columns(o.Rows[0].Attributes()); len(c) == 2 {
		return c
	}
	return nil
}

// builtIn grants what the source's administrator granted of an object that has
// the privileges of a new cluster still.
func (f *fixer) builtIn(catalog string, c columns) (list []group) {
	d := describe.Difference{Class: f.source.Class, Identity: f.source.Identity, Catalog: catalog, Row: f.source.Identity}
	for name := range c {
		if strings.HasSuffix(name, "acl") {
			d.Attribute, d.Source = name, c.text(name)
		}
	}
	everybody := slices.ContainsFunc(parseACL(d.Source), func(i item) bool { return i.grantee == "" })
	if letters := map[string]string{"pg_proc": "X", "pg_type": "U", "pg_language": "U"}[catalog]; letters != "" && !everybody {
		d.Target = "=" + letters + "/" + c.text(map[string]string{"pg_proc": "proowner", "pg_type": "typowner", "pg_language": "lanowner"}[catalog])
	}
	if catalog == "pg_class" {
		d.Row += " r"
	}
	return f.privileges(d)
}

// options are the commands that turn one list of options, "a=1, b=2", into
// another: SET (…) and RESET (…) behind a beginning.
func options(begin, source, target string) (list []group) {
	want, have := splitOptions(source), splitOptions(target)
	var set, reset []string
	for _, o := range want {
		if !slices.Contains(have, o) {
			set = append(set, assignment(o))
		}
	}
	for _, o := range have {
		key, _, _ := strings.Cut(o, "=")
		if !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(w, key+"=") }) {
			reset = append(reset, key)
		}
	}
	if len(set) > 0 {
		list = append(list, group{begin + " SET (" + strings.Join(set, ", ") + ")"})
	}
	if len(reset) > 0 {
		list = append(list, group{begin + " RESET (" + strings.Join(reset, ", ") + ")"})
	}
	return list
}

func assignment(option string) string {
	key, value, _ := strings.Cut(option, "=")
	return key + " = " + sqltext.Literal(value)
}

// optionStart is where one option of a list begins. A value may have a comma.
var optionStart = regexp.MustCompile(`, [A-Za-z_][A-Za-z0-9_.]*=`)

func splitOptions(list string) (options []string) {
	for list != "" {
		at := optionStart.FindStringIndex(list)
		if at == nil {
			return append(options, list)
		}
		options, list = append(options, list[:at[0]]), list[at[0]+2:]
	}
	return options
}

// given are the same for options in the form OPTIONS (ADD a '1', SET b '2', DROP c).
func given(begin, source, target string) []group {
	want, have := splitOptions(source), splitOptions(target)
	var changes []string
	value := func(list []string, key string) (string, bool) {
		for _, o := range list {
			if k, v, _ := strings.Cut(o, "="); k == key {
				return v, true
			}
		}
		return "", false
	}
	for _, o := range want {
		key, v, _ := strings.Cut(o, "=")
		switch old, there := value(have, key); {
		case strings.HasPrefix(v, describe.Secret): // nobody knows it
		case !there:
			changes = append(changes, "ADD "+sqltext.Quoted(key)+" "+sqltext.Literal(v))
		case old != v:
			changes = append(changes, "SET "+sqltext.Quoted(key)+" "+sqltext.Literal(v))
		}
	}
	for _, o := range have {
		key, _, _ := strings.Cut(o, "=")
		if _, there := value(want, key); !there {
			changes = append(changes, "DROP "+sqltext.Quoted(key))
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return []group{{begin + " OPTIONS (" + strings.Join(changes, ", ") + ")"}}
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }
