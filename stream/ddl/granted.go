package ddl

import (
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// allOf is what GRANT and REVOKE say for all objects of a kind in schemas, with
// the word for a list of them and the kinds of objects that are meant.
var allOf = map[string]struct{ word, kinds string }{
	"tables": {"TABLE", "tables"}, "sequences": {"SEQUENCE", "sequences"}, "functions": {"FUNCTION", "functions"},
	"procedures": {"PROCEDURE", "procedures"}, "routines": {"ROUTINE", "functions procedures"},
}

// withGranted names the objects that a GRANT or REVOKE on all of a schema
// changed: in the target there may be others, which committed before it. It
// returns "" when there was none.
func withGranted(sql string, t []sqltext.Token, granted []event.Granted) string {
	if granted == nil {
		return sql
	}
	for i := 0; i+4 < len(t); i++ {
		of, ok := allOf[strings.ToLower(t[i+2].Text)]
		if !t[i].Is("on") || !t[i+1].Is("all") || !ok || !t[i+3].Is("in") || !t[i+4].Is("schema") {
			continue
		}
		end := i + 5
		for ; end < len(t) && !t[end].Is("to") && !t[end].Is("from"); end++ {
		}
		if end == len(t) {
			return sql
		}
		schemas := map[string]bool{}
		for j := i + 5; j < end; j++ {
			if parts, named := sqltext.TokensName(t[j : j+1]); named {
				schemas[cut(parts[0])] = true
			}
		}
		var names []string
		for _, g := range granted {
			if schemas[g.Schema] && strings.Contains(of.kinds, g.Kind) {
				names = append(names, strings.ReplaceAll(g.Identity, "(*)", "()"))
			}
		}
		if len(names) == 0 {
			return ""
		}
		return sql[:t[i].Start] + "ON " + of.word + " " + strings.Join(names, ", ") + " " + sql[t[end].Start:]
	}
	return sql
}
