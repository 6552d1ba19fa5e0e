package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/storage"
)

// BeingWrittenError says that a process writes a file of the repository.
type BeingWrittenError struct{ Name string }

func (e *BeingWrittenError) Error() string { return e.Name + " is being written" }

// A Renewal gives a directory a new catalog. The old one, which may be damaged
// or missing, stays as it is until the new one is complete and takes its place:
// a process that dies leaves the old one, or none, and another can begin.
type Renewal struct {
	*Repository // Catalog is the new one, between Begin and Publish
}

const renewalSuffix = ".rebuild"

// Renew prepares it. spool, if not empty, is a directory for the folder with the
// working files, in place of one that is lost.
func Renew(dir, spool string, now func() time.Time, keys *filter.Keys) (*Renewal, error) {
	r := &Repository{dir: dir, now: now, keys: keys}
	if err := r.findSpool(); err != nil && (spool == "" || !errors.As(err, new(*SpoolMissingError))) {
		return nil, err
	}
	if spool != "" {
		if err := CheckSpool(dir, spool); err != nil {
			return nil, err
		}
	}
	return &Renewal{r}, nil
}

// Lock makes this process the only one that works here, and makes the folder
// for the working files that Renew was told of. It fails with BusyError and BeingWrittenError.
func (n *Renewal) Lock(spool string) (release func(), err error) {
	r := n.Repository
	streamer, err := r.LockStreamer()
	if err != nil {
		return nil, err
	}
	rewriting, err := r.lockRewrite()
	if err != nil {
		streamer()
		return nil, err
	}
	if spool != "" {
		err = r.moveSpool(spool)
	} else {
		err = r.claimSpool()
	}
	if err == nil {
		err = n.refuseWriters()
	}
	release = func() { rewriting(); streamer() }
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (n *Renewal) refuseWriters() error {
	names, err := n.Names()
	for _, name := range names {
		if IsPartial(name) && ours(name) && n.BeingWritten(name) {
			return &BeingWrittenError{strings.TrimSuffix(strings.TrimSuffix(name, clearSuffix), partialSuffix)}
		}
	}
	return err
}

// Begin makes the new catalog, and tells it the filters that the old one, or
// the metadata file, knows: files are read by them.
func (n *Renewal) Begin(ctx context.Context) error {
	r := n.Repository
	path := r.Path(CatalogName + renewalSuffix)
	for _, name := range []string{path, path + "-journal"} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	var err error
	if r.cat, err = catalog.Create(path); err != nil {
		return err
	}
	if err := owner.Take(path); err != nil {
		return err
	}
	known := map[string]string{}
	if text, err := os.ReadFile(r.Path(MetadataName)); err == nil {
		known = filtersIn(string(text))
	}
	if old, err := catalog.OpenReadOnly(r.Path(CatalogName)); err == nil {
		if value, found, err := old.Setting(ctx, chainSetting); err == nil && found {
			known[chainSetting] = value
		}
		for n := 1; ; n++ {
			key := shellSetting + strconv.Itoa(n)
			value, found, err := old.Setting(ctx, key)
			if err != nil || !found {
				break
			}
			known[key] = value
		}
		old.Close()
	}
	for key, value := range known {
		if err := r.cat.SetSetting(ctx, key, value); err != nil {
			n.GiveUp()
			return err
		}
	}
	return nil
}

// HasChain says whether the new catalog knows what new files go through.
func (n *Renewal) HasChain(ctx context.Context) (bool, error) {
	_, chosen, err := n.cat.Setting(ctx, chainSetting)
	return chosen, err
}

// GiveUp removes the new catalog, unless it has taken its place.
func (n *Renewal) GiveUp() {
	if n.cat != nil {
		n.cat.Close()
		os.Remove(n.Path(CatalogName + renewalSuffix))
		n.cat = nil
	}
}

// Publish puts the new catalog into the place of the old one. It returns the
// name that this has now; empty: there was none.
func (n *Renewal) Publish(ctx context.Context) (old string, err error) {
	r := n.Repository
	if err := n.keepMetadataSum(ctx); err != nil {
		return "", err
	}
	if err := r.cat.Close(); err != nil {
		return "", err
	}
	if old, err = n.setAside(); err != nil {
		return old, err
	}
	if err := os.Rename(r.Path(CatalogName+renewalSuffix), r.Path(CatalogName)); err != nil {
		return old, err
	}
	r.cat = nil
	return old, syncDir(r.workDir())
}

// keepMetadataSum notes the checksum of the metadata file, if that is whole.
func (n *Renewal) keepMetadataSum(ctx context.Context) error {
	text, err := os.ReadFile(n.Path(MetadataName))
	if err != nil || !metadataWhole(text) {
		return nil
	}
	sum := sha256.Sum256(text)
	if known, found, _ := n.cat.Setting(ctx, metadataSetting); found && strings.Contains(known, hex.EncodeToString(sum[:])) {
		return nil
	}
	return n.cat.SetSetting(ctx, metadataSetting, hex.EncodeToString(sum[:]))
}

// setAside renames the old catalog. Its journal goes first: it must never be
// applied to the new one.
func (n *Renewal) setAside() (old string, err error) {
	r := n.Repository
	name := CatalogName + ".old-" + r.now().UTC().Format(stampLayout)
	for n := 2; ; n++ {
		if err := r.absent(name); err == nil {
			break
		} else if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		name = fmt.Sprintf("%s.old-%s-%d", CatalogName, r.now().UTC().Format(stampLayout), n)
	}
	for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
		err := os.Rename(r.Path(CatalogName+suffix), r.Path(name+suffix))
		switch {
		case err == nil:
			old = name
		case !errors.Is(err, fs.ErrNotExist):
			return old, err
		}
	}
	return old, syncDir(r.workDir())
}

// Bring takes a file from a storage in, or a base that is a directory by the
// names of its files, unless there is one of the name. It has its name only when
// it is whole.
func (n *Renewal) Bring(ctx context.Context, s storage.Session, name string, members []string) error {
	if err := n.absent(name); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	m := &remote{ctx: ctx, session: s}
	partial := n.Path(name + partialSuffix)
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if !IsDirName(name) {
		if err := m.fetch(name, partial); err != nil {
			return err
		}
		return n.publish(name+partialSuffix, name)
	}
	if err := owner.Mkdir(partial); err != nil {
		return err
	}
	for _, member := range members {
		if err := m.fetch(member, filepath.Join(partial, filepath.Base(member))); err != nil {
			return err
		}
	}
	if err := syncDir(partial); err != nil {
		return err
	}
	return n.publish(name+partialSuffix, name)
}

// BringMetadata takes the newest metadata file of a storage in, unless there is
// one.
func (n *Renewal) BringMetadata(ctx context.Context, s storage.Session) error {
	if err := n.absent(MetadataName); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	text, err := (&remote{ctx: ctx, session: s}).metadata()
	if err == nil && text != "" {
		err = n.replace(MetadataName, []byte(text))
	}
	return err
}
