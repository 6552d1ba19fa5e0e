package segment

import (
	"fmt"
	"strconv"
)

// fields are what reads the values of "key: value" lines, by their keys. A key
// that is not there is one of a later version, and passed over.
type fields map[string]func(value string) error

// set takes one line of a header or trailer.
func (fs fields) set(f field, of string) error {
	read, known := fs[f.key]
	if !known {
		return nil
	}
	if err := read(f.value); err != nil {
		return fmt.Errorf("%s line %q: %w", of, f.key, err)
	}
	return nil
}

// into puts what parse makes of a value into a variable.
func into[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(value string) (err error) {
		*to, err = parse(value)
		return err
	}
}

func parseUint32(value string) (uint32, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	return uint32(n), err
}
