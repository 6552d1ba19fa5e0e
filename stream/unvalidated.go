package stream

import "pg_scribe/stream/ddl"

// hiding says which constraints are hidden in the transaction.
type hiding struct {
	on  bool
	rel string // besides those of domains, those of this table
}

// hide hides constraints of domains that are not valid, and those of a table
// if one is named.
func (r *renderer) hide(rel string) {
	r.show()
	r.hidden = hiding{on: true, rel: rel}
	r.append(ddl.HideUnvalidated(rel))
}

// show undoes hide.
func (r *renderer) show() {
	if !r.hidden.on {
		return
	}
	r.append(ddl.ShowUnvalidated(r.hidden.rel))
	r.hidden = hiding{}
}

// relax prepares for rows of a table that come from row changes.
func (r *renderer) relax(t *table) {
	if r.hidden.rel != "" {
		r.show()
	}
	if t.loose && !r.hidden.on {
		r.hide("")
	}
}
