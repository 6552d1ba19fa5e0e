package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// content is what a file says of itself: all of it was read and found whole.
type content struct {
	header Header
	ended  time.Time      // when the file was complete; zero: it does not say
	record catalog.Record // of a base or globals: the artifact alone
	strays []string       // of a directory: files that its description does not name
	reread int64          // of an open segment: the text up to its last checkpoint
}

// dumpEnds is the line with which pg_dump and pg_dumpall say that they are
// done.
var dumpEnds = map[catalog.Kind]string{
	catalog.KindBase:    "-- PostgreSQL database dump complete\n",
	catalog.KindGlobals: "-- PostgreSQL database cluster dump complete\n",
}

// kindOfName tells what a file's name promises. ok is false for names that no
// finished file or open segment has.
func kindOfName(name string) (kind catalog.Kind, open, ok bool) {
	rest, open := strings.CutSuffix(name, openSuffix)
	if dir, isDir := strings.CutSuffix(rest, dirSuffix); isDir {
		return catalog.KindBase, false, !open && strings.HasPrefix(dir, "base-")
	}
	stem := strings.TrimSuffix(rest, codecOfFile(rest).Extension())
	if !strings.HasSuffix(stem, ".sql") {
		return "", false, false
	}
	switch {
	case strings.HasPrefix(stem, "incremental-"):
		return catalog.KindSegment, open, true
	case strings.HasPrefix(stem, "base-"):
		return catalog.KindBase, false, !open
	case strings.HasPrefix(stem, "globals-"):
		return catalog.KindGlobals, false, !open
	}
	return "", false, false
}

// inspect reads a whole file by its name alone, checks its framing and
// checksum, and returns what it says of itself. limit, if not negative, is how
// many of the stored bytes of an open segment count.
func (r *Repository) inspect(ctx context.Context, name string, limit int64) (content, error) {
	kind, open, ok := kindOfName(name)
	if !ok {
		return content{}, &FormatError{File: name, Reason: "is no file of a repository"}
	}
	if strings.HasSuffix(name, dirSuffix) {
		return r.inspectDir(ctx, name)
	}
	f, err := os.Open(r.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, &MissingFileError{name}
	}
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	return inspectFile(ctx, f, kind, name, open, limit)
}

func inspectFile(ctx context.Context, f *os.File, kind catalog.Kind, name string, open bool, limit int64) (content, error) {
	info, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	var stored hashCounter
	stored.reset(nil)
	src := io.Reader(&contextReader{ctx, f})
	if limit >= 0 {
		src = io.LimitReader(src, limit)
	}
	text, err := codecOfFile(strings.TrimSuffix(name, openSuffix)).newReader(io.TeeReader(src, &stored))
	if err != nil {
		return content{}, readFault(name, err)
	}
	defer text.Close()
	c := content{}
	a := &c.record.Artifact
	var t Trailer
	if kind == catalog.KindSegment {
		c, t, err = inspectSegment(name, text, open, limit < 0)
	} else {
		c.header, t, err = inspectDump(kind, name, text)
	}
	if err != nil {
		return c, err
	}
	// Frames behind the text, or bytes that no frame needs.
	if _, err := io.Copy(&stored, src); err != nil {
		return c, err
	}
	h := c.header
	c.ended = t.Finished
	*a = catalog.Artifact{Kind: kind, State: catalog.StateSealed, Name: name, SystemID: h.SystemID, Timeline: h.Timeline,
		Database: h.Database, Start: h.Start, End: t.End, CreatedAt: h.Created, FinishedAt: t.Finished,
		FirstCommitAt: t.FirstCommit, LastCommitAt: t.LastCommit, ReachedAt: t.Reached, Transactions: t.Transactions,
		MinXID: t.MinXID, MaxXID: t.MaxXID, Bytes: stored.n.Load(), TextBytes: t.TextBytes, SHA256: stored.sum(),
		TextSHA256: t.TextSHA256, Filters: h.Filters, ServerVersion: h.Server, Format: "plain"}
	if kind != catalog.KindSegment {
		a.ReachedAt = h.At
	}
	if open {
		a.State = catalog.StateOpen
	} else if a.FinishedAt.IsZero() { // a file of an earlier version
		a.FinishedAt = info.ModTime().UTC()
	}
	return c, nil
}

// contextReader gives up when the context is over.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// readFault names the file of what its decompressor says.
func readFault(name string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return &FormatError{File: name, Reason: err.Error()}
}

