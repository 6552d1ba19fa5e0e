package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/storage"
)

// storage compares what a storage holds with what the catalog says that it does.
// A file that was stored there is read back if the one here is read.
func (v *verifier) storage(ctx context.Context, id int64, t storage.Storage, chosen map[int64]bool) error {
	about := FileReport{Name: layout.IdentityName, Storage: t.String()}
	session, err := t.Begin(ctx)
	if err == nil {
		defer session.End()
		err = v.r.identify(ctx, session, t)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		about.Outcome, about.Reason = outcomeOf(err)
		v.add(about)
		return nil
	}
	dir, err := os.MkdirTemp("", "pg_scribe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	there := &Repository{dir: dir, cat: v.r.cat, keys: v.r.keys, now: v.r.now,
		remote: &remote{ctx: ctx, session: session, keys: v.r.keys}}
	copies, err := v.r.cat.Copies(ctx, id)
	if err != nil {
		return err
	}
	for _, a := range copies {
		f := FileReport{Name: a.Name, Storage: t.String(), Kind: a.Kind, Read: chosen[a.ID], Bytes: a.Bytes}
		err := there.checkCopy(a, f.Read)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, new(*MissingFileError)) {
			gone, gerr := v.forgottenCopy(ctx, id, a)
			if gerr != nil {
				return gerr
			}
			if gone {
				continue
			}
		}
		f.Outcome, f.Reason = outcomeOf(err)
		v.add(f)
	}
	if len(copies) == 0 || len(chosen) == 0 {
		return nil
	}
	return v.snapshotOf(ctx, id, there.remote, t, dir)
}

// checkCopy looks at size, and reads a file back.
func (r *Repository) checkCopy(a catalog.Artifact, whole bool) error {
	size, err := r.StoredSize(a)
	if err == nil && size != a.Bytes {
		err = &FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: it has %d bytes, %d were stored", size, a.Bytes)}
	}
	if err == nil && whole {
		err = r.Check(a)
	}
	if a.Format == "directory" {
		err = errors.Join(err, os.RemoveAll(r.Path(a.Name)))
	}
	return err
}

// forgottenCopy tells whether the catalog has taken a copy back since.
func (v *verifier) forgottenCopy(ctx context.Context, id int64, a catalog.Artifact) (bool, error) {
	now, err := v.r.cat.Copies(ctx, id)
	return !slices.ContainsFunc(now, func(o catalog.Artifact) bool { return o.ID == a.ID && o.Name == a.Name }), err
}

// snapshotOf reads the catalog by which the storage alone would be restored.
func (v *verifier) snapshotOf(ctx context.Context, id int64, m *remote, t storage.Storage, dir string) error {
	end, err := v.r.cat.DurableEnd(ctx, id)
	if err != nil || end == 0 {
		return err
	}
	f := FileReport{Name: layout.CatalogPrefix + "*" + layout.CatalogSuffix, Storage: t.String(), Read: true}
	names, err := m.snapshots()
	switch {
	case err != nil:
	case len(names) == 0:
		err = errors.New("there is no catalog")
	default:
		f.Name, err = m.fetchNewest(names, filepath.Join(dir, CatalogName))
	}
	if err == nil {
		var cat *catalog.Catalog
		if cat, err = catalog.OpenReadOnly(filepath.Join(dir, CatalogName)); err == nil {
			_, err = cat.Inventory(ctx)
			err = errors.Join(err, cat.Close())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.Outcome, f.Reason = outcomeOf(err)
	v.add(f)
	return nil
}
