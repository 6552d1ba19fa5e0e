package compare

import (
	"strings"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/sqltext"
)

// enabled are the words for the states of triggers, rules and event triggers.
var enabled = map[string]string{"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

// either chooses between two words.
func either(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// relation fixes what pg_class says of one, and makes a sequence.
func (f *fixer) relation(d describe.Difference) []group {
	relation, kind := relationOf(d.Row)
	switch {
	case d.Kind == describe.Missing && kind == "SEQUENCE" && !f.ofIdentity():
		return []group{{"CREATE SEQUENCE " + relation}}
	case d.Kind != describe.Changed:
		return nil
	}
	alter := "ALTER " + kind + " " + relation
	switch d.Attribute {
	case "reloptions":
		return options(alter, d.Source, d.Target)
	case "relrowsecurity":
		return []group{{alter + either(d.Source == "true", " ENABLE", " DISABLE") + " ROW LEVEL SECURITY"}}
	case "relforcerowsecurity":
		return []group{{alter + either(d.Source == "true", " FORCE", " NO FORCE") + " ROW LEVEL SECURITY"}}
	case "relpersistence":
		return []group{{alter + " SET " + either(d.Source == "u", "UNLOGGED", "LOGGED")}}
	case "relam":
		return []group{{alter + " SET ACCESS METHOD " + d.Source}}
	case "reltablespace":
		return []group{{alter + " SET TABLESPACE " + either(d.Source == "-", "pg_default", d.Source)}}
	case "relpartbound":
		return f.attach(relation)
	case "reloftype":
		if d.Source == "-" {
			return []group{{alter + " NOT OF"}}
		}
		return []group{{alter + " OF " + d.Source}}
	case "relispopulated":
		if d.Source == "false" {
			return []group{{"REFRESH MATERIALIZED VIEW " + relation + " WITH NO DATA"}}
		}
	}
	return nil
}

// ofIdentity reports whether a sequence comes with an identity column.
func (f *fixer) ofIdentity() bool {
	for key, c := range f.s {
		if key[0] == "pg_depend" && c.text("deptype") == "i" {
			return true
		}
	}
	return false
}

var storages = map[string]string{"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}

// column fixes what can be changed of one without its rows.
func (f *fixer) column(d describe.Difference) []group {
	want := f.s.of(d)
	relation, column := columnOf(d.Row, want.text("attname"))
	_, kind := relationOf(f.rowName(relation))
	switch {
	case relation == "" || d.Kind == describe.Extra:
		return nil
	case d.Kind == describe.Missing:
		return f.renameColumn(relation, kind, want)
	}
	table := either(kind == "INDEX" || kind == "MATERIALIZED VIEW" || kind == "FOREIGN TABLE", "ALTER "+kind+" ", "ALTER TABLE ")
	alter := table + relation + " ALTER COLUMN " + column
	switch d.Attribute {
	case "attnotnull":
		return []group{{alter + either(d.Source == "true", " SET", " DROP") + " NOT NULL"}}
	case "attstorage":
		return []group{{alter + " SET STORAGE " + storages[d.Source]}}
	case "attcompression":
		return []group{{alter + " SET COMPRESSION " + map[string]string{"": "default", "p": "pglz", "l": "lz4"}[d.Source]}}
	case "attstattarget":
		if kind == "INDEX" {
			column = want.text("position")
		}
		return []group{{table + relation + " ALTER COLUMN " + column + " SET STATISTICS " + either(d.Source == "", "-1", d.Source)}}
	case "attoptions":
		return options(alter, d.Source, d.Target)
	case "attfdwoptions":
		return given(alter, d.Source, d.Target)
	case "attidentity":
		how := either(d.Source == "a", "ALWAYS", "BY DEFAULT")
		switch {
		case d.Source == "":
			return []group{{alter + " DROP IDENTITY"}}
		case d.Target == "":
			return []group{{alter + " ADD GENERATED " + how + " AS IDENTITY"}}
		}
		return []group{{alter + " SET GENERATED " + how}}
	case "attislocal":
		return []group{{"UPDATE pg_catalog.pg_attribute SET attislocal = " + d.Source + " WHERE attrelid = " + sqltext.Literal(relation) +
			"::pg_catalog.regclass AND attname = " + sqltext.Literal(want.text("attname"))}}
	case "attgenerated":
		if d.Source == "" {
			return []group{{alter + " DROP EXPRESSION"}}
		}
	}
	return nil
}

// renameColumn gives a column its name in the source, if the one at its place
// has a name that the source does not know, and the same type.
func (f *fixer) renameColumn(relation, kind string, want columns) []group {
	for key, have := range f.t {
		at, column := columnOf(key[1], have.text("attname"))
		if key[0] != "pg_attribute" || at != relation || kind == "INDEX" || f.s[key] != nil || have.text("position") != want.text("position") ||
			have.text("atttypid") != want.text("atttypid") || have.text("atttypmod") != want.text("atttypmod") {
			continue
		}
		return []group{{"ALTER " + kind + " " + relation + " RENAME " + either(kind == "TYPE", "ATTRIBUTE ", "COLUMN ") + column + " TO " +
			sqltext.Quoted(want.text("attname"))}}
	}
	return nil
}

// rowName is the identity of the row of pg_class of a relation.
func (f *fixer) rowName(relation string) string {
	for _, all := range []rows{f.s, f.t} {
		for key := range all {
			if r, _ := relationOf(key[1]); key[0] == "pg_class" && r == relation {
				return key[1]
			}
		}
	}
	return ""
}

// columnDefault fixes the default of a column. An expression that generates
// values stays: its rows would be others.
func (f *fixer) columnDefault(d describe.Difference) []group {
	for key, c := range f.s {
		if key[0] != "pg_attribute" || key[1] != d.Row {
			continue
		}
		relation, column := columnOf(d.Row, c.text("attname"))
		alter := "ALTER TABLE ONLY " + relation + " ALTER COLUMN " + column
		switch {
		case c.text("attgenerated") != "" || c.text("attidentity") != "":
			return nil
		case d.Kind == describe.Extra:
			return []group{{alter + " DROP DEFAULT"}}
		}
		return []group{{alter + " SET DEFAULT " + f.s.of(d).text("adbin")}}
	}
	return nil
}

// constraint adds, drops, validates or replaces one.
func (f *fixer) constraint(d describe.Difference) []group {
	name, on, _ := strings.Cut(d.Row, " on ")
	alter := "ALTER TABLE " + on
	if f.ofType(d) {
		alter = "ALTER DOMAIN " + strings.TrimPrefix(on, "type ")
	}
	want := f.s.of(d)
	drop := alter + " DROP CONSTRAINT " + name
	add := alter + " ADD CONSTRAINT " + name + " " + want.text("create")
	switch {
	case d.Kind == describe.Extra:
		return []group{{drop}}
	case d.Kind == describe.Missing:
		return []group{{add}}
	case d.Attribute == "convalidated" && d.Source == "true":
		return []group{{alter + " VALIDATE CONSTRAINT " + name}}
	case (d.Attribute == "condeferrable" || d.Attribute == "condeferred") && want.text("contype") == "f":
		return []group{{alter + " ALTER CONSTRAINT " + name + either(want.yes("condeferrable"), " DEFERRABLE", " NOT DEFERRABLE") +
			either(want.yes("condeferred"), " INITIALLY DEFERRED", "")}}
	}
	return []group{{drop, add}}
}

// ofType tells a constraint of a domain.
func (f *fixer) ofType(d describe.Difference) bool {
	for _, all := range []rows{f.s, f.t} {
		if c := all.of(d); c != nil {
			return c.text("contypid") != "-"
		}
	}
	return false
}

// index makes, drops or replaces one; which one is invalid only a catalog can say.
func (f *fixer) index(d describe.Difference) []group {
	want := f.s.of(d)
	drop, create := "DROP INDEX "+d.Row, want.text("create")
	switch {
	case d.Kind == describe.Extra:
		return []group{{drop}}
	case d.Kind == describe.Missing:
		return []group{{create}}
	case d.Attribute == "indisvalid" && d.Source == "true":
		return []group{{"REINDEX INDEX " + d.Row}}
	case d.Attribute == "indisvalid" || d.Attribute == "indisready":
		return []group{{"UPDATE pg_catalog.pg_index SET " + d.Attribute + " = " + d.Source + " WHERE indexrelid = " +
			sqltext.Literal(d.Row) + "::pg_catalog.regclass"}}
	case d.Attribute == "indisclustered" && d.Source == "true":
		return []group{{"ALTER TABLE " + f.source.Identity + " CLUSTER ON " + d.Row[strings.LastIndexByte(d.Row, '.')+1:]}}
	case d.Attribute == "indisclustered":
		return []group{{"ALTER TABLE " + f.source.Identity + " SET WITHOUT CLUSTER"}}
	}
	return []group{{drop, create}}
}

// trigger makes, drops, replaces, enables or disables one.
func (f *fixer) trigger(d describe.Difference) []group {
	name, on, _ := strings.Cut(d.Row, " on ")
	want := f.s.of(d)
	state := "ALTER TABLE " + on + " " + enabled[want.text("tgenabled")] + " TRIGGER " + name
	drop := "DROP TRIGGER " + name + " ON " + on
	switch {
	case d.Kind == describe.Extra:
		return []group{{drop}}
	case d.Kind == describe.Missing:
		return []group{{want.text("tgqual"), state}}
	case d.Attribute == "tgenabled":
		return []group{{state}}
	}
	return []group{{drop, want.text("tgqual"), state}}
}

// rule makes, drops, replaces, enables or disables one; that of a view is its query.
func (f *fixer) rule(d describe.Difference) []group {
	name, on, _ := strings.Cut(d.Row, " on ")
	want := f.s.of(d)
	text := want.text("ev_action")
	state := "ALTER TABLE " + on + " " + enabled[want.text("ev_enabled")] + " RULE " + name
	switch {
	case d.Attribute == "ev_enabled":
		return []group{{state}}
	case name == `"_RETURN"`:
		_, query, ok := strings.Cut(text, " DO INSTEAD ")
		view := f.relationRow(f.s, on)
		if !ok || view.text("relkind") != "v" {
			return nil
		}
		with := ""
		if o := view.text("reloptions"); o != "" {
			var set []string
			for _, option := range splitOptions(o) {
				set = append(set, assignment(option))
			}
			with = " WITH (" + strings.Join(set, ", ") + ")"
		}
		return []group{{"CREATE OR REPLACE VIEW " + on + f.viewColumns(on) + with + " AS " + query}}
	case d.Kind == describe.Extra:
		return []group{{"DROP RULE " + name + " ON " + on}}
	}
	return []group{{"CREATE OR REPLACE RULE" + strings.TrimPrefix(text, "CREATE RULE"), state}}
}

// viewColumns are the names of a view's columns, in their order, which a query
// alone may not give.
func (f *fixer) viewColumns(view string) string {
	names := make([]string, len(f.source.Rows))
	n := 0
	for _, r := range f.source.Rows {
		if r.Catalog != "pg_attribute" {
			continue
		}
		c := columns(r.Attributes())
		if at := number(c.text("position")); at > 0 && at <= len(names) {
			_, names[at-1] = columnOf(r.Identity, c.text("attname"))
			n++
		}
	}
	return " (" + strings.Join(names[:n], ", ") + ")"
}

var policyCommands = map[string]string{"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}

// policy makes, drops or replaces one.
func (f *fixer) policy(d describe.Difference) []group {
	name, on, _ := strings.Cut(d.Row, " on ")
	drop := "DROP POLICY " + name + " ON " + on
	if d.Kind == describe.Extra {
		return []group{{drop}}
	}
	want := f.s.of(d)
	create := "CREATE POLICY " + name + " ON " + on + " AS " + either(want.yes("polpermissive"), "PERMISSIVE", "RESTRICTIVE") + " FOR " +
		policyCommands[want.text("polcmd")] + " TO " + roles(want.text("polroles"))
	if want.has("polqual") {
		create += " USING (" + want.text("polqual") + ")"
	}
	if want.has("polwithcheck") {
		create += " WITH CHECK (" + want.text("polwithcheck") + ")"
	}
	if d.Kind == describe.Missing {
		return []group{{create}}
	}
	return []group{{drop, create}}
}

// roles reads a list of names, in which everybody is a dash.
func roles(list string) string {
	names := strings.Split(list, ", ")
	for i, n := range names {
		names[i] = either(n == "-", "PUBLIC", sqltext.Quoted(n))
	}
	return strings.Join(names, ", ")
}

// inheritance attaches a partition, or makes a table inherit.
func (f *fixer) inheritance(d describe.Difference) []group {
	child, parent, _ := strings.Cut(d.Row, " < ")
	partition := f.relationRow(f.s, child).has("relpartbound") || f.relationRow(f.t, child).has("relpartbound")
	switch {
	case d.Kind == describe.Missing && partition:
		return f.attach(child)
	case d.Kind == describe.Extra && partition:
		return []group{{"ALTER TABLE " + parent + " DETACH PARTITION " + child}}
	case d.Kind == describe.Missing:
		return []group{{"ALTER TABLE " + child + " INHERIT " + parent}}
	case d.Kind == describe.Extra:
		return []group{{"ALTER TABLE " + child + " NO INHERIT " + parent}}
	}
	return nil
}

// attach attaches a partition with its bounds.
func (f *fixer) attach(child string) []group {
	bound := f.relationRow(f.s, child).text("relpartbound")
	for key := range f.s {
		before, parent, _ := strings.Cut(key[1], " < ")
		if key[0] == "pg_inherits" && before == child && bound != "" {
			attach := group{"ALTER TABLE " + parent + " ATTACH PARTITION " + child + " " + bound}
			if f.relationRow(f.t, child).has("relpartbound") {
				return []group{append(group{"ALTER TABLE " + parent + " DETACH PARTITION " + child}, attach...)}
			}
			return []group{attach}
		}
	}
	return nil
}

// sequence gives one all its options.
func (f *fixer) sequence(d describe.Difference) []group {
	if d.Kind == describe.Extra {
		return nil
	}
	c := f.s.of(d)
	return []group{{"ALTER SEQUENCE " + d.Row + " AS " + c.text("seqtypid") + " INCREMENT " + c.text("seqincrement") + " MINVALUE " + c.text("seqmin") +
		" MAXVALUE " + c.text("seqmax") + " START " + c.text("seqstart") + " CACHE " + c.text("seqcache") + either(c.yes("seqcycle"), " CYCLE", " NO CYCLE")}}
}

// statistics makes, drops or changes an object of extended statistics.
func (f *fixer) statistics(d describe.Difference) []group {
	want := f.s.of(d)
	switch {
	case d.Kind == describe.Missing:
		return []group{{want.text("create")}}
	case d.Attribute == "stxstattarget":
		return []group{{"ALTER STATISTICS " + d.Identity + " SET STATISTICS " + either(d.Source == "", "-1", d.Source)}}
	case d.Kind == describe.Changed:
		return []group{{"DROP STATISTICS " + d.Identity, want.text("create")}}
	}
	return nil
}
