package render

import (
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
)

// refill is a rewritten table, or a materialized view, whose contents follow.
type refill struct {
	oid  uint32
	copy segment.Copy
	view bool
	left bool // its rows are left out, as in table
}

// beginRefill empties a table that was rewritten; its rows follow.
func (c *commands) beginRefill(m *event.Refill) {
	its := c.schema.Table(m.OID)
	if its.Unsaved {
		c.refill = &refill{oid: m.OID, left: true}
		return
	}
	c.out.open()
	if root := its.Root; root != "" {
		c.refill = &refill{oid: m.OID, left: true}
		c.out.gap("contents of " + m.Table + ", a hash partition of " + root + " by a type that hashes by OID, which was rewritten")
		return
	}
	name := sqltext.Identifier(m.Schema) + "." + sqltext.Identifier(m.Table)
	c.refill = &refill{oid: m.OID, copy: segment.Copy{Table: []byte(name)}}
	for _, column := range m.Columns {
		c.refill.copy.Columns = append(c.refill.copy.Columns, sqltext.AppendIdentifier(nil, column))
	}
	if m.Kind == "m" {
		c.refill.view = true
		c.out.append(ddl.OpenView(name), ddl.EmptyView(name), ddl.CloseView(name))
		return
	}
	c.out.append(ddl.Empty(m.Schema, m.Table))
	c.rows.hidden.hide(c.out, name)
}

// refillRows writes some of its rows.
func (c *commands) refillRows(m *event.Rows) {
	f := c.refill
	if f != nil && f.view {
		c.out.append(ddl.OpenView(string(f.copy.Table)))
		defer func() { c.out.append(ddl.CloseView(string(f.copy.Table))) }()
	}
	if f == nil || f.oid != m.OID {
		c.out.gap("rows of a rewritten table came without its description")
		return
	}
	if f.left {
		return
	}
	if len(f.copy.Columns) == 0 { // COPY cannot say that
		if err := m.Each(func([][]byte) {
			c.out.text = segment.AppendChange(c.out.text, &segment.Change{Op: segment.Insert, Table: f.copy.Table})
		}); err != nil {
			c.out.gap(err.Error())
		}
		return
	}
	text := segment.AppendCopy(c.out.text, &f.copy)
	row := make([]segment.Value, 0, 8)
	err := m.Each(func(values [][]byte) {
		row = row[:0]
		for _, v := range values {
			if v == nil {
				row = append(row, segment.Value{})
			} else {
				row = append(row, segment.Value{Form: segment.Text, Text: v})
			}
		}
		text = segment.AppendRow(text, row)
	})
	c.out.text = segment.AppendCopyEnd(text)
	if err != nil {
		c.out.gap(err.Error())
	}
}
