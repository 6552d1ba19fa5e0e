package render

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/charset"
	"pg_scribe/stream/pgoutput"
)

// A Converter turns a value of a type from its binary form to text.
type Converter interface {
	Text(oid uint32, b []byte) ([]byte, error)
}

// values makes text of a row's values, in the database's encoding.
type values struct {
	out      *writer
	texts    Converter         // of values that come in binary; nil: none do
	encoding *charset.Encoding // nil: any bytes are text
	pieces   int               // large values of this row that were written in pieces
	mended   map[string]bool   // columns of this transaction with bytes that are none
}

// The types whose binary form is their text, and bytea.
const byteaOID = 17

var textOIDs = map[uint32]bool{19: true, 25: true, 114: true, 1042: true, 1043: true}

// pieceBytes is how much of a bytea stands in one statement: a statement has a
// limit of 1 GB, and each is held in memory more than once.
const pieceBytes = 32 << 20

// resolve makes text of a row's values.
func (v *values) resolve(t *table, row []pgoutput.Value) error {
	if v.texts != nil {
		if err := v.convert(t, row); err != nil {
			return err
		}
	}
	v.mend(t, row)
	return nil
}

// convert turns values in binary form into text. A large bytea is written in
// pieces before the row, which then puts them together.
func (v *values) convert(t *table, row []pgoutput.Value) error {
	for i := range row {
		value := &row[i]
		if value.Kind != pgoutput.Binary {
			continue
		}
		oid := t.Columns[i].TypeOID
		value.Kind = pgoutput.Text
		switch {
		case oid == byteaOID && len(value.Text) > pieceBytes:
			v.out.open()
			v.appendPieces(value)
		case oid == byteaOID:
			value.Text = hex.AppendEncode([]byte(`\x`), value.Text)
		case textOIDs[oid]:
		default:
			var err error
			if value.Text, err = v.texts.Text(oid, value.Text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *values) appendPieces(value *pgoutput.Value) {
	if v.pieces == 0 {
		v.out.text = segment.AppendPieceTable(v.out.text)
	}
	v.pieces++
	for n, b := 0, value.Text; len(b) > 0; n++ {
		size := min(len(b), pieceBytes)
		v.out.text = segment.AppendPiece(v.out.text, v.pieces, n, b[:size])
		b = b[size:]
	}
	value.Kind = valuePieces
	value.Text = strconv.AppendInt(nil, int64(v.pieces), 10)
}

func (v *values) endPieces() {
	if v.pieces > 0 {
		v.out.text = segment.AppendPieceEnd(v.out.text)
		v.pieces = 0
	}
}

// mend replaces what is no text in a row, and remembers its table for a mark at
// the end of the transaction: a COPY block has no room for one.
func (v *values) mend(t *table, row []pgoutput.Value) {
	if v.encoding == nil {
		return
	}
	for i := range row {
		if value := &row[i]; value.Kind == pgoutput.Text && !v.encoding.Valid(value.Text) {
			value.Text = v.encoding.AppendMended(nil, value.Text)
			if v.mended == nil {
				v.mended = map[string]bool{}
			}
			v.mended["column "+sqltext.Bare(t.Columns[i].Name)+" of "+sqltext.Bare(t.Schema)+"."+sqltext.Bare(t.Name)] = true
		}
	}
}

// mark writes the marks of the transaction's tables with such values.
func (v *values) mark() {
	for _, name := range slices.Sorted(maps.Keys(v.mended)) {
		v.out.gap(v.encoding.Reason(name))
	}
	clear(v.mended)
}
