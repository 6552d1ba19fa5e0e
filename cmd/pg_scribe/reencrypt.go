package main

import (
	"context"

	"pg_scribe/internal/show"
	"pg_scribe/repo"
)

type reencryptCmd struct {
	outputFlag
	filterFlags
	keyFlags
	File    string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	NewOnly bool   `help:"Choose filters for new files, and leave the old ones as they are."`
}

// Run chooses the filters of new files, if asked to, and passes the old ones
// through them.
func (c *reencryptCmd) Run(ctx context.Context, a *app) error {
	chain, err := c.chain()
	if err != nil {
		return err
	}
	if c.NewOnly && chain == nil {
		return &usageError{"--new-only without filters", "say which, as in --filter 'age recipient=RECIPIENT' --new-only"}
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := a.openRepository(ctx, c.File)
	if err != nil {
		return err
	}
	defer r.Close()
	if chain.Proven() { // the keys are those of the old files; the new one may be elsewhere
		r.Keys(nil)
	} else {
		r.Keys(keys)
	}
	doc := reencryptJSON{Directory: c.File, Files: []rewrittenJSON{}}
	err = a.operation(ctx, r, "reencrypt", func() error {
		if chain != nil {
			a.step("trying the filters")
			if err := r.SetChain(ctx, chain); err != nil {
				return err
			}
		}
		r.Keys(keys)
		// Its recipe is another, and in clear it may say too much.
		if err := r.RefreshMetadata(ctx); err != nil {
			return err
		}
		if !c.NewOnly {
			err := r.Reencrypt(ctx, func(f repo.Rewritten) {
				a.words.say("%d of %d: %s is now %s, %s", f.Done, f.Total, f.Old, f.New, show.Bytes(f.Bytes))
				doc.Files = append(doc.Files, rewrittenJSON{Old: f.Old, New: f.New, Bytes: f.Bytes})
			})
			if err != nil {
				return err
			}
		}
		return r.RefreshMetadata(ctx)
	})
	if err != nil {
		return err
	}
	if err := a.upload(ctx, r); err != nil {
		return err
	}
	present, err := r.Chain(ctx)
	if err != nil {
		return err
	}
	doc.Filters = present.String()
	if c.json() {
		return writeJSON(a.stdout, doc)
	}
	a.print("New files go through %s.", doc.Filters)
	if !c.NewOnly {
		a.print("%s written anew.", show.Plural(int64(len(doc.Files)), "file"))
	}
	return nil
}
