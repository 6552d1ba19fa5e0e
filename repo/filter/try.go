package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"filippo.io/age"
)

// TrialError says that a chain does not return what it is given.
type TrialError struct {
	Chain  Chain
	Size   int   // of what was tried
	Err    error // nil: other bytes came back
	Length int   // of what came back, when Err is nil
}

func (e *TrialError) Error() string {
	text := fmt.Sprintf("a trial of the filters %s with %d bytes", e.Chain.names(), e.Size)
	if e.Err != nil {
		return text + " failed: " + e.Err.Error()
	}
	if e.Length != e.Size {
		return fmt.Sprintf("%s returned %d", text, e.Length)
	}
	return text + " returned other bytes"
}

func (e *TrialError) Unwrap() error { return e.Err }

// names lists the filters for a sentence.
func (c Chain) names() string {
	text := ""
	for i, f := range c {
		if i > 0 {
			text += ", "
		}
		text += f.Name
	}
	return text
}

// Try writes bytes through the chain and reads them back. Without keys it
// cannot read what is for the chain's recipients: then it writes for them, and
// goes there and back with a key of its own.
func (c Chain) Try(keys *Keys) error {
	there := slices.Clone(c)
	for i := range there {
		f := &there[i]
		f.quick = true
		if f.Name != "age" || keys.Given() || f.PassphraseFile != "" {
			continue
		}
		if err := f.writes(); err != nil {
			return &TrialError{Chain: c, Err: err}
		}
		own, err := age.GenerateX25519Identity()
		if err != nil {
			return err
		}
		f.Recipients = []string{own.Recipient().String()}
		keys = &Keys{}
		keys.once.Do(func() { keys.list = []age.Identity{own} })
	}
	for _, sample := range samples() {
		var stored bytes.Buffer
		back, err := there.thereAndBack(&stored, sample, keys)
		if err != nil || !bytes.Equal(back, sample) {
			return &TrialError{Chain: c, Size: len(sample), Err: err, Length: len(back)}
		}
	}
	return nil
}

// writes says whether something can be encrypted for the recipients.
func (f Filter) writes() error {
	w, err := f.newAgeWriter(io.Discard)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte("trial"))
	return errors.Join(err, w.Close())
}

// samples are what a trial sends: nothing, little, text, and more than any
// buffer holds of what does not compress.
func samples() [][]byte {
	random := make([]byte, 1<<20+4097)
	source := rand.NewChaCha8([32]byte{'t', 'r', 'y'})
	source.Read(random)
	return [][]byte{{}, {0}, []byte("\n"), random[:4096], bytes.Repeat([]byte("INSERT INTO t VALUES (1);\r\n\x00"), 20_000), random}
}

func (c Chain) thereAndBack(stored *bytes.Buffer, sample []byte, keys *Keys) ([]byte, error) {
	w, err := c.NewWriter(stored)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(sample); err != nil {
		w.Abort()
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	r, err := c.NewReader(bytes.NewReader(stored.Bytes()), keys)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
