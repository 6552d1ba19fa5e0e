package repo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"pg_scribe/repo/owner"
)

// A repository may have its working files, which are in clear whatever the
// filters, in a folder of its own elsewhere (init --spool-dir): the catalog,
// the open segment, and what pg_dump writes before it is encrypted.

const (
	// SpoolName is the file that leads to that folder: its first line is the
	// path. A repository without one has everything in its directory.
	SpoolName = "pg_scribe_spool.txt"
	// ownerName is the file in the folder that leads back.
	ownerName = "pg_scribe_spool_of.txt"

	spoolPrefix = "pg_scribe-"
)

// clearSuffix ends the name of a base directory as pg_dump writes it, if its
// files are to go through filters on their way into the repository.
const clearSuffix = ".clear" + partialSuffix

// isWorking tells the files that lie in the spool folder, if there is one.
func isWorking(name string) bool {
	return strings.HasPrefix(name, CatalogName) || strings.HasSuffix(name, openSuffix) || strings.HasSuffix(name, clearSuffix) ||
		strings.HasPrefix(name, catalogScratch) || strings.HasPrefix(name, ownerName)
}

// SpoolMissingError says that the folder for working files is not there: its
// file system is not mounted, or it was lost.
type SpoolMissingError struct{ Dir, Spool string }

func (e *SpoolMissingError) Error() string {
	return fmt.Sprintf("the folder %s, which holds catalog and open segment of %s, is not there", e.Spool, e.Dir)
}

// SpoolTakenError says that the folder for working files is another
// directory's, of which this one is a copy.
type SpoolTakenError struct{ Dir, Spool, Owner string }

func (e *SpoolTakenError) Error() string {
	return fmt.Sprintf("the folder %s holds catalog and open segment of %s, of which %s is a copy", e.Spool, e.Owner, e.Dir)
}

// SpoolUnfitError says why a directory cannot take working files.
type SpoolUnfitError struct{ Spool, Reason string }

func (e *SpoolUnfitError) Error() string {
	return fmt.Sprintf("%s cannot take the working files: %s", e.Spool, e.Reason)
}

// CheckSpool says whether a repository in dir, which need not exist, can have
// its working files below another directory. It fails with SpoolUnfitError.
func CheckSpool(dir, spool string) error {
	unfit := func(format string, args ...any) error { return &SpoolUnfitError{spool, fmt.Sprintf(format, args...)} }
	path, err := filepath.Abs(spool)
	if err != nil {
		return err
	}
	if strings.ContainsFunc(path, unicode.IsControl) {
		return unfit("its path has control characters")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unfit("there is no such directory")
	case err != nil:
		return unfit("%v", err)
	case !info.IsDir():
		return unfit("it is no directory")
	case info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
		return unfit("everybody may rename and replace what lies in it")
	}
	if inside, err := isInside(path, dir); err != nil {
		return err
	} else if inside {
		return unfit("it is the repository's directory, or inside of it")
	}
	trial, err := os.MkdirTemp(path, spoolPrefix)
	if err == nil {
		err = os.Remove(trial)
	}
	if err != nil {
		return unfit("%v", err)
	}
	return nil
}

// isInside says whether path leads to dir or into it.
func isInside(path, dir string) (bool, error) {
	outer, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, err
	}
	for {
		if info, err := os.Stat(real); err == nil && os.SameFile(info, outer) {
			return true, nil
		}
		up := filepath.Dir(real)
		if up == real {
			return false, nil
		}
		real = up
	}
}

