package repo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/storage"
)

// origin is a storage that a lost directory is made again from.
type origin struct {
	storage  storage.Storage
	identity string
	sizes    map[string]int64
}

// fetchAll brings every file of a storage here that is not here yet. Each has
// its name only when it is whole, so that it can be called again.
func (r *Repository) fetchAll(ctx context.Context, t storage.Storage) (*origin, error) {
	session, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer session.End()
	m := &remote{ctx: ctx, session: session}
	from := &origin{storage: t}
	if from.identity, err = layout.ReadIdentity(ctx, session); errors.Is(err, storage.NotFound) {
		return nil, &NotRepositoryError{Dir: t.String()}
	}
	if err != nil {
		return nil, err
	}
	if from.sizes, err = m.list(); err != nil {
		return nil, err
	}
	members := map[string][]string{} // of the bases that are directories; plain files have none
	for name := range from.sizes {
		top, _, isMember := strings.Cut(name, "/")
		if _, _, ours := kindOfName(top); ours && isMember == isDirName(top) {
			members[top] = append(members[top], name)
		}
	}
	for top, names := range members {
		if err := r.absent(top); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if err := r.fetchOne(m, top, names); err != nil {
			return nil, err
		}
	}
	if err := r.absent(MetadataName); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		return from, err
	}
	text, err := m.metadata()
	if err == nil && text != "" {
		err = r.replace(MetadataName, []byte(text))
	}
	return from, err
}

func (r *Repository) fetchOne(m *remote, top string, names []string) error {
	partial := r.Path(top + partialSuffix)
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if !isDirName(top) {
		if err := m.fetch(top, partial); err != nil {
			return err
		}
		return r.publish(top+partialSuffix, top)
	}
	if err := owner.Mkdir(partial); err != nil {
		return err
	}
	for _, name := range names {
		if err := m.fetch(name, filepath.Join(partial, filepath.Base(name))); err != nil {
			return err
		}
	}
	if err := syncDir(partial); err != nil {
		return err
	}
	return r.publish(top+partialSuffix, top)
}

// record enters the storage, and what it holds, into a rebuilt catalog.
func (o *origin) record(ctx context.Context, r *Repository, cat *catalog.Catalog) error {
	known, found, err := cat.Setting(ctx, identitySetting)
	if err != nil {
		return err
	}
	if found && known != o.identity {
		return &layout.TakenError{Storage: o.storage.String()}
	}
	if err := cat.SetSetting(ctx, identitySetting, o.identity); err != nil {
		return err
	}
	storages, err := cat.Storages(ctx)
	if err != nil {
		return err
	}
	var id int64
	if i := slices.IndexFunc(storages, func(t catalog.Storage) bool { return t.Spec == o.storage.String() }); i >= 0 {
		id = storages[i].ID
	} else if id, err = cat.AddStorage(ctx, o.storage.String(), r.now()); err != nil {
		return err
	}
	all, err := cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		size, there := o.sizes[ProofOf(a)]
		if !there || a.Format != "directory" && size >= 0 && size != a.Bytes {
			continue // it is compared when it is sent
		}
		if err := cat.AddCopy(ctx, a, id, r.now()); err != nil {
			return err
		}
	}
	// What is there twice goes from both.
	obsolete, err := cat.Obsolete(ctx)
	for _, name := range obsolete {
		if _, there := o.sizes[name]; there && err == nil && !slices.ContainsFunc(all, func(a catalog.Artifact) bool { return a.Name == name }) {
			err = cat.AddCopyRemoval(ctx, id, name)
		}
	}
	return err
}
