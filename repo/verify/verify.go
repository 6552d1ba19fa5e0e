package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/storage"
)

// Subset is a part of the data that verify reads whole; of the other files it
// looks at presence and size. The zero value is all.
type Subset struct {
	Percent float64 // of the stored bytes
	Bytes   int64
	Part    int // the Part-th of Parts, from 1
	Parts   int
}

// String is the form that ParseSubset reads; empty for all.
func (s Subset) String() string {
	switch {
	case s.Parts > 0:
		return fmt.Sprintf("%d/%d", s.Part, s.Parts)
	case s.Percent > 0:
		return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
	case s.Bytes > 0:
		return strconv.FormatInt(s.Bytes, 10) + "B"
	}
	return ""
}

// choose picks the artifacts to read. A part is the same files as long as they
// exist, and the parts are all files. Percent and Bytes pick those that were
// read longest ago, or never, so that run after run goes round.
func (s Subset) choose(all []catalog.Artifact, reads map[int64]catalog.ReadOutcome) map[int64]bool {
	chosen := make(map[int64]bool, len(all))
	if s.Parts > 0 {
		for _, a := range all {
			chosen[a.ID] = a.ID%int64(s.Parts) == int64(s.Part-1)
		}
		return chosen
	}
	total := int64(0)
	for _, a := range all {
		total += a.Bytes
	}
	quota := total
	switch {
	case s.Percent > 0:
		quota = int64(float64(total) * min(s.Percent, 100) / 100)
	case s.Bytes > 0:
		quota = min(s.Bytes, total)
	default:
		quota = total + 1
	}
	order := slices.Clone(all)
	slices.SortFunc(order, func(a, b catalog.Artifact) int {
		return cmp.Or(reads[a.ID].At.Compare(reads[b.ID].At), cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID))
	})
	for i, a := range order {
		if i > 0 && quota <= 0 {
			break
		}
		chosen[a.ID] = true
		quota -= a.Bytes
	}
	return chosen
}

// A File is what verify has found about one file.
type File struct {
	Name    string
	Storage string       // where it lies, if not in the directory
	Kind    catalog.Kind // empty: the metadata file, a catalog on a storage, or the storage itself
	Outcome string       // catalog.OutcomeOK, OutcomeFailed or OutcomeInconclusive
	Read    bool         // the whole file was read
	Bytes   int64
	Reason  string // empty when it is in order
}

// Place is the file's name with where it lies.
func (f File) Place() string {
	if f.Storage != "" {
		return "storage " + f.Storage + ", " + f.Name
	}
	return f.Name
}

// A Report is the result of one run.
type Report struct {
	catalog.Verification
	Reports  []File
	Strays   []string // files that look like the repository's, and the catalog does not know
	Others   []string // files that have nothing to do with it
	Holes    []catalog.Hole
	Gaps     []catalog.Gap // behind the newest base
	Windows  []catalog.Window
	Recorded bool // the result is in the catalog
}

// Options say what to read.
type Options struct {
	Subset   Subset
	Presence bool                      // read nothing whole
	Storages map[int64]storage.Storage // by their IDs in the catalog; their files are read back as those here are
	Report   func(File)
}

// Run compares every file with the catalog, here and on the storages, and
// reads those of the subset whole: stored bytes, text, framing, counts, and that each segment goes on
// from the one before. It writes nothing but its result, into the catalog, if
// that can be written. Segments may be sealed and files expire meanwhile.
func Run(ctx context.Context, r *repo.Repository, opts Options) (Report, error) {
	report := Report{Verification: catalog.Verification{StartedAt: r.Moment(), Subset: opts.Subset.String()}}
	cat := r.Catalog()
	inv, err := cat.Inventory(ctx)
	if err != nil {
		return report, err
	}
	reads, err := cat.LastReads(ctx)
	if err != nil {
		return report, err
	}
	chosen := map[int64]bool{}
	if !opts.Presence {
		chosen = opts.Subset.choose(inv.Artifacts, reads)
	}
	v := verifier{r: r, cat: cat, report: &report, each: opts.Report, texts: map[segmentEnd][]string{}, found: map[int64]File{}}
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindSegment && a.State == catalog.StateSealed {
			at := segmentEnd{a.SystemID, a.End}
			v.texts[at] = append(v.texts[at], a.TextSHA256)
		}
	}
	for _, a := range inv.Artifacts {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if err := v.artifact(ctx, a, chosen[a.ID]); err != nil {
			return report, err
		}
	}
	v.metadata(ctx)
	if err := v.strays(ctx); err != nil {
		return report, err
	}
	for _, id := range slices.Sorted(maps.Keys(opts.Storages)) {
		if err := v.storage(ctx, id, opts.Storages[id], chosen); err != nil {
			return report, err
		}
	}
	inv.Damaged = v.damaged(reads)
	report.Holes, report.Windows = catalog.Holes(inv.Artifacts, inv.Switches...), catalog.Windows(inv)
	report.Gaps = behindNewestBase(inv)
	report.FinishedAt = r.Moment()
	report.Outcome = catalog.OutcomeOK
	switch {
	case report.Failed > 0:
		report.Outcome = catalog.OutcomeFailed
	case report.Inconclusive > 0:
		report.Outcome = catalog.OutcomeInconclusive
	}
	if opts.Presence {
		return report, nil
	}
	report.Recorded = cat.AddVerification(ctx, report.Verification, v.reads) == nil
	return report, ctx.Err()
}

