package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/storage"
)

// IsCopy says whether a directory is what a repository was sent to, rather
// than one where a repository works.
func IsCopy(dir string) bool {
	there := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	return there(layout.IdentityName) && !there(CatalogName) && !there(SpoolName)
}

// remote reads a repository's files from a storage.
type remote struct {
	ctx     context.Context
	session storage.Session
	keys    *filter.Keys
	listed  sync.Once
	sizes   map[string]int64 // after list
	failed  error
}

// list asks the storage for all its files, once. A restore does not need it:
// the catalog names what it reads.
func (m *remote) list() (map[string]int64, error) {
	m.listed.Do(func() {
		m.sizes = map[string]int64{}
		for info, err := range m.session.List(m.ctx, "") {
			if err != nil {
				m.failed = err
				return
			}
			m.sizes[info.Name] = info.Size
		}
	})
	return m.sizes, m.failed
}

// SnapshotError says that the newest catalog of a storage is damaged. An older
// one is not taken instead: what it does not know would be missing, unsaid.
type SnapshotError struct {
	Storage, Name string
	Err           error
}

func (e *SnapshotError) Error() string {
	return fmt.Sprintf("the newest catalog of storage %s, %s, is damaged (%v)", e.Storage, e.Name, e.Err)
}

// OpenStorage opens, for reading, a repository of which this machine has
// nothing: by the newest snapshot of its catalog on the storage, which it keeps
// in a private directory until Close. Everything else is read from the storage
// when it is needed; only a base that is a directory is brought here as a
// whole. ctx holds until Close. What is encrypted is read with keys, the
// catalog too.
func OpenStorage(ctx context.Context, t storage.Storage, keys *filter.Keys) (*Repository, error) {
	session, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	r, err := openRemote(ctx, t.String(), &remote{ctx: ctx, session: session, keys: keys})
	if err != nil {
		session.End()
		return nil, err
	}
	return r, nil
}

func openRemote(ctx context.Context, name string, rem *remote) (*Repository, error) {
	snapshots, err := rem.snapshots()
	if err != nil {
		return nil, err
	}
	if len(snapshots) == 0 {
		return nil, &NotRepositoryError{Dir: name}
	}
	dir, err := os.MkdirTemp("", "pg_scribe-") // mode 0700
	if err != nil {
		return nil, err
	}
	var r *Repository
	newest, err := rem.fetchNewest(snapshots, filepath.Join(dir, CatalogName))
	if err == nil {
		r, err = OpenReadOnly(ctx, dir)
	}
	if err != nil {
		os.RemoveAll(dir)
		var none *NotRepositoryError
		if errors.As(err, &none) {
			none.Dir = name
		}
		if errors.As(err, new(*FormatError)) || catalog.IsDamaged(err) {
			if none != nil && none.Cause != nil {
				err = none.Cause
			}
			err = &SnapshotError{name, newest, err}
		}
		return nil, err
	}
	r.remote, r.keys = rem, rem.keys
	return r, nil
}

