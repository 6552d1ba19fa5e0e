package repo

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sort"
	"time"

	"pg_scribe/catalog"
)

// openSuffix marks the segment that is being written.
const openSuffix = ".open"

// SegmentName is the name of a sealed segment that starts at the given LSN.
// Names sort in LSN order.
func SegmentName(start catalog.LSN, c Codec) string {
	return "incremental-" + start.Hex() + ".sql" + c.Extension()
}

// Stats counts what a piece of a segment holds. The zero value is nothing.
type Stats struct {
	End                     catalog.LSN // position reached; 0: unchanged
	Reached                 time.Time   // source's clock for which End is complete; zero: unchanged
	Transactions            int64
	FirstCommit, LastCommit time.Time
	MinXID, MaxXID          uint32
	Tables                  map[string]catalog.TableCount
	Points                  []catalog.RestorePoint
	Gaps                    []catalog.Gap
}

// Add takes up what follows.
func (s *Stats) Add(next Stats) {
	s.End = max(s.End, next.End)
	if next.Reached.After(s.Reached) {
		s.Reached = next.Reached
	}
	if next.Transactions > 0 {
		if s.Transactions == 0 || next.MinXID < s.MinXID {
			s.MinXID = next.MinXID
		}
		s.MaxXID = max(s.MaxXID, next.MaxXID)
	}
	if !next.FirstCommit.IsZero() {
		if s.FirstCommit.IsZero() || next.FirstCommit.Before(s.FirstCommit) {
			s.FirstCommit = next.FirstCommit
		}
		if next.LastCommit.After(s.LastCommit) {
			s.LastCommit = next.LastCommit
		}
	}
	s.Transactions += next.Transactions
	if s.Tables == nil && len(next.Tables) > 0 {
		s.Tables = make(map[string]catalog.TableCount, len(next.Tables))
	}
	for name, c := range next.Tables {
		sum := s.Tables[name]
		sum.Table = name
		sum.Inserted += c.Inserted
		sum.Updated += c.Updated
		sum.Deleted += c.Deleted
		sum.Truncated += c.Truncated
		s.Tables[name] = sum
	}
	s.Points = append(s.Points, next.Points...)
	s.Gaps = append(s.Gaps, next.Gaps...)
}

// clone is a copy that later Adds to s do not reach.
func (s Stats) clone() Stats {
	var c Stats
	c.Add(s)
	return c
}

func (s Stats) tables() []catalog.TableCount {
	list := make([]catalog.TableCount, 0, len(s.Tables))
	for _, c := range s.Tables {
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Table < list[j].Table })
	return list
}

// A SegmentWriter writes the one open segment of a repository. It is not safe
// for concurrent use.
//
// Bytes count as stored only after Checkpoint or Seal returned nil: the text
// is then on disk (fsync), the catalog knows it, and the server may be told.
type SegmentWriter struct {
	repo    *Repository
	id      int64
	header  Header
	codec   Codec
	name    string // of the open file
	file    *os.File
	enc     frameWriter
	stored  hashCounter // of the file's bytes
	text    hashCounter // of the SQL text
	stats   Stats
	inFrame bool // text was written since the last frame ended
	saved   checkpoint
	closed  bool
}

// checkpoint is what Rollback returns to.
type checkpoint struct {
	stored, text hashState
	stats        Stats
}

