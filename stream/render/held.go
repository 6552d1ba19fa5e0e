package render

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// heldMessages wait in a file without a name, since their number has no bound.
type heldMessages struct {
	file *os.File // messages, each behind its length; nil: none
	buf  *bufio.Writer
}

// hold keeps a message.
func (h *heldMessages) hold(b []byte) error {
	if h.file == nil {
		f, err := os.CreateTemp("", "pg_scribe-*")
		if err != nil {
			return err
		}
		if err := os.Remove(f.Name()); err != nil {
			return errors.Join(err, f.Close())
		}
		h.file, h.buf = f, bufio.NewWriterSize(f, 256<<10)
	}
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(b)))
	h.buf.Write(size[:])
	_, err := h.buf.Write(b)
	return err
}

// release hands the messages to apply, in order. Those that apply holds again
// are new ones.
func (h *heldMessages) release(apply func([]byte) error) error {
	if h.file == nil {
		return nil
	}
	f, w := h.file, h.buf
	*h = heldMessages{}
	defer f.Close()
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	src := bufio.NewReaderSize(f, 256<<10)
	var size [4]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(src, size[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(src, buf); err != nil {
			return err
		}
		if err := apply(buf); err != nil {
			return err
		}
	}
}

// drop forgets the messages.
func (h *heldMessages) drop() {
	if h.file != nil {
		h.file.Close()
	}
	*h = heldMessages{}
}
