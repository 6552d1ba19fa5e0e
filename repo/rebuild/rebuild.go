package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/verify"
)

// HealthyCatalogError says that a catalog needs no rebuilding.
type HealthyCatalogError struct{ Dir string }

func (e *HealthyCatalogError) Error() string {
	return fmt.Sprintf("the catalog of %s is whole", e.Dir)
}

// FiltersUnknownError says that nothing tells what new files go through, other
// than that it is more than compression.
type FiltersUnknownError struct{ Dir, Filters string }

func (e *FiltersUnknownError) Error() string {
	return fmt.Sprintf("the files of %s went through the filters %s, and nothing tells for whom or by which command", e.Dir, e.Filters)
}

// Options say how to read what is there.
type Options struct {
	Spool string // makes a folder for working files below this directory, in place of one that is lost; empty: as it is
	Force bool   // also when the catalog is whole, and without files for which there is no key
	Keys  *filter.Keys
	Chain filter.Chain    // of new files; nil: as before
	From  storage.Storage // brings files that are missing here; nil: none
}

// A Report is what Rebuild has found.
type Report struct {
	Repository catalog.Repository
	Artifacts  []catalog.Artifact
	LeftOut    []verify.File  // files that are damaged, or that belong to nothing
	Assumed    []string       // what no file told, in words
	Salvaged   map[string]int // rows taken over from the old catalog, by what they are
	Old        string         // where the old catalog was put; empty: there was none
	Sealed     string         // the segment that a streamer had left open
}

// Run makes the catalog again from the files alone. It refuses while
// something is being written, and, unless force is given, when the catalog
// there is can be read and is whole. The old catalog is kept under another
// name; what no file knows (pins, acknowledged gaps, the history of operations,
// samples of the source's state) is taken over from it as far as it can be
// read. Damaged files are left out, and told; no file but an open segment is
// changed. A segment that a streamer had left open is sealed at its last
// checkpoint.
//
// What was encrypted is read with opts.Keys. What new files go through is in
// the old catalog or in the metadata file; if neither can be read, and the files
// say that it was more than compression, it fails with FiltersUnknownError
// unless opts.Chain says it: nothing must go on in clear unasked.
//
// With opts.From, files that are missing here are brought from that storage
// first, and the storage is the repository's afterwards.
//
// The new catalog takes its place when it is complete: a process that dies
// leaves the old one, or none, and Rebuild can be called again.
func Run(ctx context.Context, dir string, now func() time.Time, opts Options) (report Report, err error) {
	r, err := repo.Renew(dir, opts.Spool, now, opts.Keys)
	if err != nil {
		return report, err
	}
	b := &rebuilder{r: r, report: &report, force: opts.Force}
	if opts.From != nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return report, err
		}
		if err := b.refuseHealthy(ctx); err != nil {
			return report, err
		}
		if b.from, err = b.fetchAll(ctx, opts.From); err != nil {
			return report, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			err = &repo.NotRepositoryError{Dir: dir}
		}
		return report, err
	}
	if !repo.HoldsFiles(entries) {
		return report, &repo.NotRepositoryError{Dir: dir}
	}
	release, err := r.Lock(opts.Spool)
	if err != nil {
		return report, err
	}
	defer release()
	names, err := r.Names()
	if err != nil {
		return report, err
	}
	if err := b.refuseHealthy(ctx); err != nil {
		return report, err
	}
	if err := r.Begin(ctx); err != nil {
		return report, err
	}
	defer r.GiveUp()
	if err := b.read(ctx, names); err != nil {
		return report, err
	}
	if err := b.choose(ctx, opts.Chain); err != nil {
		return report, err
	}
	if err := b.seal(ctx); err != nil {
		return report, err
	}
	b.describe()
	return report, b.write(ctx)
}

func (b *rebuilder) refuseHealthy(ctx context.Context) error {
	cat, err := catalog.OpenReadOnly(b.r.Path(repo.CatalogName))
	if version, ok := errors.AsType[catalog.SchemaVersionError](err); ok && version.Have > version.Want && !b.force {
		return err // this program would lose what the newer one has added
	}
	if err != nil {
		return nil
	}
	defer cat.Close()
	if _, err := cat.Repository(ctx); err != nil {
		return nil
	}
	if faults, err := cat.IntegrityCheck(ctx); err != nil || len(faults) > 0 || b.force {
		return nil
	}
	return &HealthyCatalogError{b.r.Dir()}
}

type rebuilder struct {
	r        *repo.Renewal
	report   *Report
	force    bool
	files    []verify.Content // of bases and segments
	globals  []verify.Content
	open     []string             // open segments
	starts   map[catalog.LSN]bool // of sealed segments
	switches []catalog.Switch
	from     *origin // nil: the files were here
}

// choose settles what new files go through. What compresses alone is told by
// every file.
func (b *rebuilder) choose(ctx context.Context, given filter.Chain) error {
	if given != nil {
		return b.r.SetChain(ctx, given)
	}
	chosen, err := b.r.HasChain(ctx)
	if err != nil || chosen {
		return err
	}
	newest := segment.Header{}
	for _, c := range slices.Concat(b.files, b.globals) {
		if c.Header.Created.After(newest.Created) {
			newest = c.Header
		}
	}
	record := newest.Repository.Compression
	if _, err := filter.ParseShorthand(record); record == "" || err == nil {
		return nil
	}
	return &FiltersUnknownError{b.r.Dir(), record}
}

