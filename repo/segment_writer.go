package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/segment"
)

// openSuffix marks the segment that is being written.
const openSuffix = ".open"

// SegmentName is the name of a sealed segment that starts at the given LSN.
// Names sort in LSN order.
func SegmentName(start catalog.LSN, chain filter.Chain) string {
	return segmentStem(start) + ".sql" + chain.Extension()
}

const segmentPrefix = "incremental-"

func segmentStem(start catalog.LSN) string { return segmentPrefix + start.Hex() }

// A SegmentWriter writes the one open segment of a repository. It is not safe
// for concurrent use.
//
// The open file consists of compressed frames, so that it can be cut at any
// checkpoint. When the repository's filters are no more than that, sealing
// renames it; else, or when it lies in a spool folder, its text goes through the
// filters into a file of its own.
//
// Bytes count as stored only after Checkpoint or Seal returned nil: the text
// is then on disk (fsync), the catalog knows it, and the server may be told.
//
// After an error of Write the text is no longer whole, and every method but
// Rollback and Close returns that error. After an error of fsync nobody knows
// what is on disk: then Rollback returns it too, and the way on is Close and
// Repository.Recover.
type SegmentWriter struct {
	repo    *Repository
	id      int64
	header  segment.Header
	codec   filter.Codec
	name    string // of the open file
	file    *os.File
	enc     filter.FrameWriter
	stored  hashCounter // of the file's bytes
	text    hashCounter // of the SQL text
	saved   checkpoint
	since   segment.Stats // what was added since the last checkpoint
	inFrame bool          // text was written since the last frame ended
	failed  error         // the text is not whole; Rollback mends it
	unsure  error         // the catalog may have a later checkpoint than saved
	lost    error         // what is on disk is not known; nothing mends it
	closed  bool
}

// checkpoint is what Rollback returns to.
type checkpoint struct {
	stored, text hashState
	stats        segment.Stats // without restore points, gaps and facts: the catalog has them
}

// CreateSegment opens the segment that starts at h.Start, writes its header
// and preamble, and enters it in the catalog. It links the header to the
// sealed segment that ends where this one starts, if there is one.
func (r *Repository) CreateSegment(ctx context.Context, h segment.Header) (*SegmentWriter, error) {
	chain, err := r.Chain(ctx)
	if err == nil {
		err = r.verifiable(chain)
	}
	if err != nil {
		return nil, err
	}
	h.Kind, h.Format, h.Filters = catalog.KindSegment, segment.FormatVersion, chain.String()
	if err := errors.Join(r.join(ctx, &h), r.describe(ctx, &h)); err != nil {
		return nil, err
	}
	codec, simple := chain.Codec()
	if !simple {
		codec = filter.DefaultCodec
	}
	stem, err := r.freeStem(ctx, h)
	if err != nil {
		return nil, err
	}
	w := &SegmentWriter{repo: r, header: h, codec: codec, name: stem + ".sql" + codec.Extension() + openSuffix}
	file, err := owner.Create(r.Path(w.name), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	w.file = file
	if err := w.begin(ctx); err != nil {
		w.Close()
		// The catalog may have the row although it reported an error.
		if known, kerr := r.Knows(w.name); kerr == nil && !known {
			os.Remove(file.Name())
		}
		return nil, err
	}
	return w, nil
}

// freeStem is the name of a new segment without its ending. A branch that the
// source has left may have one that starts at the same LSN.
func (r *Repository) freeStem(ctx context.Context, h segment.Header) (string, error) {
	segments, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	if err != nil {
		return "", err
	}
	stem := segmentStem(h.Start)
	for _, a := range segments {
		if StemOf(a.Name) == stem && a.Timeline != h.Timeline {
			stem = fmt.Sprintf("%s-%d", stem, h.Timeline)
			break
		}
	}
	name, err := r.strayOf(stem)
	if err == nil && name != "" {
		err = &fs.PathError{Op: "create", Path: r.Path(name), Err: fs.ErrExist}
	}
	return stem, err
}

// rewriteMark, and a number, ends the stem of a file that Reencrypt made when
// its other names were taken.
const rewriteMark = "-r"

// StemOf is a file's name without its ending and without the number that
// Reencrypt gave it.
func StemOf(name string) string {
	stem, _, _ := strings.Cut(name, ".")
	if i := strings.LastIndex(stem, rewriteMark); i > 0 {
		return stem[:i]
	}
	return stem
}

// strayOf finds a finished segment of the stem, whatever filters made it;
// empty: there is none.
func (r *Repository) strayOf(stem string) (string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		name := e.Name()
		if StemOf(name) == stem && !strings.HasSuffix(name, openSuffix) && !strings.HasSuffix(name, partialSuffix) {
			return name, nil
		}
	}
	return "", nil
}

