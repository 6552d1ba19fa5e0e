package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

// Lines reads the text of any file of a repository line by line, keeps
// the checksum of what it has read, and names the file and line of whatever
// is wrong.
type Lines struct {
	name    string
	src     io.Reader
	srcErr  error  // of src, once it has one
	buf     []byte // buf[pos:] was read from src but not yet from here
	pos     int
	start   int       // of the last line in buf
	sum     hash.Hash // of the text before buf[hashed]; nil: nobody asks
	hashed  int
	sumSize int64
	line    int64                    // lines read
	inCopy  bool                     // the rows of a COPY block come next
	midRow  bool                     // one of them was read in part
	ended   bool                     // the trailer was read
	more    func() (*Stretch, error) // what follows where the rows of a COPY block break off; nil: nothing
	closers []io.Closer
}

const readSize = 256 << 10

// NewLines reads the text of a file, whose name errors bear. Close closes what is
// given to close.
func NewLines(name string, src io.Reader, closers ...io.Closer) *Lines {
	return &Lines{name: name, src: src, buf: make([]byte, 0, readSize), sum: sha256.New(), closers: closers}
}

// NoSum says that the text has no trailer, so that nobody asks for its checksum.
func (r *Lines) NoSum() { r.sum = nil }

// GoOn has more return what follows where the text breaks off between two rows; nil
// ends the text. Its checksum is not compared then.
func (r *Lines) GoOn(more func() (*Stretch, error)) { r.more, r.sum = more, nil }

// Line is the number of the line that was read last.
func (r *Lines) Line() int64 { return r.line }

// Ended says that the trailer was read.
func (r *Lines) Ended() bool { return r.ended }

// Offset is how much of the text was read.
func (r *Lines) Offset() int64 { return r.sumSize + int64(r.pos-r.hashed) }

