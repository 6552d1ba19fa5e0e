package repo

import (
	"errors"
	"io"
	"os"

	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// ReadObjects reads what a base directory says of its objects, the file DirObjects
// as pg_scribe wrote it, and hands them on in their order.
func ReadObjects(path string, take func(segment.Fingerprint) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := filter.Chain{{Name: "zstd"}}.NewReader(file, nil)
	if err != nil {
		return err
	}
	defer text.Close()
	lines := segment.NewLines(path, text)
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
