package restore

import (
	"context"
	"errors"
	"io"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/restore/compare"
)

// lookOn looks for descriptions of undecided objects behind the end of the
// restore: if the first one comes before any other command, it is of the end,
// too. If the target is as a later one says, nothing differs. So it is with
// objects that only one side has: a command makes and drops more than it names
// (constructors, sequences, parts), and what it did is described some time later.
func (w *witness) lookOn(ctx context.Context, r compare.Result) error {
	wanted, missing := map[string]bool{}, map[string]bool{}
	for _, o := range r.Undecided {
		wanted[o.Key()] = true
	}
	for _, d := range r.Differences {
		if d.Row == "" && (d.Kind == describe.Missing || d.Kind == describe.Extra) {
			key := describe.Object{Class: d.Class, Identity: d.Identity}.Key()
			wanted[key], missing[key] = true, d.Kind == describe.Missing
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	return w.behind(ctx, func(item segment.Item, commands int) (more bool, err error) {
		f := item.Object
		key := describe.Object{Class: f.Class, Identity: f.Identity}.Key()
		if !wanted[key] {
			return true, nil
		}
		delete(wanted, key)
		if commands > 0 && f.Description != "" {
			same, err := w.comparer.Same(ctx, f.Description)
			if err != nil || !same {
				return err == nil, err
			}
		} else if commands > 0 && !missing[key] {
			return true, nil
		}
		line := w.line
		_, _, err = w.take(f)
		w.line, w.ahead[key] = line, true
		return len(wanted) > 0, err
	})
}

// maxBehind is how many segments behind the end are read at most.
const maxBehind = 4

// behind hands over the descriptions that stand behind the end of the restore,
// each with the number of commands before it.
func (w *witness) behind(ctx context.Context, yield func(item segment.Item, commands int) (bool, error)) error {
	p := w.x.p
	inventory, err := p.repo.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	commands, segments := 0, 0
	for at := max(p.Last.End, p.Plan.From); segments < maxBehind; segments++ {
		i := slices.IndexFunc(inventory.Artifacts, func(a catalog.Artifact) bool {
			return a.Kind == catalog.KindSegment && a.SystemID == p.Plan.Base.SystemID && a.Start <= at && a.End > at
		})
		if i < 0 {
			return nil
		}
		a := inventory.Artifacts[i]
		part, err := p.repo.OpenPart(ctx, a, repo.Wanted{Definitions: true, From: p.Last.LSN + 1})
		if err != nil {
			return nil // it is of no importance for the restore itself
		}
		more, err := w.read(part.Reader, p.Last.LSN, &commands, yield)
		part.Close()
		if err != nil || !more {
			return err
		}
		at = a.End
	}
	return nil
}

func (w *witness) read(reader *segment.Reader, behind catalog.LSN, commands *int, yield func(segment.Item, int) (bool, error)) (more bool, err error) {
	for {
		item, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if item.Tx.Commit <= behind {
			continue
		}
		switch {
		case item.Kind == segment.DDL && item.Defines():
			*commands++
		case item.Kind == segment.Object:
			if more, err := yield(item, *commands); err != nil || !more {
				return false, err
			}
		}
	}
}
