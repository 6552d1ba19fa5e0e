package stream

import (
	"context"
	"io"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/render"
)

// A sink stores what was rendered.
type sink interface {
	// write takes the next batch.
	write(ctx context.Context, b render.Batch) error
	// checkpoint stores everything up to the last boundary for good and
	// returns its position, which the server may then be told.
	checkpoint(ctx context.Context) (catalog.LSN, error)
	// rollback forgets what was written since the last checkpoint.
	rollback() error
	// rotate begins a new file at the next boundary.
	rotate()
	// reached notes that the stream is complete up to End for the source's
	// clock at.
	reached(at time.Time)
	// end is the position of the last boundary.
	end() catalog.LSN
	// close stores everything for good and releases the files.
	close(ctx context.Context) error
}

// segmentSink writes the segments of a repository.
type segmentSink struct {
	w        *repo.SegmentWriter
	size     int64         // SQL text after which a segment is full
	age      time.Duration // after which it is
	now      func() time.Time
	partial  bool // text behind the last boundary was written
	wanted   bool // rotation was asked for
	onRotate func(catalog.LSN)
}

func (s *segmentSink) write(ctx context.Context, b render.Batch) error {
	if !b.Boundary && !s.partial {
		// A transaction too large for one batch: if the connection breaks
		// within it, only it has to come again.
		if err := s.w.Checkpoint(ctx); err != nil {
			return err
		}
	}
	s.partial = !b.Boundary
	if err := s.w.Write(b.Text); err != nil {
		return err
	}
	if !b.Boundary {
		return nil
	}
	s.w.Add(b.Stats)
	if s.wanted || s.size > 0 && s.w.TextBytes() >= s.size || s.age > 0 && s.now().Sub(s.w.Created()) >= s.age {
		return s.next(ctx)
	}
	return nil
}

// next seals the segment if there is anything in it.
func (s *segmentSink) next(ctx context.Context) error {
	s.wanted = false
	if s.w.End() == s.w.Start() {
		return nil
	}
	w, err := s.w.Next(ctx)
	if err != nil {
		return err
	}
	s.w = w
	if s.onRotate != nil {
		s.onRotate(w.Start())
	}
	return nil
}

func (s *segmentSink) checkpoint(ctx context.Context) (catalog.LSN, error) {
	if s.partial {
		return 0, nil
	}
	if s.wanted {
		if err := s.next(ctx); err != nil {
			return 0, err
		}
	}
	if err := s.w.Checkpoint(ctx); err != nil {
		return 0, err
	}
	return s.w.End(), nil
}

func (s *segmentSink) rollback() error {
	s.partial = false
	return s.w.Rollback()
}

func (s *segmentSink) rotate()              { s.wanted = true }
func (s *segmentSink) end() catalog.LSN     { return s.w.End() }
func (s *segmentSink) reached(at time.Time) { s.w.Add(segment.Stats{Reached: at}) }

func (s *segmentSink) close(ctx context.Context) error {
	if s.partial {
		if err := s.rollback(); err != nil {
			return err
		}
	}
	return s.w.Seal(ctx)
}

// textSink writes the SQL to a stream, such as standard output. What was
// written cannot be taken back: a broken connection ends it.
type textSink struct {
	w       io.Writer
	last    catalog.LSN
	partial bool
}

func (s *textSink) write(_ context.Context, b render.Batch) error {
	s.partial = !b.Boundary
	if b.Boundary {
		s.last = max(s.last, b.Stats.End)
	}
	_, err := s.w.Write(b.Text)
	return err
}

func (s *textSink) checkpoint(context.Context) (catalog.LSN, error) {
	if s.partial {
		return 0, nil
	}
	return s.last, nil
}

func (s *textSink) rollback() error {
	if s.partial {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (s *textSink) rotate()                     {}
func (s *textSink) reached(time.Time)           {}
func (s *textSink) end() catalog.LSN            { return s.last }
func (s *textSink) close(context.Context) error { return nil }