// ReadLine returns the next line without its end, valid until the next call.
func (r *Lines) ReadLine() ([]byte, error) {
	seen := 0
	for {
		if n := bytes.IndexByte(r.buf[r.pos+seen:], '\n'); n >= 0 {
			r.start = r.pos
			r.pos += seen + n + 1
			r.line++
			return r.buf[r.start : r.pos-1], nil
		}
		seen = len(r.buf) - r.pos
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && seen > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// fill reads more of src behind what was not yet read from here.
func (r *Lines) fill() error {
	if r.srcErr != nil {
		return r.srcErr
	}
	r.hash(r.pos)
	rest := copy(r.buf, r.buf[r.pos:])
	r.buf, r.pos, r.start, r.hashed = r.buf[:rest], 0, 0, 0
	if rest == cap(r.buf) {
		r.buf = append(make([]byte, 0, 2*cap(r.buf)), r.buf...)
	}
	for range 100 {
		n, err := r.src.Read(r.buf[rest:cap(r.buf)])
		r.buf = r.buf[:rest+n]
		r.srcErr = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	r.srcErr = io.ErrNoProgress
	return r.srcErr
}

// hash takes the text up to buf[to] into the checksum.
func (r *Lines) hash(to int) {
	if r.sum != nil {
		r.sum.Write(r.buf[r.hashed:to])
	}
	r.sumSize += int64(to - r.hashed)
	r.hashed = to
}

// Failf is a FormatError of the line that was read last.
func (r *Lines) Failf(format string, args ...any) error {
	return &FormatError{File: r.name, Line: r.line, Reason: fmt.Sprintf(format, args...)}
}

// notText is implemented by errors that say nothing about a file's text: a key is
// missing, or a command failed.
type notText interface{ NotText() bool }

// Fault names the file and line of an error from below.
func (r *Lines) Fault(err error) error {
	var f *FormatError
	if errors.As(err, &f) {
		return err
	}
	if other := notText(nil); errors.As(err, &other) && other.NotText() {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.Failf("ends too early")
	}
	return &FormatError{File: r.name, Line: r.line, Reason: err.Error(), Cause: err}
}

// ReadHeader reads the lines that open a file of the given kind.
func (r *Lines) ReadHeader(kind catalog.Kind) (Header, error) {
	h := Header{Kind: kind}
	line, err := r.ReadLine()
	if err != nil {
		return h, r.Fault(err)
	}
	if string(line) != ownPrefix+string(kind) {
		return h, r.Failf("this is not a %s of pg_scribe", kind)
	}
	started, known := false, h.fields()
	for {
		line, err := r.ReadLine()
		if err != nil {
			return h, r.Fault(err)
		}
		if string(line) == "--" {
			break
		}
		f, ok := parseField(line)
		if !ok {
			return h, r.Failf("the header ends without its last line")
		}
		if err := known.set(f, "header"); err != nil {
			return h, r.Fault(err)
		}
		started = started || f.key == "start"
	}
	if h.Format == 0 || !started {
		return h, r.Failf("the header lacks its format or its start")
	}
	return h, nil
}

// goTo goes on with other text, which stands at an offset, in a line.
func (r *Lines) goTo(src io.Reader, offset, line int64) {
	r.src, r.srcErr, r.sum = src, nil, nil
	r.buf, r.pos, r.start, r.hashed = r.buf[:0], 0, 0, 0
	r.sumSize, r.line = offset, line-1
}

// readTrailer reads the lines behind the trailer's first one.
func (r *Lines) readTrailer() (t Trailer, err error) {
	r.ended = true
	known := t.fields()
	for {
		line, err := r.ReadLine()
		if err != nil {
			return t, r.Fault(err)
		}
		f, ok := parseField(line)
		if !ok {
			return t, r.Failf("the trailer is malformed")
		}
		if f.key == sumKey {
			r.hash(r.start)
		}
		if err := known.set(f, "trailer"); err != nil {
			return t, r.Fault(err)
		}
		if f.key == sumKey {
			return t, nil
		}
	}
}

// ReadTrailer reads a trailer that stands at the begin of src, without the text
// whose checksum it has.
func ReadTrailer(name string, src io.Reader) (Trailer, error) {
	r := NewLines(name, src)
	r.NoSum()
	line, err := r.ReadLine()
	if err != nil {
		return Trailer{}, r.Fault(err)
	}
	if string(line)+"\n" != TrailerLine {
		return Trailer{}, r.Failf("the trailer is not where it should be")
	}
	return r.readTrailer()
}

// ReadTrailer reads the lines behind the trailer's first one, and checks the
// text against them.
func (r *Lines) ReadTrailer() (Trailer, error) {
	t, err := r.readTrailer()
	if err != nil {
		return t, err
	}
	if r.sum != nil && (r.sumSize != t.TextBytes || hex.EncodeToString(r.sum.Sum(nil)) != t.TextSHA256) {
		return t, r.Failf("checksum mismatch: the text is not the one of its trailer")
	}
	switch _, err := r.ReadLine(); {
	case errors.Is(err, io.EOF):
		return t, nil
	case err == nil || errors.Is(err, io.ErrUnexpectedEOF):
		return t, r.Failf("text stands behind the trailer")
	default:
		return t, r.Fault(err)
	}
}

// BeginCopy says that the line read last begins a COPY block.
func (r *Lines) BeginCopy() { r.inCopy = true }

// CopyData is the rows of the COPY block just begun, in COPY's text format,
// without the line that ends them. Next passes over what is not read of them.
func (r *Lines) CopyData() io.Reader { return &copyData{r: r} }

type copyData struct{ r *Lines }

var (
	copyEnd    = []byte("\\.\n")
	rowCopyEnd = []byte("\n\\.\n")
)

// chunk returns the next rows or piece of a row, at most limit bytes, valid
// until the next call.
func (c *copyData) chunk(limit int) ([]byte, error) {
	r := c.r
	if !r.inCopy {
		return nil, io.EOF
	}
	for {
		b := r.buf[r.pos:]
		if !r.midRow && bytes.HasPrefix(b, copyEnd) {
			r.pos += len(copyEnd)
			r.line++
			r.inCopy = false
			return nil, io.EOF
		}
		if len(b) > 0 && (r.midRow || !bytes.HasPrefix(copyEnd, b)) {
			return c.take(b[:min(limit, len(b))]), nil
		}
		err := r.fill()
		if errors.Is(err, io.EOF) && r.more != nil && len(b) == 0 && !r.midRow {
			err = r.jump()
		}
		if err != nil {
			return nil, r.Fault(err)
		}
	}
}

// jump goes on behind rows that are passed over.
func (r *Lines) jump() error {
	s, err := r.more()
	if err == nil && s == nil {
		err = io.EOF
	}
	if err == nil {
		r.goTo(s.Text, s.Offset, s.Line)
	}
	return err
}

// take hands out as much of b as is certain to be rows. If b begins a row, it
// was seen not to be the end of the block.
func (c *copyData) take(b []byte) []byte {
	if i := bytes.Index(b, rowCopyEnd); i >= 0 {
		b = b[:i+1]
	} else if i := bytes.LastIndexByte(b, '\n'); i >= 0 && bytes.HasPrefix(copyEnd, b[i+1:]) {
		b = b[:i+1] // what follows may be the end
	}
	c.r.line += int64(bytes.Count(b, []byte{'\n'}))
	c.r.pos += len(b)
	c.r.midRow = b[len(b)-1] != '\n'
	return b
}

func (c *copyData) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := c.chunk(len(p))
	return copy(p, b), err
}

// WriteTo saves io.Copy its buffer.
func (c *copyData) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for {
		b, err := c.chunk(readSize)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		k, err := w.Write(b)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}

// copyLine returns the next row of a COPY block as it stands.
func (r *Lines) copyLine() ([]byte, error) {
	if !r.inCopy {
		return nil, io.EOF
	}
	line, err := r.ReadLine()
	if err != nil {
		return nil, r.Fault(err)
	}
	if string(line) == `\.` {
		r.inCopy = false
		return nil, io.EOF
	}
	return line, nil
}

// CountCopy copies the rows of the COPY block just begun to w, and counts them.
// sql is its first line, which may be one of pg_dump's.
func (r *Lines) CountCopy(sql []byte, w io.Writer) (catalog.TableCount, error) {
	sql = bytes.TrimPrefix(sql, []byte("COPY "))
	rows := &lineCounter{w: w}
	count := catalog.TableCount{Table: string(sql[:sqltext.NameLen(sql)])}
	_, err := io.Copy(rows, r.CopyData())
	count.Inserted = rows.n
	return count, err
}

type lineCounter struct {
	w io.Writer
	n int64
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += int64(bytes.Count(p, []byte{'\n'}))
	return c.w.Write(p)
}

// SkipCopy reads over the rows that nobody asked for.
func (r *Lines) SkipCopy() error {
	if !r.inCopy {
		return nil
	}
	_, err := io.Copy(io.Discard, r.CopyData())
	return err
}

// Close releases the file.
func (r *Lines) Close() error {
	var err error
	for _, c := range r.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}
