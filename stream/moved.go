package stream

import "pg_scribe/repo"

// moveTables gives tables the name that ALTER SCHEMA gave their schema, which
// decoding does not notice before version 16. from is the name before, if that
// is known: the command locks no table, so that transactions that wrote to one
// before may commit later, and describe it by that name.
func (r *renderer) moveTables(tables []movedTable, from string) {
	for _, t := range tables {
		if from != "" {
			r.moved[t.OID] = move{from, t.Schema}
		}
		if known := r.tables[t.OID]; known != nil && known.Schema != t.Schema {
			rel := *known.relation
			rel.Schema = t.Schema
			r.tables[t.OID] = newTable(&rel, r.facts)
		}
	}
}

// A move is from one name of a schema to another.
type move struct{ from, to string }

// movedSkipped looks for such a command in a transaction that is stored already.
func (r *renderer) movedSkipped(m logicalMessage) {
	if string(m.Prefix) != capturePrefix {
		return
	}
	if payload, ok := verifyCapture(r.secret, m.Content); ok {
		if c, err := parseCapture(payload); err == nil {
			r.moveTables(c.Moved, "")
		}
	}
}

// schemaRenamed is the name that an ALTER SCHEMA … RENAME replaces.
func schemaRenamed(sql string, conforming bool) string {
	t := repo.Tokens(sql[:min(len(sql), 400)], conforming)
	if len(t) < 5 || !t[0].Is("alter") || !t[1].Is("schema") || !t[3].Is("rename") {
		return ""
	}
	name, ok := nameParts(t[2:3])
	if !ok {
		return ""
	}
	return name[0]
}
