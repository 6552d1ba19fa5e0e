package compare

import (
	"regexp"
	"slices"
	"strings"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/sqltext"
)

// routine makes a function or procedure what the source has, by its text, its
// settings and its attributes.
func (f *fixer) routine(d describe.Difference) []group {
	c := f.s.of(d)
	if d.Kind == describe.Extra || !c.has("prolang") || c.text("prokind") == "a" {
		return nil
	}
	procedure := c.text("prokind") == "p"
	var b strings.Builder
	word := func(text string) { b.WriteString(" " + text) }
	b.WriteString("CREATE OR REPLACE " + either(procedure, "PROCEDURE ", "FUNCTION ") + c.text("pronamespace") + "." + sqltext.Quoted(c.text("proname")) +
		"(" + c.text("proargdefaults") + ")")
	if !procedure {
		word("RETURNS " + c.text("result"))
	}
	word("LANGUAGE " + c.text("prolang"))
	if c.text("prokind") == "w" {
		word("WINDOW")
	}
	if !procedure {
		word(map[string]string{"i": "IMMUTABLE", "s": "STABLE", "v": "VOLATILE"}[c.text("provolatile")])
		word(either(c.yes("proleakproof"), "LEAKPROOF", "NOT LEAKPROOF"))
		word(either(c.yes("proisstrict"), "STRICT", "CALLED ON NULL INPUT"))
		word("PARALLEL " + map[string]string{"s": "SAFE", "r": "RESTRICTED", "u": "UNSAFE"}[c.text("proparallel")])
		word("COST " + c.text("procost"))
		if c.yes("proretset") {
			word("ROWS " + c.text("prorows"))
		}
		if support, _, _ := strings.Cut(c.text("prosupport"), "("); support != "-" && support != "" {
			word("SUPPORT " + support)
		}
	}
	word(either(c.yes("prosecdef"), "SECURITY DEFINER", "SECURITY INVOKER"))
	for _, setting := range splitOptions(c.text("proconfig")) {
		word("SET " + settingOf(setting))
	}
	switch {
	case c.has("prosqlbody"):
		word(c.text("prosqlbody"))
	case c.has("probin"):
		word("AS " + sqltext.Literal(c.text("probin")) + ", " + sqltext.Literal(c.text("prosrc")))
	default:
		word("AS " + sqltext.Literal(c.text("prosrc")))
	}
	return []group{{b.String()}}
}

// lists are the settings whose value is a list of names, each quoted as needed.
var lists = []string{"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries", "shared_preload_libraries"}

// settingOf turns name=value into what stands behind SET.
func settingOf(option string) string {
	name, value, _ := strings.Cut(option, "=")
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = sqltext.Quoted(p)
	}
	if slices.Contains(lists, strings.ToLower(name)) {
		if value == "" {
			value = `""`
		}
		return strings.Join(parts, ".") + " TO " + value
	}
	return strings.Join(parts, ".") + " TO " + sqltext.Literal(value)
}

// aggregate makes one what the source has.
func (f *fixer) aggregate(d describe.Difference) []group {
	c := f.s.of(d)
	var function columns
	for key, r := range f.s {
		if key[0] == "pg_proc" {
			function = r
		}
	}
	if d.Kind == describe.Extra || c.text("aggkind") != "n" || function == nil {
		return nil
	}
	name, _, _ := strings.Cut(d.Identity, "(")
	arguments := function.text("proargdefaults")
	if arguments == "" {
		arguments = "*"
	}
	list := []string{"SFUNC = " + routineName(c.text("aggtransfn")), "STYPE = " + c.text("aggtranstype")}
	for _, a := range [][2]string{{"FINALFUNC", "aggfinalfn"}, {"COMBINEFUNC", "aggcombinefn"}, {"SERIALFUNC", "aggserialfn"},
		{"DESERIALFUNC", "aggdeserialfn"}, {"MSFUNC", "aggmtransfn"}, {"MINVFUNC", "aggminvtransfn"}, {"MFINALFUNC", "aggmfinalfn"}} {
		if v := c.text(a[1]); v != "-" && v != "" {
			list = append(list, a[0]+" = "+routineName(v))
		}
	}
	for _, a := range [][2]string{{"MSTYPE", "aggmtranstype"}, {"SORTOP", "aggsortop"}} {
		if v := c.text(a[1]); v != "-" && v != "" {
			list = append(list, a[0]+" = "+either(a[0] == "SORTOP", "OPERATOR("+routineName(v)+")", v))
		}
	}
	for _, a := range [][2]string{{"INITCOND", "agginitval"}, {"MINITCOND", "aggminitval"}} {
		if c.has(a[1]) {
			list = append(list, a[0]+" = "+sqltext.Literal(c.text(a[1])))
		}
	}
	if c.yes("aggfinalextra") {
		list = append(list, "FINALFUNC_EXTRA")
	}
	for _, a := range [][2]string{{"SSPACE", "aggtransspace"}, {"MSSPACE", "aggmtransspace"}} {
		if v := c.text(a[1]); v != "0" {
			list = append(list, a[0]+" = "+v)
		}
	}
	list = append(list, "PARALLEL = "+map[string]string{"s": "SAFE", "r": "RESTRICTED", "u": "UNSAFE"}[function.text("proparallel")])
	return []group{{"CREATE OR REPLACE AGGREGATE " + name + "(" + arguments + ") (" + strings.Join(list, ", ") + ")"}}
}

