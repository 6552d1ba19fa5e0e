package repo

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
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

// A FileReport is what verify has found about one file.
type FileReport struct {
	Name    string
	Storage string       // where it lies, if not in the directory
	Kind    catalog.Kind // empty: the metadata file, a catalog on a storage, or the storage itself
	Outcome string       // catalog.OutcomeOK, OutcomeFailed or OutcomeInconclusive
	Read    bool         // the whole file was read
	Bytes   int64
	Reason  string // empty when it is in order
}

// Place is the file's name with where it lies.
func (f FileReport) Place() string {
	if f.Storage != "" {
		return "target " + f.Storage + ", " + f.Name
	}
	return f.Name
}

// A VerifyReport is the result of one run.
type VerifyReport struct {
	catalog.Verification
	Reports  []FileReport
	Strays   []string // files that look like the repository's, and the catalog does not know
	Others   []string // files that have nothing to do with it
	Holes    []catalog.Hole
	Gaps     []catalog.Gap // behind the newest base
	Windows  []catalog.Window
	Recorded bool // the result is in the catalog
}

// VerifyOptions say what to read.
type VerifyOptions struct {
	Subset   Subset
	Presence bool                      // read nothing whole
	Storages map[int64]storage.Storage // by their IDs in the catalog; their files are read back as those here are
	Report   func(FileReport)
}

