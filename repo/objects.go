package repo

import (
	"errors"
	"io"
	"os"

	"pg_scribe/catalog"
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
	r := &DumpReader{lines: segment.NewLines(path, text), Header: segment.Header{Kind: catalog.KindBase}, Described: take}
	r.lines.NoSum()
	for {
		line, err := r.lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.described(append(line, '\n'))
		}
		if err != nil {
			return r.lines.Fault(err)
		}
	}
}
