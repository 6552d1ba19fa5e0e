package throwaway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// programs makes a folder with programs that say that they are of a version.
func programs(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	exact, later, latest := programs(t, "901.3 (Debian)"), programs(t, "903beta1"), programs(t, "905.0")
	path := []string{"relative", t.TempDir(), latest, later, exact, programs(t, "901.2")}
	for _, c := range []struct {
		major int
		want  string
	}{{901, exact}, {902, later}, {903, later}, {904, latest}} {
		if dir, err := Find(c.major, path); dir != c.want || err != nil {
			t.Errorf("%d: %s, %v; want %s", c.major, dir, err, c.want)
		}
	}
	var none *NoServerError
	if _, err := Find(906, path); !errors.As(err, &none) || none.Major != 906 || len(none.Found) < 3 {
		t.Errorf("906: %v", err)
	}
}
