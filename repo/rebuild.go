package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/storage"
)

// HealthyCatalogError says that a catalog needs no rebuilding.
type HealthyCatalogError struct{ Dir string }

func (e *HealthyCatalogError) Error() string {
	return fmt.Sprintf("the catalog of %s is whole", e.Dir)
}

// BeingWrittenError says that a process writes a file of the repository.
type BeingWrittenError struct{ Name string }

func (e *BeingWrittenError) Error() string { return e.Name + " is being written" }

// FiltersUnknownError says that nothing tells what new files go through, other
// than that it is more than compression.
type FiltersUnknownError struct{ Dir, Filters string }

func (e *FiltersUnknownError) Error() string {
	return fmt.Sprintf("the files of %s went through the filters %s, and nothing tells for whom or by which command", e.Dir, e.Filters)
}

// RebuildOptions say how to read what is there.
type RebuildOptions struct {
	Spool string // makes a folder for working files below this directory, in place of one that is lost; empty: as it is
	Force bool   // also when the catalog is whole, and without files for which there is no key
	Keys  *filter.Keys
	Chain filter.Chain    // of new files; nil: as before
	From  storage.Storage // brings files that are missing here; nil: none
}

// A RebuildReport is what Rebuild has found.
type RebuildReport struct {
	Repository catalog.Repository
	Artifacts  []catalog.Artifact
	LeftOut    []FileReport   // files that are damaged, or that belong to nothing
	Assumed    []string       // what no file told, in words
	Salvaged   map[string]int // rows taken over from the old catalog, by what they are
	Old        string         // where the old catalog was put; empty: there was none
	Sealed     string         // the segment that a streamer had left open
}

const rebuildSuffix = ".rebuild"

// Rebuild makes the catalog again from the files alone. It refuses while
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
func Rebuild(ctx context.Context, dir string, now func() time.Time, opts RebuildOptions) (report RebuildReport, err error) {
	r := &Repository{dir: dir, now: now, keys: opts.Keys}
	b := &rebuilder{r: r, report: &report, force: opts.Force}
	if err := r.findSpool(); err != nil && (opts.Spool == "" || !errors.As(err, new(*SpoolMissingError))) {
		return report, err
	}
	if opts.Spool != "" {
		if err := CheckSpool(dir, opts.Spool); err != nil {
			return report, err
		}
	}
	if opts.From != nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return report, err
		}
		if err := r.refuseHealthy(ctx, opts.Force); err != nil {
			return report, err
		}
		if b.from, err = r.fetchAll(ctx, opts.From); err != nil {
			return report, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			err = &NotRepositoryError{Dir: dir}
		}
		return report, err
	}
	if !holdsFiles(entries) {
		return report, &NotRepositoryError{Dir: dir}
	}
	release, err := r.LockStreamer()
	if err != nil {
		return report, err
	}
	defer release()
	rewriting, err := r.lockRewrite()
	if err != nil {
		return report, err
	}
	defer rewriting()
	if opts.Spool != "" {
		err = r.moveSpool(opts.Spool)
	} else {
		err = r.claimSpool()
	}
	if err != nil {
		return report, err
	}
	names, err := r.names()
	if err != nil {
		return report, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, partialSuffix) && ours(name) && r.alive(name) {
			return report, &BeingWrittenError{strings.TrimSuffix(strings.TrimSuffix(name, clearSuffix), partialSuffix)}
		}
	}
	if err := r.refuseHealthy(ctx, opts.Force); err != nil {
		return report, err
	}
	if err := b.begin(ctx); err != nil {
		return report, err
	}
	defer b.giveUp()
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

func holdsFiles(entries []os.DirEntry) bool {
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		_, _, ok := kindOfName(e.Name())
		return ok
	})
}

func (r *Repository) refuseHealthy(ctx context.Context, force bool) error {
	cat, err := catalog.OpenReadOnly(r.Path(CatalogName))
	if version, ok := errors.AsType[catalog.SchemaVersionError](err); ok && version.Have > version.Want && !force {
		return err // this program would lose what the newer one has added
	}
	if err != nil {
		return nil
	}
	defer cat.Close()
	if _, err := cat.Repository(ctx); err != nil {
		return nil
	}
	if faults, err := cat.IntegrityCheck(ctx); err != nil || len(faults) > 0 || force {
		return nil
	}
	return &HealthyCatalogError{r.dir}
}

type rebuilder struct {
	r        *Repository
	report   *RebuildReport
	force    bool
	files    []content // of bases and segments
	globals  []content
	open     []string             // open segments
	starts   map[catalog.LSN]bool // of sealed segments
	switches []catalog.Switch
	from     *origin // nil: the files were here
}

// begin makes the new catalog, and tells it the filters that the old one, or
// the metadata file, knows: files are read by them.
func (b *rebuilder) begin(ctx context.Context) error {
	r := b.r
	path := r.Path(CatalogName + rebuildSuffix)
	for _, name := range []string{path, path + "-journal"} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	var err error
	if r.cat, err = catalog.Create(path); err != nil {
		return err
	}
	if err := owner.Take(path); err != nil {
		return err
	}
	known := map[string]string{}
	if text, err := os.ReadFile(r.Path(MetadataName)); err == nil {
		known = filtersIn(string(text))
	}
	if old, err := catalog.OpenReadOnly(r.Path(CatalogName)); err == nil {
		if value, found, err := old.Setting(ctx, chainSetting); err == nil && found {
			known[chainSetting] = value
		}
		for n := 1; ; n++ {
			key := shellSetting + strconv.Itoa(n)
			value, found, err := old.Setting(ctx, key)
			if err != nil || !found {
				break
			}
			known[key] = value
		}
		old.Close()
	}
	for key, value := range known {
		if err := r.cat.SetSetting(ctx, key, value); err != nil {
			b.giveUp()
			return err
		}
	}
	return nil
}

