package stream

import (
	"fmt"
	"slices"

	"pg_scribe/repo"
)

// A table is a relation with the SQL that its row changes need, quoted once.
type table struct {
	*relation
	name    string // "schema"."name"
	target  string // what its rows are written to: "schema"."name", or a partitioned table above it
	only    string // "ONLY ", unless target is another table
	columns string // "a", "b"
	quoted  []string
	match   []matchKind
	types   []typeFacts
	always  []bool // GENERATED ALWAYS AS IDENTITY: not to be SET
	keyed   bool   // some column is part of the replica identity
	left    bool   // its row changes are left out: it is pg_scribe's own, or no dump has its rows
	loose   bool   // it has columns of types of facts.loose
	lost    string // what keeps its rows from being restored; empty: nothing
}

// unreadable are built-in types whose values PostgreSQL prints but does not
// read (pg_node_tree_in and the like raise an error), by OID (pg_type.dat).
var unreadable = map[uint32]string{
	194: "pg_node_tree", 3361: "pg_ndistinct", 3402: "pg_dependencies", 5017: "pg_mcv_list",
	3642: "gtsvector", 4600: "pg_brin_bloom_summary", 4601: "pg_brin_minmax_multi_summary",
}

// matchKind says how a WHERE clause finds a column's exact value.
type matchKind byte

const (
	// matchEqual: two values are equal only if they print the same.
	matchEqual matchKind = iota
	// matchBoth: equality serves the index, the printed form decides,
	// because 1.0 = 1.00 and 'a' = 'A' may hold.
	matchBoth
	// matchText: the type has no equality operator, or one that is found
	// only through the search_path.
	matchText
)

// firstUserOID is PostgreSQL's FirstNormalObjectId: below it types are built
// in and their operators stand in pg_catalog.
const firstUserOID = 16384

// matchKinds lists the built-in types by OID (pg_type.dat); others are
// matched by their text.
var matchKinds = map[uint32]matchKind{
	16: matchEqual, 17: matchEqual, 18: matchEqual, 19: matchEqual, 20: matchEqual, 21: matchEqual,
	23: matchEqual, 26: matchEqual, 1082: matchEqual, 1083: matchEqual, 1114: matchEqual, 1184: matchEqual,
	2950: matchEqual, 774: matchEqual, 829: matchEqual, 3220: matchEqual,
	25: matchBoth, 1043: matchBoth, 1042: matchBoth, 1700: matchBoth, 700: matchBoth, 701: matchBoth,
	790: matchBoth, 1186: matchBoth, 1266: matchBoth, 869: matchBoth, 650: matchBoth, 3802: matchBoth,
	1560: matchBoth, 1562: matchBoth, 3614: matchBoth,
	1000: matchBoth, 1005: matchBoth, 1007: matchBoth, 1016: matchBoth, 1009: matchBoth, 1015: matchBoth,
}

// newTable prepares a relation.
func newTable(r *relation, known *facts) *table {
	its := known.tables[r.OID]
	t := &table{relation: r, left: r.Schema == captureSchema || its.Unsaved}
	t.name = repo.Identifier(r.Schema) + "." + repo.Identifier(r.Name)
	t.target, t.only = t.name, "ONLY "
	if its.Root != "" {
		t.target, t.only = its.Root, ""
	}
	t.quoted = make([]string, len(r.Columns))
	t.match = make([]matchKind, len(r.Columns))
	t.types = make([]typeFacts, len(r.Columns))
	t.always = make([]bool, len(r.Columns))
	for i, c := range r.Columns {
		t.quoted[i] = repo.Identifier(c.Name)
		if name := unreadable[c.TypeOID]; name != "" {
			t.lost = fmt.Sprintf("rows of %s cannot be restored: PostgreSQL reads no values of type %s (column %s)", t.name, name, c.Name)
		}
		if i > 0 {
			t.columns += ", "
		}
		t.columns += t.quoted[i]
		kind, builtIn := matchKinds[c.TypeOID]
		if !builtIn {
			kind = matchText
		}
		t.match[i] = kind
		t.types[i] = known.types[c.TypeOID]
		t.always[i] = slices.Contains(its.Always, c.Name)
		t.keyed = t.keyed || c.Key
		t.loose = t.loose || known.loose[c.TypeOID]
	}
	return t
}

func appendValue(dst []byte, v value) []byte {
	if v.Kind == valueNull {
		return append(dst, "NULL"...)
	}
	return v.appendTo(dst)
}

// appendTo writes a value that is not NULL.
func (v value) appendTo(dst []byte) []byte {
	if v.Kind == valueSQL {
		return append(dst, v.Text...)
	}
	return repo.AppendLiteral(dst, v.Text)
}

// appendInsert writes one row. OVERRIDING SYSTEM VALUE has no effect on a
// table without identity columns.
func (t *table) appendInsert(dst []byte, row []value) []byte {
	dst = append(dst, "INSERT INTO "...)
	dst = append(dst, t.target...)
	if len(row) == 0 {
		return append(dst, " DEFAULT VALUES;\n"...)
	}
	dst = append(dst, " ("...)
	dst = append(dst, t.columns...)
	dst = append(dst, ") OVERRIDING SYSTEM VALUE VALUES ("...)
	for i, v := range row {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendValue(dst, v)
	}
	return append(dst, ");\n"...)
}

