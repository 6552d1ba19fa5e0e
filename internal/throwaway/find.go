package throwaway

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// NoServerError: no programs of a server that would do are installed here.
type NoServerError struct {
	Major int   // the oldest major version that would do
	Found []int // what there is
}

func (e *NoServerError) Error() string {
	text := fmt.Sprintf("no server programs of PostgreSQL %d or later (initdb, postgres) were found on this machine", e.Major)
	for i, major := range e.Found {
		if i == 0 {
			text += "; there is PostgreSQL "
		} else {
			text += ", "
		}
		text += strconv.Itoa(major)
	}
	return text
}

// packaged are where packages put the programs of one major version.
var packaged = []string{
	"/usr/lib/postgresql/%s/bin", "/usr/pgsql-%s/bin", "/opt/homebrew/opt/postgresql@%s/bin", "/usr/local/opt/postgresql@%s/bin",
}

// Packaged are the folders where packages put the programs of a major version,
// whether or not they are there.
func Packaged(version string) []string {
	var dirs []string
	for _, pattern := range packaged {
		dirs = append(dirs, fmt.Sprintf(pattern, version))
	}
	return dirs
}

// Installed are the folders of packages that have the programs of a server, by
// major version.
func Installed() map[int]string {
	found := map[int]string{}
	for _, pattern := range packaged {
		before, after, _ := strings.Cut(pattern, "%s")
		dirs, _ := filepath.Glob(before + "*" + after) // the only error is a bad pattern
		for _, dir := range dirs {
			major, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(dir, before), after))
			if _, known := found[major]; err == nil && !known && HasServer(dir) {
				found[major] = dir
			}
		}
	}
	return found
}

// HasServer says whether a folder has the programs of a server.
func HasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if !IsProgram(filepath.Join(dir, name)) {
			return false
		}
	}
	return true
}

// IsProgram reports whether a file can be run.
func IsProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Find is the folder with the programs of a server of a major version or, if
// there is none, of the oldest later one: in the folders of packages, and in those
// of path, which come first.
func Find(major int, path []string) (string, error) {
	found := Installed()
	for i := len(path) - 1; i >= 0; i-- {
		if !filepath.IsAbs(path[i]) || !HasServer(path[i]) {
			continue
		}
		if m := majorOf(filepath.Join(path[i], "postgres")); m > 0 {
			found[m] = path[i]
		}
	}
	best := 0
	e := &NoServerError{Major: major}
	for m := range found {
		if m >= major && (best == 0 || m < best) {
			best = m
		}
		e.Found = append(e.Found, m)
	}
	if best == 0 {
		slices.Sort(e.Found)
		return "", e
	}
	return found[best], nil
}

// majorOf is the major version of a server's program; 0: it does not say.
func majorOf(program string) int {
	out, err := exec.Command(program, "--version").Output() // postgres (PostgreSQL) 15.20 (Debian …)
	if err != nil {
		return 0
	}
	_, version, _ := strings.Cut(string(out), ") ")
	major, _, _ := strings.Cut(version, ".")
	if end := strings.IndexFunc(major, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		major = major[:end] // 19devel
	}
	m, _ := strconv.Atoi(major)
	return m
}