// Verify compares every file with the catalog, here and on the storages, and
// reads those of the subset whole: stored bytes, text, framing, counts, and that each segment goes on
// from the one before. It writes nothing but its result, into the catalog, if
// that can be written. Segments may be sealed and files expire meanwhile.
func (r *Repository) Verify(ctx context.Context, opts VerifyOptions) (VerifyReport, error) {
	report := VerifyReport{Verification: catalog.Verification{StartedAt: r.moment(), Subset: opts.Subset.String()}}
	inv, err := r.cat.Inventory(ctx)
	if err != nil {
		return report, err
	}
	reads, err := r.cat.LastReads(ctx)
	if err != nil {
		return report, err
	}
	chosen := map[int64]bool{}
	if !opts.Presence {
		chosen = opts.Subset.choose(inv.Artifacts, reads)
	}
	v := verifier{r: r, report: &report, told: opts.Report, texts: map[segmentEnd][]string{}, found: map[int64]FileReport{}}
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
	report.FinishedAt = r.moment()
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
	report.Recorded = r.cat.AddVerification(ctx, report.Verification, v.reads) == nil
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
	r      *Repository
	report *VerifyReport
	told   func(FileReport)
	reads  []catalog.ReadOutcome
	texts  map[segmentEnd][]string // text checksums of the segments that end there, of any timeline
	found  map[int64]FileReport    // by the ID of the artifact here
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

func (v *verifier) add(f FileReport) {
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
	if v.told != nil {
		v.told(f)
	}
}

func (v *verifier) artifact(ctx context.Context, a catalog.Artifact, whole bool) error {
	f := FileReport{Name: a.Name, Kind: a.Kind, Read: whole, Bytes: a.Bytes}
	err := v.r.checkSize(a)
	if whole && err == nil {
		err = v.whole(ctx, a)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.As(err, new(*MissingFileError)) {
		// expire may have taken it since.
		if known, kerr := v.r.knowsID(ctx, a.ID); kerr == nil && !known {
			return nil
		}
	}
	f.Outcome, f.Reason = outcomeOf(err)
	if f.Reason != "" {
		f.Reason = strings.TrimPrefix(f.Reason, a.Name+": ")
	}
	v.add(f)
	v.found[a.ID] = f
	if whole {
		v.reads = append(v.reads, catalog.ReadOutcome{Artifact: a.ID, At: v.r.moment(), Outcome: f.Outcome, Detail: f.Reason})
	}
	return nil
}

func (r *Repository) knowsID(ctx context.Context, id int64) (bool, error) {
	all, err := r.cat.Artifacts(ctx)
	return slices.ContainsFunc(all, func(a catalog.Artifact) bool { return a.ID == id }), err
}

// Inconclusive is implemented by errors that say nothing about the bytes: a
// key is missing, or a store cannot be reached.
type Inconclusive interface{ Inconclusive() bool }

type unsureError struct{ error }

func (e *unsureError) Unwrap() error      { return e.error }
func (e *unsureError) Inconclusive() bool { return true }

// outcomeOf judges an error: what keeps a file from being read at all leaves
// open whether it is whole.
func outcomeOf(err error) (outcome, reason string) {
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
func (r *Repository) checkSize(a catalog.Artifact) error {
	if a.Format == "directory" {
		f, err := r.openLock(a)
		if err == nil {
			f.Close()
		}
		return err
	}
	f, a, err := r.openLocal(a)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && (info.Size() < a.Bytes || a.State == catalog.StateSealed && info.Size() != a.Bytes) {
		err = &FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: it has %d bytes, %d were stored", info.Size(), a.Bytes)}
	}
	return err
}

// whole reads a file and compares all that it says of itself with the catalog.
func (v *verifier) whole(ctx context.Context, a catalog.Artifact) error {
	if err := v.r.Check(a); err != nil {
		return err
	}
	f, now, err := v.r.openLocal(a) // it may have been sealed or written anew since
	if err != nil {
		return err
	}
	defer f.Close()
	a = now
	var c content
	if a.State == catalog.StateOpen {
		c, err = v.r.inspectFile(ctx, f, time.Time{}, a.Kind, a.Name, a.Filters, true, a.Bytes)
	} else {
		c, err = v.r.inspect(ctx, a.Name, a.Filters, -1)
	}
	if errors.As(err, new(*filter.ShellError)) && a.Format == "plain" {
		return &unsureError{err} // its stored bytes are those that were written
	}
	if err != nil {
		return err
	}
	v.report.Others = append(v.report.Others, c.strays...)
	if what := differs(a, c.record.Artifact); what != "" {
		return &FormatError{File: a.Name, Reason: "is not the file that the catalog knows: " + what}
	}
	if a.Kind != catalog.KindSegment {
		return nil
	}
	counts, err := v.r.cat.Tables(ctx, a.ID)
	if err != nil {
		return err
	}
	if a.State == catalog.StateSealed && !slices.Equal(counts, c.record.Tables) {
		return &FormatError{File: a.Name, Reason: "its rows by table are not those that the catalog knows"}
	}
	before := v.texts[segmentEnd{a.SystemID, a.Start}]
	if len(before) > 0 && c.header.Previous != "" && !slices.Contains(before, c.header.Previous) {
		return &FormatError{File: a.Name, Reason: "it goes on from a segment with another checksum than the one before it has"}
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
	f := FileReport{Name: MetadataName, Read: true}
	var err error
	for range 3 { // it may be replaced between the looks at file and catalog
		if f.Bytes, err = v.r.checkMetadata(ctx); err == nil {
			break
		}
	}
	f.Outcome, f.Reason = outcomeOf(err)
	v.add(f)
}

func (r *Repository) checkMetadata(ctx context.Context) (int64, error) {
	text, err := os.ReadFile(r.Path(MetadataName))
	if errors.Is(err, fs.ErrNotExist) {
		err = &MissingFileError{MetadataName}
	}
	if err != nil {
		return 0, err
	}
	sums, known, err := r.cat.Setting(ctx, metadataSetting)
	sum := sha256.Sum256(text)
	switch {
	case err != nil:
	case known && !slices.Contains(strings.Fields(sums), hex.EncodeToString(sum[:])):
		err = errors.New("is damaged: checksum mismatch")
	case !known && !metadataWhole(text) && strings.Contains(string(text), metadataSum):
		err = errors.New("is damaged: checksum mismatch with its last line")
	}
	return int64(len(text)), err
}

// strays looks for files that the catalog does not know.
func (v *verifier) strays(ctx context.Context) error {
	there, err := v.r.names()
	if err != nil {
		return err
	}
	if v.report.Others, err = v.r.misplaced(); err != nil {
		return err
	}
	// Read behind the directory: a file is renamed before it is recorded.
	known, err := v.r.cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	removals, err := v.r.cat.Removals(ctx)
	if err != nil {
		return err
	}
	obsolete, err := v.r.cat.Obsolete(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{MetadataName: true, lockName: true, rewriteLockName: true, uploadLockName: true, SpoolName: true, ownerName: true}
	for _, a := range known {
		names[a.Name] = true
		if a.State == catalog.StateOpen { // it may have been renamed a moment ago
			names[strings.TrimSuffix(a.Name, openSuffix)] = true
		}
	}
	for _, name := range append(removals, obsolete...) {
		names[name] = true
	}
	for _, name := range there {
		_, open, ours := kindOfName(name)
		switch {
		case names[name], strings.HasPrefix(name, CatalogName):
		case ours && !open && !v.r.alive(name):
			v.report.Strays = append(v.report.Strays, name)
		case !ours && !strings.HasSuffix(name, partialSuffix):
			v.report.Others = append(v.report.Others, name)
		}
	}
	return nil
}

// alive tells whether a process holds the lock of a file, as the writer of a
// dump does until the catalog has it.
func (r *Repository) alive(name string) bool {
	f, err := os.Open(r.Path(name))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
