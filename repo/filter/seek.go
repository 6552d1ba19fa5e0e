package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

// A Start is a place of a compressed file at which reading may begin: a frame of
// the method begins there.
type Start struct {
	Text   int64 // offset in the text
	Stored int64 // offset in the file
}

// The starts of a file stand at its end, in a piece of the method's own format
// that every program of the method passes over: a skippable frame of zstd and lz4,
// a gzip member that is empty. It holds, in little-endian numbers, 8 bytes of text
// offset and 8 bytes of stored offset for each start, 4 bytes of their number, and
// startsMagic. A file of gzip has 10 bytes behind it.
const (
	startsMagic = "pgscribe"
	startsFoot  = 4 + len(startsMagic)
	startsMost  = 4000 // a gzip member has room for 4094
	skipMagic   = 0x184D2A5C
)

// gzipEmpty is the empty text of a gzip member, with its checksum and length.
var gzipEmpty = []byte{3, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Seekable says whether AppendStarts can note where reading may begin. The text
// itself needs no such note.
func (c Codec) Seekable() bool { return c.Name == "zstd" || c.Name == "lz4" || c.Name == "gzip" }

// AppendStarts writes the starts of a file, ascending, as its end. Of very many
// some are left out.
func (c Codec) AppendStarts(dst []byte, starts []Start) []byte {
	step := (len(starts) + startsMost - 1) / startsMost
	var list []byte
	for i := 0; i < len(starts); i += max(step, 1) {
		list = binary.LittleEndian.AppendUint64(list, uint64(starts[i].Text))
		list = binary.LittleEndian.AppendUint64(list, uint64(starts[i].Stored))
	}
	// The last one is where the trailer begins: it always stays.
	if n := len(starts); n > 0 && (n-1)%max(step, 1) != 0 {
		list = binary.LittleEndian.AppendUint64(list, uint64(starts[n-1].Text))
		list = binary.LittleEndian.AppendUint64(list, uint64(starts[n-1].Stored))
	}
	list = binary.LittleEndian.AppendUint32(list, uint32(len(list)/16))
	list = append(list, startsMagic...)
	if c.Name == "gzip" {
		// Member header with an extra field, whose one subfield is the list.
		dst = append(dst, 0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(list)+4))
		dst = append(dst, 'P', 'S')
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(list)))
		dst = append(dst, list...)
		return append(dst, gzipEmpty...)
	}
	dst = binary.LittleEndian.AppendUint32(dst, skipMagic)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(list)))
	return append(dst, list...)
}

// ErrNoStarts says that a file does not tell where reading may begin.
var ErrNoStarts = errors.New("the file does not tell where reading may begin")

// ReadStarts reads what AppendStarts wrote at the end of a file of that size. It
// fails with ErrNoStarts where nothing is.
func (c Codec) ReadStarts(file io.ReaderAt, size int64) ([]Start, error) {
	if !c.Seekable() {
		return nil, ErrNoStarts
	}
	end := size
	if c.Name == "gzip" {
		end -= int64(len(gzipEmpty))
	}
	tail := make([]byte, min(max(end, 0), 2<<10))
	if _, err := file.ReadAt(tail, end-int64(len(tail))); err != nil {
		return nil, err
	}
	foot := len(tail) - startsFoot
	if foot < 0 || string(tail[foot+4:]) != startsMagic {
		return nil, ErrNoStarts
	}
	n := int(binary.LittleEndian.Uint32(tail[foot:]))
	if n < 1 || n > startsMost+1 || int64(16*n+startsFoot) > end {
		return nil, fmt.Errorf("%d places to begin reading at", n)
	}
	if want := 16*n + startsFoot; want > len(tail) {
		tail = make([]byte, want)
		if _, err := file.ReadAt(tail, end-int64(want)); err != nil {
			return nil, err
		}
	}
	list := bytes.NewReader(tail[len(tail)-16*n-startsFoot:])
	starts := make([]Start, n)
	if err := binary.Read(list, binary.LittleEndian, starts); err != nil {
		return nil, err
	}
	for i, s := range starts {
		if s.Text < 0 || s.Stored < 0 || s.Stored >= size || i > 0 && (s.Text <= starts[i-1].Text || s.Stored <= starts[i-1].Stored) {
			return nil, fmt.Errorf("place %d to begin reading at is out of order", i+1)
		}
	}
	return starts, nil
}

// OpenAt reads text of a file from an offset on up to another one; to may lie
// beyond the end. Stored bytes are read from the start before it on, up to the one
// behind what is wanted. starts is nil for a file that is text itself.
func (c Codec) OpenAt(file io.ReaderAt, size int64, starts []Start, from, to int64) (io.ReadCloser, error) {
	if c.Name == "none" {
		return io.NopCloser(io.NewSectionReader(file, from, min(to, size)-from)), nil
	}
	i := sort.Search(len(starts), func(i int) bool { return starts[i].Text > from }) - 1
	if i < 0 {
		return nil, ErrNoStarts
	}
	end := size
	if j := sort.Search(len(starts), func(j int) bool { return starts[j].Text >= to }); j < len(starts) {
		end = starts[j].Stored
	}
	text, err := c.NewReader(io.NewSectionReader(file, starts[i].Stored, end-starts[i].Stored))
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, text, from-starts[i].Text); err != nil {
		text.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(text, to-from), text}, nil
}
