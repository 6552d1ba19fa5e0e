package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"pg_scribe/catalog"
	"pg_scribe/repo/target"
)

// Names of what a target has beside the repository's files.
const (
	snapshotPrefix = "catalog-" // SEQUENCE-LSN.db.zst
	snapshotSuffix = ".db.zst"
	identityName   = "pg_scribe_repository.txt"
	metadataPrefix = "pg_scribe_metadata-" // SEQUENCE.txt
)

// snapshotCodec is what catalogs on targets are compressed with.
var snapshotCodec = Codec{Name: "zstd"}

// snapshotName names the snapshot of a catalog. Names sort in the order in
// which the snapshots were made, so that a listing shows the newest; the LSN is
// for people.
func snapshotName(sequence uint64, end catalog.LSN) string {
	return fmt.Sprintf("%s%016X-%s%s", snapshotPrefix, sequence, end.Hex(), snapshotSuffix)
}

// sequenceOf reads the number of a snapshot or metadata file from its name.
func sequenceOf(name string) (n uint64, ok bool) {
	for _, prefix := range []string{snapshotPrefix, metadataPrefix} {
		rest, found := strings.CutPrefix(name, prefix)
		if found && len(rest) > 16 {
			n, err := strconv.ParseUint(rest[:16], 16, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// remote reads a repository's files from a target.
type remote struct {
	ctx     context.Context
	session target.Session
	listed  sync.Once
	sizes   map[string]int64 // after list
	failed  error
}

// list asks the target for all its files, once. A restore does not need it:
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

// OpenTarget opens, for reading, a repository of which this machine has
// nothing: by the newest snapshot of its catalog on the target, which it keeps
// in a private directory until Close. Everything else is read from the target
// when it is needed; only a base that is a directory is brought here as a
// whole. ctx holds until Close.
func OpenTarget(ctx context.Context, t target.Target) (*Repository, error) {
	session, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	r, err := openRemote(ctx, t.String(), session)
	if err != nil {
		session.End()
		return nil, err
	}
	return r, nil
}

func openRemote(ctx context.Context, name string, session target.Session) (*Repository, error) {
	rem := &remote{ctx: ctx, session: session}
	var snapshots []string
	for info, err := range session.List(ctx, snapshotPrefix) {
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(info.Name, snapshotSuffix) {
			snapshots = append(snapshots, info.Name)
		}
	}
	if len(snapshots) == 0 {
		return nil, &NotRepositoryError{Dir: name}
	}
	slices.Sort(snapshots)
	dir, err := os.MkdirTemp("", "pg_scribe-") // mode 0700
	if err != nil {
		return nil, err
	}
	// The newest may just have been removed by a newer one.
	for _, snapshot := range slices.Backward(snapshots) {
		if err = rem.fetchCatalog(snapshot, filepath.Join(dir, CatalogName)); !errors.Is(err, target.NotFound) {
			break
		}
	}
	var r *Repository
	if err == nil {
		r, err = OpenReadOnly(ctx, dir)
	}
	if err != nil {
		os.RemoveAll(dir)
		var none *NotRepositoryError
		if errors.As(err, &none) {
			none.Dir = name
		}
		return nil, err
	}
	r.remote = rem
	return r, nil
}

func (m *remote) fetchCatalog(name, path string) error {
	stored, err := m.session.Open(m.ctx, name)
	if err != nil {
		return err
	}
	defer stored.Close()
	text, err := snapshotCodec.newReader(stored)
	if err != nil {
		return err
	}
	defer text.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, text)
	if err = errors.Join(err, f.Close()); err != nil && !errors.As(err, new(*target.Error)) {
		err = &FormatError{File: name, Reason: err.Error()}
	}
	return err
}

func (m *remote) open(name string) (io.ReadCloser, error) {
	f, err := m.session.Open(m.ctx, name)
	if errors.Is(err, target.NotFound) {
		return nil, &MissingFileError{name}
	}
	return f, err
}

// fetchDir brings a base that is a directory here, for pg_restore.
func (m *remote) fetchDir(dir, name string) error {
	if _, err := os.Stat(filepath.Join(dir, dirDescribes)); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for info, err := range m.session.List(m.ctx, name+"/") {
		if err != nil {
			return err
		}
		base := strings.TrimPrefix(info.Name, name+"/")
		if base == dirDescribes {
			continue // it comes last, so that it proves the rest
		}
		if err := m.fetch(info.Name, filepath.Join(dir, filepath.Base(base))); err != nil {
			return err
		}
	}
	err := m.fetch(name+"/"+dirDescribes, filepath.Join(dir, dirDescribes))
	if errors.Is(err, target.NotFound) {
		err = &MissingFileError{name}
	}
	return err
}

func (m *remote) fetch(name, path string) error {
	in, err := m.session.Open(m.ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// Remote tells whether the files are read from a target.
func (r *Repository) Remote() bool { return r.remote != nil }

// StoredSize is the size of an artifact's file as the file system or the
// target tells it, without reading it. For a directory, and where a target does
// not tell, it is that of the catalog. It fails with MissingFileError.
func (r *Repository) StoredSize(a catalog.Artifact) (int64, error) {
	if r.remote != nil {
		sizes, err := r.remote.list()
		if err != nil {
			return 0, err
		}
		size, ok := sizes[a.Name]
		if a.Format == "directory" {
			size = -1
			_, ok = sizes[a.Name+"/"+dirDescribes]
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
		return a.Bytes, nil
	}
	return info.Size(), nil
}
