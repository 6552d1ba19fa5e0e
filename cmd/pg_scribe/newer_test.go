package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// A repository of a later version is refused with what helps, by every command.
func TestNewerFormatIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	if err := os.CopyFS(dir, os.DirFS("../../repo/testdata/format-2")); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(filepath.Join(dir, repo.CatalogName))
	if err == nil {
		err = errors.Join(cat.SetFormat(context.Background(), segment.FormatVersion+1), cat.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, noServer())
	for _, args := range [][]string{{"verify"}, {"list"}, {"status"}, {"expire"}, {"restore", "-C", "-d", "x"}} {
		b.run(append(args, "-f", dir)...).refused(t, exitUsage, "it has format 3; this version of pg_scribe is too old for it: it reads formats 1 to 2", newerHint)
	}
}
