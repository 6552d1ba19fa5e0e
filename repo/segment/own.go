package segment

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"pg_scribe/catalog"
)

// framing reads a line that only pg_scribe writes.
func (r *Reader) framing(item Item, line []byte) (Item, error) {
	switch line[0] {
	case 'B':
		return r.begin(item, string(line[len(beginPrefix):]))
	case 'C':
		return r.commit(item, string(line[len(commitPrefix):]))
	default:
		return r.own(item, string(line[len(ownPrefix):]))
	}
}

// parseBegin reads "XID commit LSN at TIME".
func parseBegin(rest string) (Tx, error) {
	xidText, rest, _ := strings.Cut(rest, " commit ")
	lsnText, timeText, _ := strings.Cut(rest, " at ")
	xid, err1 := strconv.ParseUint(xidText, 10, 32)
	lsn, err2 := catalog.ParseLSN(lsnText)
	at, err3 := parseTime(timeText)
	return Tx{uint32(xid), lsn, at}, cmp.Or(err1, err2, err3)
}

func (r *Reader) begin(item Item, rest string) (Item, error) {
	tx, err := parseBegin(rest)
	switch {
	case err != nil:
		return item, r.lines.Failf("malformed BEGIN")
	case r.inTx:
		return item, r.lines.Failf("a transaction begins within another")
	case r.expect != 0 && r.expect != tx.Commit:
		return item, r.lines.Failf("a frame begins with LSN %s, of which its index says %s", tx.Commit, r.expect)
	case tx.Commit < r.at:
		return item, r.lines.Failf("a transaction of LSN %s follows what reaches up to %s", tx.Commit, r.at)
	}
	r.inTx, r.at, r.tx, r.expect = true, tx.Commit, tx, 0
	r.txs++
	if r.index != nil {
		r.index.Transaction(tx)
	}
	item.Kind, item.Tx = Begin, r.tx
	return item, nil
}

// commit reads the LSN behind the commit record.
func (r *Reader) commit(item Item, rest string) (Item, error) {
	lsn, err := catalog.ParseLSN(rest)
	switch {
	case err != nil:
		return item, r.lines.Failf("malformed COMMIT")
	case !r.inTx:
		return item, r.lines.Failf("a COMMIT without a BEGIN")
	case lsn <= r.at:
		return item, r.lines.Failf("a transaction of LSN %s ends at %s", r.at, lsn)
	}
	r.inTx, r.at, r.tx = false, lsn, Tx{}
	item.Kind, item.LSN = Commit, lsn
	return item, nil
}

// own reads one of pg_scribe's comment lines, given without its prefix.
func (r *Reader) own(item Item, line string) (Item, error) {
	word, rest, _ := strings.Cut(line, " ")
	own, known := ownWords[word]
	switch {
	case !known || r.Header.Format < own.since:
		return item, r.lines.Failf("unknown line %q: the file is damaged, or this version of pg_scribe is too old for it", ownPrefix+word)
	case own.where == insideTx && !r.inTx, own.where == betweenTx && r.inTx:
		return item, r.lines.Failf("a line %q stands where none may", word)
	}
	var err error
	switch word {
	case "ddl":
		return r.ddl(item, rest)
	case "end":
		return r.end(item)
	case "+": // of a later version, and not needed
		item.Kind = passedOver
	case "frame":
		item.Kind = FrameStart
		if r.index != nil {
			r.index.Begin(item.Offset, item.Line)
		}
		if rest != "" {
			err = errors.New("it has no value")
		}
	case "by":
		item.Kind = Author
		err = quotedWords(rest, &item.Author.User, &item.Author.Application, &item.Author.Client)
	case "object":
		item.Kind = Object
		if item.Object, err = parseFingerprint(rest); r.index != nil {
			r.index.Command()
		}
	case "origin":
		lsn, name, _ := strings.Cut(rest, " ")
		item.Kind = Origin
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil {
			item.Text, err = Unquote(name)
		}
	case "mark":
		item.Kind = RestorePoint
		item.Text, err = Unquote(rest)
	case "gap":
		item.Kind = Gap
		item.Text, err = Unquote(rest)
	case "reached":
		lsn, at, timed := strings.Cut(rest, " at ")
		item.Kind = Reached
		if item.LSN, err = catalog.ParseLSN(lsn); err == nil && timed {
			item.Time, err = parseTime(at)
		}
		if err == nil && item.LSN < r.at {
			return item, r.lines.Failf("the stream goes back from %s to %s", r.at, item.LSN)
		}
		r.at = item.LSN
	}
	if err != nil {
		return item, r.lines.Failf("malformed line %q: %v", word, err)
	}
	return item, nil
}

// Where pg_scribe's comment lines may stand.
const (
	anywhere = iota
	insideTx
	betweenTx
)

