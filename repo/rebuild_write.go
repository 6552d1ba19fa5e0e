package repo

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// describe finds the facts of the repository itself, pairs globals with their
// bases, and brings everything into the order in which it was recorded.
func (b *rebuilder) describe() {
	type pair struct {
		system   string
		timeline uint32
		point    catalog.LSN
		created  time.Time
	}
	of := func(c content) pair {
		return pair{c.header.SystemID, c.header.Timeline, c.header.Start, c.header.Created}
	}
	free := map[pair]content{}
	for _, g := range b.globals {
		free[of(g)] = g
	}
	for i := range b.files {
		c := &b.files[i]
		if g, found := free[of(*c)]; found && c.header.Kind == catalog.KindBase {
			c.record.Globals = g.record.Artifact
			delete(free, of(*c))
		}
	}
	for _, g := range free {
		b.leaveOut(g.record.Artifact.Name, catalog.KindGlobals, errors.New("its base is not there"))
	}
	slices.SortFunc(b.report.LeftOut, func(a, b FileReport) int { return cmp.Compare(a.Name, b.Name) })
	recorded := func(c content) time.Time {
		if c.header.Kind == catalog.KindBase && !c.ended.IsZero() {
			return c.ended
		}
		return c.header.Created
	}
	slices.SortFunc(b.files, func(x, y content) int {
		return cmp.Or(recorded(x).Compare(recorded(y)), cmp.Compare(x.header.Start, y.header.Start))
	})
	info := &b.report.Repository
	info.Format = segment.FormatVersion
	for _, c := range b.files { // later ones know better
		h := c.header
		info.SystemID, info.Timeline, info.Database = h.SystemID, h.Timeline, h.Database
		info.ServerVersion = cmp.Or(info.ServerVersion, h.Server) // that of the beginning
		info.Encoding, info.Collate, info.CType = cmp.Or(h.Encoding, info.Encoding), cmp.Or(h.Collate, info.Collate), cmp.Or(h.CType, info.CType)
		info.LocaleProvider, info.Locale = cmp.Or(h.LocaleProvider, info.LocaleProvider), cmp.Or(h.Locale, info.Locale)
		about := h.Repository
		info.CreatedAt = cmp.Or(about.Begun, info.CreatedAt)
		info.DatabaseOID = cmp.Or(about.DatabaseOID, info.DatabaseOID)
		info.Slot = cmp.Or(about.Slot, h.Slot, info.Slot)
		info.Publication = cmp.Or(about.Publication, info.Publication)
		info.Mode = cmp.Or(about.Mode, info.Mode)
		info.Compression = cmp.Or(about.Compression, info.Compression)
		info.StreamStart = cmp.Or(about.StreamStart, info.StreamStart)
		b.addSwitches(h.SystemID, about.Switches)
	}
	b.assume(info)
}

// addSwitches reads where timelines branched off. What a header could not hold
// otherwise is passed over.
func (b *rebuilder) addSwitches(system, list string) {
	for text := range strings.SplitSeq(list, ", ") {
		s := catalog.Switch{SystemID: system}
		var at string
		if n, _ := fmt.Sscanf(text, "%d %d %s", &s.Timeline, &s.Parent, &at); n != 3 {
			continue
		}
		var err error
		if s.At, err = catalog.ParseLSN(at); err == nil && s.Parent < s.Timeline && !slices.Contains(b.switches, s) {
			b.switches = append(b.switches, s)
		}
	}
}

// assume fills in what files of earlier versions do not tell.
func (b *rebuilder) assume(info *catalog.Repository) {
	set := func(value *string, what, is string) {
		if *value == "" {
			*value = is
			b.report.Assumed = append(b.report.Assumed, what+" "+is)
		}
	}
	filters := filter.DefaultCodec.String()
	for _, c := range b.files {
		if c.header.Kind == catalog.KindSegment {
			filters = c.header.Filters
		}
	}
	set(&info.Slot, "replication slot", "pg_scribe")
	set(&info.Publication, "publication", "pg_scribe")
	set(&info.Mode, "capture mode", "guarded")
	set(&info.Compression, "compression", filters)
}

// write makes the new catalog and puts it into the old one's place.
func (b *rebuilder) write(ctx context.Context) error {
	r := b.r
	if len(b.files) == 0 {
		return &NotRepositoryError{Dir: r.dir, Cause: errors.New("no file of it is whole")}
	}
	cat := r.cat
	if _, chosen, err := cat.Setting(ctx, chainSetting); err != nil {
		return err
	} else if chosen {
		chain, err := r.Chain(ctx)
		if err != nil {
			return err
		}
		b.report.Repository.Compression = chain.String()
	}
	var records []catalog.Record
	for _, c := range b.files {
		records = append(records, c.record)
	}
	err := errors.Join(cat.Fill(ctx, b.report.Repository, records), cat.AddSwitches(ctx, b.switches))
	if err == nil {
		b.report.Salvaged, err = cat.Salvage(ctx, r.Path(CatalogName))
	}
	if err == nil {
		err = keepMetadataSum(ctx, r, cat)
	}
	if err == nil && b.from != nil {
		err = b.from.record(ctx, r, cat)
	}
	if err == nil {
		b.report.Artifacts, err = cat.Artifacts(ctx)
	}
	if err != nil {
		return err
	}
	if err := cat.Close(); err != nil {
		return err
	}
	if err := r.setAside(b.report); err != nil {
		return err
	}
	if err := os.Rename(r.Path(CatalogName+rebuildSuffix), r.Path(CatalogName)); err != nil {
		return err
	}
	r.cat = nil
	return syncDir(r.workDir())
}

// keepMetadataSum notes the checksum of the metadata file, if that is whole.
func keepMetadataSum(ctx context.Context, r *Repository, cat *catalog.Catalog) error {
	text, err := os.ReadFile(r.Path(MetadataName))
	if err != nil || !metadataWhole(text) {
		return nil
	}
	sum := sha256.Sum256(text)
	if known, found, _ := cat.Setting(ctx, metadataSetting); found && strings.Contains(known, hex.EncodeToString(sum[:])) {
		return nil
	}
	return cat.SetSetting(ctx, metadataSetting, hex.EncodeToString(sum[:]))
}

// setAside renames the old catalog. Its journal goes first: it must never be
// applied to the new one.
func (r *Repository) setAside(report *RebuildReport) error {
	name := CatalogName + ".old-" + r.now().UTC().Format(stampLayout)
	for n := 2; ; n++ {
		if err := r.absent(name); err == nil {
			break
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		name = fmt.Sprintf("%s.old-%s-%d", CatalogName, r.now().UTC().Format(stampLayout), n)
	}
	for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
		err := os.Rename(r.Path(CatalogName+suffix), r.Path(name+suffix))
		switch {
		case err == nil:
			report.Old = name
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return syncDir(r.workDir())
}
