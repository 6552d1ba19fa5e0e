package upload

import (
	"context"
	"errors"
	"fmt"

	"pg_scribe/catalog"
)

// UnknownError says that the repository has no such storage.
type UnknownError struct {
	Storage string
	Known   []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("the repository has no storage %s", e.Storage)
}

// ReliedOnError says that the server was told to forget what the first
// storage holds, and that no other one is there to take its place.
type ReliedOnError struct {
	Storage string
	Heir    string // would come first then; empty: there is none
	Lacks   int    // how many files the heir is short of
}

func (e *ReliedOnError) Error() string {
	text := fmt.Sprintf("start --durability storage relies on storage %s, ", e.Storage)
	if e.Heir == "" {
		return text + "and there is no other"
	}
	return text + fmt.Sprintf("and storage %s, which would decide then, lacks %d of its files", e.Heir, e.Lacks)
}

// durabilitySetting is what start was last told by --durability.
const durabilitySetting = "durability"

// RelyOn records whether the server is told to forget what the first
// storage holds, and no sooner. Forget heeds it.
func RelyOn(ctx context.Context, cat *catalog.Catalog, yes bool) error {
	known, err := reliedOn(ctx, cat)
	if err != nil || known == yes {
		return err
	}
	value := "local"
	if yes {
		value = "target"
	}
	return cat.SetSetting(ctx, durabilitySetting, value)
}

func reliedOn(ctx context.Context, cat *catalog.Catalog) (bool, error) {
	value, _, err := cat.Setting(ctx, durabilitySetting)
	return value == "target", err
}

// Forget makes the repository send no more to a storage, and returns what it was
// known of it. Nothing is removed there. Whoever sends meanwhile stops within
// seconds. It fails with UnknownError. If the server is told to forget
// what the first storage holds, the first one goes only if the next one, which
// decides then, has all of its files: else it fails with ReliedOnError.
func Forget(ctx context.Context, cat *catalog.Catalog, spec string) (catalog.Storage, error) {
	storages, err := cat.Storages(ctx)
	if err != nil {
		return catalog.Storage{}, err
	}
	unknown := &UnknownError{Storage: spec}
	for i, t := range storages {
		if t.Spec != spec {
			unknown.Known = append(unknown.Known, t.Spec)
			continue
		}
		relied, err := reliedOn(ctx, cat)
		if err != nil {
			return t, err
		}
		var heir catalog.Storage
		if relied = relied && i == 0; relied && len(storages) > 1 {
			heir = storages[1]
		} else if relied {
			return t, &ReliedOnError{Storage: spec}
		}
		lacks, err := cat.ForgetStorage(ctx, t.ID, heir.ID)
		if errors.Is(err, catalog.ErrNotFound) { // by somebody else, just now
			return t, unknown
		}
		if err == nil && lacks > 0 {
			err = &ReliedOnError{spec, heir.Spec, lacks}
		}
		return t, err
	}
	return catalog.Storage{}, unknown
}
