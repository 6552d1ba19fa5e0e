package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// content is what a file says of itself: all of it was read and found whole.
type content struct {
	header segment.Header
	ended  time.Time       // when the file was complete; zero: it does not say
	record catalog.Record  // of a base or globals: the artifact alone
	strays []string        // of a directory: files that its description does not name
	reread int64           // of an open segment: the text up to its last checkpoint
	frames []segment.Frame // of an open segment, in that text
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
	stem, ending, _ := strings.Cut(rest, ".")
	chain, err := filter.ParseRecord(filter.RecordOfName(rest), func(n int) (filter.Filter, error) {
		return filter.Filter{Name: "shell", Number: n}, nil
	})
	if err != nil {
		return "", false, false
	}
	form := strings.TrimSuffix("."+ending, chain.Extension())
	if form == dirSuffix {
		return catalog.KindBase, false, !open && strings.HasPrefix(stem, "base-")
	}
	switch {
	case form != ".sql":
	case strings.HasPrefix(stem, segmentPrefix):
		return catalog.KindSegment, open, true
	case strings.HasPrefix(stem, "base-"):
		return catalog.KindBase, false, !open
	case strings.HasPrefix(stem, "globals-"):
		return catalog.KindGlobals, false, !open
	}
	return "", false, false
}

// isDirName tells a base that is a directory by its name.
func isDirName(name string) bool {
	_, ending, _ := strings.Cut(name, ".")
	return strings.HasPrefix("."+ending+".", dirSuffix+".")
}

// inspect reads a whole file by its name alone, checks its framing and
// checksum, and returns what it says of itself. record says what filters made
// it; empty: the name's ending does. limit, if not negative, is how many of the
// stored bytes of an open segment count.
func (r *Repository) inspect(ctx context.Context, name, record string, limit int64) (content, error) {
	kind, open, ok := kindOfName(name)
	if !ok {
		return content{}, &FormatError{File: name, Reason: "is no file of a repository"}
	}
	if isDirName(name) {
		return r.inspectDir(ctx, name, record)
	}
	f, at, err := r.openNamed(name)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	return r.inspectFile(ctx, f, at, kind, name, record, open, limit)
}

// openNamed opens a file's stored bytes. It also tells when the file was last
// changed, if that is known.
func (r *Repository) openNamed(name string) (io.ReadCloser, time.Time, error) {
	if r.remote != nil {
		f, err := r.remote.open(name)
		return f, time.Time{}, err
	}
	f, err := os.Open(r.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = &MissingFileError{name}
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, time.Time{}, err
	}
	return f, info.ModTime().UTC(), nil
}

func (r *Repository) inspectFile(ctx context.Context, f io.Reader, changed time.Time, kind catalog.Kind, name, record string, open bool, limit int64) (content,
	error) {
	guess := filter.RecordOfName(strings.TrimSuffix(name, openSuffix))
	chain, err := r.fileChain(ctx, cmp.Or(record, guess))
	if err != nil {
		return content{}, err
	}
	var stored hashCounter
	stored.reset(nil)
	src := io.Reader(&contextReader{ctx, f})
	if limit >= 0 {
		src = io.LimitReader(src, limit)
	}
	filtered, err := r.openFilters(name, chain, io.TeeReader(src, &stored))
	if err != nil {
		return content{}, readFault(name, err)
	}
	defer filtered.Close()
	text := &inFile{filtered, name}
	c := content{}
	a := &c.record.Artifact
	var t segment.Trailer
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
	if record == "" {
		record = guess
		// The header knows levels, and which key. A file that was written anew
		// through other filters has another ending.
		if own, err := r.fileChain(ctx, h.Filters); err == nil && own.Extension() == chain.Extension() {
			record = h.Filters
		}
	}
	c.ended = t.Finished
	*a = catalog.Artifact{Kind: kind, State: catalog.StateSealed, Name: name, SystemID: h.SystemID, Timeline: h.Timeline,
		Database: h.Database, Start: h.Start, End: t.End, CreatedAt: h.Created, FinishedAt: t.Finished,
		FirstCommitAt: t.FirstCommit, LastCommitAt: t.LastCommit, ReachedAt: t.Reached, Transactions: t.Transactions,
		MinXID: t.MinXID, MaxXID: t.MaxXID, Bytes: stored.n.Load(), TextBytes: t.TextBytes, SHA256: stored.sum(),
		TextSHA256: t.TextSHA256, Filters: record, ServerVersion: h.Server, Format: "plain"}
	if kind != catalog.KindSegment {
		a.ReachedAt = h.At
	}
	if open {
		a.State = catalog.StateOpen
	} else if a.FinishedAt.IsZero() { // a file of an earlier version
		a.FinishedAt = changed
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
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fs.ErrPermission) ||
		isFilterFault(err) || errors.As(err, new(*FormatError)) {
		return err
	}
	return &FormatError{File: name, Reason: err.Error()}
}

