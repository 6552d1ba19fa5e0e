package filter

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A Codec compresses the files of a repository. Its output can be cut into
// frames, and frames that stand one after another read as one text, both here
// and by the command of the same name; a segment that is still being written
// relies on that.
type Codec struct {
	Name    string // zstd, lz4, gzip or none
	Level   int    // 0: the method's default
	Threads int    // that compress; 0: the default. gzip has one
}

// DefaultCodec is what a repository uses unless told otherwise.
var DefaultCodec = Codec{Name: "zstd"}

// codecLevels bounds the level of each method, in the numbers of the command
// of the same name.
var codecLevels = map[string]struct{ min, max int }{
	"zstd": {1, 22}, "lz4": {1, 12}, "gzip": {1, 9}, "none": {0, 0},
}

// CodecError says that a compression method cannot be used.
type CodecError struct {
	Spec   string
	Reason string
}

func (e *CodecError) Error() string {
	return fmt.Sprintf("compression %q: %s", e.Spec, e.Reason)
}

// ParseCodec reads METHOD[:LEVEL], as pg_dump's -Z takes it.
func ParseCodec(spec string) (Codec, error) {
	name, level, hasLevel := strings.Cut(spec, ":")
	bounds, known := codecLevels[name]
	if !known {
		return Codec{}, &CodecError{spec, "the methods are zstd, lz4, gzip and none"}
	}
	c := Codec{Name: name}
	if !hasLevel {
		return c, nil
	}
	if name == "none" {
		return Codec{}, &CodecError{spec, "none takes no level"}
	}
	n, err := strconv.Atoi(level)
	if err != nil || n < bounds.min || n > bounds.max {
		return Codec{}, &CodecError{spec, fmt.Sprintf("the levels of %s are %d to %d", name, bounds.min, bounds.max)}
	}
	c.Level = n
	return c, nil
}

// String is the form that ParseCodec reads. Threads do not show in a file.
func (c Codec) String() string {
	if c.Level == 0 {
		return c.Name
	}
	return c.Name + ":" + strconv.Itoa(c.Level)
}

// Extension is the file name ending, with its dot; empty for none.
func (c Codec) Extension() string {
	switch c.Name {
	case "zstd":
		return ".zst"
	case "lz4":
		return ".lz4"
	case "gzip":
		return ".gz"
	}
	return ""
}

// Command is the shell command that turns a stored file back into text.
func (c Codec) Command() string {
	switch c.Name {
	case "zstd":
		return "zstd -dc"
	case "lz4":
		return "lz4 -dc"
	case "gzip":
		return "gzip -dc"
	}
	return "cat"
}

// FrameWriter writes frames: Close ends one, Reset begins the next.
type FrameWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

// NewWriter returns a writer whose first frame goes to w.
func (c Codec) NewWriter(w io.Writer) (FrameWriter, error) {
	switch c.Name {
	case "zstd":
		level := zstd.SpeedDefault
		if c.Level != 0 {
			level = zstd.EncoderLevelFromZstd(c.Level)
		}
		// One block is compressed while the next is filled: more would only
		// take the core that the server's walsender needs.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(cmp.Or(c.Threads, 2)),
			zstd.WithEncoderCRC(true), zstd.WithWindowSize(4<<20))
	case "lz4":
		lw := lz4.NewWriter(w)
		levels := []lz4.CompressionLevel{lz4.Fast, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4,
			lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9}
		return lw, lw.Apply(lz4.ConcurrencyOption(cmp.Or(c.Threads, 1)), lz4.ChecksumOption(true), lz4.CompressionLevelOption(levels[min(c.Level, 9)]))
	case "gzip":
		level := gzip.DefaultCompression
		if c.Level != 0 {
			level = c.Level
		}
		return gzip.NewWriterLevel(w, level)
	case "none":
		return &plainFrames{w}, nil
	}
	return nil, &CodecError{c.Name, "unknown method"}
}

// NewReader returns the text of the frames in r.
func (c Codec) NewReader(r io.Reader) (io.ReadCloser, error) {
	switch c.Name {
	case "zstd":
		zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return zr.IOReadCloser(), nil
	case "lz4":
		return io.NopCloser(lz4.NewReader(bufio.NewReaderSize(r, 64<<10))), nil
	case "gzip":
		return gzip.NewReader(r)
	case "none":
		return io.NopCloser(r), nil
	}
	return nil, &CodecError{c.Name, "unknown method"}
}

type plainFrames struct{ io.Writer }

func (p *plainFrames) Close() error      { return nil }
func (p *plainFrames) Reset(w io.Writer) { p.Writer = w }