// sealedName is what an open segment's file is called when it is renamed.
func sealedName(open string) string { return strings.TrimSuffix(open, openSuffix) }

// join completes a header with what the segment before tells.
func (r *Repository) join(ctx context.Context, h *segment.Header) error {
	segments, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	if err != nil {
		return err
	}
	for _, a := range segments {
		if a.State != catalog.StateSealed || a.End != h.Start || a.SystemID != h.SystemID || a.Timeline > h.Timeline {
			continue
		}
		if h.Previous == "" {
			h.Previous = a.TextSHA256
		}
		if h.At.IsZero() {
			h.At = a.ReachedAt
		}
	}
	return nil
}

// describe completes a header with what the catalog alone knew otherwise.
func (r *Repository) describe(ctx context.Context, h *segment.Header) error {
	info, err := r.cat.Repository(ctx)
	if err != nil {
		return err
	}
	h.Repository = segment.About{Begun: info.CreatedAt, DatabaseOID: info.DatabaseOID, Slot: info.Slot, Publication: info.Publication,
		Compression: info.Compression, Mode: info.Mode, StreamStart: info.StreamStart}
	known, err := r.cat.Switches(ctx)
	var list []string
	for _, s := range known {
		if s.SystemID == h.SystemID {
			list = append(list, fmt.Sprintf("%d %d %s", s.Timeline, s.Parent, s.At))
		}
	}
	h.Repository.Switches = strings.Join(list, ", ")
	return err
}

// moment is the time in the precision of the files and the catalog.
func (r *Repository) moment() time.Time { return r.now().UTC().Truncate(time.Microsecond) }

func (w *SegmentWriter) begin(ctx context.Context) error {
	w.stored.reset(w.file)
	w.text.reset(nil)
	w.saved.stats.End = w.header.Start
	enc, err := w.codec.NewWriter(&w.stored)
	if err != nil {
		return err
	}
	w.enc = enc
	text := segment.AppendPreamble(w.header.Append(nil), w.header.Encoding)
	if err := w.Write(text); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := syncDir(w.repo.workDir()); err != nil {
		return err
	}
	if err := w.repo.Failpoint("segment begun"); err != nil {
		return err
	}
	w.id, err = w.repo.cat.OpenSegment(ctx, catalog.Artifact{
		Kind: catalog.KindSegment, State: catalog.StateOpen, Name: w.name,
		SystemID: w.header.SystemID, Timeline: w.header.Timeline, Database: w.header.Database,
		Start: w.header.Start, End: w.header.Start, CreatedAt: w.header.Created,
		Bytes: w.stored.n.Load(), TextBytes: w.text.n.Load(), SHA256: w.stored.sum(), TextSHA256: w.text.sum(),
		Filters:       w.codec.String(),
		ServerVersion: w.header.Server, Format: "plain",
	})
	if err != nil {
		return err
	}
	w.save()
	return w.repo.Failpoint("segment open")
}

// Start is where the segment starts.
func (w *SegmentWriter) Start() catalog.LSN { return w.header.Start }

// End is the position that the text written so far reaches, with what is not
// yet checkpointed.
func (w *SegmentWriter) End() catalog.LSN { return max(w.saved.stats.End, w.since.End) }

// TextBytes is the size of the SQL text written so far.
func (w *SegmentWriter) TextBytes() int64 { return w.text.n.Load() }

// Created is when the segment was begun.
func (w *SegmentWriter) Created() time.Time { return w.header.Created }

// Write appends SQL text, which may be any part of a transaction.
func (w *SegmentWriter) Write(text []byte) error {
	if err := w.usable(); err != nil {
		return err
	}
	return w.write(text)
}

func (w *SegmentWriter) write(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	w.inFrame = true
	w.text.Write(text) // to nowhere: cannot fail
	_, err := w.enc.Write(text)
	w.failed = err
	return err
}

func (w *SegmentWriter) usable() error {
	if w.closed {
		return os.ErrClosed
	}
	return errors.Join(w.lost, w.failed)
}

// Add records what the text written so far holds. It may be called only when
// that text ends between two transactions.
func (w *SegmentWriter) Add(s segment.Stats) { w.since.Add(s) }

// Dirty tells whether a checkpoint would store anything new.
func (w *SegmentWriter) Dirty() bool {
	return w.since.End > w.saved.stats.End || w.since.Reached.After(w.saved.stats.Reached) ||
		w.text.n.Load() != w.saved.text.n
}

