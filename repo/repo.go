// Package repo holds the bytes of a pg_scribe repository: the names of its
// files, their writers and readers, compression, atomic publication, and recovery
// after a crash.
//
// What it guarantees: a file that has its final name is complete and on disk;
// a catalog row names only such files, or an open segment's bytes up to its
// last checkpoint. The order is always bytes, fsync, rename, catalog. A
// process that dies at any point leaves at most an incomplete stray file,
// which the next streamer removes, and an open segment, which it seals at its
// last checkpoint.
//
// What it does not know: SQL beyond where a statement ends, and servers.
//
// Start with Create and Open, then CreateSegment and CreateDump to write,
// OpenSegment and OpenDump to read. Packages above compare it with its catalog
// (verify), make that again (rebuild), and copy it to storages (upload).
package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/segment"
)

// Names of the files that every repository has.
const (
	CatalogName  = "catalog.db"
	MetadataName = "pg_scribe_metadata.txt"
	lockName     = "pg_scribe.lock"
)

// A Repository is an open backup directory.
type Repository struct {
	dir   string
	spool string // folder with the working files; empty: they lie in dir
	cat   *catalog.Catalog
	keys  *filter.Keys // to read encrypted files; nil: none
	now   func() time.Time
	hook  func(step string) error // tests stop here; nil otherwise
	older int                     // tests write files of this format; 0: the present one

	madeDir bool // Create made the directory

	remote *remote // the files lie on a storage; nil otherwise
}

// CheckEmpty says whether a repository can be made in dir: it is an empty
// directory, or absent.
func CheckEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	for _, e := range entries {
		if e.Name() == CatalogName || e.Name() == MetadataName || e.Name() == SpoolName {
			return &NotEmptyError{dir, true}
		}
	}
	return &NotEmptyError{dir, false}
}

// Create makes a repository in dir, which must be absent or empty. Its files
// are compressed as info says, until SetChain chooses other filters. On an
// error, and when Undo is called on the result, the files and the directory
// that it made are removed again.
func Create(ctx context.Context, dir string, info catalog.Repository, now func() time.Time) (*Repository, error) {
	return CreateWithSpool(ctx, dir, "", info, now)
}

// CreateWithSpool is Create with the working files, which are in clear, in a
// new folder below another directory. It fails with SpoolUnfitError if that
// cannot take them.
func CreateWithSpool(ctx context.Context, dir, spool string, info catalog.Repository, now func() time.Time) (*Repository, error) {
	if info.Compression == "" {
		info.Compression = filter.Default.String()
	}
	if _, err := filter.ParseShorthand(info.Compression); err != nil {
		return nil, err
	}
	if err := CheckEmpty(dir); err != nil {
		return nil, err
	}
	_, statErr := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &Repository{dir: dir, now: now, madeDir: errors.Is(statErr, os.ErrNotExist)}
	undo := func() {
		if r.cat != nil { // else it may be another process's
			r.cat.Close()
			os.Remove(r.Path(CatalogName))
		}
		if r.spool != "" {
			os.RemoveAll(r.spool)
			os.Remove(r.Path(SpoolName))
		}
		if r.madeDir {
			os.Remove(dir)
		}
	}
	err := os.Chmod(dir, 0o700)
	if err == nil && spool != "" {
		err = r.createSpool(spool)
	}
	if errors.Is(err, os.ErrExist) {
		err = &NotEmptyError{dir, true}
	}
	if err != nil {
		undo()
		return nil, err
	}
	if r.cat, err = catalog.Create(r.Path(CatalogName)); err != nil {
		undo()
		if errors.Is(err, os.ErrExist) {
			return nil, &NotEmptyError{dir, true}
		}
		return nil, err
	}
	if info.CreatedAt.IsZero() {
		info.CreatedAt = r.Moment()
	}
	if err = owner.Take(r.Path(CatalogName)); err == nil {
		err = r.cat.SetRepository(ctx, info)
	}
	if err = errors.Join(err, syncDir(r.workDir()), syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		undo()
		return nil, err
	}
	return r, nil
}

// Open opens a repository for writing.
func Open(ctx context.Context, dir string, now func() time.Time) (*Repository, error) {
	return open(ctx, dir, now, catalog.Open, (*Repository).claimSpool)
}

// OpenReadOnly opens a repository that nothing is written to, not even a
// lock; it may be on a read-only file system.
func OpenReadOnly(ctx context.Context, dir string) (*Repository, error) {
	return open(ctx, dir, time.Now, catalog.OpenReadOnly, nil)
}

