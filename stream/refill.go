package stream

import (
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
)

// refillState is a rewritten table whose contents follow.
type refillState struct {
	oid  uint32
	copy segment.Copy
	left bool // its rows are left out, as in table
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
	r.ddl.refill = &refillState{oid: m.OID, copy: segment.Copy{Table: []byte(name)}}
	for _, c := range m.Columns {
		r.ddl.refill.copy.Columns = append(r.ddl.refill.copy.Columns, sqltext.AppendIdentifier(nil, c))
	}
	r.out = segment.AppendDDL(r.out, "ALTER TABLE", "DELETE FROM ONLY "+name)
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
	r.out = segment.AppendCopy(r.out, &f.copy)
	row := make([]segment.Value, 0, 8)
	for _, values := range m.Rows {
		row = row[:0]
		for _, v := range values {
			if v == nil {
				row = append(row, segment.Value{})
			} else {
				row = append(row, segment.Value{Form: segment.Text, Text: []byte(*v)})
			}
		}
		r.out = segment.AppendRow(r.out, row)
	}
	r.out = segment.AppendCopyEnd(r.out)
	return nil
}