// inspectSegment reads a segment and derives what its writer told the catalog.
// Of an open one what counts is what stands before its last checkpoint; cut
// says that anything may follow.
func inspectSegment(name string, text io.Reader, open, cut bool) (c content, t Trailer, err error) {
	var sum hashCounter
	sum.reset(nil)
	if open {
		text = io.TeeReader(text, &sum)
	}
	reader, err := newSegmentReader(name, text, open)
	if err != nil {
		return c, t, err
	}
	c.header = reader.Header
	var all, since Stats // up to the last checkpoint, and behind it
	all.End = reader.Header.Start
	var tx Item
	foreign := false
	for {
		item, err := reader.Next()
		if errors.Is(err, io.EOF) || err != nil && open && cut {
			break // what a dead writer has left half done
		}
		if err != nil {
			return c, t, err
		}
		switch item.Kind {
		case ItemBegin:
			tx, foreign = item, false
		case ItemOrigin:
			foreign = true
		case ItemMark:
			since.Points = append(since.Points, catalog.RestorePoint{Name: item.Text, LSN: tx.LSN, XID: tx.XID, At: tx.Time})
		case ItemGap:
			at := catalog.Gap{Kind: catalog.GapSchema, From: reader.at, To: reader.at, DetectedAt: tx.Time, Reason: item.Text}
			if !slices.Contains(since.Gaps, at) {
				since.Gaps = append(since.Gaps, at)
			}
		case ItemStatement, ItemCopy:
			if open { // a sealed one has the counts in its trailer
				if err := countRows(&since, reader, item); err != nil {
					if cut {
						continue // Next says it again
					}
					return c, t, err
				}
			}
		case ItemCommit:
			one := Stats{End: item.LSN, Transactions: 1, MinXID: tx.XID, MaxXID: tx.XID}
			if !foreign {
				one.FirstCommit, one.LastCommit = tx.Time, tx.Time
			}
			since.Add(one)
		case ItemReached:
			since.Add(Stats{End: item.LSN, Reached: item.Time})
			all.Add(since)
			since, c.reread = Stats{}, reader.offset()
		}
	}
	if !open {
		all.Add(since)
		t = reader.Trailer
		c.record.Tables = t.Tables
	} else {
		t = all.trailer()
		t.TextBytes, t.TextSHA256 = sum.n.Load(), sum.sum()
		c.record.Tables = t.Tables
	}
	c.record.Points, c.record.Gaps = all.Points, all.Gaps
	return c, t, nil
}

// trailer is what the counts say at the end of a segment.
func (s Stats) trailer() Trailer {
	return Trailer{End: s.End, Reached: s.Reached, Transactions: s.Transactions, FirstCommit: s.FirstCommit,
		LastCommit: s.LastCommit, MinXID: s.MinXID, MaxXID: s.MaxXID, Tables: s.tables()}
}

// countRows counts the rows that a statement or COPY block of a segment
// changes, by the table as it is written there.
func countRows(s *Stats, reader *SegmentReader, item Item) error {
	var list []catalog.TableCount
	if item.Kind == ItemCopy {
		rows := &lineCounter{w: io.Discard}
		if _, err := io.Copy(rows, reader.CopyData()); err != nil {
			return err
		}
		list = []catalog.TableCount{{Table: copyTable(item.SQL), Inserted: rows.n}}
	} else {
		list = RowChanges(item.SQL)
	}
	for _, c := range list {
		s.Add(Stats{Tables: map[string]catalog.TableCount{c.Table: c}})
	}
	return nil
}

// RowChanges says what a statement line of a segment counts for, by how it
// begins. Tables are named as they are written there.
func RowChanges(sql []byte) []catalog.TableCount {
	for _, form := range []struct {
		prefix string
		count  catalog.TableCount
	}{
		{"INSERT INTO ", catalog.TableCount{Inserted: 1}},
		{"UPDATE ONLY ", catalog.TableCount{Updated: 1}},
		{"UPDATE ", catalog.TableCount{Updated: 1}},
		{"DELETE FROM ONLY ", catalog.TableCount{Deleted: 1}},
		{"DELETE FROM ", catalog.TableCount{Deleted: 1}},
	} {
		if bytes.HasPrefix(sql, []byte(form.prefix)) {
			form.count.Table = nameAt(sql[len(form.prefix):])
			return []catalog.TableCount{form.count}
		}
	}
	rest, ok := bytes.CutPrefix(sql, []byte("TRUNCATE "))
	if !ok {
		return nil
	}
	rest = bytes.TrimPrefix(rest, []byte("TABLE "))
	var list []catalog.TableCount
	for len(rest) > 0 {
		rest = bytes.TrimPrefix(bytes.TrimLeft(rest, ", "), []byte("ONLY "))
		name := nameAt(rest)
		if name == "" {
			break
		}
		list = append(list, catalog.TableCount{Table: name, Truncated: 1})
		if rest = rest[len(name):]; len(rest) == 0 || rest[0] != ',' {
			break
		}
	}
	return list
}

// nameAt is the qualified name that sql begins with, as it is written.
func nameAt(sql []byte) string {
	quoted := false
	for i, b := range sql {
		switch {
		case b == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(" ,;(", b) >= 0:
			return string(sql[:i])
		}
	}
	return string(sql)
}

// offset is how much of the text was read.
func (r *lineReader) offset() int64 { return r.sumSize + int64(r.pos-r.hashed) }

