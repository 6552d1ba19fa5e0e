package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/schema"
)

// A Describer asks the source, as it is now, what a relation's description in
// the stream leaves out. A type that was renamed since has its new name.
type Describer func(r *pgoutput.Relation) (Description, error)

// Description is what the columns of a relation are, in their order, and whose
// the table is.
type Description struct {
	Columns []string // types and collations as SQL; nil: a type is gone
	Owner   string   // empty: it is gone
}

// tables are the relations as this connection described them.
type tables struct {
	out      *writer
	schema   *schema.State
	ask      Describer
	brought  map[uint32]bool
	relation map[uint32]*table
}

func newTables(out *writer, o Options) tables {
	return tables{out: out, schema: o.Schema, ask: o.Describe, brought: o.Brought, relation: map[uint32]*table{}}
}

func (t *tables) of(oid uint32) (*table, error) {
	known := t.relation[oid]
	if known == nil {
		return nil, fmt.Errorf("a row change names relation %d, which was not described", oid)
	}
	return known, nil
}

// describe takes a description in the stream.
func (t *tables) describe(rel *pgoutput.Relation, skip bool) error {
	rel.Schema = t.schema.Renamed(rel.OID, rel.Schema)
	if !skip {
		if err := t.unknown(rel); err != nil {
			return err
		}
	}
	t.relation[rel.OID] = newTable(rel, t.schema)
	return nil
}

// renew takes up what has become known of tables, or of types.
func (t *tables) renew(oids []uint32, types bool) {
	if types {
		oids = slices.Collect(maps.Keys(t.relation))
	}
	for _, oid := range oids {
		if known := t.relation[oid]; known != nil {
			t.relation[oid] = newTable(known.Relation, t.schema)
		}
	}
}

// moved gives tables the name that ALTER SCHEMA gave their schema, which
// decoding does not notice before version 16. from is the name before, if the
// command's text tells it: the command locks no table, so that transactions
// that wrote to one before may commit later, and describe it by that name.
func (t *tables) moved(list []event.Moved, from string) {
	for _, m := range list {
		known := t.relation[m.OID]
		was := from
		if was == "" && known != nil {
			was = known.Schema
		}
		t.schema.Move(m.OID, was, m.Schema)
		if known != nil && known.Schema != m.Schema {
			rel := *known.Relation
			rel.Schema = m.Schema
			t.relation[m.OID] = newTable(&rel, t.schema)
		}
	}
}

// unknown makes sure that a table whose first rows follow is in the target.
// Some commands make tables and fire no event, as EXPLAIN ANALYZE CREATE TABLE
// AS does. A table is known if a command in the stream told of it, or if it
// was there when this connection began, unless this very transaction made it.
//
// Two cases need the samples of what there is: a table that is gone by now may
// have been there all the time, and a later transaction ID may be that of a
// subtransaction, or of another transaction that committed before. Without them
// it is taken for known. The table is made only if the target lacks it.
func (t *tables) unknown(rel *pgoutput.Relation) error {
	if t.ask == nil || rel.Schema == event.Schema || t.relation[rel.OID] != nil || t.schema.Announced(rel.OID) || t.schema.Table(rel.OID).Unsaved {
		return nil
	}
	made, there := t.schema.Made(rel.OID)
	if there && int32(made-t.out.tx.XID) < 0 {
		return nil
	}
	d, err := t.ask(rel)
	if err != nil {
		return fmt.Errorf("table %s: %w", rel.Name, err)
	}
	known := false
	if d.Owner == "" || there && made != t.out.tx.XID {
		known = t.brought == nil || t.brought[rel.OID]
	}
	shape := newTable(rel, t.schema)
	if !known {
		t.out.gap("table " + shape.name + " came about without an event: it was made from the description of its rows")
	}
	if d.Columns == nil {
		return nil
	}
	columns := make([]string, len(rel.Columns))
	for i := range rel.Columns {
		columns[i] = string(shape.quoted[i]) + " " + d.Columns[i]
	}
	sql := fmt.Sprintf("CREATE TABLE %s (%s);", shape.name, strings.Join(columns, ", "))
	if d.Owner != "" {
		sql += fmt.Sprintf(" IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN ALTER TABLE %s OWNER TO %s; END IF;",
			sqltext.Literal(d.Owner), shape.name, sqltext.Identifier(d.Owner))
	}
	t.out.append(ddl.Command{Tag: "CREATE TABLE", SQL: "DO " + sqltext.Literal(fmt.Sprintf(
		"BEGIN IF pg_catalog.to_regclass(%s) IS NULL THEN %s END IF; END", sqltext.Literal(shape.name), sql))})
	return nil
}
