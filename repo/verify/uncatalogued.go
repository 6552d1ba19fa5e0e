package verify

import (
	"context"
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// Uncatalogued are segments that begin at or behind the end of what the catalog
// knows, and that it does not know: it is an older one, or, on a storage, its
// successor was never sent. What they hold no plan reaches.
func Uncatalogued(ctx context.Context, r *repo.Repository) ([]string, error) {
	names, err := r.Names()
	if err != nil {
		return nil, err
	}
	// Read behind the listing: a file is there before it is recorded.
	all, err := r.Catalog().Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	end := catalog.LSN(0)
	for _, a := range all {
		known[repo.SealedName(a.Name)] = true
		end = max(end, a.End)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		kind, open, ours := repo.KindOfName(name)
		if !ours || open || kind != catalog.KindSegment || known[name] {
			return true
		}
		// Names of segments have the LSN with all its digits, so they sort by it.
		return repo.StemOf(name) < repo.StemOf(repo.SegmentName(end, nil))
	})
	slices.Sort(names)
	return names, nil
}
