package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/upload"
)

type copyCmd struct {
	keyFlags
	File    string   `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	Storage []string `aliases:"target" sep:"none" placeholder:"WHERE" help:"Storage to bring up to date (default: all); one that is new is added."`
	Forget  string   `placeholder:"WHERE" help:"Send no more to this target. Nothing is removed there."`
}

// Run brings storages up to the repository, or takes one away from it.
func (c *copyCmd) Run(ctx context.Context, a *app) error {
	if c.Forget != "" {
		return c.forget(ctx, a)
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
	r.Keys(keys)
	added, err := c.add(ctx, a, r)
	if err != nil {
		return err
	}
	uploader, _, err := a.uploader(ctx, r, c.Storage...)
	if err != nil {
		return err
	}
	if uploader == nil {
		return &usageError{"the repository has no storage", "name one: " + commandLine("pg_scribe", "copy", "-f", c.File, "--storage", "WHERE")}
	}
	err = a.operation(ctx, r, "copy", func() error {
		err := uploader.Drain(ctx)
		if added && errors.As(err, new(*upload.BusyError)) {
			a.words.say("the running pg_scribe start sends to it; see how far it is: %s", commandLine("pg_scribe", "status", "-f", c.File))
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	storages, err := r.Catalog().Storages(ctx)
	if err != nil {
		return err
	}
	for _, t := range storages {
		a.print("%s: %s, %s", oneLine(t.Spec), show.Plural(int64(t.Copies), "file"), show.Bytes(t.CopiesBytes))
	}
	return nil
}

func (c *copyCmd) forget(ctx context.Context, a *app) error {
	if len(c.Storage) > 0 {
		return &usageError{"--forget with --storage: " + show.Names(c.Storage),
			"give one after the other; --storage may also stand in PG_SCRIBE_STORAGE or in a configuration file, from where copy would add it again"}
	}
	r, err := a.openRepository(ctx, c.File)
	if err != nil {
		return err
	}
	defer r.Close()
	spec := c.Forget
	if t, err := a.parseStorage(spec); err == nil { // another may still be known as it was written
		spec = t.String()
	}
	return a.operation(ctx, r, "copy --forget", func() error {
		t, err := upload.Forget(ctx, r.Catalog(), spec)
		if err != nil {
			return err
		}
		a.print("%s is forgotten: nothing is sent there any more. Nothing there was removed: %s, %s.", oneLine(t.Spec), show.Plural(int64(t.Copies), "file"),
			show.Bytes(t.CopiesBytes))
		a.print("To remove what is there: %s", removeWords(t.Spec))
		a.print("To send there again: %s", commandLine("pg_scribe", "copy", "-f", c.File, "--storage", t.Spec))
		return nil
	})
}

// removeWords say how to remove all that a storage holds.
func removeWords(spec string) string {
	switch {
	case strings.HasPrefix(spec, "/"):
		return commandLine("rm", "-r", spec)
	case strings.HasPrefix(spec, "s3://"):
		u, err := url.Parse(spec)
		if err != nil {
			break
		}
		words := []string{"aws", "s3", "rm", "--recursive", "s3://" + u.Host + strings.TrimSuffix(u.Path, "/") + "/"}
		if endpoint := u.Query().Get("endpoint"); endpoint != "" {
			words = append(words, "--endpoint-url", endpoint)
		}
		return commandLine(words...)
	case strings.HasPrefix(spec, "sftp://"):
		return "with sftp or ssh, the directory " + spec
	}
	return "by hand, with the means that the storage is made of"
}

// add takes the storages that the repository does not have yet, and again those
// that were emptied.
func (c *copyCmd) add(ctx context.Context, a *app, r *repo.Repository) (added bool, err error) {
	known, err := r.Catalog().Storages(ctx)
	if err != nil {
		return false, err
	}
	identity, err := r.Identity(ctx)
	if err != nil {
		return false, err
	}
	bound, err := a.bindStorages(ctx, identity, c.File, c.Storage)
	if err != nil {
		return false, err
	}
	for _, t := range known {
		bound.Known(t.Spec)
	}
	return bound.Added(), bound.Record(ctx, r)
}

func (a *app) parseStorage(spec string) (storage.Storage, error) {
	home, _ := a.lookup("HOME")
	return storage.Parse(spec, storage.Env{Lookup: a.lookup, Home: home})
}

// bindStorages takes storages for the repository of a directory.
func (a *app) bindStorages(ctx context.Context, identity, dir string, specs []string) (*upload.Binding, error) {
	storages, err := a.parseStorages(specs)
	if err != nil {
		return nil, err
	}
	for _, t := range storages {
		if path := t.String(); strings.HasPrefix(path, "/") && within(path, dir) {
			return nil, &usageError{fmt.Sprintf("storage %s lies in the repository's own directory, and would be lost with it", path),
				"give a directory on another disk"}
		}
	}
	if len(storages) > 0 {
		a.step("trying the storages")
	}
	return upload.Bind(ctx, identity, storages)
}

// within says whether a path is a directory or in it.
func within(path, dir string) bool {
	resolve := func(p string) string {
		abs, err := filepath.Abs(p)
		if err != nil {
			return p
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			return real
		}
		return abs
	}
	rel, err := filepath.Rel(resolve(dir), resolve(path))
	return err == nil && filepath.IsLocal(rel)
}

// parseStorages reads what names storages, and connects to none.
func (a *app) parseStorages(specs []string) (storages []storage.Storage, err error) {
	for _, spec := range specs {
		t, err := a.parseStorage(spec)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(storages, func(o storage.Storage) bool { return o.String() == t.String() }) {
			return nil, &usageError{fmt.Sprintf("storage %s is given twice", t), "give each once"}
		}
		storages = append(storages, t)
	}
	return storages, nil
}

// isStorage says whether a repository's files are sent to what -f names,
// rather than written there.
func isStorage(file string) bool { return storage.IsSpec(file) || repo.IsCopy(file) }

// openForReading opens a directory, or what a storage holds.
func (a *app) openForReading(ctx context.Context, file string, keys *filter.Keys) (*repo.Repository, error) {
	a.hintContext.dir = file
	if !isStorage(file) {
		r, err := repo.OpenReadOnly(ctx, file)
		if err == nil {
			a.hintContext.of(ctx, r)
			r.Keys(keys)
		}
		return r, err
	}
	if !storage.IsSpec(file) {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		file = path
	}
	t, err := a.parseStorage(file)
	if err != nil {
		return nil, err
	}
	a.step("reading the catalog from " + t.String())
	r, err := repo.OpenStorage(ctx, t, keys)
	if err == nil {
		a.hintContext.of(ctx, r)
	}
	return r, err
}

// uploader makes the one for the repository's storages, or for some of them; nil
// when there is none. primary is the ID of the first.
func (a *app) uploader(ctx context.Context, r *repo.Repository, only ...string) (s *upload.Uploader, primary int64, err error) {
	storages, primary, err := a.storagesOf(ctx, r, only...)
	if err != nil || primary == 0 {
		return nil, 0, err
	}
	return a.newUploader(r, storages), primary, nil
}

func (a *app) newUploader(r *repo.Repository, storages map[int64]storage.Storage) *upload.Uploader {
	return upload.New(r, storages, func(text string) { a.words.say("%s", text) })
}

// storagesOf are the repository's storages, or some of them, by their IDs.
// primary is the ID of the first; 0: there is none.
func (a *app) storagesOf(ctx context.Context, r *repo.Repository, only ...string) (storages map[int64]storage.Storage, primary int64, err error) {
	known, err := r.Catalog().Storages(ctx)
	if err != nil || len(known) == 0 {
		return nil, 0, err
	}
	storages = map[int64]storage.Storage{}
	for _, k := range known {
		t, err := a.parseStorage(k.Spec)
		if err != nil {
			return nil, 0, err
		}
		if len(only) == 0 || slices.ContainsFunc(only, func(spec string) bool { o, err := a.parseStorage(spec); return err == nil && o.String() == k.Spec }) {
			storages[k.ID] = t
		}
	}
	return storages, known[0].ID, nil
}

// upload sends what is new, if there are storages. What cannot be sent now is
// kept, and sent by whoever comes next: the backup itself has succeeded.
func (a *app) upload(ctx context.Context, r *repo.Repository) error {
	uploader, _, err := a.uploader(ctx, r)
	if err != nil || uploader == nil {
		return err
	}
	a.words.say("sending to the storages")
	err = uploader.Drain(ctx)
	switch busy := (*upload.BusyError)(nil); {
	case ctx.Err() != nil:
		a.words.warn("interrupted: not everything is on the storages yet; start or copy sends the rest")
	case errors.As(err, &busy):
		a.words.say("the running pg_scribe start sends it to the storages")
	case err != nil:
		a.words.warn("not everything is on the storages yet: %v", err)
	}
	return nil
}

func (a *app) uploadDirectory(ctx context.Context, dir string, keys *filter.Keys) error {
	r, err := repo.Open(ctx, dir, a.now)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Keys(keys)
	return a.upload(ctx, r)
}
