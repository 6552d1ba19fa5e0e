package upload

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"pg_scribe/repo"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/storage"
)

// A Binding is a storage that was taken for a new repository.
type Binding struct {
	Identity string
	made     []boundStorage
}

type boundStorage struct {
	storage.Storage
	fresh bool // the identity was written now
}

// Bind takes storages for a repository whose catalog is not there yet, or, with
// its identity, for one that is. It writes to each, so that one that cannot be
// written is known before anything else is done. It fails with
// layout.TakenError if one belongs to another repository.
func Bind(ctx context.Context, identity string, storages []storage.Storage) (*Binding, error) {
	if identity == "" {
		identity = rand.Text()
	}
	b := &Binding{Identity: identity}
	for _, t := range storages {
		fresh, err := bindOne(ctx, identity, t)
		if err != nil {
			b.Undo(context.WithoutCancel(ctx))
			return nil, err
		}
		b.made = append(b.made, boundStorage{t, fresh})
	}
	return b, nil
}

func bindOne(ctx context.Context, identity string, t storage.Storage) (fresh bool, err error) {
	s, err := t.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer s.End()
	for info, err := range s.List(ctx, "") {
		if err != nil {
			return false, err
		}
		if info.Name == layout.IdentityName {
			continue
		}
		if have, err := layout.ReadIdentity(ctx, s); err != nil || have != identity {
			return false, &layout.TakenError{Storage: t.String()}
		}
		break
	}
	err = sendText(ctx, s, layout.IdentityName, identity+"\n"+identityWords)
	if errors.Is(err, storage.Exists) {
		have, rerr := layout.ReadIdentity(ctx, s)
		if rerr == nil && have != identity {
			rerr = &layout.TakenError{Storage: t.String()}
		}
		return false, rerr
	}
	return err == nil, err
}

const identityWords = `This place belongs to the pg_scribe repository with the identity above. Each
repository needs a directory or prefix of its own.
`

// Undo gives the storages free again that were taken.
func (b *Binding) Undo(ctx context.Context) {
	for _, t := range b.made {
		if !t.fresh {
			continue
		}
		if s, err := t.Begin(ctx); err == nil {
			s.Remove(ctx, layout.IdentityName)
			s.End()
		}
	}
}

// Known notes that the catalog has a storage already.
func (b *Binding) Known(spec string) {
	b.made = slices.DeleteFunc(b.made, func(t boundStorage) bool { return t.String() == spec })
}

// Added says whether there is a storage that the catalog does not have.
func (b *Binding) Added() bool { return len(b.made) > 0 }

// Record enters the storages in the catalog.
func (b *Binding) Record(ctx context.Context, r *repo.Repository) error {
	if len(b.made) == 0 {
		return nil
	}
	if err := r.SetIdentity(ctx, b.Identity); err != nil {
		return err
	}
	for _, t := range b.made {
		if _, err := r.Catalog().AddStorage(ctx, t.String(), r.Now()); err != nil {
			return err
		}
	}
	return nil
}
