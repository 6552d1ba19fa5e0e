package stream

import (
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
)

// refillState is a rewritten table whose contents follow.
type refillState struct {
	oid     uint32
	name    string
	columns string
	left    bool // its rows are left out, as in table
}

// beginRefill empties a table that was rewritten; its rows follow.
func (r *renderer) beginRefill(m *event.Refill) error {
	its := r.facts.tables[m.OID]
	if its.Unsaved {
		r.ddl.refill = &refillState{oid: m.OID, left: true}
		return nil
	}
	r.open()
	if root := its.Root; root != "" {
		r.ddl.refill = &refillState{oid: m.OID, left: true}
		return r.gap("contents of " + m.Table + ", a hash partition of " + root + " by a type that hashes by OID, which was rewritten")
	}
	name := sqltext.Identifier(m.Schema) + "." + sqltext.Identifier(m.Table)
	quoted := make([]string, len(m.Columns))
	for i, c := range m.Columns {
		quoted[i] = sqltext.Identifier(c)
	}
	r.ddl.refill = &refillState{oid: m.OID, name: name, columns: strings.Join(quoted, ", ")}
	r.out = repo.AppendDDL(r.out, "ALTER TABLE", "DELETE FROM ONLY "+name)
	r.hide(name)
	return nil
}

func (r *renderer) refillRows(m *event.Rows) error {
	f := r.ddl.refill
	if f == nil || f.oid != m.OID {
		return r.gap("rows of a rewritten table came without its description")
	}
	if f.left {
		return nil
	}
	r.out = repo.AppendCopyBegin(r.out, f.name, f.columns)
	row := make([]pgoutput.Value, 0, 8)
	for _, values := range m.Rows {
		row = row[:0]
		for _, v := range values {
			if v == nil {
				row = append(row, pgoutput.Value{Kind: pgoutput.Null})
			} else {
				row = append(row, pgoutput.Value{Kind: pgoutput.Text, Text: []byte(*v)})
			}
		}
		r.out = appendCopyRow(r.out, row)
	}
	r.out = repo.AppendCopyEnd(r.out)
	return nil
}
