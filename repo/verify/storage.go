package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/storage"
)

// storage compares what a storage holds with what the catalog says that it does.
// A file that was stored there is read back if the one here is read.
func (v *verifier) storage(ctx context.Context, id int64, t storage.Storage, chosen map[int64]bool) error {
	about := File{Name: layout.IdentityName, Storage: t.String()}
	session, err := t.Begin(ctx)
	if err == nil {
		defer session.End()
		var identity string
		if identity, err = v.r.Identity(ctx); err == nil {
			err = layout.Identify(ctx, session, t, identity)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		about.Outcome, about.Reason = OutcomeOf(err)
		v.add(about)
		return nil
	}
	dir, err := os.MkdirTemp("", "pg_scribe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	there := v.r.At(ctx, session, dir)
	copies, err := v.cat.Copies(ctx, id)
	if err != nil {
		return err
	}
	for _, a := range copies {
		f := File{Name: a.Name, Storage: t.String(), Kind: a.Kind, Read: chosen[a.ID], Bytes: a.Bytes}
		err := checkCopy(there, a, f.Read)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, new(*repo.MissingFileError)) {
			gone, gerr := v.forgottenCopy(ctx, id, a)
			if gerr != nil {
				return gerr
			}
			if gone {
				continue
			}
		}
		f.Outcome, f.Reason = OutcomeOf(err)
		v.add(f)
	}
	if len(copies) == 0 || len(chosen) == 0 {
		return nil
	}
	return v.snapshotOf(ctx, id, there, t)
}

// checkCopy looks at size, and reads a file back.
func checkCopy(r *repo.Repository, a catalog.Artifact, whole bool) error {
	size, err := r.StoredSize(a)
	if err == nil && size != a.Bytes {
		err = &repo.FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: it has %d bytes, %d were stored", size, a.Bytes)}
	}
	if err == nil && whole {
		err = r.Check(a)
	}
	if a.Format == "directory" {
		err = errors.Join(err, os.RemoveAll(r.Path(a.Name)))
	}
	return err
}

// forgottenCopy says whether the catalog has taken a copy back since.
func (v *verifier) forgottenCopy(ctx context.Context, id int64, a catalog.Artifact) (bool, error) {
	now, err := v.cat.Copies(ctx, id)
	return !slices.ContainsFunc(now, func(o catalog.Artifact) bool { return o.ID == a.ID && o.Name == a.Name }), err
}

// snapshotOf reads the catalog by which the storage alone would be restored.
func (v *verifier) snapshotOf(ctx context.Context, id int64, there *repo.Repository, t storage.Storage) error {
	end, err := v.cat.DurableEnd(ctx, id)
	if err != nil || end == 0 {
		return err
	}
	f := File{Name: layout.CatalogPrefix + "*" + layout.CatalogSuffix, Storage: t.String(), Read: true}
	path := there.Path(repo.CatalogName)
	name, err := there.FetchCatalog(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no catalog")
	}
	f.Name = cmp.Or(name, f.Name)
	if err == nil {
		var cat *catalog.Catalog
		if cat, err = catalog.OpenReadOnly(path); err == nil {
			_, err = cat.Inventory(ctx)
			err = errors.Join(err, cat.Close())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.Outcome, f.Reason = OutcomeOf(err)
	v.add(f)
	return nil
}
