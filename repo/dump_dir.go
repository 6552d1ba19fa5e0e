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
	"syscall"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/segment"
)

// Names within a base that is a directory. The rest of it is pg_dump's, as
// pg_restore reads it.
const (
	dirSuffix     = ".dir"
	dirDescribes  = "pg_scribe.txt"      // header, checksums, trailer
	DirListName   = "restore.list"       // what to restore, for pg_restore -L
	DirSettingsIn = "settings.sql"       // settings of the database, to run afterwards
	DirObjects    = "objects.sql.zst"    // what every object is, as the lines of a plain base
	dirFilePrefix = "-- pg_scribe file " // SIZE SHA256 "NAME"
)

// A DirWriter makes a base that is a directory archive of pg_dump. As with a
// DumpWriter, nothing of it counts until Finish returned and the catalog has
// its row.
type DirWriter struct {
	repo    *Repository
	header  segment.Header
	sealing filter.Chain // what pg_dump's own files go through
	name    string
	work    string     // where pg_dump writes it
	locks   []*os.File // of the directories, so that they are known to be alive
	renamed bool
}

// CreateDumpDir begins a base directory. Path is where pg_dump writes it,
// compressed as the chain's compression says; Finish passes what it wrote
// through the rest of the chain.
func (r *Repository) CreateDumpDir(h segment.Header, stamp string, chain filter.Chain) (*DirWriter, error) {
	if err := r.verifiable(chain); err != nil {
		return nil, err
	}
	h.Kind, h.Filters = catalog.KindBase, chain.String()
	sealing := chain.Sealing()
	w := &DirWriter{repo: r, header: h, sealing: sealing, name: string(h.Kind) + "-" + stamp + dirSuffix + sealing.Extension()}
	if err := errors.Join(r.absent(w.name), r.describe(context.Background(), &w.header)); err != nil {
		return nil, err
	}
	w.work = w.partial()
	if r.spool != "" && len(sealing) > 0 {
		w.work = r.Path(w.name + clearSuffix)
	}
	if err := w.mkdir(w.work); err != nil {
		return nil, err
	}
	return w, nil
}

// mkdir makes a directory and takes its lock.
func (w *DirWriter) mkdir(path string) error {
	if err := owner.Mkdir(path); err != nil {
		return err
	}
	lock, err := os.Open(path)
	if err == nil {
		w.locks = append(w.locks, lock)
		err = flock(lock, syscall.LOCK_EX)
	}
	if err != nil {
		w.Abort()
	}
	return err
}

// partial is where what is stored lies until it has its name.
func (w *DirWriter) partial() string { return w.repo.Path(w.name + partialSuffix) }

// Path is the directory for pg_dump, empty at first.
func (w *DirWriter) Path() string { return w.work }

// Finish writes down the checksum of every file, as pg_dump wrote it, passes
// the files through the filters, and gives the directory its name.
func (w *DirWriter) Finish(t segment.Trailer) (catalog.Artifact, error) {
	text := w.header.Append(nil)
	names, err := fileNames(w.work)
	if err == nil && w.work != w.partial() {
		err = w.mkdir(w.partial())
	}
	if err != nil {
		return catalog.Artifact{}, err
	}
	total := int64(0)
	for _, name := range names {
		path := filepath.Join(w.work, name)
		if err := errors.Join(os.Chmod(path, 0o600), owner.Take(path)); err != nil { // pg_dump lets others read
			return catalog.Artifact{}, err
		}
		size, sum, err := FileSum(path)
		if err != nil {
			return catalog.Artifact{}, err
		}
		stored, err := w.seal(name, sums{textBytes: size, textSHA256: sum})
		if err != nil {
			return catalog.Artifact{}, err
		}
		total += stored
		text = fmt.Appendf(text, "%s%d %s %s\n", dirFilePrefix, size, sum, segment.Quote(name))
	}
	t.End, t.Finished = w.header.Start, w.repo.Moment()
	text = t.Append(text)
	whole := sha256.Sum256(text)
	t.TextBytes, t.TextSHA256 = int64(len(text)), hex.EncodeToString(whole[:])
	text = t.AppendSum(text)
	if err := writeSynced(filepath.Join(w.work, dirDescribes), text); err != nil {
		return catalog.Artifact{}, err
	}
	whole = sha256.Sum256(text)
	describes := sums{textBytes: int64(len(text)), textSHA256: hex.EncodeToString(whole[:])}
	if _, err := w.seal(dirDescribes, describes); err != nil {
		return catalog.Artifact{}, err
	}
	_, stored, err := FileSum(filepath.Join(w.partial(), dirDescribes+w.sealing.Extension()))
	if err != nil {
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
	if w.work != w.partial() { // empty: each file went when its encrypted one was there
		if err := os.Remove(w.work); err != nil {
			return catalog.Artifact{}, err
		}
	}
	h := w.header
	return catalog.Artifact{
		Kind: h.Kind, State: catalog.StateSealed, Name: w.name,
		SystemID: h.SystemID, Timeline: h.Timeline, Database: h.Database,
		Start: h.Start, End: h.Start, CreatedAt: h.Created, FinishedAt: t.Finished, ReachedAt: h.At,
		Bytes: total, SHA256: stored,
		Filters: h.Filters, ServerVersion: h.Server, Format: "directory",
	}, nil
}

// Abort removes the directory, finished or not, unless the catalog has it.
func (w *DirWriter) Abort() {
	w.Close()
	os.RemoveAll(w.work)
	if !w.renamed {
		os.RemoveAll(w.partial())
		return
	}
	if known, err := w.repo.Knows(w.name); err == nil && !known {
		os.RemoveAll(w.repo.Path(w.name))
	}
}

// Close lets go of the directories.
func (w *DirWriter) Close() error {
	var err error
	for _, lock := range w.locks {
		err = errors.Join(err, lock.Close())
	}
	w.locks = nil
	return err
}

// seal passes one file through the filters; the file itself goes. It returns
// the size of what is stored.
func (w *DirWriter) seal(name string, want sums) (int64, error) {
	if len(w.sealing) == 0 {
		return want.textBytes, nil
	}
	path := filepath.Join(w.work, name)
	text, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer text.Close()
	s, err := w.repo.sealMember(w.name+"/"+name, filepath.Join(w.partial(), name+w.sealing.Extension()), w.sealing, text, want)
	if err != nil {
		return 0, err
	}
	return s.bytes, os.Remove(path)
}

// sealMember writes one file of a directory that is not published yet.
func (r *Repository) sealMember(shown, path string, chain filter.Chain, text io.Reader, want sums) (sums, error) {
	file, err := owner.Create(path, os.O_RDWR)
	if err != nil {
		return sums{}, err
	}
	defer file.Close()
	s, err := r.encode(shown, text, chain, file)
	if err == nil {
		err = s.sameText(shown, want)
	}
	return s, err
}

func writeSynced(path string, text []byte) error {
	f, err := owner.Create(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