// inspectSegment reads a segment and derives what its writer told the catalog.
// Of an open one what counts is what stands before its last checkpoint; cut
// says that anything may follow.
func inspectSegment(name string, text io.Reader, open, cut bool) (c content, t segment.Trailer, err error) {
	var sum hashCounter
	sum.reset(nil)
	if open {
		text = io.TeeReader(text, &sum)
	}
	reader, err := segment.NewReader(name, text, open)
	if err != nil {
		return c, t, err
	}
	c.header = reader.Header
	var all, since segment.Stats // up to the last checkpoint, and behind it
	all.End = reader.Header.Start
	var index segment.Index
	reader.Collect(&index)
	whole := index.State() // up to the last checkpoint
	var tx segment.Tx
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
		case segment.Begin:
			tx, foreign = item.Tx, false
		case segment.Origin:
			foreign = true
		case segment.RestorePoint:
			since.Points = append(since.Points, catalog.RestorePoint{Name: item.Text, LSN: tx.Commit, XID: tx.XID, At: tx.At})
		case segment.Gap:
			at := catalog.Gap{Kind: catalog.GapSchema, From: reader.Reached(), To: reader.Reached(), DetectedAt: tx.At, Reason: item.Text}
			if !slices.Contains(since.Gaps, at) {
				since.Gaps = append(since.Gaps, at)
			}
		case segment.RowChange, segment.TruncateTable, segment.CopyBlock:
			if open { // a sealed one has the counts in its trailer
				err := reader.CountRows(item, func(c catalog.TableCount) {
					since.Add(segment.Stats{Tables: map[string]catalog.TableCount{c.Table: c}})
				})
				if err != nil {
					if cut && item.Kind == segment.CopyBlock {
						continue // Next says it again
					}
					return c, t, err
				}
			}
		case segment.Commit:
			one := segment.Stats{End: item.LSN, Transactions: 1, MinXID: tx.XID, MaxXID: tx.XID}
			if !foreign {
				one.FirstCommit, one.LastCommit = tx.At, tx.At
			}
			since.Add(one)
		case segment.Reached:
			since.Add(segment.Stats{End: item.LSN, Reached: item.Time})
			all.Add(since)
			since, c.reread, whole = segment.Stats{}, reader.Offset(), index.State()
		}
	}
	if !open {
		all.Add(since)
		t = reader.Trailer
		c.record.Tables = t.Tables
	} else {
		t = all.Trailer()
		t.TextBytes, t.TextSHA256 = sum.n.Load(), sum.sum()
		c.record.Tables = t.Tables
		index.Restore(whole)
		c.frames = index.Frames(t.Tables)
	}
	c.record.Points, c.record.Gaps = all.Points, all.Gaps
	return c, t, nil
}

// inspectDump reads a base or globals file, counts its rows, and makes sure
// that the tool which wrote it came to its end.
func inspectDump(kind catalog.Kind, name string, text io.Reader) (segment.Header, segment.Trailer, error) {
	r, err := newDumpReader(kind, name, text)
	if err != nil {
		return segment.Header{}, segment.Trailer{}, err
	}
	complete := false
	var counts []catalog.TableCount
	for {
		item, piece, err := r.script.next(r.lines)
		if err != nil {
			return r.Header, r.Trailer, r.lines.Fault(err)
		}
		if piece == pieceOther {
			line := string(r.script.text)
			complete = complete || line == dumpEnds[kind]
			if line == segment.TrailerLine {
				break
			}
		}
		if item.Kind == segment.CopyBlock {
			count, err := r.lines.CountCopy(item.SQL, io.Discard)
			if err != nil {
				return r.Header, r.Trailer, err
			}
			counts = append(counts, count)
		}
	}
	if r.Trailer, err = r.lines.ReadTrailer(); err != nil {
		return r.Header, r.Trailer, err
	}
	switch {
	case !complete:
		return r.Header, r.Trailer, r.lines.Failf("the line %q is missing: the dump is cut off", strings.TrimSpace(dumpEnds[kind]))
	case kind == catalog.KindBase && !slices.Equal(counts, r.Trailer.Tables):
		return r.Header, r.Trailer, r.lines.Failf("the rows of its tables are not those that the trailer counts")
	case r.Trailer.End != r.Header.Start:
		return r.Header, r.Trailer, r.lines.Failf("its point is %s at the top and %s at the end", r.Header.Start, r.Trailer.End)
	}
	return r.Header, r.Trailer, nil
}