// read inspects every file.
func (b *rebuilder) read(ctx context.Context, names []string) error {
	b.starts = map[catalog.LSN]bool{}
	slices.Sort(names)
	for _, name := range names {
		kind, isOpen, ok := repo.KindOfName(name)
		switch {
		case !ok:
			continue
		case isOpen:
			b.open = append(b.open, name)
			continue
		}
		c, err := b.inspect(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case c.Header.Kind == "":
		case kind == catalog.KindGlobals:
			b.globals = append(b.globals, c)
		default:
			b.files = append(b.files, c)
			if kind == catalog.KindSegment {
				b.starts[c.Header.Start] = true
			}
		}
	}
	return b.onlyOnce(ctx)
}

// onlyOnce finds what is there twice, because somebody died while it was
// written anew through other filters: one counts, and the other is to go.
func (b *rebuilder) onlyOnce(ctx context.Context) error {
	type text struct {
		kind    catalog.Kind
		system  string
		start   catalog.LSN
		created time.Time
		sum     string
	}
	seen := map[text]bool{}
	for _, list := range []*[]verify.Content{&b.files, &b.globals} {
		var once []verify.Content
		for _, c := range slices.Backward(*list) {
			a := c.Record.Artifact
			at := text{a.Kind, a.SystemID, a.Start, a.CreatedAt, a.TextSHA256}
			if seen[at] {
				if err := b.r.Catalog().MarkObsolete(ctx, a.Name); err != nil {
					return err
				}
				continue
			}
			seen[at] = true
			once = append(once, c)
		}
		slices.Reverse(once)
		*list = once
	}
	return nil
}

// seal makes sealed segments of those that a streamer had left open.
func (b *rebuilder) seal(ctx context.Context) error {
	for _, name := range b.open {
		sealed, err := b.sealOpen(ctx, name)
		if _, reason := verify.OutcomeOf(err); reason != "" && ctx.Err() == nil && !isSystem(err) {
			b.leaveOut(name, catalog.KindSegment, err)
			continue
		}
		if err != nil {
			return err
		}
		if sealed == "" {
			continue // it holds nothing, or its sealed form is there
		}
		c, err := b.inspect(ctx, sealed)
		if err != nil {
			return err
		}
		if c.Header.Kind != "" {
			b.report.Sealed = sealed
			b.files = append(b.files, c)
		}
	}
	return nil
}

// inspect reads one file. One that is not whole is left out; then the verify.Content
// has no kind.
func (b *rebuilder) inspect(ctx context.Context, name string) (verify.Content, error) {
	c, err := verify.Inspect(ctx, b.r.Repository, name, "")
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return verify.Content{}, ctx.Err()
	}
	if !b.force && errors.As(err, new(*filter.KeyError)) {
		return verify.Content{}, err
	}
	kind, _, _ := repo.KindOfName(name)
	b.leaveOut(name, kind, err)
	return verify.Content{}, nil
}

func (b *rebuilder) leaveOut(name string, kind catalog.Kind, err error) {
	f := verify.File{Name: name, Kind: kind, Read: true}
	f.Outcome, f.Reason = verify.OutcomeOf(err)
	f.Reason = strings.TrimPrefix(f.Reason, name+": ")
	b.report.LeftOut = append(b.report.LeftOut, f)
}

// isSystem tells errors of writing from what is wrong with a file.
func isSystem(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EIO)
}

// sealOpen makes a sealed segment of what an open one holds up to its last
// checkpoint, and removes the open one. It returns an empty name when there is
// nothing to keep.
func (b *rebuilder) sealOpen(ctx context.Context, name string) (string, error) {
	r := b.r
	c, err := verify.Inspect(ctx, r.Repository, name, "")
	if err != nil {
		return "", err
	}
	if b.starts[c.Header.Start] || c.Record.Artifact.End == c.Header.Start {
		return "", os.Remove(r.Path(name))
	}
	chain, err := b.sealingChain(ctx, c)
	if err != nil {
		return "", err
	}
	a := c.Record.Artifact
	t := segment.Trailer{End: a.End, Reached: a.ReachedAt, Finished: r.Moment(), Transactions: a.Transactions, FirstCommit: a.FirstCommitAt,
		LastCommit: a.LastCommitAt, MinXID: a.MinXID, MaxXID: a.MaxXID, Tables: c.Record.Tables}
	if c.Header.Format >= 2 {
		t.Frames = c.Frames
	}
	return r.SealLeftover(repo.Leftover{Name: name, Codec: a.Filters, Text: c.Text, Trailer: t}, chain)
}

// sealingChain is what an open segment is to go through: the repository's
// filters, or, if nothing but compression is known of, what it says itself.
func (b *rebuilder) sealingChain(ctx context.Context, c verify.Content) (filter.Chain, error) {
	if chosen, err := b.r.HasChain(ctx); err != nil {
		return nil, err
	} else if chosen {
		return b.r.Chain(ctx)
	}
	return filter.ParseShorthand(cmp.Or(c.Header.Filters, c.Record.Artifact.Filters))
}