func open(ctx context.Context, dir string, now func() time.Time, openCatalog func(string) (*catalog.Catalog, error),
	claim func(*Repository) error) (*Repository, error) {
	r := &Repository{dir: dir, now: now}
	if err := r.findSpool(); err != nil {
		return nil, err
	}
	path := r.Path(CatalogName)
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil, withoutCatalog(dir, nil)
		}
		return nil, err
	}
	cat, err := openCatalog(path)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		return nil, err // nothing is wrong with the catalog
	}
	if err != nil {
		return nil, withoutCatalog(dir, err)
	}
	info, err := cat.Repository(ctx)
	if err != nil {
		cat.Close()
		return nil, withoutCatalog(dir, err)
	}
	r.cat = cat
	_, err = r.Chain(ctx)
	if info.Format > segment.FormatVersion {
		err = segment.CheckFormat(info.Format)
	}
	if err != nil {
		cat.Close()
		return nil, withoutCatalog(dir, err)
	}
	if claim != nil {
		if err := claim(r); err != nil {
			cat.Close()
			return nil, err
		}
	}
	return r, nil
}

// withoutCatalog tells a directory whose catalog can be made again from one
// that holds no repository.
func withoutCatalog(dir string, cause error) error {
	entries, err := os.ReadDir(dir)
	if err == nil && HoldsFiles(entries) && (cause == nil || catalog.IsDamaged(cause)) {
		return &DamagedCatalogError{Dir: dir, Cause: cause}
	}
	return &NotRepositoryError{Dir: dir, Cause: cause}
}

// Dir is the repository's directory.
func (r *Repository) Dir() string { return r.dir }

// Catalog is what knows the repository's files.
func (r *Repository) Catalog() *catalog.Catalog { return r.cat }

// Now is the repository's clock.
func (r *Repository) Now() time.Time { return r.now() }

// Close closes the catalog.
func (r *Repository) Close() error {
	err := r.cat.Close()
	if r.remote != nil {
		err = errors.Join(err, r.remote.session.End(), os.RemoveAll(r.dir))
	}
	return err
}

// Undo deletes every file of a repository that never became complete, and
// its directory if Create made that.
func (r *Repository) Undo() error {
	r.cat.Close()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.dir, e.Name())))
	}
	if r.spool != "" {
		err = errors.Join(err, os.RemoveAll(r.spool))
	}
	if r.madeDir {
		err = errors.Join(err, os.Remove(r.dir))
	}
	return err
}

// LockStreamer makes this process the only one that streams into the
// repository. It fails with BusyError.
func (r *Repository) LockStreamer() (release func(), err error) {
	release, err = r.lock(lockName)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = &BusyError{Dir: r.dir}
	}
	return release, err
}