func routineName(identity string) string {
	name, _, _ := strings.Cut(identity, "(")
	return name
}

// typ fixes what can be changed of a domain.
func (f *fixer) typ(d describe.Difference) []group {
	if f.s.of(d).text("typtype") != "d" || d.Kind != describe.Changed {
		return nil
	}
	alter := "ALTER DOMAIN " + d.Identity
	switch d.Attribute {
	case "typnotnull":
		return []group{{alter + either(d.Source == "true", " SET", " DROP") + " NOT NULL"}}
	case "typdefault", "typdefaultbin":
		c := f.s.of(d)
		if !c.has("typdefaultbin") {
			return []group{{alter + " DROP DEFAULT"}}
		}
		return []group{{alter + " SET DEFAULT " + c.text("typdefaultbin")}}
	}
	return nil
}

// label adds one to an enumeration at its place, or renames what stands there
// and the source does not know.
func (f *fixer) label(d describe.Difference) []group {
	if d.Kind != describe.Missing {
		return nil
	}
	want := f.s.of(d)
	at := number(want.text("position"))
	for key, have := range f.t {
		if key[0] == "pg_enum" && f.s[key] == nil && number(have.text("position")) == at {
			return []group{{"ALTER TYPE " + d.Identity + " RENAME VALUE " + sqltext.Literal(have.text("enumlabel")) + " TO " + sqltext.Literal(want.text("enumlabel"))}}
		}
	}
	for key, c := range f.s {
		if key[0] == "pg_enum" && number(c.text("position")) == at-1 {
			return []group{{"ALTER TYPE " + d.Identity + " ADD VALUE " + sqltext.Literal(want.text("enumlabel")) + " AFTER " + sqltext.Literal(c.text("enumlabel"))}}
		}
	}
	for key, c := range f.t {
		if key[0] == "pg_enum" && number(c.text("position")) == 1 {
			return []group{{"ALTER TYPE " + d.Identity + " ADD VALUE " + sqltext.Literal(want.text("enumlabel")) + " BEFORE " + sqltext.Literal(c.text("enumlabel"))}}
		}
	}
	return nil
}

// operator gives one its estimators.
func (f *fixer) operator(d describe.Difference) []group {
	what := map[string]string{"oprrest": "RESTRICT", "oprjoin": "JOIN"}[d.Attribute]
	if what == "" || d.Kind != describe.Changed {
		return nil
	}
	return []group{{"ALTER OPERATOR " + operands(d.Identity) + " SET (" + what + " = " + either(d.Source == "-", "NONE", routineName(d.Source)) + ")"}}
}

// operands is the identity of an operator as commands have it.
func operands(identity string) string { return strings.Replace(identity, "(NONE,", "(NONE, ", 1) }

// cast replaces one.
func (f *fixer) cast(d describe.Difference) []group {
	c := f.s.of(d)
	if d.Kind == describe.Extra {
		return nil
	}
	create := "CREATE CAST " + d.Identity
	switch c.text("castmethod") {
	case "f":
		create += " WITH FUNCTION " + c.text("castfunc")
	case "b":
		create += " WITHOUT FUNCTION"
	default:
		create += " WITH INOUT"
	}
	create += map[string]string{"a": " AS ASSIGNMENT", "i": " AS IMPLICIT"}[c.text("castcontext")]
	if d.Kind == describe.Missing {
		return []group{{create}}
	}
	return []group{{"DROP CAST " + d.Identity, create}}
}

// dictionary sets the options of one for text search.
func (f *fixer) dictionary(d describe.Difference) []group {
	if d.Attribute != "dictinitoption" {
		return nil
	}
	set := d.Source
	for _, have := range splitDictionary(d.Target) {
		if !slices.ContainsFunc(splitDictionary(d.Source), func(want string) bool { return optionKey(want) == optionKey(have) }) {
			set = strings.Trim(set+", "+optionKey(have), ", ")
		}
	}
	return []group{{"ALTER TEXT SEARCH DICTIONARY " + d.Identity + " (" + set + ")"}}
}

// dictionaryStart is where one option of "a = 'b', c = 'd'" begins.
var dictionaryStart = regexp.MustCompile(`, [A-Za-z_"][A-Za-z0-9_"]* = `)

func splitDictionary(list string) (options []string) {
	for list != "" {
		at := dictionaryStart.FindStringIndex(list)
		if at == nil {
			return append(options, list)
		}
		options, list = append(options, list[:at[0]]), list[at[0]+2:]
	}
	return options
}

func optionKey(option string) string { key, _, _ := strings.Cut(option, " = "); return key }
