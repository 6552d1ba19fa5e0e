package e2e

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// widest is how many columns a line of Go may have, so that two files stand side by side.
const widest = 160

// wider is how many wider lines were there, below a folder, when they were last
// counted. They become fewer, never more.
var wider = map[string]int{
	"internal/e2e/imports_test.go": 10, // one line for a package, so that two changes meet in one line only
	"stream/base":                  3,
	"stream/session.go":            1,
}

// TestLines: no line of ours is too wide to be read. Struct tags, which cannot be wrapped, may be.
func TestLines(t *testing.T) {
	root, seen, found := filepath.Join("..", ".."), 0, map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return cmp.Or(err, fs.SkipDir)
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if utf8.RuneCountInString(line) <= widest+1 || strings.Contains(line, `help:"`) {
				continue
			}
			if within := folderOf(name); within != "" {
				found[within]++
			} else {
				t.Errorf("%s:%d has more than %d columns", name, n, widest)
			}
		}
		return nil
	})
	if err != nil || seen < 200 {
		t.Fatalf("%d files were read, error %v", seen, err)
	}
	for within, n := range found {
		if n > wider[within] {
			t.Errorf("%d lines of %s have more than %d columns; there were %d", n, within, widest, wider[within])
		}
	}
}

func folderOf(name string) string {
	for within := range wider {
		if name == within || strings.HasPrefix(name, within+"/") {
			return within
		}
	}
	return ""
}