// lock takes a lock that the kernel holds, so that a dead process never
// blocks. It fails with EWOULDBLOCK.
//
// The descriptor is not an os.File, which would be closed when it is no longer
// referred to: the lock holds until release is called or the process ends.
func (r *Repository) lock(name string) (release func(), err error) {
	path := r.Path(name)
	made, err := owner.Open(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err = errors.Join(err, made.Close()); err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	for try := 0; ; try++ {
		err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) && try < 10 {
			time.Sleep(10 * time.Millisecond) // StreamerRunning has it for a moment
		} else if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return sync.OnceFunc(func() { syscall.Close(fd) }), nil
}

// StreamerRunning says whether some process holds the streamer's lock.
func (r *Repository) StreamerRunning() bool {
	f, err := os.Open(r.Path(lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// End is the position up to which the repository holds the stream of its
// source's present timeline (see catalog.Inventory.End).
func (r *Repository) End(ctx context.Context) (catalog.LSN, error) {
	inv, err := r.cat.Inventory(ctx)
	if err != nil {
		return 0, err
	}
	end, ok := inv.End()
	if !ok {
		return 0, &NotRepositoryError{Dir: r.dir, Cause: errors.New("it holds no base")}
	}
	return end, nil
}

// Failpoint says to a test how far an operation has come; its error ends it there.
func (r *Repository) Failpoint(step string) error {
	if r.hook == nil {
		return nil
	}
	return r.hook(step)
}

// publish gives a finished file its final name, which nobody has yet, and
// waits until the name is on disk.
func (r *Repository) publish(from, to string) error {
	if err := r.absent(to); err != nil {
		return err
	}
	if err := os.Rename(r.Path(from), r.Path(to)); err != nil {
		return err
	}
	return syncDir(r.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// openStored opens the stored bytes of an artifact, wherever they lie. It may
// have another name since the catalog was read: an open segment was sealed, or
// a sealed file written anew. Then the artifact as it is now is returned with
// it.
func (r *Repository) openStored(a catalog.Artifact) (io.ReadCloser, catalog.Artifact, error) {
	if r.remote != nil {
		f, err := r.remote.open(a.Name)
		return f, a, err
	}
	f, a, err := r.OpenLocal(a)
	if err != nil {
		return nil, a, err
	}
	return f, a, nil
}

// OpenLocal opens the stored bytes of an artifact here, as openStored does.
func (r *Repository) OpenLocal(a catalog.Artifact) (*os.File, catalog.Artifact, error) {
	f, err := os.Open(r.Path(a.Name))
	if errors.Is(err, fs.ErrNotExist) && a.ID != 0 {
		now, rerr := r.cat.Artifact(context.Background(), a.ID)
		if rerr == nil && now.Name != a.Name {
			f, err = os.Open(r.Path(now.Name))
			return f, now, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) && a.State == catalog.StateOpen && r.spool == "" {
		// Renamed, but not yet so in the catalog: what counted then still
		// stands at its beginning. Recover may even take the name back.
		f, err = os.Open(r.Path(SealedName(a.Name)))
		if errors.Is(err, fs.ErrNotExist) {
			f, err = os.Open(r.Path(a.Name))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, a, &MissingFileError{a.Name}
	}
	return f, a, err
}

// openText opens a file's text, that of an open segment up to its last
// checkpoint.
func (r *Repository) openText(a catalog.Artifact) (io.Reader, []io.Closer, error) {
	f, now, err := r.openStored(a)
	if err != nil {
		return nil, nil, err
	}
	chain, err := r.FileChain(context.Background(), now.Filters)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	text, err := r.openFilters(now.Name, chain, io.LimitReader(f, now.Bytes))
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	if a.State == catalog.StateOpen && now.State == catalog.StateSealed {
		return io.LimitReader(text, a.TextBytes), []io.Closer{text, f}, nil
	}
	return text, []io.Closer{text, f}, nil
}

// OpenSegment reads a segment, an open one up to its last checkpoint.
func (r *Repository) OpenSegment(a catalog.Artifact) (*segment.Reader, error) {
	text, closers, err := r.openText(a)
	if err != nil {
		return nil, err
	}
	sr, err := segment.NewReader(a.Name, text, a.State == catalog.StateOpen, closers...)
	if err != nil {
		closeAll(closers)
		return nil, err
	}
	return sr, nil
}

// OpenDump reads a plain base or a globals file.
func (r *Repository) OpenDump(a catalog.Artifact) (*dump.Reader, error) {
	text, closers, err := r.openText(a)
	if err != nil {
		return nil, err
	}
	dr, err := dump.NewReader(a.Kind, a.Name, text, closers...)
	if err != nil {
		closeAll(closers)
		return nil, err
	}
	return dr, nil
}

func closeAll(closers []io.Closer) {
	for _, c := range closers {
		c.Close()
	}
}

// Check compares a file's stored bytes with the catalog: they are there, as
// many, and of the same checksum; of an open segment those that count.
func (r *Repository) Check(a catalog.Artifact) error {
	if a.Format == "directory" {
		if r.remote != nil {
			if err := r.remote.fetchDir(r.Path(a.Name), a.Name); err != nil {
				return err
			}
		}
		return r.checkDir(a)
	}
	f, a, err := r.openStored(a)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, a.Bytes))
	if err != nil {
		return err
	}
	if n == a.Bytes && a.State == catalog.StateSealed {
		more, err := io.Copy(io.Discard, f)
		if err != nil {
			return err
		}
		n += more
	}
	if n != a.Bytes {
		return &FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: it has %d bytes, %d were stored", n, a.Bytes)}
	}
	// An open segment of an earlier version has none; its frames carry their own.
	if (a.State == catalog.StateSealed || a.SHA256 != "") && hex.EncodeToString(h.Sum(nil)) != a.SHA256 {
		return &FormatError{File: a.Name, Reason: "is damaged: checksum mismatch"}
	}
	return nil
}