// makeSpool makes the repository's folder, of mode 0700, below a directory.
func (r *Repository) makeSpool(below string) error {
	if err := CheckSpool(r.dir, below); err != nil {
		return err
	}
	path, err := filepath.Abs(below)
	if err != nil {
		return err
	}
	path = filepath.Join(path, spoolPrefix+strings.ToLower(rand.Text()[:12]))
	if err := owner.MkdirFor(path, r.dir); err != nil {
		return err
	}
	r.spool = path
	err = errors.Join(r.claimSpool(), syncDir(filepath.Dir(path)))
	if err != nil {
		r.spool = ""
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// createSpool makes the folder of a new repository and leads to it.
func (r *Repository) createSpool(below string) error {
	if err := r.makeSpool(below); err != nil {
		return err
	}
	// Exclusive, as the catalog's file is elsewhere: of two only one begins here.
	err := writeSynced(filepath.Join(r.dir, SpoolName), spoolPointer(r.spool))
	if err != nil {
		err = errors.Join(err, os.RemoveAll(r.spool))
		r.spool = ""
	}
	return err
}

// spoolPointer is the text of the file that leads to a folder.
func spoolPointer(path string) []byte {
	return []byte(path + `

The folder above holds the catalog of this repository and the segment that is
being written, which are not encrypted. Without it, pg_scribe catalog rebuild
makes the catalog again; what only the open segment held is lost then.
`)
}

// findSpool learns where the working files lie. It fails with
// SpoolMissingError, and makes nothing in its place.
func (r *Repository) findSpool() error {
	path, err := spoolOf(r.dir)
	if err != nil || path == "" {
		return err
	}
	r.spool = path
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir() {
		return &SpoolMissingError{r.dir, path}
	}
	if err != nil {
		return err
	}
	// A copy of the directory leads to the same folder: two would write there.
	owner, err := firstLine(filepath.Join(path, ownerName))
	if err != nil || owner == "" {
		return nil // nobody's, or nobody may say
	}
	theirs, err := spoolOf(owner)
	if err == nil && theirs == path && !sameDir(owner, r.dir) {
		return &SpoolTakenError{r.dir, path, owner}
	}
	return nil
}

// claimSpool notes in the folder whose it is: the directory may have moved.
func (r *Repository) claimSpool() error {
	if r.spool == "" {
		return nil
	}
	dir, err := filepath.Abs(r.dir)
	if err != nil {
		return err
	}
	if owner, err := firstLine(r.Path(ownerName)); err == nil && owner == dir {
		return nil
	}
	return r.replace(ownerName, []byte(dir+"\n\nWorking files of the pg_scribe repository in the directory above.\n"))
}

// spoolOf reads where the working files of a directory lie; empty: in itself.
func spoolOf(dir string) (string, error) {
	path, err := firstLine(filepath.Join(dir, SpoolName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil
	}
	if err == nil && !filepath.IsAbs(path) {
		err = &FormatError{File: SpoolName, Reason: "its first line is no absolute path"}
	}
	return path, err
}

func firstLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line, err
}

func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// moveSpool gives a repository that has no working files, because it lost them
// or was brought from a storage, another folder for them. The caller holds the
// streamer's lock.
func (r *Repository) moveSpool(below string) error {
	old := r.spool
	if old != "" {
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			r.spool = ""
		}
	}
	names, err := r.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, openSuffix) || name == CatalogName {
			return &SpoolUnfitError{below, name + " lies in " + r.workDir()}
		}
	}
	if err := r.makeSpool(below); err != nil {
		return err
	}
	if err := r.replace(SpoolName, spoolPointer(r.spool)); err != nil {
		return err
	}
	if old != "" { // one that an interrupted Rebuild made; never one with anything in it
		os.Remove(filepath.Join(old, ownerName))
		os.Remove(old)
	}
	return nil
}

// SpoolDir is the folder with the working files; empty: they lie in Dir.
func (r *Repository) SpoolDir() string { return r.spool }

// workDir is where working files lie.
func (r *Repository) workDir() string {
	if r.spool != "" {
		return r.spool
	}
	return r.dir
}

// Path is where a file of the repository lies.
func (r *Repository) Path(name string) string {
	if isWorking(name) {
		return filepath.Join(r.workDir(), name)
	}
	return filepath.Join(r.dir, name)
}

// Names lists what lies where Path leads to, or on the storage, in any order.
func (r *Repository) Names() ([]string, error) {
	if r.remote != nil {
		sizes, err := r.remote.list()
		return slices.Collect(maps.Keys(sizes)), err
	}
	var names []string
	for _, dir := range []string{r.dir, r.spool} {
		if dir == "" {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if r.Path(e.Name()) == filepath.Join(dir, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// Misplaced lists working files in the repository's directory, where nothing
// reads them.
func (r *Repository) Misplaced() (names []string, err error) {
	if r.spool == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(r.dir)
	for _, e := range entries {
		if isWorking(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}
