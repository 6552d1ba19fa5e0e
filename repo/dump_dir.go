package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"pg_scribe/catalog"
)

// Names within a base that is a directory. The rest of it is pg_dump's, as
// pg_restore reads it.
const (
	dirSuffix     = ".dir"
	dirDescribes  = "pg_scribe.txt"      // header, checksums, trailer
	DirListName   = "restore.list"       // what to restore, for pg_restore -L
	DirSettingsIn = "settings.sql"       // settings of the database, to run afterwards
	dirFilePrefix = "-- pg_scribe file " // SIZE SHA256 "NAME"
)

// A DirWriter makes a base that is a directory archive of pg_dump. As with a
// DumpWriter, nothing of it counts until Finish returned and the catalog has
// its row.
type DirWriter struct {
	repo    *Repository
	header  Header
	name    string
	lock    *os.File // of the directory, so that it is known to be alive
	renamed bool
}

// CreateDumpDir begins a base directory. Path is where pg_dump writes it.
func (r *Repository) CreateDumpDir(h Header, stamp string) (*DirWriter, error) {
	h.Kind, h.Format = catalog.KindBase, FormatVersion
	w := &DirWriter{repo: r, header: h, name: string(h.Kind) + "-" + stamp + dirSuffix}
	if err := errors.Join(r.absent(w.name), r.describe(context.Background(), &w.header)); err != nil {
		return nil, err
	}
	if err := os.Mkdir(w.partial(), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.Open(w.partial())
	if err == nil {
		w.lock = lock
		err = flock(lock, syscall.LOCK_EX)
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

func (w *DirWriter) partial() string { return w.repo.Path(w.name + partialSuffix) }

// Path is the directory, empty at first.
func (w *DirWriter) Path() string { return w.partial() }

// Finish writes down the checksum of every file and gives the directory its
// name.
func (w *DirWriter) Finish(t Trailer) (catalog.Artifact, error) {
	text := w.header.append(nil)
	names, err := fileNames(w.partial())
	if err != nil {
		return catalog.Artifact{}, err
	}
	total := int64(0)
	for _, name := range names {
		path := filepath.Join(w.partial(), name)
		if err := os.Chmod(path, 0o600); err != nil { // pg_dump lets others read
			return catalog.Artifact{}, err
		}
		size, sum, err := fileSum(path)
		if err != nil {
			return catalog.Artifact{}, err
		}
		total += size
		text = fmt.Appendf(text, "%s%d %s %s\n", dirFilePrefix, size, sum, quote(name))
	}
	t.End, t.Finished = w.header.Start, w.repo.moment()
	text = t.append(text)
	whole := sha256.Sum256(text)
	t.TextBytes, t.TextSHA256 = int64(len(text)), hex.EncodeToString(whole[:])
	text = t.appendSum(text)
	if err := writeSynced(filepath.Join(w.partial(), dirDescribes), text); err != nil {
		return catalog.Artifact{}, err
	}
	if err := errors.Join(syncDir(w.partial()), w.repo.absent(w.name)); err != nil {
		return catalog.Artifact{}, err
	}
	if err := os.Rename(w.partial(), w.repo.Path(w.name)); err != nil {
		return catalog.Artifact{}, err
	}
	w.renamed = true
	if err := syncDir(w.repo.dir); err != nil {
		return catalog.Artifact{}, err
	}
	sum := sha256.Sum256(text)
	h := w.header
	return catalog.Artifact{
		Kind: h.Kind, State: catalog.StateSealed, Name: w.name,
		SystemID: h.SystemID, Timeline: h.Timeline, Database: h.Database,
		Start: h.Start, End: h.Start, CreatedAt: h.Created, FinishedAt: t.Finished, ReachedAt: h.At,
		Bytes: total, SHA256: hex.EncodeToString(sum[:]),
		Filters: h.Filters, ServerVersion: h.Server, Format: "directory",
	}, nil
}

// Abort removes the directory, finished or not, unless the catalog has it.
func (w *DirWriter) Abort() {
	w.Close()
	if !w.renamed {
		os.RemoveAll(w.partial())
		return
	}
	if known, err := w.repo.knows(w.name); err == nil && !known {
		os.RemoveAll(w.repo.Path(w.name))
	}
}

// Close lets go of the directory.
func (w *DirWriter) Close() error {
	if w.lock == nil {
		return nil
	}
	lock := w.lock
	w.lock = nil
	return lock.Close()
}

// checkDir compares every file of a base directory with what Finish wrote.
func (r *Repository) checkDir(a catalog.Artifact) error {
	text, err := os.ReadFile(filepath.Join(r.Path(a.Name), dirDescribes))
	if errors.Is(err, os.ErrNotExist) {
		return &MissingFileError{a.Name}
	}
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != a.SHA256 {
		return &FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: the checksum of %s is not the stored one", dirDescribes)}
	}
	d, err := parseDir(a.Name, text)
	if err != nil {
		return err
	}
	for _, f := range d.files {
		if err := r.checkDirFile(a.Name, f); err != nil {
			return err
		}
	}
	return nil
}

func fileNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

func fileSum(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
