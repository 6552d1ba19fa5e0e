package verify

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// Damage is what is wrong with files as far as it is known without reading
// them.
type Damage struct {
	Missing  []string // not there
	Resized  []string // not as long as recorded
	Failed   []string // there, and damaged when verify last read them
	Unseen   []string // there, but this user cannot read them
	NotRead  int      // never read by verify, or not judged by it
	affected map[int64]bool
}

// Mark makes the inventory know the files that are missing or damaged.
func (d Damage) Mark(inv *catalog.Inventory) { inv.Damaged = d.affected }

// FindDamage looks at presence and size of every file of the catalog, by stat
// or by one listing of a storage location, and at what verify has recorded of
// their contents. It reads none of them.
func FindDamage(ctx context.Context, r *repo.Repository, inv catalog.Inventory) (d Damage, err error) {
	reads, err := r.Catalog().LastReads(ctx)
	if err != nil {
		return d, err
	}
	d.affected = map[int64]bool{}
	for _, a := range inv.Artifacts {
		switch outcome := outcomeOfStat(ctx, r, a); {
		case outcome == fileMissing:
			d.Missing = append(d.Missing, a.Name)
		case outcome == fileResized:
			d.Resized = append(d.Resized, a.Name)
		case reads[a.ID].Outcome == catalog.OutcomeFailed:
			d.Failed = append(d.Failed, a.Name)
		case outcome == fileUnseen:
			d.Unseen = append(d.Unseen, a.Name)
			continue
		default:
			if reads[a.ID].Outcome != catalog.OutcomeOK {
				d.NotRead++
			}
			continue
		}
		d.affected[a.ID] = true
	}
	return d, nil
}

// accessRead is R_OK of access(2).
const accessRead = 4

type statOutcome int

const (
	fileWhole statOutcome = iota
	fileMissing
	fileResized
	fileUnseen
)

func outcomeOfStat(ctx context.Context, r *repo.Repository, a catalog.Artifact) statOutcome {
	size, err := r.StoredSize(a)
	if errors.As(err, new(*repo.MissingFileError)) {
		now, kerr := r.Catalog().Artifact(ctx, a.ID)
		switch {
		case errors.Is(kerr, catalog.ErrNotFound):
			return fileWhole // expire has taken it since
		case kerr == nil && now.Name != a.Name: // sealed, or written anew, since
			a = now
			size, err = r.StoredSize(a)
		case a.State == catalog.StateOpen:
			// Renamed, but not yet so in the catalog, if it is found under its new name.
			if release, herr := r.Hold(a); herr == nil {
				release()
				return fileWhole
			}
		}
	}
	switch {
	case errors.As(err, new(*repo.MissingFileError)):
		return fileMissing
	case err != nil, !r.Remote() && errors.Is(syscall.Access(r.Path(a.Name), accessRead), fs.ErrPermission):
		return fileUnseen
	case size < a.Bytes, size > a.Bytes && a.State == catalog.StateSealed && a.Format != "directory": // verify knows whether a file there is a stray
		return fileResized
	}
	return fileWhole
}
