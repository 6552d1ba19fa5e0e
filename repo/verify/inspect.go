package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// Content is what a file says of itself: all of it was read and found whole.
type Content struct {
	Header segment.Header
	Ended  time.Time       // when the file was complete; zero: it does not say
	Record catalog.Record  // of a base or globals: the artifact alone
	Strays []string        // of a directory: files that its description does not name
	Text   int64           // of an open segment: the bytes of text up to its last checkpoint
	Frames []segment.Frame // of an open segment, in that text
}

// Inspect reads a whole file by its name alone, checks its framing and
// checksum, and returns what it says of itself. record says what filters made
// it; empty: the name's ending does.
func Inspect(ctx context.Context, r *repo.Repository, name, record string) (Content, error) {
	kind, open, ok := repo.KindOfName(name)
	if !ok {
		return Content{}, &repo.FormatError{File: name, Reason: "is no file of a repository"}
	}
	if repo.IsDirName(name) {
		return inspectDir(ctx, r, name, record)
	}
	f, err := os.Open(r.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = &repo.MissingFileError{Name: name}
	}
	if err != nil {
		return Content{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Content{}, err
	}
	return inspectFile(ctx, r, f, file{kind: kind, name: name, record: record, open: open, changed: info.ModTime().UTC(), limit: -1})
}

// file is a file to be inspected.
type file struct {
	kind         catalog.Kind
	name, record string
	open         bool
	changed      time.Time // when it last was; zero: nobody knows
	limit        int64     // how many of the stored bytes of an open segment count; negative: as many as are good
}

func inspectFile(ctx context.Context, r *repo.Repository, bytes io.Reader, f file) (Content, error) {
	guess := filter.RecordOfName(repo.SealedName(f.name))
	chain, err := r.FileChain(ctx, cmp.Or(f.record, guess))
	if err != nil {
		return Content{}, err
	}
	stored := newDigest()
	src := io.Reader(&contextReader{ctx, bytes})
	if f.limit >= 0 {
		src = io.LimitReader(src, f.limit)
	}
	text, err := r.OpenText(f.name, chain, io.TeeReader(src, stored))
	if err != nil {
		return Content{}, err
	}
	defer text.Close()
	c := Content{}
	var t segment.Trailer
	if f.kind == catalog.KindSegment {
		c, t, err = inspectSegment(f.name, text, f.open, f.limit < 0)
	} else {
		c.Header, t, err = inspectDump(f.kind, f.name, text)
	}
	if err != nil {
		return c, err
	}
	// Frames behind the text, or bytes that no frame needs.
	if _, err := io.Copy(stored, src); err != nil {
		return c, err
	}
	h := c.Header
	record := f.record
	if record == "" {
		record = guess
		// The header knows levels, and which key. A file that was written anew
		// through other filters has another ending.
		if own, err := r.FileChain(ctx, h.Filters); err == nil && own.Extension() == chain.Extension() {
			record = h.Filters
		}
	}
	c.Ended = t.Finished
	a := &c.Record.Artifact
	*a = catalog.Artifact{Kind: f.kind, State: catalog.StateSealed, Name: f.name, SystemID: h.SystemID, Timeline: h.Timeline,
		Database: h.Database, Start: h.Start, End: t.End, CreatedAt: h.Created, FinishedAt: t.Finished,
		Commits: catalog.Commits{FirstCommitAt: t.FirstCommit, LastCommitAt: t.LastCommit, Transactions: t.Transactions, MinXID: t.MinXID,
			MaxXID: t.MaxXID}, ReachedAt: t.Reached, Bytes: stored.n, TextBytes: t.TextBytes, SHA256: stored.sum(),
		TextSHA256: t.TextSHA256, Filters: record, ServerVersion: h.Server, Format: "plain"}
	if f.kind != catalog.KindSegment {
		a.ReachedAt = h.At
	}
	if f.open {
		a.State = catalog.StateOpen
	} else if a.FinishedAt.IsZero() { // a file of an earlier version
		a.FinishedAt = f.changed
	}
	return c, nil
}

// digest counts and hashes what is written to it.
type digest struct {
	hash.Hash
	n int64
}

func newDigest() *digest { return &digest{Hash: sha256.New()} }

func (d *digest) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.Hash.Write(p)
}