// behindNewestBase returns the gaps that no base has healed.
func behindNewestBase(inv catalog.Inventory) (gaps []catalog.Gap) {
	newest := catalog.LSN(0)
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase {
			newest = max(newest, a.Start)
		}
	}
	for _, g := range inv.Gaps {
		if g.From >= newest {
			gaps = append(gaps, g)
		}
	}
	return gaps
}

type segmentEnd struct {
	system string
	end    catalog.LSN
}

type verifier struct {
	r      *repo.Repository
	cat    *catalog.Catalog
	report *Report
	each   func(File)
	reads  []catalog.ReadOutcome
	texts  map[segmentEnd][]string // text checksums of the segments that end there, of any timeline
	found  map[int64]File          // by the ID of the artifact here
}

// damaged returns the artifacts that were found damaged, or, if their contents
// were not read this time, when they last were.
func (v *verifier) damaged(before map[int64]catalog.ReadOutcome) map[int64]bool {
	list := map[int64]bool{}
	for id, f := range v.found {
		if f.Outcome == catalog.OutcomeFailed || !f.Read && before[id].Outcome == catalog.OutcomeFailed {
			list[id] = true
		}
	}
	return list
}

func (v *verifier) add(f File) {
	v.report.Reports = append(v.report.Reports, f)
	v.report.Files++
	if f.Read {
		v.report.FilesRead++
		v.report.BytesRead += f.Bytes
	}
	switch f.Outcome {
	case catalog.OutcomeFailed:
		v.report.Failed++
	case catalog.OutcomeInconclusive:
		v.report.Inconclusive++
	}
	if f.Outcome != catalog.OutcomeOK && (v.report.Detail == "" || f.Outcome == catalog.OutcomeFailed && v.report.Failed == 1) {
		v.report.Detail = f.Place() + ": " + f.Reason
	}
	if v.each != nil {
		v.each(f)
	}
}

func (v *verifier) artifact(ctx context.Context, a catalog.Artifact, whole bool) error {
	f := File{Name: a.Name, Kind: a.Kind, Read: whole, Bytes: a.Bytes}
	err := checkSize(v.r, a)
	if whole && err == nil {
		err = v.whole(ctx, a)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.As(err, new(*repo.MissingFileError)) {
		// expire may have taken it since.
		if _, gone := v.cat.Artifact(ctx, a.ID); errors.Is(gone, catalog.ErrNotFound) {
			return nil
		}
	}
	f.Outcome, f.Reason = OutcomeOf(err)
	if f.Reason != "" {
		f.Reason = strings.TrimPrefix(f.Reason, a.Name+": ")
	}
	v.add(f)
	v.found[a.ID] = f
	if whole {
		v.reads = append(v.reads, catalog.ReadOutcome{Artifact: a.ID, At: v.r.Moment(), Outcome: f.Outcome, Detail: f.Reason})
	}
	return nil
}

// Inconclusive is implemented by errors that say nothing about the bytes: a
// key is missing, or a store cannot be reached.
type Inconclusive interface{ Inconclusive() bool }

type unsureError struct{ error }

func (e *unsureError) Unwrap() error      { return e.error }
func (e *unsureError) Inconclusive() bool { return true }

// OutcomeOf judges an error: what keeps a file from being read at all leaves
// open whether it is whole.
func OutcomeOf(err error) (outcome, reason string) {
	var unsure Inconclusive
	switch {
	case err == nil:
		return catalog.OutcomeOK, ""
	case errors.Is(err, fs.ErrPermission), errors.As(err, &unsure) && unsure.Inconclusive(),
		errors.Is(err, storage.Unreachable), errors.Is(err, storage.Denied),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ESTALE):
		return catalog.OutcomeInconclusive, err.Error()
	}
	return catalog.OutcomeFailed, err.Error()
}

// checkSize looks at presence and size alone.
func checkSize(r *repo.Repository, a catalog.Artifact) error {
	if a.Format == "directory" {
		release, err := r.Hold(a)
		if err == nil {
			release()
		}
		return err
	}
	f, a, err := r.OpenLocal(a)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && (info.Size() < a.Bytes || a.State == catalog.StateSealed && info.Size() != a.Bytes) {
		err = &repo.FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: it has %d bytes, %d were stored", info.Size(), a.Bytes)}
	}
	return err
}

