package repo

import (
	"context"
	"errors"
	"fmt"

	"pg_scribe/catalog"
)

// UnknownStorageError says that the repository has no such storage.
type UnknownStorageError struct {
	Storage string
	Known   []string
}

func (e *UnknownStorageError) Error() string {
	return fmt.Sprintf("the repository has no target %s", e.Storage)
}

// StorageReliedOnError says that the server was told to forget what the first
// storage holds, and that no other one is there to take its place.
type StorageReliedOnError struct {
	Storage string
	Heir    string // would come first then; empty: there is none
	Lacks   int    // how many files the heir is short of
}

func (e *StorageReliedOnError) Error() string {
	text := fmt.Sprintf("start --durability target relies on target %s, ", e.Storage)
	if e.Heir == "" {
		return text + "and there is no other"
	}
	return text + fmt.Sprintf("and target %s, which would decide then, lacks %d of its files", e.Heir, e.Lacks)
}

// durabilitySetting is what start was last told by --durability.
const durabilitySetting = "durability"

// RelyOnStorage records whether the server is told to forget what the first
// storage holds, and no sooner. Forget heeds it.
func (r *Repository) RelyOnStorage(ctx context.Context, yes bool) error {
	known, err := r.reliesOnStorage(ctx)
	if err != nil || known == yes {
		return err
	}
	value := "local"
	if yes {
		value = "target"
	}
	return r.cat.SetSetting(ctx, durabilitySetting, value)
}

func (r *Repository) reliesOnStorage(ctx context.Context) (bool, error) {
	value, _, err := r.cat.Setting(ctx, durabilitySetting)
	return value == "target", err
}

// Forget makes the repository send no more to a storage, and returns what it was
// known of it. Nothing is removed there. Whoever sends meanwhile stops within
// seconds. It fails with UnknownStorageError. If the server is told to forget
// what the first storage holds, the first one goes only if the next one, which
// decides then, has all of its files: else it fails with StorageReliedOnError.
func (r *Repository) Forget(ctx context.Context, spec string) (catalog.Storage, error) {
	storages, err := r.cat.Storages(ctx)
	if err != nil {
		return catalog.Storage{}, err
	}
	unknown := &UnknownStorageError{Storage: spec}
	for i, t := range storages {
		if t.Spec != spec {
			unknown.Known = append(unknown.Known, t.Spec)
			continue
		}
		relied, err := r.reliesOnStorage(ctx)
		if err != nil {
			return t, err
		}
		var heir catalog.Storage
		if relied = relied && i == 0; relied && len(storages) > 1 {
			heir = storages[1]
		} else if relied {
			return t, &StorageReliedOnError{Storage: spec}
		}
		lacks, err := r.cat.ForgetStorage(ctx, t.ID, heir.ID)
		if errors.Is(err, catalog.ErrNotFound) { // by somebody else, just now
			return t, unknown
		}
		if err == nil && lacks > 0 {
			err = &StorageReliedOnError{spec, heir.Spec, lacks}
		}
		return t, err
	}
	return catalog.Storage{}, unknown
}
