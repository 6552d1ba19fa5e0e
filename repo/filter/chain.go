package filter

import (
	"errors"
	"io"
	"sync/atomic"
)

// A Writer passes one file through a chain.
type Writer struct {
	stages []io.WriteCloser // in the order of writing; each writes to the next
	end    *gate
}

// gate is where a chain ends. Behind an abort nothing passes any more.
type gate struct {
	w    io.Writer
	shut atomic.Bool
}

var errAborted = errors.New("the file was given up")

func (g *gate) Write(p []byte) (int, error) {
	if g.shut.Load() {
		return 0, errAborted
	}
	return g.w.Write(p)
}

// NewWriter begins one file, whose bytes go to w. It must be closed or
// aborted. w is not used any more once either has returned.
func (c Chain) NewWriter(w io.Writer) (*Writer, error) {
	cw := &Writer{end: &gate{w: w}, stages: make([]io.WriteCloser, len(c))}
	next := io.Writer(cw.end)
	for i := len(c) - 1; i >= 0; i-- {
		stage, err := c[i].newWriter(next)
		if err != nil {
			cw.stages = cw.stages[i+1:]
			cw.Abort()
			return nil, err
		}
		cw.stages[i], next = stage, stage
	}
	return cw, nil
}

func (f Filter) newWriter(w io.Writer) (io.WriteCloser, error) {
	switch f.Name {
	case "age":
		return f.newAgeWriter(w)
	case "shell":
		return f.newShellWriter(w)
	}
	return f.codec().NewWriter(w)
}

// Write passes bytes on.
func (w *Writer) Write(p []byte) (int, error) {
	if len(w.stages) == 0 {
		return w.end.Write(p)
	}
	return w.stages[0].Write(p)
}

// Close ends the file: everything has reached the end of the chain when it
// returns nil. On an error the file is void and the chain aborted.
func (w *Writer) Close() error {
	for i, stage := range w.stages {
		if err := stage.Close(); err != nil {
			w.stages = w.stages[i+1:]
			w.Abort()
			return err
		}
	}
	w.stages = nil
	w.end.shut.Store(true)
	return nil
}

// Abort gives the file up. It may be called after Close.
func (w *Writer) Abort() {
	w.end.shut.Store(true)
	for _, stage := range w.stages {
		if s, ok := stage.(*shellWriter); ok {
			s.abort()
		}
	}
	for _, stage := range w.stages {
		if _, ok := stage.(*shellWriter); !ok {
			stage.Close() // only to end what works beside
		}
	}
	w.stages = nil
}

// A Reader reads back what a Writer wrote.
type Reader struct {
	text    io.Reader
	sources []*source
	closers []io.Closer
}

// source is what a filter reads from. It keeps the error, which filters wrap
// or replace.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// NewReader returns the text of stored bytes. It decrypts headers at once: a
// KeyError or a DataError comes from here, not from Read, as far as the first
// bytes tell.
func (c Chain) NewReader(stored io.Reader, keys *Keys) (*Reader, error) {
	r := &Reader{text: stored}
	for i := len(c) - 1; i >= 0; i-- {
		if err := r.add(c[i], keys); err != nil {
			cause := r.cause(err)
			r.Close()
			return nil, cause
		}
	}
	return r, nil
}

func (r *Reader) add(f Filter, keys *Keys) error {
	in := &source{r: r.text}
	r.sources = append(r.sources, in)
	switch f.Name {
	case "age":
		text, err := f.newAgeReader(in, keys)
		r.text = text
		return err
	case "shell":
		s, err := f.newShellReader(in)
		if err != nil {
			return err
		}
		r.text, r.closers = s, append(r.closers, s)
		return nil
	}
	text, err := f.codec().NewReader(in)
	if err != nil {
		return err
	}
	r.text, r.closers = text, append(r.closers, text)
	return nil
}

// cause is the error of the first filter, seen from the stored bytes, that
// had one.
func (r *Reader) cause(err error) error {
	for _, s := range r.sources {
		if s.err != nil {
			return s.err
		}
	}
	return err
}

// Read returns io.EOF only when every filter has ended well.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.text.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.cause(err)
	}
	return n, err
}

// Close ends what is at work. The stored bytes' own reader is the caller's.
func (r *Reader) Close() error {
	for i := len(r.closers) - 1; i >= 0; i-- {
		r.closers[i].Close()
	}
	r.closers = nil
	return nil
}