// giveUp removes the new catalog, unless it has taken its place.
func (b *rebuilder) giveUp() {
	if b.r.cat != nil {
		b.r.cat.Close()
		os.Remove(b.r.Path(CatalogName + rebuildSuffix))
		b.r.cat = nil
	}
}

// choose settles what new files go through. What compresses alone is told by
// every file.
func (b *rebuilder) choose(ctx context.Context, given filter.Chain) error {
	if given != nil {
		return b.r.SetChain(ctx, given)
	}
	_, chosen, err := b.r.cat.Setting(ctx, chainSetting)
	if err != nil || chosen {
		return err
	}
	newest := segment.Header{}
	for _, c := range slices.Concat(b.files, b.globals) {
		if c.header.Created.After(newest.Created) {
			newest = c.header
		}
	}
	record := newest.Repository.Compression
	if _, err := filter.ParseShorthand(record); record == "" || err == nil {
		return nil
	}
	return &FiltersUnknownError{b.r.dir, record}
}

// read inspects every file.
func (b *rebuilder) read(ctx context.Context, names []string) error {
	b.starts = map[catalog.LSN]bool{}
	slices.Sort(names)
	for _, name := range names {
		kind, isOpen, ok := kindOfName(name)
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
		case c.header.Kind == "":
		case kind == catalog.KindGlobals:
			b.globals = append(b.globals, c)
		default:
			b.files = append(b.files, c)
			if kind == catalog.KindSegment {
				b.starts[c.header.Start] = true
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
	for _, list := range []*[]content{&b.files, &b.globals} {
		var once []content
		for _, c := range slices.Backward(*list) {
			a := c.record.Artifact
			at := text{a.Kind, a.SystemID, a.Start, a.CreatedAt, a.TextSHA256}
			if seen[at] {
				if err := b.r.cat.MarkObsolete(ctx, a.Name); err != nil {
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
		sealed, err := b.r.sealOpen(ctx, name, b.starts)
		if _, reason := outcomeOf(err); reason != "" && ctx.Err() == nil && !isSystem(err) {
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
		if c.header.Kind != "" {
			b.report.Sealed = sealed
			b.files = append(b.files, c)
		}
	}
	return nil
}

// inspect reads one file. One that is not whole is left out; then the content
// has no kind.
func (b *rebuilder) inspect(ctx context.Context, name string) (content, error) {
	c, err := b.r.inspect(ctx, name, "", -1)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return content{}, ctx.Err()
	}
	if !b.force && errors.As(err, new(*filter.KeyError)) {
		return content{}, err
	}
	kind, _, _ := kindOfName(name)
	b.leaveOut(name, kind, err)
	return content{}, nil
}

func (b *rebuilder) leaveOut(name string, kind catalog.Kind, err error) {
	f := FileReport{Name: name, Kind: kind, Read: true}
	f.Outcome, f.Reason = outcomeOf(err)
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
func (r *Repository) sealOpen(ctx context.Context, name string, sealed map[catalog.LSN]bool) (string, error) {
	c, err := r.inspect(ctx, name, "", -1)
	if err != nil {
		return "", err
	}
	if sealed[c.header.Start] || c.record.Artifact.End == c.header.Start {
		return "", os.Remove(r.Path(name))
	}
	chain, err := r.sealingChain(ctx, c)
	if err != nil {
		return "", err
	}
	in, err := os.Open(r.Path(name))
	if err != nil {
		return "", err
	}
	defer in.Close()
	codec, err := filter.ParseCodec(c.record.Artifact.Filters)
	if err != nil {
		return "", err
	}
	text, err := codec.NewReader(in)
	if err != nil {
		return "", err
	}
	defer text.Close()
	a := c.record.Artifact
	t := segment.Trailer{End: a.End, Reached: a.ReachedAt, Finished: r.moment(), Transactions: a.Transactions, FirstCommit: a.FirstCommitAt,
		LastCommit: a.LastCommitAt, MinXID: a.MinXID, MaxXID: a.MaxXID, Tables: c.record.Tables}
	if c.header.Format >= 2 {
		t.Frames = c.frames
	}
	var sum hashCounter
	out, feed := io.Pipe()
	defer out.Close()
	go func() {
		sum.reset(feed)
		_, err := io.CopyN(&sum, text, c.reread)
		if err == nil {
			_, err = sum.Write(t.Append(nil))
		}
		t.TextBytes, t.TextSHA256 = sum.n.Load(), sum.sum()
		if err == nil {
			_, err = feed.Write(t.AppendSum(nil))
		}
		feed.CloseWithError(err)
	}()
	final := StemOf(name) + ".sql" + chain.Extension()
	if _, err := r.makeFile(final, chain, out, func(sums) error { return nil }); err != nil {
		return "", err
	}
	return final, os.Remove(r.Path(name))
}

// sealingChain is what an open segment is to go through: the repository's
// filters, or, if nothing but compression is known of, what it says itself.
func (r *Repository) sealingChain(ctx context.Context, c content) (filter.Chain, error) {
	if _, chosen, err := r.cat.Setting(ctx, chainSetting); err != nil || chosen {
		if err != nil {
			return nil, err
		}
		return r.Chain(ctx)
	}
	return filter.ParseShorthand(cmp.Or(c.header.Filters, c.record.Artifact.Filters))
}
