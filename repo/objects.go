package repo

import (
	"os"

	"pg_scribe/repo/dump"
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
	return dump.ReadObjects(path, text, take)
}
