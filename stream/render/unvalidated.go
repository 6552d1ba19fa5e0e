package render

import "pg_scribe/stream/ddl"

// hiding says which constraints are hidden in the transaction.
type hiding struct {
	on  bool
	rel string // besides those of domains, those of this table
}

// hide hides constraints of domains that are not valid, and those of a table
// if one is named.
func (h *hiding) hide(out *writer, rel string) {
	h.show(out)
	*h = hiding{on: true, rel: rel}
	out.append(ddl.HideUnvalidated(rel))
}

// show undoes hide.
func (h *hiding) show(out *writer) {
	if h.on {
		out.append(ddl.ShowUnvalidated(h.rel))
		*h = hiding{}
	}
}

// relax prepares for rows of a table that come from row changes.
func (h *hiding) relax(out *writer, t *table) {
	if h.rel != "" {
		h.show(out)
	}
	if t.loose && !h.on {
		h.hide(out, "")
	}
}
