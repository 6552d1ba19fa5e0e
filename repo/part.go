package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync/atomic"

	"pg_scribe/catalog"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// Wanted is what is to be read of a segment. The zero value is all.
type Wanted struct {
	Tables []string // whose rows change, named as catalog.TableCount has them; none: all
	// Definitions wants the commands that may define something and the
	// descriptions of objects, and no rows. Tables does not count then.
	Definitions bool
	From        catalog.LSN // of the commit record of the first transaction
	To          catalog.LSN // transactions from there on are not wanted; 0: up to the end
}

// A Part reads a part of a segment, as OpenPart says.
type Part struct {
	*segment.Reader
	read *atomic.Int64
}

// Stored is how many stored bytes were read so far.
func (p *Part) Stored() int64 { return p.read.Load() }

// OpenPart reads what is wanted of a segment, and as little else as its index and
// its filters allow: nothing that is wanted is left out, and other transactions may
// come. A segment of format 1, one that is open, and one that is encrypted, was
// rewritten or goes through a command is read as a whole. Of a sealed one neither
// trailer nor checksum of the text is read: see Check.
func (r *Repository) OpenPart(ctx context.Context, a catalog.Artifact, want Wanted) (*Part, error) {
	p := &Part{read: new(atomic.Int64)}
	x, err := r.openIndexed(ctx, a, p.read)
	if err == nil {
		if p.Reader, err = x.open(want); err != nil {
			x.file.Close()
		}
		return p, err
	}
	if !errors.Is(err, filter.ErrNoStarts) {
		return nil, err
	}
	p.Reader, err = r.OpenSegment(a)
	p.read.Store(a.Bytes)
	return p, err
}

// indexed is a segment of which any frame can be read.
type indexed struct {
	name    string
	file    *os.File
	stored  countingReaderAt
	size    int64
	codec   filter.Codec
	starts  []filter.Start
	trailer segment.Trailer
	end     int64 // where the trailer begins in the text
}

type countingReaderAt struct {
	r io.ReaderAt
	n *atomic.Int64
}

func (c countingReaderAt) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.r.ReadAt(p, at)
	c.n.Add(int64(n))
	return n, err
}

