package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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
	t.End, t.Finished = w.header.Start, w.repo.moment()
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

// A DirReader reads a base that is a directory archive of pg_dump.
type DirReader struct {
	repo    *Repository
	name    string
	sealing filter.Chain
	sum     string // of the stored description
	text    []byte // of the description
	dirContents
}

// dirContents is what the description of a base directory says.
type dirContents struct {
	header  segment.Header
	trailer segment.Trailer
	files   []dirFile
}

// dirFile is a file as pg_dump wrote it.
type dirFile struct {
	name, sum string
	size      int64
}

func (d dirContents) find(name string) *dirFile {
	for i := range d.files {
		if d.files[i].name == name {
			return &d.files[i]
		}
	}
	return nil
}

// OpenDir reads the description of a base directory, which proves that the
// keys at hand fit and that the description is the catalog's. One on a storage
// is brought here.
func (r *Repository) OpenDir(a catalog.Artifact) (*DirReader, error) {
	if r.remote != nil {
		if err := r.remote.fetchDir(r.Path(a.Name), a.Name); err != nil {
			return nil, err
		}
	} else {
		f, now, err := r.openLocal(a) // the directory may have another name now
		if err != nil {
			return nil, err
		}
		f.Close()
		a = now
	}
	chain, err := r.fileChain(context.Background(), a.Filters)
	if err != nil {
		return nil, err
	}
	return r.openDir(a.Name, chain.Sealing(), a.SHA256)
}

// openDir reads a description, which must have the given checksum, if that is
// known.
func (r *Repository) openDir(name string, sealing filter.Chain, sum string) (*DirReader, error) {
	d := &DirReader{repo: r, name: name, sealing: sealing}
	stored, err := os.ReadFile(d.path(dirDescribes))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingFileError{name}
	}
	if err != nil {
		return nil, err
	}
	whole := sha256.Sum256(stored)
	if d.sum = hex.EncodeToString(whole[:]); sum != "" && d.sum != sum {
		return nil, &FormatError{File: name, Reason: fmt.Sprintf("is damaged: checksum mismatch of %s", dirDescribes)}
	}
	text, err := r.openFilters(name, sealing, bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	defer text.Close()
	if d.text, err = io.ReadAll(text); err != nil {
		return nil, filterFault(name+"/"+dirDescribes, err)
	}
	d.dirContents, err = parseDir(name, d.text)
	return d, err
}

// describedBy is the name of the file that describes a base directory, which
// ends as the directory's name does.
func describedBy(dir string) string {
	_, ext, _ := strings.Cut(dir, dirSuffix)
	return dirDescribes + ext
}

// path is where a file of the archive is stored.
func (d *DirReader) path(name string) string {
	return filepath.Join(d.repo.Path(d.name), name+d.sealing.Extension())
}

// Plain is the directory for pg_restore; false: its files went through
// filters, and have to be unpacked.
func (d *DirReader) Plain() (path string, ok bool) { return d.repo.Path(d.name), len(d.sealing) == 0 }

// Unpack writes the archive as pg_dump made it into an empty directory.
func (d *DirReader) Unpack(ctx context.Context, dir string) error {
	return d.unpack(ctx, dir, func(string) bool { return true })
}

// UnpackSchema is the same for the files that hold no rows.
func (d *DirReader) UnpackSchema(ctx context.Context, dir string) error {
	return d.unpack(ctx, dir, func(name string) bool { return !dataFile.MatchString(name) })
}

// dataFile is what pg_dump calls the files with rows and large objects.
var dataFile = regexp.MustCompile(`^(?:\d+|blob_\d+)\.dat(?:\.[a-z0-9]+)?$`)

func (d *DirReader) unpack(ctx context.Context, dir string, wanted func(name string) bool) error {
	for _, f := range d.files {
		if !wanted(f.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		to, err := os.OpenFile(filepath.Join(dir, f.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			err = errors.Join(d.copy(to, f), to.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copy writes a file as pg_dump made it, and checks it.
func (d *DirReader) copy(to io.Writer, f dirFile) error {
	stored, err := os.Open(d.path(f.name))
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingFileError{d.name + "/" + f.name}
	}
	if err != nil {
		return err
	}
	defer stored.Close()
	text, err := d.repo.openFilters(d.name+"/"+f.name, d.sealing, stored)
	if key := (*filter.KeyError)(nil); errors.As(err, &key) && key.Fault == filter.KeyWrong {
		// The key opened the description.
		return &FormatError{File: d.name, Reason: fmt.Sprintf("is damaged: %s is not for the key that opens %s", f.name, dirDescribes)}
	}
	if err != nil {
		return err
	}
	defer text.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, h), &inFile{text, d.name + "/" + f.name})
	if err != nil {
		return err
	}
	if n != f.size || hex.EncodeToString(h.Sum(nil)) != f.sum {
		return &FormatError{File: d.name, Reason: fmt.Sprintf("is damaged: checksum mismatch of %s", f.name)}
	}
	return nil
}

// inFile names the file in what goes wrong when it is read.
type inFile struct {
	r    io.Reader
	name string
}

func (i *inFile) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = filterFault(i.name, err)
	}
	return n, err
}

// checkDir compares every file of a base directory with what Finish wrote.
func (r *Repository) checkDir(a catalog.Artifact) error {
	d, err := r.OpenDir(a)
	if err != nil {
		return err
	}
	for _, f := range d.files {
		if err := d.copy(io.Discard, f); err != nil {
			return err
		}
	}
	return nil
}

// checkStoredDir compares a base directory with the catalog as far as that can
// be done without a key.
func (r *Repository) checkStoredDir(a catalog.Artifact) error {
	chain, err := r.fileChain(context.Background(), a.Filters)
	if err != nil {
		return err
	}
	if len(chain.Sealing()) == 0 {
		return r.checkDir(a)
	}
	names, err := fileNames(r.Path(a.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingFileError{a.Name}
	}
	total, sum := int64(0), ""
	for _, name := range names {
		path := filepath.Join(r.Path(a.Name), name)
		if name == describedBy(a.Name) {
			_, sum, err = FileSum(path)
		} else if info, serr := os.Stat(path); serr == nil {
			total += info.Size()
		} else {
			err = serr
		}
		if err != nil {
			return err
		}
	}
	if err == nil && (sum != a.SHA256 || total != a.Bytes) {
		err = &FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: checksum mismatch of %s, or another size of its files", dirDescribes)}
	}
	return err
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

func FileSum(path string) (int64, string, error) {
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
	f, err := owner.Create(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
