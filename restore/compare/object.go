package compare

import (
	"slices"
	"strconv"
	"strings"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/sqltext"
)

// schema makes one.
func (f *fixer) schema(d describe.Difference) []group {
	if d.Kind != describe.Missing {
		return nil
	}
	return []group{{"CREATE SCHEMA " + d.Identity}}
}

// foreign sets the options of what belongs to foreign data.
func (f *fixer) foreign(d describe.Difference) []group {
	alter := "ALTER " + keyword(d.Class) + " " + d.Identity
	if role, server, ok := strings.Cut(d.Identity, " on server "); d.Catalog == "pg_user_mapping" && ok {
		alter = "ALTER USER MAPPING FOR " + role + " SERVER " + server
	}
	switch d.Attribute {
	case "ftoptions", "srvoptions", "fdwoptions", "umoptions":
		return given(alter, d.Source, d.Target)
	case "srvversion":
		return []group{{alter + " VERSION " + sqltext.Literal(d.Source)}}
	case "fdwhandler", "fdwvalidator":
		what := strings.ToUpper(d.Attribute[3:])
		return []group{{alter + either(d.Source == "-", " NO "+what, " "+what+" "+routineName(d.Source))}}
	}
	return nil
}

// extension moves one to its schema or version.
func (f *fixer) extension(d describe.Difference) []group {
	switch d.Attribute {
	case "extnamespace":
		return []group{{"ALTER EXTENSION " + d.Identity + " SET SCHEMA " + d.Source}}
	case "extversion":
		return []group{{"ALTER EXTENSION " + d.Identity + " UPDATE TO " + sqltext.Literal(d.Source)}}
	}
	return nil
}

// dependency fixes what belongs to an extension or depends on one, and which
// column owns a sequence.
func (f *fixer) dependency(d describe.Difference) []group {
	c := f.s.of(d)
	if d.Kind == describe.Extra {
		c = f.t.of(d)
	}
	kind := c.text("deptype")
	object, reference, ok := strings.Cut(d.Row, " "+kind+" ")
	if !ok || d.Kind == describe.Changed {
		return nil
	}
	missing := d.Kind == describe.Missing
	word, identity := split(object)
	switch kind {
	case "e":
		return []group{{"ALTER EXTENSION " + reference + either(missing, " ADD ", " DROP ") + keyword(word) + " " + identity}}
	case "x":
		return []group{{"ALTER " + keyword(word) + " " + identity + either(missing, " DEPENDS", " NO DEPENDS") + " ON EXTENSION " + reference}}
	case "a":
		return []group{{"ALTER SEQUENCE " + identity + " OWNED BY " + either(missing, reference, "NONE")}}
	}
	return nil
}

// eventTrigger replaces, enables or disables one.
func (f *fixer) eventTrigger(d describe.Difference) []group {
	c := f.s.of(d)
	if d.Kind == describe.Extra {
		return nil
	}
	state := "ALTER EVENT TRIGGER " + d.Identity + " " + enabled[c.text("evtenabled")]
	if d.Attribute == "evtenabled" {
		return []group{{state}}
	}
	create := "CREATE EVENT TRIGGER " + d.Identity + " ON " + c.text("evtevent")
	if c.has("evttags") {
		tags := strings.Split(c.text("evttags"), ", ")
		for i, t := range tags {
			tags[i] = sqltext.Literal(t)
		}
		create += " WHEN TAG IN (" + strings.Join(tags, ", ") + ")"
	}
	create += " EXECUTE FUNCTION " + c.text("evtfoid")
	if d.Kind == describe.Missing {
		return []group{{create, state}}
	}
	return []group{{"DROP EVENT TRIGGER " + d.Identity, create, state}}
}

// publication sets the options of one, or makes it.
func (f *fixer) publication(d describe.Difference) []group {
	c := f.s.of(d)
	if d.Kind == describe.Extra || d.Attribute == "puballtables" {
		return nil
	}
	var list []string
	for _, what := range []string{"insert", "update", "delete", "truncate"} {
		if c.yes("pub" + what) {
			list = append(list, what)
		}
	}
	with := "(publish = " + sqltext.Literal(strings.Join(list, ", ")) + ", publish_via_partition_root = " + either(c.yes("pubviaroot"), "true", "false") + ")"
	if d.Kind == describe.Missing {
		return []group{{"CREATE PUBLICATION " + d.Identity + either(c.yes("puballtables"), " FOR ALL TABLES", "") + " WITH " + with}}
	}
	return []group{{"ALTER PUBLICATION " + d.Identity + " SET " + with}}
}

// published puts a table into a publication, or takes it out.
func (f *fixer) published(d describe.Difference) []group {
	c := f.s.of(d)
	if d.Kind == describe.Extra {
		c = f.t.of(d)
	}
	alter := "ALTER PUBLICATION " + d.Identity
	drop := alter + " DROP TABLE " + c.text("prrelid")
	add := alter + " ADD TABLE " + c.text("prrelid")
	if c.has("prattrs") {
		names := strings.Split(c.text("prattrs"), ", ")
		for i, n := range names {
			names[i] = sqltext.Quoted(n)
		}
		add += " (" + strings.Join(names, ", ") + ")"
	}
	if c.has("prqual") {
		add += " WHERE (" + c.text("prqual") + ")"
	}
	switch d.Kind {
	case describe.Extra:
		return []group{{drop}}
	case describe.Missing:
		return []group{{add}}
	}
	return []group{{drop, add}}
}