func (d *digest) sum() string { return hex.EncodeToString(d.Sum(nil)) }

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

// inspectSegment reads a segment and derives what its writer told the catalog.
// Of an open one what counts is what stands before its last checkpoint; cut
// says that anything may follow.
func inspectSegment(name string, text io.Reader, open, cut bool) (c Content, t segment.Trailer, err error) {
	sum := newDigest()
	if open {
		text = io.TeeReader(text, sum)
	}
	reader, err := segment.NewReader(name, text, open)
	if err != nil {
		return c, t, err
	}
	c.Header = reader.Header
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
			since, c.Text, whole = segment.Stats{}, reader.Offset(), index.State()
		}
	}
	if !open {
		all.Add(since)
		t = reader.Trailer
		c.Record.Tables = t.Tables
	} else {
		t = all.Trailer()
		t.TextBytes, t.TextSHA256 = sum.n, sum.sum()
		c.Record.Tables = t.Tables
		index.Restore(whole)
		c.Frames = index.Frames(t.Tables)
	}
	c.Record.Points, c.Record.Gaps = all.Points, all.Gaps
	return c, t, nil
}

// inspectDump reads a base or globals file, counts its rows, and makes sure
// that the tool which wrote it came to its end.
func inspectDump(kind catalog.Kind, name string, text io.Reader) (segment.Header, segment.Trailer, error) {
	r, err := dump.NewReader(kind, name, text)
	if err != nil {
		return segment.Header{}, segment.Trailer{}, err
	}
	var counts []catalog.TableCount
	for {
		item, err := r.Next()
		if err != nil {
			return r.Header, r.Trailer, err
		}
		if item.Kind == segment.End {
			break
		}
		if item.Kind == segment.CopyBlock {
			count, err := r.CountCopy(item)
			if err != nil {
				return r.Header, r.Trailer, err
			}
			counts = append(counts, count)
		}
	}
	switch {
	case !r.Complete:
		return r.Header, r.Trailer, r.Failf("the line that says that the dump is complete is missing: it is cut off")
	case kind == catalog.KindBase && !slices.Equal(counts, r.Trailer.Tables):
		return r.Header, r.Trailer, r.Failf("the rows of its tables are not those that the trailer counts")
	case r.Trailer.End != r.Header.Start:
		return r.Header, r.Trailer, r.Failf("its point is %s at the top and %s at the end", r.Header.Start, r.Trailer.End)
	}
	return r.Header, r.Trailer, nil
}

// inspectDir reads a base that is a directory, and every file in it.
func inspectDir(ctx context.Context, r *repo.Repository, name, record string) (c Content, err error) {
	d, err := r.OpenDirNamed(ctx, name, cmp.Or(record, filter.RecordOfName(name)))
	if err != nil {
		return c, err
	}
	stored, strays, err := d.CheckFiles(ctx)
	if err != nil {
		return c, err
	}
	h, t := d.Header, d.Trailer
	if record == "" {
		record = d.Filters(ctx)
	}
	c = Content{Header: h, Ended: t.Finished, Strays: strays}
	c.Record.Artifact = catalog.Artifact{Kind: catalog.KindBase, State: catalog.StateSealed, Name: name, SystemID: h.SystemID,
		Timeline: h.Timeline, Database: h.Database, Start: h.Start, End: t.End, CreatedAt: h.Created, FinishedAt: t.Finished,
		ReachedAt: h.At, Bytes: stored, SHA256: d.SHA256(), Filters: record, ServerVersion: h.Server, Format: "directory"}
	if t.Finished.IsZero() {
		c.Record.Artifact.FinishedAt = d.DescribedAt()
	}
	return c, nil
}