// snapshots are the names of the catalogs there, the newest last.
func (m *remote) snapshots() (names []string, err error) {
	for info, err := range m.session.List(m.ctx, layout.CatalogPrefix) {
		if err != nil {
			return nil, err
		}
		if strings.Contains(info.Name, layout.CatalogSuffix) {
			names = append(names, info.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// fetchNewest brings the newest catalog. It may just have been removed by a
// newer one, which may have removed others.
func (m *remote) fetchNewest(names []string, path string) (name string, err error) {
	for _, name = range slices.Backward(names) {
		if err = m.fetchCatalog(name, path); !errors.Is(err, storage.NotFound) {
			break
		}
	}
	return name, err
}

func (m *remote) fetchCatalog(name, path string) error {
	stored, err := m.session.Open(m.ctx, name)
	if err != nil {
		return err
	}
	defer stored.Close()
	chain, err := filter.ParseRecord(filter.RecordOfName(name), m.command)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text, err := chain.NewReader(stored, m.keys)
	if err != nil {
		return filterFault(name, err)
	}
	defer text.Close()
	f, err := owner.Open(path, os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, text)
	if err = errors.Join(err, f.Close()); err != nil && !errors.As(err, new(*storage.Error)) {
		err = filterFault(name, err)
	}
	return err
}

// command finds a command of the shell in the newest metadata file: the catalog
// may be unreadable without it.
func (m *remote) command(n int) (filter.Filter, error) {
	text, err := m.metadata()
	if err != nil {
		return filter.Filter{}, err
	}
	spec, known := filtersIn(text)[shellSetting+strconv.Itoa(n)]
	if !known {
		return filter.Filter{}, fmt.Errorf("nothing tells the command f%d", n)
	}
	f, err := filter.ParseFilter(spec)
	f.Number = n
	return f, err
}

// metadata reads the newest metadata file; empty: there is none.
func (m *remote) metadata() (string, error) {
	newest := ""
	for info, err := range m.session.List(m.ctx, layout.MetadataPrefix) {
		if err != nil {
			return "", err
		}
		newest = max(newest, info.Name)
	}
	if newest == "" {
		return "", nil
	}
	in, err := m.session.Open(m.ctx, newest)
	if err != nil {
		return "", err
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	return string(text), err
}

func (m *remote) open(name string) (io.ReadCloser, error) {
	f, err := m.session.Open(m.ctx, name)
	if errors.Is(err, storage.NotFound) {
		return nil, &MissingFileError{name}
	}
	return f, err
}

// fetchDir brings a base that is a directory here, for pg_restore.
func (m *remote) fetchDir(dir, name string) error {
	describes := describedBy(name)
	if _, err := os.Stat(filepath.Join(dir, describes)); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	member := func(base string) error {
		err := m.fetch(name+"/"+base, filepath.Join(dir, base))
		if errors.Is(err, storage.NotFound) {
			err = &MissingFileError{name}
		}
		return err
	}
	for info, err := range m.session.List(m.ctx, name+"/") {
		if err != nil {
			return err
		}
		base := filepath.Base(info.Name)
		if base == describes {
			continue // it comes last, so that it proves the rest
		}
		if err := member(base); err != nil {
			return err
		}
	}
	return member(describes)
}

func (m *remote) fetch(name, path string) error {
	in, err := m.session.Open(m.ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := owner.Open(path, os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// At is the repository as a storage has its files, which are compared with the
// catalog here. What has to be brought here is put into a directory.
func (r *Repository) At(ctx context.Context, session storage.Session, dir string) *Repository {
	return &Repository{dir: dir, cat: r.cat, keys: r.keys, now: r.now, remote: &remote{ctx: ctx, session: session, keys: r.keys}}
}

// FetchCatalog brings the newest catalog of the storage that At gave. It fails
// with fs.ErrNotExist if there is none.
func (r *Repository) FetchCatalog(path string) (name string, err error) {
	names, err := r.remote.snapshots()
	if err == nil && len(names) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return "", err
	}
	return r.remote.fetchNewest(names, path)
}

// Remote says whether the files are read from a storage.
func (r *Repository) Remote() bool { return r.remote != nil }

// StoredSize is the size of an artifact's file as the file system or the
// storage reports it, without reading it; of a directory that of its files but the
// one that describes them. Where a storage does not say, it is that of the
// catalog. It fails with MissingFileError.
func (r *Repository) StoredSize(a catalog.Artifact) (int64, error) {
	if r.remote != nil {
		sizes, err := r.remote.list()
		if err != nil {
			return 0, err
		}
		size, ok := sizes[a.Name]
		if a.Format == "directory" {
			_, ok = sizes[a.Name+"/"+describedBy(a.Name)]
			size = 0
			for name, n := range sizes {
				if strings.HasPrefix(name, a.Name+"/") && name != a.Name+"/"+describedBy(a.Name) && size >= 0 {
					if size += n; n < 0 {
						size = -1
					}
				}
			}
		}
		if !ok {
			return 0, &MissingFileError{a.Name}
		}
		if size < 0 {
			size = a.Bytes
		}
		return size, nil
	}
	info, err := os.Stat(r.Path(a.Name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, &MissingFileError{a.Name}
	}
	if err != nil {
		return 0, err
	}
	if info.IsDir() {
		return r.dirSize(a.Name)
	}
	return info.Size(), nil
}

// dirSize adds up the files of a directory but the one that describes them,
// which has to be there.
func (r *Repository) dirSize(name string) (size int64, err error) {
	entries, err := os.ReadDir(r.Path(name))
	if err != nil {
		return 0, err
	}
	described := false
	for _, e := range entries {
		if e.Name() == describedBy(name) {
			described = true
			continue
		}
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	if !described {
		return 0, &MissingFileError{name + "/" + describedBy(name)}
	}
	return size, nil
}
