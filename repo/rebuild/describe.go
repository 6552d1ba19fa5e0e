package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/verify"
)

// describe finds the settings of the repository itself, pairs globals with their
// bases, and brings everything into the order in which it was recorded.
func (b *rebuilder) describe() {
	type pair struct {
		system   string
		timeline uint32
		point    catalog.LSN
		created  time.Time
	}
	of := func(c verify.Content) pair {
		return pair{c.Header.SystemID, c.Header.Timeline, c.Header.Start, c.Header.Created}
	}
	free := map[pair]verify.Content{}
	for _, g := range b.globals {
		free[of(g)] = g
	}
	for i := range b.files {
		c := &b.files[i]
		if g, found := free[of(*c)]; found && c.Header.Kind == catalog.KindBase {
			c.Record.Globals = g.Record.Artifact
			delete(free, of(*c))
		}
	}
	for _, g := range free {
		b.leaveOut(g.Record.Artifact.Name, catalog.KindGlobals, errors.New("its base is not there"))
	}
	slices.SortFunc(b.report.LeftOut, func(a, b verify.File) int { return cmp.Compare(a.Name, b.Name) })
	recorded := func(c verify.Content) time.Time {
		if c.Header.Kind == catalog.KindBase && !c.Ended.IsZero() {
			return c.Ended
		}
		return c.Header.Created
	}
	slices.SortFunc(b.files, func(x, y verify.Content) int {
		return cmp.Or(recorded(x).Compare(recorded(y)), cmp.Compare(x.Header.Start, y.Header.Start))
	})
	info := &b.report.Repository
	info.Format = segment.FormatVersion
	for _, c := range b.files { // later ones know better
		h := c.Header
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
		if c.Header.Kind == catalog.KindSegment {
			filters = c.Header.Filters
		}
	}
	set(&info.Slot, "replication slot", "pg_scribe")
	set(&info.Publication, "publication", "pg_scribe")
	set(&info.Mode, "capture mode", "guarded")
	set(&info.Compression, "compression", filters)
}

// write fills the new catalog and puts it into the old one's place.
func (b *rebuilder) write(ctx context.Context) error {
	r := b.r
	if len(b.files) == 0 {
		return &repo.NotRepositoryError{Dir: r.Dir(), Cause: errors.New("no file of it is whole")}
	}
	if chosen, err := r.HasChain(ctx); err != nil {
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
		records = append(records, c.Record)
	}
	cat := r.Catalog()
	err := errors.Join(cat.Fill(ctx, b.report.Repository, records), cat.AddSwitches(ctx, b.switches))
	if err == nil {
		b.report.Salvaged, err = cat.Salvage(ctx, r.Path(repo.CatalogName))
	}
	if err == nil && b.from != nil {
		err = b.from.record(ctx, r.Repository)
	}
	if err == nil {
		b.report.Artifacts, err = cat.Artifacts(ctx)
	}
	if err == nil {
		b.report.Old, err = r.Publish(ctx)
	}
	return err
}