// ownWords are those lines, and the version of the format that brought them.
var ownWords = map[string]struct{ where, since int }{
	"ddl": {insideTx, 1}, "origin": {insideTx, 1}, "mark": {insideTx, 1}, "gap": {anywhere, 1}, "reached": {betweenTx, 1}, "end": {betweenTx, 1},
	"frame": {betweenTx, 2}, "by": {insideTx, 2}, "object": {insideTx, 2}, "+": {anywhere, 2},
}

// quotedWords reads quoted texts with a blank between them, and nothing else.
func quotedWords(rest string, into ...*string) error {
	rest, err := cutQuotedWords(rest, into...)
	if err == nil && rest != "" {
		err = strconv.ErrSyntax
	}
	return err
}

// cutQuotedWords reads quoted texts with a blank between them, and returns what
// follows.
func cutQuotedWords(rest string, into ...*string) (string, error) {
	for i, s := range into {
		if i > 0 {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, " "); !ok {
				return rest, strconv.ErrSyntax
			}
		}
		word, err := strconv.QuotedPrefix(rest)
		if err == nil && word[0] != '"' {
			err = strconv.ErrSyntax
		}
		if err != nil {
			return rest, err
		}
		if *s, err = strconv.Unquote(word); err != nil {
			return rest, err
		}
		rest = rest[len(word):]
	}
	return rest, nil
}

// objectPrefix begins the line of an object, sumWord stands behind its names.
const (
	objectPrefix = ownPrefix + "object "
	sumWord      = " sha256 "
)

// ReadObject reads the line of an object, which a base has too; ok is false if the
// line is another one.
func ReadObject(line []byte) (f Fingerprint, ok bool, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(objectPrefix))
	if ok {
		f, err = parseFingerprint(string(rest))
	}
	return f, ok, err
}

// parseFingerprint reads "CLASS" "IDENTITY" sha256 HEX, and the description if
// there is one.
func parseFingerprint(rest string) (f Fingerprint, err error) {
	if rest, err = cutQuotedWords(rest, &f.Class, &f.Identity); err != nil {
		return f, err
	}
	rest, ok := strings.CutPrefix(rest, sumWord)
	if !ok {
		return f, errors.New("it has no checksum")
	}
	f.SHA256, f.Description, ok = strings.Cut(rest, " ")
	if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != f.SHA256 {
		return f, errors.New("its checksum is malformed")
	}
	if ok && NewFingerprint(f.Class, f.Identity, []byte(f.Description)) != f {
		return f, errors.New("its description has another checksum")
	}
	if ok && (f.Description == "" || f.Description[0] != '{' || strings.ContainsFunc(f.Description, func(r rune) bool { return r < ' ' || r > '~' })) {
		return f, errors.New("its description is no JSON in ASCII")
	}
	return f, nil
}

// end reads the trailer and compares it with what was read.
func (r *Reader) end(item Item) (Item, error) {
	if r.open {
		return item, r.lines.Failf("an open segment has a trailer")
	}
	var err error
	if r.Trailer, err = r.lines.ReadTrailer(); err != nil {
		return item, err
	}
	if r.Trailer.Transactions != r.txs || r.Trailer.End < r.at {
		return item, r.lines.Failf("the trailer tells of %d transactions up to %s, the text holds %d up to %s",
			r.Trailer.Transactions, r.Trailer.End, r.txs, r.at)
	}
	if r.index != nil && r.Header.Format >= 2 {
		if err := r.index.Check(&r.Trailer); err != nil {
			return item, r.lines.Failf("%v", err)
		}
	}
	item.Kind, item.LSN, item.Time = End, r.Trailer.End, r.Trailer.Reached
	return item, nil
}

// ddl reads "LINES TAG" and that many lines of one statement.
func (r *Reader) ddl(item Item, rest string) (Item, error) {
	count, tag, _ := strings.Cut(rest, " ")
	n, err1 := strconv.ParseUint(count, 10, 31)
	tag, err2 := unplain(tag)
	if err1 != nil || err2 != nil || n < 1 {
		return item, r.lines.Failf("malformed ddl line")
	}
	item.Kind, item.Tag = DDL, tag
	if r.index != nil && !ofState(tag) {
		r.index.Command()
	}
	var sql []byte
	for range n {
		line, err := r.lines.ReadLine()
		if err != nil {
			return item, r.lines.Fault(err)
		}
		if isOwn(line) {
			return item, r.lines.Failf("a statement of %d lines is cut off", n)
		}
		sql = append(sql, line...)
		sql = append(sql, '\n')
	}
	item.SQL = sql[:len(sql)-1]
	if !bytes.HasSuffix(item.SQL, []byte{';'}) {
		return item, r.lines.Failf("a statement does not end with its %d lines", n)
	}
	return item, nil
}