// CreateSegment opens the segment that starts at h.Start, writes its header
// and preamble, and enters it in the catalog.
func (r *Repository) CreateSegment(ctx context.Context, h Header) (*SegmentWriter, error) {
	h.Kind, h.Format, h.Filters = catalog.KindSegment, FormatVersion, r.codec.String()
	w := &SegmentWriter{repo: r, header: h, codec: r.codec, name: SegmentName(h.Start, r.codec) + openSuffix}
	file, err := os.OpenFile(r.Path(w.name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	w.file = file
	if err := w.begin(ctx); err != nil {
		file.Close()
		os.Remove(file.Name())
		return nil, err
	}
	return w, nil
}

func (w *SegmentWriter) begin(ctx context.Context) error {
	w.stored.reset(w.file)
	w.text.reset(io.Discard)
	w.stats.End = w.header.Start
	enc, err := w.codec.newWriter(&w.stored)
	if err != nil {
		return err
	}
	w.enc = enc
	text := w.header.append(nil)
	text = append(text, preamble(w.header.Encoding)...)
	if err := w.Write(text); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := syncDir(w.repo.dir); err != nil {
		return err
	}
	w.id, err = w.repo.cat.OpenSegment(ctx, catalog.Artifact{
		Kind: catalog.KindSegment, State: catalog.StateOpen, Name: w.name,
		SystemID: w.header.SystemID, Timeline: w.header.Timeline, Database: w.header.Database,
		Start: w.header.Start, End: w.header.Start, CreatedAt: w.header.Created,
		Bytes: w.stored.n, TextBytes: w.text.n, Filters: w.header.Filters,
		ServerVersion: w.header.Server, Format: "plain",
	})
	if err != nil {
		return err
	}
	w.save()
	return nil
}

// Start and End are the interval stored so far, with what is not yet
// checkpointed.
func (w *SegmentWriter) Start() catalog.LSN { return w.header.Start }

// End is the position that the text written so far reaches.
func (w *SegmentWriter) End() catalog.LSN { return w.stats.End }

// TextBytes is the size of the SQL text written so far.
func (w *SegmentWriter) TextBytes() int64 { return w.text.n }

// Created is when the segment was begun.
func (w *SegmentWriter) Created() time.Time { return w.header.Created }

// Write appends SQL text, which may be any part of a transaction.
func (w *SegmentWriter) Write(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	w.inFrame = true
	w.text.Write(text) // to io.Discard: cannot fail
	_, err := w.enc.Write(text)
	return err
}

// Add records what the text written so far holds. It may be called only when
// that text ends between two transactions.
func (w *SegmentWriter) Add(s Stats) { w.stats.Add(s) }

// Dirty tells whether a checkpoint would store anything new.
func (w *SegmentWriter) Dirty() bool {
	return w.stats.End != w.saved.stats.End || w.stats.Reached.After(w.saved.stats.Reached) ||
		w.text.n != w.saved.text.n
}

// Checkpoint makes everything written so far durable. It may be called only
// between two transactions.
func (w *SegmentWriter) Checkpoint(ctx context.Context) error {
	if !w.Dirty() {
		return nil
	}
	line := append([]byte(ownPrefix), "reached "...)
	line = append(line, w.stats.End.String()...)
	if !w.stats.Reached.IsZero() {
		line = append(line, " at "...)
		line = append(line, formatTime(w.stats.Reached)...)
	}
	if err := w.Write(append(line, '\n')); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.repo.cat.Checkpoint(ctx, w.id, w.progress()); err != nil {
		return err
	}
	w.save()
	return nil
}

// sync ends the frame and waits until its bytes are on disk.
func (w *SegmentWriter) sync() error {
	if w.inFrame {
		if err := w.enc.Close(); err != nil {
			return err
		}
		w.enc.Reset(&w.stored)
		w.inFrame = false
	}
	return w.file.Sync()
}

func (w *SegmentWriter) progress() catalog.Progress {
	return catalog.Progress{
		End: w.stats.End, ReachedAt: w.stats.Reached,
		FirstCommitAt: w.stats.FirstCommit, LastCommitAt: w.stats.LastCommit,
		Transactions: w.stats.Transactions, MinXID: w.stats.MinXID, MaxXID: w.stats.MaxXID,
		Bytes: w.stored.n, TextBytes: w.text.n, Tables: w.stats.tables(),
		Points: w.stats.Points, Gaps: w.stats.Gaps,
	}
}

func (w *SegmentWriter) save() {
	w.stats.Points, w.stats.Gaps = nil, nil // the catalog has them
	w.saved = checkpoint{w.stored.state(), w.text.state(), w.stats.clone()}
}

// Rollback forgets what was written since the last checkpoint. A connection
// that broke within a transaction leaves such text; the server sends it again.
func (w *SegmentWriter) Rollback() error {
	// The encoder may still be compressing a block: end its frame before the
	// file is cut, into nothing.
	w.stored.w = io.Discard
	w.enc.Close()
	if err := w.file.Truncate(w.saved.stored.n); err != nil {
		return err
	}
	if _, err := w.file.Seek(w.saved.stored.n, io.SeekStart); err != nil {
		return err
	}
	w.stored.restore(w.saved.stored, w.file)
	w.text.restore(w.saved.text, io.Discard)
	w.stats = w.saved.stats.clone()
	w.inFrame = false
	w.enc.Reset(&w.stored)
	return nil
}

// Seal ends the segment: trailer, fsync, rename, catalog. A segment that
// covers nothing is removed instead. It may be called only between two
// transactions. On an error the open segment and its last checkpoint remain
// what the repository has; the writer is closed in any case.
func (w *SegmentWriter) Seal(ctx context.Context) error {
	if w.closed {
		return nil
	}
	w.closed = true
	defer w.file.Close()
	if w.stats.End == w.header.Start {
		return w.discard(ctx)
	}
	trailer := Trailer{
		End: w.stats.End, Reached: w.stats.Reached, Transactions: w.stats.Transactions,
		FirstCommit: w.stats.FirstCommit, LastCommit: w.stats.LastCommit,
		MinXID: w.stats.MinXID, MaxXID: w.stats.MaxXID, Tables: w.stats.tables(),
		TextBytes: w.text.n, TextSHA256: w.text.sum(),
	}
	text := trailer.append(nil)
	w.inFrame = true
	if _, err := w.enc.Write(text); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	final := SegmentName(w.header.Start, w.codec)
	if err := w.repo.publish(w.name, final); err != nil {
		return err
	}
	return w.repo.cat.SealSegment(ctx, w.id, final, w.progress(), w.stored.sum(), trailer.TextSHA256, w.repo.now())
}

// Text checksum of the sealed segment, for the header of the next.
func (w *SegmentWriter) textSum() string { return w.text.sum() }

func (w *SegmentWriter) discard(ctx context.Context) error {
	if err := w.repo.cat.DeleteArtifact(ctx, w.id); err != nil {
		return err
	}
	return os.Remove(w.repo.Path(w.name))
}

// Next seals this segment and opens the one that joins it. Both or, on an
// error, neither take the next text.
func (w *SegmentWriter) Next(ctx context.Context) (*SegmentWriter, error) {
	h := w.header
	h.Start, h.At, h.Created = w.stats.End, w.stats.Reached, w.repo.now()
	if w.stats.End != w.header.Start {
		h.Previous = w.textSum()
	}
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

// hashCounter counts and hashes what passes to w.
type hashCounter struct {
	w io.Writer
	h hash.Hash
	n int64
}

// hashState is a hashCounter's state at one moment.
type hashState struct {
	sum []byte
	n   int64
}

func (c *hashCounter) reset(w io.Writer) { c.w, c.h, c.n = w, sha256.New(), 0 }

func (c *hashCounter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.h.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func (c *hashCounter) sum() string { return hex.EncodeToString(c.h.Sum(nil)) }

func (c *hashCounter) state() hashState {
	// crypto/sha256 documents that its hashes can be marshalled.
	sum, err := c.h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err)
	}
	return hashState{sum, c.n}
}

func (c *hashCounter) restore(s hashState, w io.Writer) {
	c.reset(w)
	if err := c.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.sum); err != nil {
		panic(err)
	}
	c.n = s.n
}

// Recover ends the segments that a streamer left open when it died: each is
// cut at its last checkpoint, read back whole, and sealed. The caller holds
// the streamer's lock.
func (r *Repository) Recover(ctx context.Context) error {
	segments, err := r.cat.Artifacts(ctx, catalog.KindSegment)
	if err != nil {
		return err
	}
	for _, a := range segments {
		if a.State != catalog.StateOpen {
			continue
		}
		if err := r.recoverSegment(ctx, a); err != nil {
			return fmt.Errorf("recover %s: %w", a.Name, err)
		}
	}
	return r.sweep(ctx)
}

func (r *Repository) recoverSegment(ctx context.Context, a catalog.Artifact) error {
	codec, err := ParseCodec(a.Filters)
	if err != nil {
		return err
	}
	final := SegmentName(a.Start, codec)
	if _, err := os.Stat(r.Path(a.Name)); errors.Is(err, os.ErrNotExist) {
		// It died between the rename and the catalog: take the rename back.
		if err := os.Rename(r.Path(final), r.Path(a.Name)); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(r.Path(a.Name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	w := &SegmentWriter{repo: r, id: a.ID, codec: codec, name: a.Name, file: file}
	if err := w.resume(ctx, a); err != nil {
		file.Close()
		return err
	}
	return w.Seal(ctx)
}

// resume brings a writer to the state of its last checkpoint by reading the
// text back, which also proves that it is still readable.
func (w *SegmentWriter) resume(ctx context.Context, a catalog.Artifact) error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < a.Bytes {
		return &FormatError{File: a.Name, Reason: fmt.Sprintf("has %d bytes, %d were stored", info.Size(), a.Bytes)}
	}
	if err := w.file.Truncate(a.Bytes); err != nil {
		return err
	}
	w.stored.reset(io.Discard)
	w.text.reset(io.Discard)
	text, err := w.codec.newReader(io.TeeReader(w.file, &w.stored))
	if err != nil {
		return err
	}
	defer text.Close()
	if _, err := io.Copy(&w.text, text); err != nil {
		return &FormatError{File: a.Name, Reason: err.Error()}
	}
	if w.text.n != a.TextBytes || w.stored.n != a.Bytes {
		return &FormatError{File: a.Name, Reason: fmt.Sprintf("holds %d bytes of text, %d were stored", w.text.n, a.TextBytes)}
	}
	w.header = Header{Start: a.Start}
	w.stats = Stats{End: a.End, Reached: a.ReachedAt, Transactions: a.Transactions,
		FirstCommit: a.FirstCommitAt, LastCommit: a.LastCommitAt, MinXID: a.MinXID, MaxXID: a.MaxXID}
	counts, err := w.repo.cat.Tables(ctx, a.ID)
	if err != nil {
		return err
	}
	w.stats.Tables = make(map[string]catalog.TableCount, len(counts))
	for _, c := range counts {
		w.stats.Tables[c.Table] = c
	}
	w.stored.w = w.file
	w.enc, err = w.codec.newWriter(&w.stored)
	return err
}
