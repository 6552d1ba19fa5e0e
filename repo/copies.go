package repo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
)

// What the uploads take from a repository. They add copies to its catalog, and
// change none of its files.

// uploadLockName is held by the process that sends files to the storages.
const uploadLockName = "pg_scribe.ship.lock"

// catalogScratch begins the names of directories for catalogs that are made.
const catalogScratch = ".snapshot-"

// identitySetting is what the storages of the repository are known by.
const identitySetting = "identity"

// LockUploads makes this process the one that sends files to the storages, until
// release is called. It fails with EWOULDBLOCK while another one does.
func (r *Repository) LockUploads() (release func(), err error) {
	if release, err = r.lock(uploadLockName); err != nil {
		return nil, err
	}
	// What a process that died was about to send.
	names, err := r.Names()
	for _, name := range names {
		if strings.HasPrefix(name, catalogScratch) {
			err = errors.Join(err, os.RemoveAll(r.Path(name)))
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Identity is what the repository's storages are known by; empty without any.
func (r *Repository) Identity(ctx context.Context) (string, error) {
	text, _, err := r.cat.Setting(ctx, identitySetting)
	return text, err
}

// SetIdentity records what the storages are known by.
func (r *Repository) SetIdentity(ctx context.Context, identity string) error {
	return r.cat.SetSetting(ctx, identitySetting, identity)
}

// A ScratchFile is made to be sent.
type ScratchFile struct {
	Path   string
	Bytes  int64
	SHA256 string
	dir    string
}

// Remove deletes it.
func (f *ScratchFile) Remove() error { return os.RemoveAll(f.dir) }

// CatalogFor makes a catalog of what one storage holds, passed through a chain.
func (r *Repository) CatalogFor(ctx context.Context, storage int64, chain filter.Chain, name string) (f *ScratchFile, err error) {
	dir, err := owner.MkdirTemp(r.workDir(), catalogScratch)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	path := filepath.Join(dir, CatalogName)
	if err := r.cat.Snapshot(ctx, path, storage); err != nil {
		return nil, err
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	path += chain.Extension()
	out, err := owner.Create(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	sum, err := r.encode(name, in, chain, out)
	return &ScratchFile{path, sum.bytes, sum.sha256, dir}, err
}

// DirFiles are the files of a base that is a directory, the one that describes
// the others last: where it is, all are. It fails if they are not what the catalog
// says.
func (r *Repository) DirFiles(a catalog.Artifact) ([]string, error) {
	names, err := fileNames(r.Path(a.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingFileError{a.Name}
	}
	if err == nil {
		err = r.checkStoredDir(a)
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		if name != describedBy(a.Name) {
			files = append(files, a.Name+"/"+name)
		}
	}
	return append(files, ProofOf(a)), nil
}

// ProofOf names the file whose presence shows that an artifact is there: itself,
// or the one that describes the files of a directory.
func ProofOf(a catalog.Artifact) string {
	if a.Format == "directory" {
		return a.Name + "/" + describedBy(a.Name)
	}
	return a.Name
}
