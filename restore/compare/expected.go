package compare

import (
	"bufio"
	"fmt"
	"os"

	"pg_scribe/internal/describe"
)

// Expected is what is known of the objects of the source at a place in its
// stream: the newest description of each. The texts are in a temporary file
// that has no name any more, so that memory holds an index only.
type Expected struct {
	file  *os.File
	out   *bufio.Writer
	end   int64
	index map[string]span // by describe.Object.Key
	rows  map[string]bool // catalogs of which it has rows
	full  bool            // it knows of all objects, so that others are too many
}

type span struct{ at, size int64 }

// NewExpected makes an empty one.
func NewExpected() (*Expected, error) {
	file, err := os.CreateTemp("", "pg_scribe-descriptions-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	return &Expected{file: file, out: bufio.NewWriterSize(file, 1<<16), index: map[string]span{}, rows: map[string]bool{}}, nil
}

// Close gives the room back.
func (e *Expected) Close() error { return e.file.Close() }

// Len is the number of objects.
func (e *Expected) Len() int { return len(e.index) }

// Complete says that all objects of the source are known now.
func (e *Expected) Complete() { e.full = true }

// Put takes the description of an object, in place of an older one.
func (e *Expected) Put(o describe.Object) error {
	text := o.Append(nil)
	if _, err := e.out.Write(text); err != nil {
		return err
	}
	for _, r := range o.Rows {
		e.rows[r.Catalog] = true
	}
	e.index[o.Key()] = span{e.end, int64(len(text))}
	e.end += int64(len(text))
	return nil
}

// Gone notes that the source has an object no more, or that no description of
// it is known.
func (e *Expected) Gone(class, identity string) {
	delete(e.index, describe.Object{Class: class, Identity: identity}.Key())
}

// reads reports whether the role that described the source could see objects
// such as this: some catalogs are for superusers only.
func (e *Expected) reads(o describe.Object) bool {
	catalog := o.Rows[0].Catalog
	return catalog != "pg_user_mapping" && catalog != "pg_subscription" || e.rows[catalog]
}

// get returns the description of an object; ok: there is one.
func (e *Expected) get(key string) (o describe.Object, ok bool, err error) {
	at, ok := e.index[key]
	if !ok {
		return o, false, nil
	}
	if err := e.out.Flush(); err != nil {
		return o, false, err
	}
	text := make([]byte, at.size)
	if _, err := e.file.ReadAt(text, at.at); err != nil {
		return o, false, fmt.Errorf("read the description of %s: %w", key, err)
	}
	o, err = describe.ParseObject(text)
	return o, err == nil, err
}