// defaultPrivileges sets those of a role. Its identity reads
// "for role r in schema s on tables".
func (f *fixer) defaultPrivileges(d describe.Difference) (list []group) {
	c, have := f.s.of(d), f.t.of(d)
	if c == nil {
		c = have
	}
	object := map[string]string{"r": "TABLES", "S": "SEQUENCES", "f": "ROUTINES", "T": "TYPES", "n": "SCHEMAS", "L": "LARGE OBJECTS"}[c.text("defaclobjtype")]
	begin := "ALTER DEFAULT PRIVILEGES FOR ROLE " + sqltext.Quoted(c.text("defaclrole"))
	if schema := c.text("defaclnamespace"); schema != "-" {
		begin += " IN SCHEMA " + schema
	}
	for _, g := range grants("ON "+object, "", c.text("defaclrole"), parseACL(f.s.of(d).text("defaclacl")), parseACL(have.text("defaclacl"))) {
		for i, sql := range g {
			if strings.HasPrefix(sql, "GRANT") || strings.HasPrefix(sql, "REVOKE") {
				g[i] = begin + " " + sql
			}
		}
		list = append(list, g)
	}
	return list
}

// database sets what belongs to the database itself.
func (f *fixer) database(d describe.Difference) []group {
	if d.Attribute != "datconnlimit" {
		return nil
	}
	return []group{command("ALTER DATABASE " + currentDatabase + " CONNECTION LIMIT " + d.Source)}
}

// settings are those of the database, for all or for one role.
func (f *fixer) settings(d describe.Difference) (list []group) {
	want, have := splitOptions(f.s.of(d).text("setconfig")), splitOptions(f.t.of(d).text("setconfig"))
	alter := "ALTER DATABASE " + currentDatabase
	if _, role, ok := strings.Cut(d.Row, ", role "); ok {
		alter = "ALTER ROLE " + sqltext.Quoted(role) + " IN DATABASE " + currentDatabase
	}
	for _, o := range want {
		if !slices.Contains(have, o) {
			list = append(list, command(alter+" SET "+settingOf(o)))
		}
	}
	for _, o := range have {
		name, _, _ := strings.Cut(o, "=")
		if !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(w, name+"=") }) {
			list = append(list, command(alter+" RESET "+name))
		}
	}
	return list
}

// classes are the types of objects that have more words than one, longest
// first where one begins another.
var classes = []string{"table constraint", "domain constraint", "table column", "view column", "materialized view column", "foreign table column",
	"composite type column", "index column", "materialized view", "foreign table", "composite type", "foreign-data wrapper", "statistics object",
	"event trigger", "large object", "operator class", "operator family", "text search configuration", "text search dictionary", "text search parser",
	"text search template", "access method", "user mapping"}

// split cuts a class and an identity apart.
func split(object string) (class, identity string) {
	for _, c := range classes {
		if rest, ok := strings.CutPrefix(object, c+" "); ok {
			return c, rest
		}
	}
	class, identity, _ = strings.Cut(object, " ")
	return class, identity
}

// commentable is an object as COMMENT and SECURITY LABEL name it.
func commentable(object string) string {
	class, identity := split(object)
	switch class {
	case "table column", "view column", "materialized view column", "foreign table column", "composite type column":
		return "COLUMN " + identity
	case "table constraint":
		return "CONSTRAINT " + identity
	case "domain constraint":
		return "CONSTRAINT " + strings.Replace(identity, " on ", " ON DOMAIN ", 1)
	case "transform":
		return "TRANSFORM " + identity
	case "operator":
		return "OPERATOR " + operands(identity)
	}
	return keyword(class) + " " + identity
}

func (f *fixer) comment(d describe.Difference) []group {
	text := "NULL"
	if d.Kind != describe.Extra {
		text = sqltext.Literal(f.s.of(d).text("description"))
	}
	return []group{{"COMMENT ON " + commentable(d.Row) + " IS " + text}}
}

func (f *fixer) securityLabel(d describe.Difference) []group {
	at := strings.LastIndexByte(d.Row, ' ')
	text := "NULL"
	if d.Kind != describe.Extra {
		text = sqltext.Literal(f.s.of(d).text("label"))
	}
	return []group{{"SECURITY LABEL FOR " + sqltext.Quoted(d.Row[at+1:]) + " ON " + commentable(d.Row[:at]) + " IS " + text}}
}

// mapping gives a type of tokens its dictionaries. Only the parser knows what
// the number of a type is called.
func (f *fixer) mapping(d describe.Difference) []group {
	parts := strings.Split(strings.TrimPrefix(d.Row, d.Identity+" "), " ")
	if len(parts) != 2 {
		return nil
	}
	begin, word := "ALTER TEXT SEARCH CONFIGURATION "+d.Identity, " DROP MAPPING IF EXISTS FOR "
	var dictionaries []string
	for i := 1; ; i++ {
		row := f.s[[2]string{"pg_ts_config_map", d.Identity + " " + parts[0] + " " + strconv.Itoa(i)}]
		if row == nil {
			break
		}
		dictionaries = append(dictionaries, row.text("mapdict"))
	}
	list := []string{word}
	if len(dictionaries) > 0 {
		list = append(list, " ADD MAPPING FOR ")
	}
	g := group{}
	for i, w := range list {
		with := ""
		if i == 1 {
			with = " WITH " + strings.Join(dictionaries, ", ")
		}
		g = append(g, "DO "+sqltext.Literal("BEGIN EXECUTE (SELECT "+sqltext.Literal(begin+w)+" || pg_catalog.quote_ident(t.alias) || "+sqltext.Literal(with)+
			" FROM pg_catalog.pg_ts_config c, pg_catalog.ts_token_type(c.cfgparser) t WHERE c.oid = "+sqltext.Literal(d.Identity)+
			"::pg_catalog.regconfig AND t.tokid = "+parts[0]+"); END"))
	}
	return []group{g}
}