// whole reads a file and compares all that it says of itself with the catalog.
func (v *verifier) whole(ctx context.Context, a catalog.Artifact) error {
	if err := v.r.Check(a); err != nil {
		return err
	}
	f, now, err := v.r.OpenLocal(a) // it may have been sealed or written anew since
	if err != nil {
		return err
	}
	defer f.Close()
	a = now
	var c Content
	if a.State == catalog.StateOpen {
		c, err = inspectFile(ctx, v.r, f, file{kind: a.Kind, name: a.Name, record: a.Filters, open: true, limit: a.Bytes})
	} else {
		c, err = Inspect(ctx, v.r, a.Name, a.Filters)
	}
	if errors.As(err, new(*filter.ShellError)) && a.Format == "plain" {
		return &unsureError{err} // its stored bytes are those that were written
	}
	if err != nil {
		return err
	}
	v.report.Others = append(v.report.Others, c.Strays...)
	if what := differs(a, c.Record.Artifact); what != "" {
		return &repo.FormatError{File: a.Name, Reason: "is not the file that the catalog knows: " + what}
	}
	if a.Kind != catalog.KindSegment {
		return nil
	}
	counts, err := v.cat.Tables(ctx, a.ID)
	if err != nil {
		return err
	}
	if a.State == catalog.StateSealed && !slices.Equal(counts, c.Record.Tables) {
		return &repo.FormatError{File: a.Name, Reason: "its rows by table are not those that the catalog knows"}
	}
	before := v.texts[segmentEnd{a.SystemID, a.Start}]
	if len(before) > 0 && c.Header.Previous != "" && !slices.Contains(before, c.Header.Previous) {
		return &repo.FormatError{File: a.Name, Reason: "it goes on from a segment with another checksum than the one before it has"}
	}
	return nil
}

// differs names the first thing in which a file is not what the catalog says.
func differs(known, found catalog.Artifact) string {
	at := func(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
	for _, f := range []struct {
		what        string
		known, said any
	}{
		{"kind", known.Kind, found.Kind}, {"system", known.SystemID, found.SystemID}, {"timeline", known.Timeline, found.Timeline},
		{"database", known.Database, found.Database}, {"start", known.Start, found.Start}, {"end", known.End, found.End},
		{"time of creation", at(known.CreatedAt), at(found.CreatedAt)}, {"first commit", at(known.FirstCommitAt), at(found.FirstCommitAt)},
		{"last commit", at(known.LastCommitAt), at(found.LastCommitAt)}, {"time reached", at(known.ReachedAt), at(found.ReachedAt)},
		{"number of transactions", known.Transactions, found.Transactions}, {"smallest xid", known.MinXID, found.MinXID},
		{"largest xid", known.MaxXID, found.MaxXID}, {"number of bytes", known.Bytes, found.Bytes},
		{"number of bytes of text", known.TextBytes, found.TextBytes}, {"filters", known.Filters, found.Filters},
		{"server version", known.ServerVersion, found.ServerVersion}, {"format", known.Format, found.Format},
		{"checksum", known.SHA256, found.SHA256}, {"checksum of the text", known.TextSHA256, found.TextSHA256},
	} {
		// A checksum that an earlier version did not keep.
		if known.State == catalog.StateOpen && f.known == "" {
			continue
		}
		if f.known != f.said {
			return fmt.Sprintf("%s is %v there and %v in the file", f.what, f.known, f.said)
		}
	}
	return ""
}

// metadata compares the file for a person with its checksum. Repositories of
// earlier versions have none.
func (v *verifier) metadata(ctx context.Context) {
	f := File{Name: repo.MetadataName, Read: true}
	var err error
	for range 3 { // it may be replaced between the looks at file and catalog
		if f.Bytes, err = v.r.CheckMetadata(ctx); err == nil {
			break
		}
	}
	f.Outcome, f.Reason = OutcomeOf(err)
	v.add(f)
}

// strays looks for files that the catalog does not know.
func (v *verifier) strays(ctx context.Context) error {
	there, err := v.r.Names()
	if err != nil {
		return err
	}
	if v.report.Others, err = v.r.Misplaced(); err != nil {
		return err
	}
	// Read behind the directory: a file is renamed before it is recorded.
	known, err := v.cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	removals, err := v.cat.Removals(ctx)
	if err != nil {
		return err
	}
	obsolete, err := v.cat.Obsolete(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, a := range known {
		names[a.Name] = true
		if a.State == catalog.StateOpen { // it may have been renamed a moment ago
			names[repo.SealedName(a.Name)] = true
		}
	}
	for _, name := range append(removals, obsolete...) {
		names[name] = true
	}
	for _, name := range there {
		_, open, ours := repo.KindOfName(name)
		switch {
		case names[name], repo.IsOwn(name):
		case ours && !open && !v.r.BeingWritten(name):
			v.report.Strays = append(v.report.Strays, name)
		case !ours && !repo.IsPartial(name):
			v.report.Others = append(v.report.Others, name)
		}
	}
	return nil
}
