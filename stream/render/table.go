package render

import (
	"fmt"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/schema"
)

// A table is a relation with the SQL that its row changes need, quoted once.
type table struct {
	*pgoutput.Relation
	name    string // "schema"."name"
	target  string // what its rows are written to: "schema"."name", or a partitioned table above it
	written []byte // the same
	only    bool   // target is the table itself
	quoted  [][]byte
	head    []byte        // of INSERTs of whole rows
	how     []segment.How // how the complete row is compared
	whole   conditions    // on all columns
	keys    conditions    // on those of the key
	always  []bool        // GENERATED ALWAYS AS IDENTITY: not to be SET
	keyed   bool          // some column is part of the replica identity
	left    bool          // its row changes are left out: it is pg_scribe's own, or no dump has its rows
	loose   bool          // it has columns of types that are loose (schema.State)
	lost    string        // what keeps its rows from being restored; empty: nothing

	counted bool // in this transaction: see writer.count
	count   catalog.TableCount

	// Buffers of the change that is being written.
	names  [][]byte
	values []segment.Value
	key    []segment.Match
}

// unreadable are built-in types whose values PostgreSQL prints but does not
// read (pg_node_tree_in and the like raise an error), by OID (pg_type.dat).
var unreadable = map[uint32]string{
	194: "pg_node_tree", 3361: "pg_ndistinct", 3402: "pg_dependencies", 5017: "pg_mcv_list",
	3642: "gtsvector", 4600: "pg_brin_bloom_summary", 4601: "pg_brin_minmax_multi_summary",
}

// firstUserOID is PostgreSQL's FirstNormalObjectId: below it types are built
// in and their operators stand in pg_catalog.
const firstUserOID = 16384

// comparisons says how a column's exact value is found, by the OID of built-in
// types (pg_type.dat): by equality, if two values are equal only if they print
// the same; by both, where 1.0 = 1.00 or 'a' = 'A' may hold. Others have no
// equality operator, or one that is found only through the search_path, and are
// compared by their text.
var comparisons = map[uint32]segment.How{
	16: segment.Equal, 17: segment.Equal, 18: segment.Equal, 19: segment.Equal, 20: segment.Equal, 21: segment.Equal,
	23: segment.Equal, 26: segment.Equal, 1082: segment.Equal, 1083: segment.Equal, 1114: segment.Equal, 1184: segment.Equal,
	2950: segment.Equal, 774: segment.Equal, 829: segment.Equal, 3220: segment.Equal,
	25: segment.Both, 1043: segment.Both, 1042: segment.Both, 1700: segment.Both, 700: segment.Both, 701: segment.Both,
	790: segment.Both, 1186: segment.Both, 1266: segment.Both, 869: segment.Both, 650: segment.Both, 3802: segment.Both,
	1560: segment.Both, 1562: segment.Both, 3614: segment.Both,
	1000: segment.Both, 1005: segment.Both, 1007: segment.Both, 1016: segment.Both, 1009: segment.Both, 1015: segment.Both,
}

// newTable prepares a relation.
func newTable(r *pgoutput.Relation, known *schema.State) *table {
	its := known.Table(r.OID)
	t := &table{Relation: r, left: r.Schema == event.Schema || its.Unsaved}
	t.name = sqltext.Identifier(r.Schema) + "." + sqltext.Identifier(r.Name)
	t.target, t.only = t.name, true
	if its.Root != "" {
		t.target, t.only = its.Root, false
	}
	t.written = []byte(t.target)
	t.quoted = make([][]byte, len(r.Columns))
	t.how = make([]segment.How, len(r.Columns))
	t.always = make([]bool, len(r.Columns))
	for i, c := range r.Columns {
		t.quoted[i] = sqltext.AppendIdentifier(nil, c.Name)
		if name := unreadable[c.TypeOID]; name != "" {
			t.lost = fmt.Sprintf("rows of %s cannot be restored: PostgreSQL reads no values of type %s (column %s)", t.name, name, c.Name)
		}
		how, builtIn := comparisons[c.TypeOID]
		if !builtIn {
			how = segment.Printed
		}
		t.how[i] = how
		compared := known.Type(c.TypeOID)
		match := segment.Match{Column: t.quoted[i], Operator: []byte(compared.Equal), Cast: []byte(compared.Cast), Bytes: how != segment.Equal}
		t.whole.add(i, match)
		if c.Key {
			t.keys.add(i, match)
		}
		t.always[i] = slices.Contains(its.Always, c.Name)
		t.keyed = t.keyed || c.Key
		t.loose = t.loose || known.IsLoose(c.TypeOID)
	}
	if len(t.quoted) > 0 {
		t.head = segment.AppendInsertHead(nil, t.written, t.quoted)
	}
	return t
}

// valuePieces is a kind of our own: a value that was written in pieces, and
// whose text is the number that they have.
const valuePieces = 'x'