func (r *Repository) openIndexed(ctx context.Context, a catalog.Artifact, read *atomic.Int64) (*indexed, error) {
	if r.remote != nil || a.State != catalog.StateSealed {
		return nil, filter.ErrNoStarts
	}
	f, a, err := r.OpenLocal(a)
	if err != nil {
		return nil, err
	}
	x := &indexed{name: a.Name, file: f, stored: countingReaderAt{f, read}, size: a.Bytes}
	chain, err := r.FileChain(ctx, a.Filters)
	if err == nil {
		var simple bool
		if x.codec, simple = chain.Codec(); !simple {
			err = filter.ErrNoStarts
		}
	}
	if err == nil {
		err = x.readTrailer()
	}
	if err == nil && len(x.trailer.Frames)+len(x.trailer.Rows) == 0 {
		err = filter.ErrNoStarts
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return x, nil
}

// readTrailer finds the trailer: it stands where reading may begin last.
func (x *indexed) readTrailer() (err error) {
	if x.codec.Seekable() {
		if x.starts, err = x.codec.ReadStarts(x.stored, x.size); err != nil {
			return err
		}
		x.end = x.starts[len(x.starts)-1].Text
	} else if x.end, err = lastTrailer(x.stored, x.size); err != nil {
		return err
	}
	text, err := x.codec.OpenAt(x.stored, x.size, x.starts, x.end, math.MaxInt64)
	if err != nil {
		return readFault(x.name, err)
	}
	defer text.Close()
	x.trailer, err = segment.ReadTrailer(x.name, text)
	return err
}

// lastTrailer finds the trailer in a file that is text: no line but its first one
// begins so.
func lastTrailer(file io.ReaderAt, size int64) (int64, error) {
	first := []byte("\n" + segment.TrailerLine)
	for n := int64(4 << 10); ; n *= 4 {
		tail := make([]byte, min(n, size))
		if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil {
			return 0, err
		}
		if at := bytes.LastIndex(tail, first); at >= 0 {
			return size - int64(len(tail)) + int64(at) + 1, nil
		}
		if n >= size {
			return 0, filter.ErrNoStarts
		}
	}
}

// wants picks the frames that may hold what is wanted.
func (x *indexed) wants(w Wanted) []segment.Frame {
	var list []segment.Frame
	frames := x.trailer.Frames
	for i := range frames {
		f := &frames[i]
		if i+1 < len(frames) && frames[i+1].LSN <= w.From || w.To != 0 && f.LSN >= w.To {
			continue
		}
		touched := len(w.Tables) == 0 && !w.Definitions || f.Commands && w.Definitions
		for _, table := range w.Tables {
			touched = touched || !w.Definitions && x.trailer.Touches(f, table)
		}
		if touched {
			list = append(list, *f)
		}
	}
	return list
}

// open reads the header and the frames that are wanted.
func (x *indexed) open(w Wanted) (*segment.Reader, error) {
	frames := x.wants(w)
	ends := map[int64]int64{} // of each frame, by where it begins
	all := x.trailer.Frames
	for i := range all {
		ends[all[i].Offset] = x.end
		if i+1 < len(all) {
			ends[all[i].Offset] = all[i+1].Offset
		}
	}
	head, err := x.codec.OpenAt(x.stored, x.size, x.starts, 0, all[0].Offset)
	if err != nil {
		return nil, readFault(x.name, err)
	}
	open := head
	next := func() (*segment.Stretch, error) {
		if open != nil {
			open.Close()
			open = nil
		}
		if len(frames) == 0 {
			return nil, nil
		}
		f := frames[0]
		to := ends[f.Offset]
		for frames = frames[1:]; len(frames) > 0 && frames[0].Offset == to; frames = frames[1:] {
			to = ends[to] // they stand together
		}
		text, err := x.codec.OpenAt(x.stored, x.size, x.starts, f.Offset, to)
		if err != nil {
			return nil, fmt.Errorf("frame at byte %d: %w", f.Offset, err)
		}
		open = text
		return &segment.Stretch{Text: text, Offset: f.Offset, Line: f.Line, LSN: f.LSN}, nil
	}
	return segment.NewPartReader(x.name, head, next, closerFunc(func() error {
		if open != nil {
			open.Close()
		}
		return x.file.Close()
	}))
}

// A Schema reads a base without most of its rows.
type Schema struct {
	*dump.Reader
	read *atomic.Int64
}

// Stored is how many stored bytes were read so far.
func (s *Schema) Stored() int64 { return s.read.Load() }

// OpenSchema reads a plain base for its definitions, and as few of its rows as its
// filters allow. What passes over rows compares no checksum of the text: see Check.
func (r *Repository) OpenSchema(ctx context.Context, a catalog.Artifact) (*Schema, error) {
	s := &Schema{read: new(atomic.Int64)}
	x, err := r.openIndexed(ctx, a, s.read)
	if err == nil {
		if s.Reader, err = x.schema(); err != nil {
			x.file.Close()
		}
		return s, err
	}
	if !errors.Is(err, filter.ErrNoStarts) {
		return nil, err
	}
	s.Reader, err = r.OpenDump(a)
	s.read.Store(a.Bytes)
	return s, err
}

// schema reads what stands between the rows that may be passed over.
func (x *indexed) schema() (*dump.Reader, error) {
	rows := x.trailer.Rows
	at := segment.Rows{Line: 1}
	var open io.ReadCloser
	next := func() (*segment.Stretch, error) {
		to := int64(math.MaxInt64)
		if len(rows) > 0 {
			to = rows[0].From
		}
		if open != nil {
			open.Close()
		}
		text, err := x.codec.OpenAt(x.stored, x.size, x.starts, at.To, to)
		if err != nil {
			return nil, readFault(x.name, err)
		}
		open = text
		return &segment.Stretch{Text: text, Offset: at.To, Line: at.Line}, nil
	}
	first, err := next()
	if err != nil {
		return nil, err
	}
	more := func() (*segment.Stretch, error) {
		if len(rows) == 0 {
			return nil, nil
		}
		at, rows = rows[0], rows[1:]
		return next()
	}
	return dump.NewSchemaReader(x.name, first.Text, more, closerFunc(func() error {
		open.Close()
		return x.file.Close()
	}))
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }
