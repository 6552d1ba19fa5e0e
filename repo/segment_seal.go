package repo

import (
	"context"
	"fmt"
	"io"
	"os"

	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// Seal ends the segment: trailer, filters, fsync, rename, catalog. A segment that
// covers nothing is removed instead. It may be called only between two
// transactions. On an error the open segment and its last checkpoint remain
// what the repository has; the writer is closed in any case.
func (w *SegmentWriter) Seal(ctx context.Context) error {
	if w.closed {
		return nil
	}
	defer w.Close()
	if err := w.usable(); err != nil {
		return err
	}
	if w.End() == w.header.Start {
		return w.discard(ctx)
	}
	p := w.saved.stats.Progress(w.since)
	w.saved.stats.Add(w.since)
	trailer, err := w.end()
	if err != nil {
		return err
	}
	if err := w.repo.Failpoint("trailer"); err != nil {
		return err
	}
	chain, err := w.repo.Chain(ctx)
	if err != nil {
		return err
	}
	final := StemOf(w.name) + ".sql" + chain.Extension()
	record, stored := w.codec.String(), w.stored.sum()
	p.Bytes, p.TextBytes = w.stored.n.Load(), trailer.TextBytes
	recoded := final != SealedName(w.name)
	copied := recoded || w.repo.spool != "" // a rename does not leave the file system
	if copied {
		s, err := w.recode(chain, final)
		if err != nil {
			return fmt.Errorf("seal %s: %w", final, err)
		}
		if stored, p.Bytes = s.sha256, s.bytes; recoded {
			record = chain.String()
		}
	} else if err := w.repo.publish(w.name, final); err != nil {
		return err
	}
	if err := w.repo.Failpoint("renamed"); err != nil {
		return err
	}
	if err := w.repo.cat.SealSegment(ctx, w.id, final, record, p, stored, trailer.TextSHA256, trailer.Finished); err != nil {
		return err
	}
	if err := w.repo.Failpoint("sealed"); err != nil || !copied {
		return err
	}
	// Only now: until the catalog knows the new file, this one counts.
	if err := os.Remove(w.repo.Path(w.name)); err != nil {
		return err
	}
	return w.repo.Failpoint("open file removed")
}

// end writes the trailer, and where reading may begin.
func (w *SegmentWriter) end() (segment.Trailer, error) {
	trailer := w.saved.stats.Trailer()
	trailer.Finished = w.repo.Moment()
	if w.header.Format >= 2 {
		trailer.Frames = w.index.Frames(trailer.Tables)
	}
	if err := w.endFrame(); err != nil {
		return trailer, err
	}
	w.starts = append(w.starts, w.here())
	if err := w.write(trailer.Append(nil)); err != nil {
		return trailer, err
	}
	trailer.TextBytes, trailer.TextSHA256 = w.text.n.Load(), w.text.sum()
	if err := w.write(trailer.AppendSum(nil)); err != nil {
		return trailer, err
	}
	if err := w.endFrame(); err != nil {
		return trailer, err
	}
	if w.header.Format >= 2 && w.codec.Seekable() {
		if _, err := w.stored.Write(w.codec.AppendStarts(nil, w.starts)); err != nil {
			return trailer, err
		}
	}
	return trailer, w.sync()
}

// recode passes the whole text through a chain into the file that is to be
// the segment, or, if its filters are those of the open file, the bytes as they
// are. The open file stays as it is.
func (w *SegmentWriter) recode(chain filter.Chain, final string) (s sums, err error) {
	stored := io.NewSectionReader(w.file, 0, w.stored.n.Load())
	if final == SealedName(w.name) {
		want := sums{textBytes: w.stored.n.Load(), textSHA256: w.stored.sum()}
		return w.repo.makeFile(final, filter.Chain{}, stored, func(s sums) error { return s.sameText(final, want) })
	}
	text, err := w.codec.NewReader(stored)
	if err != nil {
		return s, err
	}
	defer text.Close()
	want := sums{textBytes: w.text.n.Load(), textSHA256: w.text.sum()}
	return w.repo.makeFile(final, chain, text, func(s sums) error { return s.sameText(final, want) })
}

func (w *SegmentWriter) discard(ctx context.Context) error {
	if err := w.repo.cat.DeleteArtifact(ctx, w.id); err != nil {
		return err
	}
	if err := w.repo.Failpoint("discarded"); err != nil {
		return err
	}
	return os.Remove(w.repo.Path(w.name))
}

// Next seals this segment and opens the one that joins it. Both or, on an
// error, neither take the next text.
func (w *SegmentWriter) Next(ctx context.Context) (*SegmentWriter, error) {
	h := w.header
	end := w.saved.stats.Progress(w.since)
	h.Start, h.At, h.Created, h.Previous = end.End, end.ReachedAt, w.repo.now(), ""
	if err := w.Seal(ctx); err != nil {
		return nil, err
	}
	return w.repo.CreateSegment(ctx, h)
}

// Leftover is an open segment without a writer, whose text is to be sealed.
type Leftover struct {
	Name    string // of the open file
	Codec   string // that it is written with
	Text    int64  // the bytes of its text that count
	Trailer segment.Trailer
}

// SealLeftover makes a sealed segment of what an open one holds, through a
// chain, and removes the open one.
func (r *Repository) SealLeftover(o Leftover, chain filter.Chain) (name string, err error) {
	in, err := os.Open(r.Path(o.Name))
	if err != nil {
		return "", err
	}
	defer in.Close()
	codec, err := filter.ParseCodec(o.Codec)
	if err != nil {
		return "", err
	}
	text, err := codec.NewReader(in)
	if err != nil {
		return "", err
	}
	defer text.Close()
	t := o.Trailer
	var sum hashCounter
	out, feed := io.Pipe()
	defer out.Close()
	go func() {
		sum.reset(feed)
		_, err := io.CopyN(&sum, text, o.Text)
		if err == nil {
			_, err = sum.Write(t.Append(nil))
		}
		t.TextBytes, t.TextSHA256 = sum.n.Load(), sum.sum()
		if err == nil {
			_, err = feed.Write(t.AppendSum(nil))
		}
		feed.CloseWithError(err)
	}()
	final := StemOf(o.Name) + ".sql" + chain.Extension()
	if _, err := r.makeFile(final, chain, out, func(sums) error { return nil }); err != nil {
		return "", err
	}
	return final, os.Remove(r.Path(o.Name))
}