// written is the value as a change has it.
func written(v pgoutput.Value) segment.Value {
	switch v.Kind {
	case pgoutput.Null:
		return segment.Value{}
	case valuePieces:
		return segment.Value{Form: segment.Pieced, Text: v.Text}
	}
	return segment.Value{Form: segment.Text, Text: v.Text}
}

// change is one of a row of the table.
func (t *table) change(op segment.Op) segment.Change {
	return segment.Change{Op: op, Table: t.written, Only: t.only}
}

// appendInsert writes one row.
func (t *table) appendInsert(dst []byte, row []pgoutput.Value) []byte {
	t.values = t.values[:0]
	for i := range row {
		t.values = append(t.values, written(row[i]))
	}
	if len(row) > 0 && len(row) == len(t.quoted) {
		return segment.AppendInsert(dst, t.head, t.values)
	}
	c := t.change(segment.Insert)
	c.Columns, c.New = t.quoted[:len(row)], t.values
	return segment.AppendChange(dst, &c)
}

// appendCopyRow writes one row of a COPY block.
func (t *table) appendCopyRow(dst []byte, row []pgoutput.Value) []byte {
	start := len(dst)
	for i := range row {
		if i > 0 {
			dst = append(dst, '\t')
		}
		dst = segment.AppendField(dst, written(row[i]))
	}
	return segment.AppendRowEnd(dst, start)
}

// appendUpdate writes an UPDATE of one row, or nothing when no column
// changed. ok is false when the message does not tell which row it is.
func (t *table) appendUpdate(dst []byte, c pgoutput.RowChange) (_ []byte, ok bool) {
	full := c.OldKind == 'O'
	if c.OldKind == 0 && !t.keyed {
		return dst, false
	}
	changed := func(i int) bool {
		switch {
		case c.New[i].Kind == pgoutput.Unchanged:
			return false
		case full, c.OldKind == 'K' && t.Columns[i].Key:
			return !sameValue(c.Old[i], c.New[i])
		}
		return !t.Columns[i].Key
	}
	key := c.New
	if c.OldKind != 0 {
		key = c.Old
	}
	// An identity column that is GENERATED ALWAYS cannot be SET: the row is
	// written anew, with the value, where it differs.
	for i := range t.Columns {
		if t.always[i] && changed(i) {
			t.values = append(t.values[:0], written(c.New[i]))
			r := t.change(segment.Replace)
			r.Columns, r.New, r.Key, r.Full, r.At = t.quoted, t.values, t.match(key, full), full, i
			dst = segment.AppendChange(dst, &r)
			if t.Columns[i].Key || full {
				key = append([]pgoutput.Value(nil), key...)
				key[i] = c.New[i]
			}
		}
	}
	t.names, t.values = t.names[:0], t.values[:0]
	for i := range t.Columns {
		if !t.always[i] && changed(i) {
			t.names, t.values = append(t.names, t.quoted[i]), append(t.values, written(c.New[i]))
		}
	}
	if len(t.names) == 0 {
		return dst, true
	}
	u := t.change(segment.Update)
	u.Columns, u.New, u.Key, u.Full = t.names, t.values, t.match(key, full), full
	return segment.AppendChange(dst, &u), true
}

// appendDelete writes a DELETE of one row.
func (t *table) appendDelete(dst []byte, c pgoutput.RowChange) []byte {
	full := c.OldKind == 'O'
	d := t.change(segment.Delete)
	d.Key, d.Full = t.match(c.Old, full), full
	return segment.AppendChange(dst, &d)
}

// conditions find a row by some columns.
type conditions struct {
	at   []int // the columns
	list []segment.Match
}

func (c *conditions) add(at int, m segment.Match) { c.at, c.list = append(c.at, at), append(c.list, m) }

// match finds one row: by its key, or by all its columns, of which several
// rows may be the same and any one will do. The result holds until the next.
func (t *table) match(row []pgoutput.Value, full bool) []segment.Match {
	by := &t.keys
	if full {
		by = &t.whole
	}
	unknown := false
	for n, i := range by.at {
		v, m := &row[i], &by.list[n]
		m.Value = written(*v)
		switch {
		case v.Kind == pgoutput.Unchanged:
			unknown = true
		case v.Kind == pgoutput.Null && t.Columns[i].TypeOID < firstUserOID:
			m.How = segment.IsNull
		case v.Kind == pgoutput.Null:
			// IS NULL would be true of a composite value of NULLs too.
			m.How = segment.NotDistinct
		case !full || v.Kind == valuePieces:
			m.How = segment.Equal // a key has equality, its index needs it; and so has bytea
		default:
			m.How = t.how[i]
		}
	}
	if !unknown {
		return by.list
	}
	t.key = t.key[:0]
	for n, i := range by.at {
		if row[i].Kind != pgoutput.Unchanged {
			t.key = append(t.key, by.list[n])
		}
	}
	return t.key
}

func sameValue(a, b pgoutput.Value) bool {
	return a.Kind == b.Kind && string(a.Text) == string(b.Text)
}
