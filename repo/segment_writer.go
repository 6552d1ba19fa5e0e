package repo

import (
	"cmp"
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
	index   segment.Index
	starts  []filter.Start // where reading may begin, if the codec can say
	full    bool           // the next transaction begins a frame of the index
	inFrame bool           // text was written since the compressor's last frame ended
	failed  error          // the text is not whole; Rollback mends it
	unsure  error          // the catalog may have a later checkpoint than saved
	lost    error          // what is on disk is not known; nothing mends it
	closed  bool
}

// checkpoint is what Rollback returns to.
type checkpoint struct {
	stored, text hashState
	stats        segment.Stats // without restore points, gaps and state: the catalog has them
	index        segment.IndexState
	starts       int
	full         bool
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
	h.Kind, h.Filters = catalog.KindSegment, chain.String()
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

// SealedName is what an open segment's file is called when it is renamed.
func SealedName(open string) string { return strings.TrimSuffix(open, openSuffix) }

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

// describe completes the header of a new file: its format, and what the catalog
// alone knew otherwise. The catalog learns the format first, so that a program
// which is too old for the file says so at once.
func (r *Repository) describe(ctx context.Context, h *segment.Header) error {
	info, err := r.cat.Repository(ctx)
	if err != nil {
		return err
	}
	h.Format = cmp.Or(r.older, segment.FormatVersion)
	if info.Format < h.Format {
		if err := r.cat.SetFormat(ctx, h.Format); err != nil {
			return err
		}
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

// Moment is the present time in the precision of the files and the catalog.
func (r *Repository) Moment() time.Time { return r.now().UTC().Truncate(time.Microsecond) }

func (w *SegmentWriter) begin(ctx context.Context) error {
	w.stored.reset(w.file)
	w.text.reset(nil)
	w.saved.stats.End = w.header.Start
	enc, err := w.codec.NewWriter(&w.stored)
	if err != nil {
		return err
	}
	w.enc = enc
	w.starts = []filter.Start{{}}
	text := segment.AppendPreamble(w.header.Append(nil), w.header.Encoding)
	if err := w.write(text); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	w.index.Start()
	w.starts = append(w.starts, w.here())
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
	if w.full && len(text) > 0 {
		if err := w.beginFrame(); err != nil {
			return err
		}
	}
	return w.write(text)
}

// beginFrame begins a frame of the index, at which reading may begin too.
func (w *SegmentWriter) beginFrame() error {
	if err := w.endFrame(); err != nil {
		return err
	}
	w.full, w.starts = false, append(w.starts, w.here())
	return w.write(segment.AppendFrame(nil))
}

// here is where the file has come to, between two frames of the compressor.
func (w *SegmentWriter) here() filter.Start {
	return filter.Start{Text: w.text.n.Load(), Stored: w.stored.n.Load()}
}

func (w *SegmentWriter) write(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	w.inFrame = true
	w.text.Write(text) // to nowhere: cannot fail
	w.index.Write(text)
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
func (w *SegmentWriter) Add(s segment.Stats) {
	w.since.Add(s)
	for name := range s.Tables {
		w.index.Touch([]byte(name))
	}
	if s.End > 0 { // a clock alone may be noted within a transaction, where no frame can begin
		w.full = w.header.Format >= 2 && w.index.Full()
	}
}

// Dirty says whether a checkpoint would store anything new.
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

// endFrame ends the compressor's frame.
func (w *SegmentWriter) endFrame() error {
	if !w.inFrame {
		return nil
	}
	if err := w.enc.Close(); err != nil {
		w.failed = err
		return err
	}
	w.enc.Reset(&w.stored)
	w.inFrame = false
	return nil
}

// sync ends the frame and waits until its bytes are on disk.
func (w *SegmentWriter) sync() error {
	if err := w.endFrame(); err != nil {
		return err
	}
	// After a failed fsync the kernel may drop the bytes and report the next
	// one as done, so one failure is final.
	w.lost = errors.Join(w.repo.Failpoint("fsync"), w.file.Sync())
	return w.lost
}

func (w *SegmentWriter) save() {
	w.saved.stats.Add(w.since)
	w.saved.stats.Points, w.saved.stats.Gaps, w.saved.stats.State = nil, nil, nil
	w.saved.stored, w.saved.text = w.stored.state(), w.text.state()
	w.saved.index, w.saved.starts, w.saved.full = w.index.State(), len(w.starts), w.full
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
	w.index.Restore(w.saved.index)
	w.starts, w.full = w.starts[:w.saved.starts], w.saved.full
	w.since = segment.Stats{}
	w.inFrame, w.failed = false, nil
	return nil
}

// Close releases the file without sealing it; what was checkpointed stays.
func (w *SegmentWriter) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.file.Close()
}
