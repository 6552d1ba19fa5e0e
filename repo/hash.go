package repo

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"hash"
	"io"
	"sync/atomic"
)

// hashCounter counts and hashes what passes to w. Only n may be read while
// another goroutine writes.
type hashCounter struct {
	w io.Writer // nil: nowhere
	h hash.Hash
	n atomic.Int64
}

// hashState is a hashCounter's state at one moment.
type hashState struct {
	sum []byte
	n   int64
}

func (c *hashCounter) reset(w io.Writer) {
	c.w, c.h = w, sha256.New()
	c.n.Store(0)
}

func (c *hashCounter) Write(p []byte) (int, error) {
	n, err := len(p), error(nil)
	if c.w != nil {
		n, err = c.w.Write(p)
	}
	c.h.Write(p[:n])
	c.n.Add(int64(n))
	return n, err
}

func (c *hashCounter) sum() string { return hex.EncodeToString(c.h.Sum(nil)) }

func (c *hashCounter) state() hashState {
	// crypto/sha256 documents that its hashes can be marshalled.
	sum, err := c.h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err)
	}
	return hashState{sum, c.n.Load()}
}

func (c *hashCounter) restore(s hashState, w io.Writer) {
	c.reset(w)
	if err := c.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.sum); err != nil {
		panic(err)
	}
	c.n.Store(s.n)
}
