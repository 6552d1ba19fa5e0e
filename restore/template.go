package restore

import "pg_scribe/repo/segment"

// anyRows: the statement may affect any number of rows.
const anyRows = -1

// A form is what many changes have in common: the statement without its
// values, so that the server parses and plans it once. Its fields are valid
// until the next call of read.
type form struct {
	text   []byte // with $1, $2, … in place of values
	values []segment.Value
	rows   int64 // how many rows it has to affect, or anyRows
}

// read takes a change apart. It returns false for one that is to be sent as it
// stands: it reads a table of its transaction alone, or changes a row only if
// that is needed.
func (f *form) read(c *segment.Change) bool {
	f.rows = 1
	if c.Op == segment.Replace {
		f.rows = anyRows
		return false
	}
	for i := range c.New {
		if c.New[i].Form == segment.Pieced {
			return false
		}
	}
	f.text, f.values = segment.AppendTemplate(f.text[:0], f.values[:0], c)
	return true
}
