package repo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// storedSegment writes a segment with every kind of item and returns its name
// and bytes.
func storedSegment(t *testing.T, r *Repository) (name string, stored []byte) {
	t.Helper()
	w := createSegment(t, r, txLSN(1))
	body, _ := everyKind()
	addTx(t, w, 1, strings.TrimSuffix(string(body), "\n"))
	must(t, w.Checkpoint(ctx))
	addTx(t, w, 2, "SELECT 1;")
	must(t, w.Seal(ctx))
	name = segmentAt(t, r, txLSN(1)).Name
	stored, err := os.ReadFile(r.Path(name))
	must(t, err)
	return name, stored
}

// Whatever byte of a sealed segment changes, wherever it is cut, whatever is
// added: reading it to its end gives an error.
func TestReaderNoticesEveryDamage(t *testing.T) {
	eachCodec(t, func(t *testing.T, spec string) {
		r := testRepository(t, spec)
		name, stored := storedSegment(t, r)
		a := segmentAt(t, r, txLSN(1))
		whole, err := readItems(t, r, a)
		must(t, err)
		check := func(what string, content []byte) {
			t.Helper()
			must(t, os.WriteFile(r.Path(name), content, 0o600))
			a.Bytes = int64(len(content))
			list, err := readItems(t, r, a)
			var e *FormatError
			if err == nil && strings.Join(list, "\n") != strings.Join(whole, "\n") {
				t.Errorf("%s: other items without an error", what)
			} else if err == nil && spec == "none" {
				t.Errorf("%s without an error", what)
			} else if err != nil && (!errors.As(err, &e) || e.File != name) {
				t.Errorf("%s gives %v", what, err)
			}
		}
		step := 1
		if spec != "none" {
			step = 11 // the frames have checksums, which the tests of the codecs look into
		}
		for i := 0; i < len(stored); i += step {
			broken := bytes.Clone(stored)
			broken[i] ^= 4
			check(fmt.Sprintf("byte %d changed", i), broken)
		}
		for i := 0; i < len(stored); i += step {
			must(t, os.WriteFile(r.Path(name), stored[:i], 0o600))
			a.Bytes = int64(i)
			if _, err := readItems(t, r, a); err == nil {
				t.Errorf("cut at byte %d without an error", i)
			}
		}
		if spec == "none" {
			check("added line", append(bytes.Clone(stored), "SELECT 1;\n"...))
		}
	})
}
