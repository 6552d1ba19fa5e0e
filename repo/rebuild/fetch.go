package rebuild

import (
	"context"
	"errors"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/layout"
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
func (b *rebuilder) fetchAll(ctx context.Context, t storage.Storage) (*origin, error) {
	session, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer session.End()
	from := &origin{storage: t, sizes: map[string]int64{}}
	if from.identity, err = layout.ReadIdentity(ctx, session); errors.Is(err, storage.NotFound) {
		return nil, &repo.NotRepositoryError{Dir: t.String()}
	}
	if err != nil {
		return nil, err
	}
	members := map[string][]string{} // of the bases that are directories; plain files have none
	for info, err := range session.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		from.sizes[info.Name] = info.Size
		top, _, isMember := strings.Cut(info.Name, "/")
		if _, _, ours := repo.KindOfName(top); ours && isMember == repo.IsDirName(top) {
			members[top] = append(members[top], info.Name)
		}
	}
	for top, names := range members {
		if err := b.r.Bring(ctx, session, top, names); err != nil {
			return nil, err
		}
	}
	return from, b.r.BringMetadata(ctx, session)
}

// record enters the storage, and what it holds, into a rebuilt catalog.
func (o *origin) record(ctx context.Context, r *repo.Repository) error {
	cat := r.Catalog()
	known, err := r.Identity(ctx)
	if err != nil {
		return err
	}
	if known != "" && known != o.identity {
		return &layout.TakenError{Storage: o.storage.String()}
	}
	if err := r.SetIdentity(ctx, o.identity); err != nil {
		return err
	}
	storages, err := cat.Storages(ctx)
	if err != nil {
		return err
	}
	var id int64
	if i := slices.IndexFunc(storages, func(t catalog.Storage) bool { return t.Spec == o.storage.String() }); i >= 0 {
		id = storages[i].ID
	} else if id, err = cat.AddStorage(ctx, o.storage.String(), r.Now()); err != nil {
		return err
	}
	all, err := cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		size, there := o.sizes[repo.ProofOf(a)]
		if !there || a.Format != "directory" && size >= 0 && size != a.Bytes {
			continue // it is compared when it is sent
		}
		if err := cat.AddCopy(ctx, a, id, r.Now()); err != nil {
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