// appendCopyRow writes one row of a COPY block.
func appendCopyRow(dst []byte, row []value) []byte {
	start := len(dst)
	for i, v := range row {
		if i > 0 {
			dst = append(dst, '\t')
		}
		if v.Kind == valueNull {
			dst = repo.AppendCopyNull(dst)
		} else {
			dst = repo.AppendCopyValue(dst, v.Text)
		}
	}
	return repo.SealCopyRow(dst, start)
}

// appendUpdate writes an UPDATE of one row, or nothing when no column
// changed. ok is false when the message does not tell which row it is.
func (t *table) appendUpdate(dst []byte, c rowChange) (_ []byte, ok bool) {
	full := c.OldKind == 'O'
	if c.OldKind == 0 && !t.keyed {
		return dst, false
	}
	changed := func(i int) bool {
		switch {
		case c.New[i].Kind == valueUnchanged:
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
			dst = t.appendReplace(dst, c, key, full, i)
			if t.Columns[i].Key || full {
				key = append([]value(nil), key...)
				key[i] = c.New[i]
			}
		}
	}
	start := len(dst)
	dst = append(append(append(dst, "UPDATE "...), t.only...), t.target...)
	sep := " SET "
	for i := range t.Columns {
		if t.always[i] || !changed(i) {
			continue
		}
		dst = append(dst, sep...)
		dst = append(dst, t.quoted[i]...)
		dst = append(dst, " = "...)
		dst = appendValue(dst, c.New[i])
		sep = ", "
	}
	if sep == " SET " {
		return dst[:start], true
	}
	dst = t.appendWhere(dst, key, full)
	return append(dst, ";\n"...), true
}

// appendReplace gives an identity column its new value by deleting the row
// and inserting it again, if it has another one.
func (t *table) appendReplace(dst []byte, c rowChange, key []value, full bool, identity int) []byte {
	dst = append(append(append(dst, "WITH d AS (DELETE FROM "...), t.only...), t.target...)
	dst = t.appendWhere(dst, key, full)
	dst = append(dst, " AND "...)
	dst = append(dst, t.quoted[identity]...)
	dst = append(dst, " IS DISTINCT FROM "...)
	dst = appendValue(dst, c.New[identity])
	dst = append(dst, " RETURNING *) INSERT INTO "...)
	dst = append(dst, t.target...)
	dst = append(dst, " ("...)
	dst = append(dst, t.columns...)
	dst = append(dst, ") OVERRIDING SYSTEM VALUE SELECT "...)
	for i := range t.Columns {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if i == identity {
			dst = appendValue(dst, c.New[i])
		} else {
			dst = append(dst, "d."...)
			dst = append(dst, t.quoted[i]...)
		}
	}
	return append(dst, " FROM d;\n"...)
}

// appendDelete writes a DELETE of one row.
func (t *table) appendDelete(dst []byte, c rowChange) []byte {
	dst = append(append(append(dst, "DELETE FROM "...), t.only...), t.target...)
	dst = t.appendWhere(dst, c.Old, c.OldKind == 'O')
	return append(dst, ";\n"...)
}

// appendWhere finds one row: by its key, or by all its columns, of which
// several rows may be the same and any one will do.
func (t *table) appendWhere(dst []byte, key []value, full bool) []byte {
	if full {
		if t.only == "" {
			dst = append(append(dst, " WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM "...), t.target...)
		} else {
			dst = append(append(dst, " WHERE ctid = (SELECT ctid FROM ONLY "...), t.target...)
		}
	}
	sep := " WHERE "
	for i, v := range key {
		if v.Kind == valueUnchanged || !full && !t.Columns[i].Key {
			continue
		}
		dst = append(dst, sep...)
		dst = t.appendMatch(dst, i, v, full)
		sep = " AND "
	}
	if full {
		dst = append(dst, " LIMIT 1)"...)
	}
	return dst
}

func (t *table) appendMatch(dst []byte, i int, v value, full bool) []byte {
	name := t.quoted[i]
	if v.Kind == valueNull {
		dst = append(dst, name...)
		if t.Columns[i].TypeOID < firstUserOID {
			return append(dst, " IS NULL"...)
		}
		// IS NULL would be true of a composite value of NULLs too.
		return append(dst, " IS NOT DISTINCT FROM NULL"...)
	}
	kind := matchEqual // a key has equality: its index needs it
	if full {
		kind = t.match[i]
	}
	if kind != matchText {
		dst = append(dst, name...)
		if equal := t.types[i].Equal; equal != "" {
			dst = append(append(append(dst, ' '), equal...), ' ')
		} else {
			dst = append(dst, " = "...)
		}
		dst = v.appendTo(dst)
		if cast := t.types[i].Cast; cast != "" {
			dst = append(append(dst, "::"...), cast...)
		}
		if kind == matchEqual {
			return dst
		}
		dst = append(dst, " AND "...)
	}
	dst = append(dst, "format('%s', "...)
	dst = append(dst, name...)
	dst = append(dst, ") = "...)
	return repo.AppendLiteral(dst, v.Text)
}

func sameValue(a, b value) bool {
	return a.Kind == b.Kind && string(a.Text) == string(b.Text)
}
