package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// Hints that look at the file system first, so that they name what is there.

// faultyPath is the path that an error is about, or the repository's.
func faultyPath(err error, f hintContext) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok && filepath.IsAbs(e.Path) == filepath.IsAbs(f.dir) {
		return e.Path
	}
	return f.dir
}

// existing is the path, or the directory nearest above it that exists.
func existing(path string) string {
	for path != "" {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

// absentHint is for a path that does not exist.
func absentHint(err error, f hintContext) string {
	path := faultyPath(err, f)
	above := existing(filepath.Dir(path))
	return fmt.Sprintf("check the path, or mount what it is on; of it there is only %s: %s", above, commandLine("ls", "-la", above))
}

// deniedHint names who may read and write there.
func deniedHint(path string, f hintContext) string {
	path = existing(path)
	info, err := os.Stat(path)
	for err != nil && path != filepath.Dir(path) { // this user may not even look
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	look := "let this user read and write there: " + commandLine("ls", "-ld", path)
	if err != nil {
		return look
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return look
	}
	owner, err := user.LookupId(strconv.Itoa(int(st.Uid)))
	if err != nil || owner.Uid == "0" {
		return look
	}
	return fmt.Sprintf("run it as %s, who owns %s: %s; or %s", owner.Username, path, commandLine("sudo", "-u", owner.Username)+" "+f.again(), look)
}

// readOnlyHint says what still works on a file system that cannot be written,
// and how to write there.
func readOnlyHint(err error, f hintContext) string {
	mount := mountOf(existing(faultyPath(err, f)))
	if mount == "" {
		return "give a directory that can be written, with -f"
	}
	return fmt.Sprintf("%s is mounted read-only, where list, status, verify, restore and expire without --confirm work; to write there: %s",
		mount, commandLine("mount", "-o", "remount,rw", mount))
}

// mountOf is where the file system of a path is mounted; empty: not known.
func mountOf(path string) string {
	real, err := filepath.Abs(path)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	text, rerr := os.ReadFile("/proc/self/mounts")
	if err != nil || rerr != nil {
		return ""
	}
	best := ""
	octal := regexp.MustCompile(`\\[0-7]{3}`)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		mount := octal.ReplaceAllStringFunc(fields[1], func(s string) string {
			n, _ := strconv.ParseUint(s[1:], 8, 8)
			return string([]byte{byte(n)})
		})
		if (real == mount || strings.HasPrefix(real, strings.TrimSuffix(mount, "/")+"/")) && len(mount) >= len(best) {
			best = mount
		}
	}
	return best
}

// newerHint is for what a later version has written.
const newerHint = "use the newer version of pg_scribe that wrote it"

// notRepositoryHint looks for the repository that was meant.
func notRepositoryHint(e *repo.NotRepositoryError, f hintContext) string {
	if errors.As(e.Cause, new(segment.NewerFormatError)) {
		return newerHint
	}
	if e.Cause != nil {
		return "there are no files of a repository beside it, or a newer version wrote it; is it the right directory? " +
			"See what is there: " + commandLine("ls", "-la", e.Dir)
	}
	isRepository := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, repo.CatalogName))
		return err == nil
	}
	info, err := os.Stat(e.Dir)
	switch parent := filepath.Dir(e.Dir); {
	case err == nil && !info.IsDir() && isRepository(parent):
		return "it is a file of a repository; name that: " + f.elsewhere(parent)
	case err == nil && !info.IsDir():
		return "it is a file, and a repository is a directory; give that with -f"
	case err == nil:
		if below, _ := filepath.Glob(filepath.Join(e.Dir, "*", repo.CatalogName)); len(below) == 1 {
			return "there is one below; name that: " + f.elsewhere(filepath.Dir(below[0]))
		}
	}
	if f.command == "restore" || f.command == "verify" {
		return fmt.Sprintf("name the repository's directory with -f: %s", commandLine("ls", "-la", existing(e.Dir)))
	}
	dir := e.Dir
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		dir = "NEW_DIRECTORY"
	}
	return "name the repository with -f; or begin one: " + f.init("", dir)
}

// clientFolders are where installations put PostgreSQL's client programs without
// adding the folder to everybody's PATH, and not to that of cron at all.
var clientFolders = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql*/bin",
	"/usr/local/opt/postgresql@*/bin", "/opt/homebrew/opt/postgresql@*/bin"}

var folderVersion = regexp.MustCompile(`[-/@](\d+)/bin$`)

// clientFolder is the newest folder with a program that is of a major version
// or newer; empty: there is none.
func clientFolder(program string, major int) (found string) {
	newest := major - 1
	for _, pattern := range clientFolders {
		folders, _ := filepath.Glob(pattern)
		for _, dir := range folders {
			m := folderVersion.FindStringSubmatch(dir)
			if m == nil {
				continue
			}
			version, _ := strconv.Atoi(m[1])
			if _, err := os.Stat(filepath.Join(dir, program)); err == nil && version > newest {
				found, newest = dir, version
			}
		}
	}
	return found
}

// inPath is how to run this again with a program that PATH does not lead to, or
// to an older one only.
func inPath(program string, major int, f hintContext) string {
	if dir := clientFolder(program, major); dir != "" {
		return fmt.Sprintf("it is in %s, which PATH lacks or names too late, as cron's does: PATH=%s:$PATH %s", dir, shellQuote(dir), f.again())
	}
	if major > 0 {
		return fmt.Sprintf("install PostgreSQL's client programs, version %d or newer, and put their folder in PATH; then: %s", major, f.again())
	}
	return fmt.Sprintf("install PostgreSQL's client programs, and put their folder in PATH; then: %s", f.again())
}
