package repo

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"pg_scribe/catalog"
)

// lineReader reads the text of any file of a repository line by line, keeps
// the checksum of what stands before the trailer, and names the file and line
// of whatever is wrong.
type lineReader struct {
	name    string
	src     *bufio.Reader
	text    hashCounter // of everything before the trailer
	line    int64       // lines read
	buf     []byte      // for lines longer than src's buffer
	inCopy  bool        // the rows of a COPY block come next
	ended   bool        // the trailer was read
	closers []io.Closer
}

func newLineReader(name string, src io.Reader) lineReader {
	r := lineReader{name: name, src: bufio.NewReaderSize(src, 1<<20)}
	r.text.reset(io.Discard)
	return r
}

// readLine returns the next line without its end, valid until the next call.
func (r *lineReader) readLine() ([]byte, error) {
	line, err := r.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.buf = append(r.buf[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = r.src.ReadSlice('\n')
			r.buf = append(r.buf, line...)
		}
		line = r.buf
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.line++
	if !r.ended && string(line) != trailerLine {
		r.text.Write(line)
	}
	return line[:len(line)-1], nil
}

func (r *lineReader) failf(format string, args ...any) error {
	return &FormatError{File: r.name, Line: r.line, Reason: fmt.Sprintf(format, args...)}
}

// fault names the file and line of an error from below.
func (r *lineReader) fault(err error) error {
	var f *FormatError
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.failf("ends too early")
	}
	return r.failf("%v", err)
}

// readHeader reads the lines that open a file of the given kind.
func (r *lineReader) readHeader(kind catalog.Kind) (Header, error) {
	h := Header{Kind: kind}
	line, err := r.readLine()
	if err != nil {
		return h, r.fault(err)
	}
	if string(line) != ownPrefix+string(kind) {
		return h, r.failf("this is not a %s of pg_scribe", kind)
	}
	for {
		line, err := r.readLine()
		if err != nil {
			return h, r.fault(err)
		}
		if string(line) == "--" {
			return h, nil
		}
		f, ok := parseField(line)
		if !ok {
			return h, r.failf("the header ends without its last line")
		}
		if err := h.set(f); err != nil {
			return h, r.fault(err)
		}
	}
}

// readTrailer reads the lines behind the trailer's first one, and checks the
// text against them.
func (r *lineReader) readTrailer() (Trailer, error) {
	var t Trailer
	r.ended = true
	for {
		line, err := r.readLine()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return t, r.fault(err)
		}
		f, ok := parseField(line)
		if !ok {
			return t, r.failf("text stands behind the trailer")
		}
		if err := t.set(f); err != nil {
			return t, r.fault(err)
		}
	}
	if r.text.n != t.TextBytes || r.text.sum() != t.TextSHA256 {
		return t, r.failf("the text does not match the checksum in its trailer")
	}
	return t, nil
}

// CopyData is the rows of the COPY block just begun, as COPY's text format,
// without the line that ends them. It must be read to its end or not at all.
func (r *lineReader) CopyData() io.Reader { return &copyData{r: r} }

type copyData struct {
	r    *lineReader
	rest []byte
	done bool
}

func (c *copyData) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && !c.done {
		if len(c.rest) == 0 {
			line, err := c.r.readLine()
			if err != nil {
				return n, c.r.fault(err)
			}
			if string(line) == `\.` {
				c.done, c.r.inCopy = true, false
				break
			}
			c.rest = line[:len(line)+1] // with its line end
		}
		k := copy(p[n:], c.rest)
		n += k
		c.rest = c.rest[k:]
	}
	if n == 0 && c.done {
		return 0, io.EOF
	}
	return n, nil
}

// skipCopy reads over the rows that nobody asked for.
func (r *lineReader) skipCopy() error {
	if !r.inCopy {
		return nil
	}
	_, err := io.Copy(io.Discard, r.CopyData())
	return err
}

// Close releases the file.
func (r *lineReader) Close() error {
	var err error
	for _, c := range r.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}
