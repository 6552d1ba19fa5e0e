package dump

import (
	"errors"
	"io"

	"pg_scribe/repo/segment"
)

// ReadObjects reads lines that say what objects are, and nothing else, and hands
// them on in their order.
func ReadObjects(name string, text io.Reader, take func(segment.Fingerprint) error) error {
	lines := segment.NewLines(name, text)
	lines.NoSum()
	for {
		line, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return lines.Fault(err)
		}
		f, ok, err := segment.ReadObject(line)
		switch {
		case err != nil:
			return lines.Failf("malformed line \"object\": %v", err)
		case !ok:
			return lines.Failf("the line is not that of an object")
		}
		if err := take(f); err != nil {
			return err
		}
	}
}