// inspectDump reads a base or globals file, counts its rows, and makes sure
// that the tool which wrote it came to its end.
func inspectDump(kind catalog.Kind, name string, text io.Reader) (Header, Trailer, error) {
	r, err := newDumpReader(kind, name, text)
	if err != nil {
		return Header{}, Trailer{}, err
	}
	complete := false
	var counts []catalog.TableCount
	for {
		item, piece, err := r.script.next(&r.lineReader)
		if err != nil {
			return r.Header, r.Trailer, r.fault(err)
		}
		if piece == pieceOther {
			line := string(r.script.text)
			complete = complete || line == dumpEnds[kind]
			if line == trailerLine {
				break
			}
		}
		if item.Kind == ItemCopy {
			rows := &lineCounter{w: io.Discard}
			if _, err := io.Copy(rows, r.CopyData()); err != nil {
				return r.Header, r.Trailer, err
			}
			counts = append(counts, catalog.TableCount{Table: copyTable(item.SQL), Inserted: rows.n})
		}
	}
	if r.Trailer, err = r.readTrailer(); err != nil {
		return r.Header, r.Trailer, err
	}
	switch {
	case !complete:
		return r.Header, r.Trailer, r.failf("the line %q is missing: the dump is cut off", strings.TrimSpace(dumpEnds[kind]))
	case kind == catalog.KindBase && !slices.Equal(counts, r.Trailer.Tables):
		return r.Header, r.Trailer, r.failf("the rows of its tables are not those that the trailer counts")
	case r.Trailer.End != r.Header.Start:
		return r.Header, r.Trailer, r.failf("its point is %s at the top and %s at the end", r.Header.Start, r.Trailer.End)
	}
	return r.Header, r.Trailer, nil
}

// inspectDir reads a base that is a directory, and every file in it.
func (r *Repository) inspectDir(ctx context.Context, name string) (c content, err error) {
	text, err := os.ReadFile(filepath.Join(r.Path(name), dirDescribes))
	if errors.Is(err, fs.ErrNotExist) {
		return c, &MissingFileError{name}
	}
	if err != nil {
		return c, err
	}
	d, err := parseDir(name, text)
	if err != nil {
		return c, err
	}
	total := int64(0)
	for _, f := range d.files {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		if err := r.checkDirFile(name, f); err != nil {
			return c, err
		}
		total += f.size
	}
	if d.find("toc.dat") == nil {
		return c, &FormatError{File: name, Reason: "holds no toc.dat: the dump is cut off"}
	}
	names, err := fileNames(r.Path(name))
	if err != nil {
		return c, err
	}
	for _, n := range names {
		if n != dirDescribes && d.find(n) == nil {
			c.strays = append(c.strays, name+"/"+n)
		}
	}
	h, sum := d.header, sha256.Sum256(text)
	c.header, c.ended = h, d.trailer.Finished
	c.record.Artifact = catalog.Artifact{Kind: catalog.KindBase, State: catalog.StateSealed, Name: name, SystemID: h.SystemID,
		Timeline: h.Timeline, Database: h.Database, Start: h.Start, End: d.trailer.End, CreatedAt: h.Created,
		FinishedAt: d.trailer.Finished, ReachedAt: h.At, Bytes: total, SHA256: hex.EncodeToString(sum[:]), Filters: h.Filters,
		ServerVersion: h.Server, Format: "directory"}
	if c.record.Artifact.FinishedAt.IsZero() {
		if info, err := os.Stat(filepath.Join(r.Path(name), dirDescribes)); err == nil {
			c.record.Artifact.FinishedAt = info.ModTime().UTC()
		}
	}
	return c, nil
}

// dirContents is what the description of a base directory says.
type dirContents struct {
	header  Header
	trailer Trailer
	files   []dirFile
}

type dirFile struct {
	name, sum string
	size      int64
}

func (d dirContents) find(name string) *dirFile {
	for i := range d.files {
		if d.files[i].name == name {
			return &d.files[i]
		}
	}
	return nil
}

// parseDir reads a base directory's description and checks its checksum.
func parseDir(name string, text []byte) (d dirContents, err error) {
	r := newLineReader(name+"/"+dirDescribes, bytes.NewReader(text))
	if d.header, err = r.readHeader(catalog.KindBase); err != nil {
		return d, err
	}
	for {
		line, err := r.readLine()
		if err != nil {
			return d, r.fault(err)
		}
		if string(line)+"\n" == trailerLine {
			break
		}
		rest, ok := strings.CutPrefix(string(line), dirFilePrefix)
		parts := strings.SplitN(rest, " ", 3)
		if !ok || len(parts) != 3 {
			return d, r.failf("is malformed")
		}
		f := dirFile{sum: parts[1]}
		var err1, err2 error
		f.size, err1 = strconv.ParseInt(parts[0], 10, 64)
		f.name, err2 = unquote(parts[2])
		if err1 != nil || err2 != nil || f.name != filepath.Base(f.name) {
			return d, r.failf("is malformed")
		}
		d.files = append(d.files, f)
	}
	d.trailer, err = r.readTrailer()
	return d, err
}

func (r *Repository) checkDirFile(dir string, f dirFile) error {
	size, sum, err := fileSum(filepath.Join(r.Path(dir), f.name))
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingFileError{dir + "/" + f.name}
	}
	if err != nil {
		return err
	}
	if size != f.size || sum != f.sum {
		return &FormatError{File: dir, Reason: fmt.Sprintf("is damaged: the checksum of %s is not the stored one", f.name)}
	}
	return nil
}
