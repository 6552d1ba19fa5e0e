// Package migrations holds the schema of the catalog as numbered SQL files, NNNN_name.sql, embedded in the program.
//
// The rules:
//
//   - Files are numbered 0001, 0002, … without a hole; the number is the schema version that the file leads to.
//   - A released file is never changed, not even its comments: a repository that applied it must not differ from one
//     that applies it tomorrow. A change is a new file.
//   - A file runs once, as a whole, in one transaction that package catalog opens. It must not contain BEGIN, COMMIT,
//     or a PRAGMA that has no effect inside a transaction.
//   - Older catalogs are migrated when they are opened for writing; newer ones are refused, so a file may use a new
//     schema freely and never has to keep old programs working.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
)

//go:embed *.sql
var files embed.FS

// Migration is one step of the schema.
type Migration struct {
	Number int    // the schema version after this step, from 1
	Name   string // the file name
	SQL    string
}

// All returns every migration in order: element i has the number i+1. An error means that the files the program was
// built from break the numbering rules.
func All() ([]Migration, error) {
	return load(files)
}

var filePattern = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

func load(fsys fs.FS) ([]Migration, error) {
	entries, err := fs.ReadDir(fsys, ".") // sorted by name, and so by number
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	var all []Migration
	for _, e := range entries {
		m := filePattern.FindStringSubmatch(e.Name())
		if m == nil {
			return nil, fmt.Errorf("migrations: %s is not named NNNN_name.sql", e.Name())
		}
		number, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("migrations: %s: %w", e.Name(), err)
		}
		if number != len(all)+1 {
			return nil, fmt.Errorf("migrations: %s stands where number %04d belongs", e.Name(), len(all)+1)
		}
		sql, err := fs.ReadFile(fsys, e.Name())
		if err != nil {
			return nil, fmt.Errorf("migrations: %w", err)
		}
		all = append(all, Migration{Number: number, Name: e.Name(), SQL: string(sql)})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("migrations: no files")
	}
	return all, nil
}