// inspectDir reads a base that is a directory, and every file in it.
func (r *Repository) inspectDir(ctx context.Context, name, record string) (c content, err error) {
	guess := filter.RecordOfName(name)
	if r.remote != nil {
		if err := r.remote.fetchDir(r.Path(name), name); err != nil {
			return c, err
		}
	}
	chain, err := r.fileChain(ctx, cmp.Or(record, guess))
	if err != nil {
		return c, err
	}
	d, err := r.openDir(name, chain.Sealing(), "")
	if err != nil {
		return c, err
	}
	total := int64(0)
	for _, f := range d.files {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		if err := d.copy(io.Discard, f); err != nil {
			return c, err
		}
		info, err := os.Stat(d.path(f.name))
		if err != nil {
			return c, err
		}
		total += info.Size()
	}
	if d.find("toc.dat") == nil {
		return c, &FormatError{File: name, Reason: "holds no toc.dat: the dump is cut off"}
	}
	names, err := fileNames(r.Path(name))
	if err != nil {
		return c, err
	}
	for _, n := range names {
		if n != describedBy(name) && d.find(strings.TrimSuffix(n, d.sealing.Extension())) == nil {
			c.strays = append(c.strays, name+"/"+n)
		}
	}
	h := d.header
	if record == "" {
		record = h.Filters
		if own, err := r.fileChain(ctx, record); err == nil && own.Sealing().Extension() != d.sealing.Extension() {
			record = append(unsealed(own), d.sealing...).String()
		}
	}
	c.header, c.ended = h, d.trailer.Finished
	c.record.Artifact = catalog.Artifact{Kind: catalog.KindBase, State: catalog.StateSealed, Name: name, SystemID: h.SystemID,
		Timeline: h.Timeline, Database: h.Database, Start: h.Start, End: d.trailer.End, CreatedAt: h.Created,
		FinishedAt: d.trailer.Finished, ReachedAt: h.At, Bytes: total, SHA256: d.sum, Filters: record, ServerVersion: h.Server, Format: "directory"}
	if c.record.Artifact.FinishedAt.IsZero() {
		if info, err := os.Stat(d.path(dirDescribes)); err == nil {
			c.record.Artifact.FinishedAt = info.ModTime().UTC()
		}
	}
	return c, nil
}

// parseDir reads a base directory's description and checks its checksum.
func parseDir(name string, text []byte) (d dirContents, err error) {
	r := segment.NewLines(name+"/"+dirDescribes, bytes.NewReader(text))
	if d.header, err = r.ReadHeader(catalog.KindBase); err != nil {
		return d, err
	}
	for {
		line, err := r.ReadLine()
		if err != nil {
			return d, r.Fault(err)
		}
		if string(line)+"\n" == segment.TrailerLine {
			break
		}
		rest, ok := strings.CutPrefix(string(line), dirFilePrefix)
		parts := strings.SplitN(rest, " ", 3)
		if !ok || len(parts) != 3 {
			return d, r.Failf("is malformed")
		}
		f := dirFile{sum: parts[1]}
		var err1, err2 error
		f.size, err1 = strconv.ParseInt(parts[0], 10, 64)
		f.name, err2 = segment.Unquote(parts[2])
		if err1 != nil || err2 != nil || f.name != filepath.Base(f.name) {
			return d, r.Failf("is malformed")
		}
		d.files = append(d.files, f)
	}
	d.trailer, err = r.ReadTrailer()
	return d, err
}
