package repo

import (
	"os"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
)

// KindOfName says what a file's name promises. ok is false for names that no
// finished file or open segment has.
func KindOfName(name string) (kind catalog.Kind, open, ok bool) {
	rest, open := strings.CutSuffix(name, openSuffix)
	stem, ending, _ := strings.Cut(rest, ".")
	chain, err := filter.ParseRecord(filter.RecordOfName(rest), func(n int) (filter.Filter, error) {
		return filter.Filter{Name: "shell", Number: n}, nil
	})
	if err != nil {
		return "", false, false
	}
	form := strings.TrimSuffix("."+ending, chain.Extension())
	if form == dirSuffix {
		return catalog.KindBase, false, !open && strings.HasPrefix(stem, "base-")
	}
	switch {
	case form != ".sql":
	case strings.HasPrefix(stem, segmentPrefix):
		return catalog.KindSegment, open, true
	case strings.HasPrefix(stem, "base-"):
		return catalog.KindBase, false, !open
	case strings.HasPrefix(stem, "globals-"):
		return catalog.KindGlobals, false, !open
	}
	return "", false, false
}

// IsDirName says whether a name is that of a base that is a directory.
func IsDirName(name string) bool {
	_, ending, _ := strings.Cut(name, ".")
	return strings.HasPrefix("."+ending+".", dirSuffix+".")
}

// IsOwn says whether a name is that of a file which the repository has beside
// those that the catalog knows.
func IsOwn(name string) bool {
	switch name {
	case MetadataName, lockName, rewriteLockName, uploadLockName, SpoolName, ownerName:
		return true
	}
	return strings.HasPrefix(name, CatalogName)
}

// IsPartial says whether a name is that of a file which is not complete.
func IsPartial(name string) bool { return strings.HasSuffix(name, partialSuffix) }

// HoldsFiles says whether a directory has files of a repository.
func HoldsFiles(entries []os.DirEntry) bool {
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		_, _, ok := KindOfName(e.Name())
		return ok
	})
}