// Checkpoint makes everything written so far durable. It may be called only
// between two transactions.
func (w *SegmentWriter) Checkpoint(ctx context.Context) error {
	if err := w.usable(); err != nil {
		return err
	}
	if !w.Dirty() {
		return nil
	}
	p := w.saved.stats.Progress(w.since)
	if err := w.write(segment.AppendReached(nil, p.End, p.ReachedAt)); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.repo.Failpoint("checkpoint written"); err != nil {
		return err
	}
	p.Bytes, p.TextBytes, p.SHA256, p.TextSHA256 = w.stored.n.Load(), w.text.n.Load(), w.stored.sum(), w.text.sum()
	if err := w.repo.cat.Checkpoint(ctx, w.id, p); err != nil {
		// The catalog may have it all the same: trying again is safe,
		// cutting the file back is not.
		w.unsure = err
		return err
	}
	w.save()
	return w.repo.Failpoint("checkpoint")
}

// sync ends the frame and waits until its bytes are on disk.
func (w *SegmentWriter) sync() error {
	if w.inFrame {
		if err := w.enc.Close(); err != nil {
			w.failed = err
			return err
		}
		w.enc.Reset(&w.stored)
		w.inFrame = false
	}
	// After a failed fsync the kernel may drop the bytes and report the next
	// one as done, so one failure is final.
	w.lost = errors.Join(w.repo.Failpoint("fsync"), w.file.Sync())
	return w.lost
}

func (w *SegmentWriter) save() {
	w.saved.stats.Add(w.since)
	w.saved.stats.Points, w.saved.stats.Gaps, w.saved.stats.Facts = nil, nil, nil
	w.saved.stored, w.saved.text = w.stored.state(), w.text.state()
	w.since, w.unsure = segment.Stats{}, nil
}

// Rollback forgets what was written since the last checkpoint. A connection
// that broke within a transaction leaves such text; the server sends it again.
// It is refused after a Checkpoint that failed in the catalog.
func (w *SegmentWriter) Rollback() error {
	if w.closed {
		return os.ErrClosed
	}
	if err := errors.Join(w.lost, w.unsure); err != nil {
		return err
	}
	// The encoder may still be compressing a block: end its frame, whatever
	// comes of it, and wait for it, before the file is cut.
	w.enc.Close()
	w.enc.Reset(&w.stored)
	if err := w.file.Truncate(w.saved.stored.n); err != nil {
		return err
	}
	if _, err := w.file.Seek(w.saved.stored.n, io.SeekStart); err != nil {
		return err
	}
	w.stored.restore(w.saved.stored, w.file)
	w.text.restore(w.saved.text, nil)
	w.since = segment.Stats{}
	w.inFrame, w.failed = false, nil
	return nil
}

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
	trailer := segment.Trailer{
		End: p.End, Reached: p.ReachedAt, Finished: w.repo.moment(), Transactions: p.Transactions,
		FirstCommit: p.FirstCommitAt, LastCommit: p.LastCommitAt,
		MinXID: p.MinXID, MaxXID: p.MaxXID, Tables: w.saved.stats.Counts(),
	}
	if err := w.write(trailer.Append(nil)); err != nil {
		return err
	}
	trailer.TextBytes, trailer.TextSHA256 = w.text.n.Load(), w.text.sum()
	if err := w.write(trailer.AppendSum(nil)); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
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
	recoded := final != sealedName(w.name) || w.repo.spool != "" // a rename does not leave the file system
	if recoded {
		s, err := w.recode(chain, final)
		if err != nil {
			return fmt.Errorf("seal %s: %w", final, err)
		}
		record, stored, p.Bytes = chain.String(), s.sha256, s.bytes
	} else if err := w.repo.publish(w.name, final); err != nil {
		return err
	}
	if err := w.repo.Failpoint("renamed"); err != nil {
		return err
	}
	if err := w.repo.cat.SealSegment(ctx, w.id, final, record, p, stored, trailer.TextSHA256, trailer.Finished); err != nil {
		return err
	}
	if err := w.repo.Failpoint("sealed"); err != nil || !recoded {
		return err
	}
	// Only now: until the catalog knows the new file, this one counts.
	if err := os.Remove(w.repo.Path(w.name)); err != nil {
		return err
	}
	return w.repo.Failpoint("open file removed")
}

// recode passes the whole text through a chain into the file that is to be
// the segment. The open file stays as it is.
func (w *SegmentWriter) recode(chain filter.Chain, final string) (s sums, err error) {
	text, err := w.codec.NewReader(io.NewSectionReader(w.file, 0, w.stored.n.Load()))
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

// Close releases the file without sealing it; what was checkpointed stays.
func (w *SegmentWriter) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.file.Close()
}
