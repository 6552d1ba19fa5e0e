package repo

import (
	"context"
	"errors"
	"fmt"

	"pg_scribe/catalog"
)

// UnknownTargetError says that the repository has no such target.
type UnknownTargetError struct {
	Target string
	Known  []string
}

func (e *UnknownTargetError) Error() string {
	return fmt.Sprintf("the repository has no target %s", e.Target)
}

// TargetReliedOnError says that the server was told to forget what the first
// target holds, and that no other one is there to take its place.
type TargetReliedOnError struct {
	Target string
	Heir   string // would come first then; empty: there is none
	Lacks  int    // how many files the heir is short of
}

func (e *TargetReliedOnError) Error() string {
	text := fmt.Sprintf("start --durability target relies on target %s, ", e.Target)
	if e.Heir == "" {
		return text + "and there is no other"
	}
	return text + fmt.Sprintf("and target %s, which would decide then, lacks %d of its files", e.Heir, e.Lacks)
}

// durabilitySetting is what start was last told by --durability.
const durabilitySetting = "durability"

// RelyOnTarget records whether the server is told to forget what the first
// target holds, and no sooner. Forget heeds it.
func (r *Repository) RelyOnTarget(ctx context.Context, yes bool) error {
	known, err := r.reliesOnTarget(ctx)
	if err != nil || known == yes {
		return err
	}
	value := "local"
	if yes {
		value = "target"
	}
	return r.cat.SetSetting(ctx, durabilitySetting, value)
}

func (r *Repository) reliesOnTarget(ctx context.Context) (bool, error) {
	value, _, err := r.cat.Setting(ctx, durabilitySetting)
	return value == "target", err
}

// Forget makes the repository send no more to a target, and returns what it was
// known of it. Nothing is removed there. Whoever sends meanwhile stops within
// seconds. It fails with UnknownTargetError. If the server is told to forget
// what the first target holds, the first one goes only if the next one, which
// decides then, has all of its files: else it fails with TargetReliedOnError.
func (r *Repository) Forget(ctx context.Context, spec string) (catalog.CopyTarget, error) {
	targets, err := r.cat.Targets(ctx)
	if err != nil {
		return catalog.CopyTarget{}, err
	}
	unknown := &UnknownTargetError{Target: spec}
	for i, t := range targets {
		if t.Spec != spec {
			unknown.Known = append(unknown.Known, t.Spec)
			continue
		}
		relied, err := r.reliesOnTarget(ctx)
		if err != nil {
			return t, err
		}
		var heir catalog.CopyTarget
		if relied = relied && i == 0; relied && len(targets) > 1 {
			heir = targets[1]
		} else if relied {
			return t, &TargetReliedOnError{Target: spec}
		}
		lacks, err := r.cat.ForgetTarget(ctx, t.ID, heir.ID)
		if errors.Is(err, catalog.ErrNotFound) { // by somebody else, just now
			return t, unknown
		}
		if err == nil && lacks > 0 {
			err = &TargetReliedOnError{spec, heir.Spec, lacks}
		}
		return t, err
	}
	return catalog.CopyTarget{}, unknown
}
