package repo

import (
	"fmt"

	"pg_scribe/repo/segment"
)

// FormatError says that a file is not what its name or catalog row promises.
type FormatError = segment.FormatError

// NotEmptyError says that a directory for a new repository is in use.
type NotEmptyError struct {
	Dir         string
	Initialised bool // it is a repository already
}

func (e *NotEmptyError) Error() string {
	if e.Initialised {
		return fmt.Sprintf("%s is already a repository", e.Dir)
	}
	return fmt.Sprintf("directory %s is not empty", e.Dir)
}

// NotRepositoryError says that a directory holds no repository.
type NotRepositoryError struct {
	Dir   string
	Cause error // why the catalog cannot be read; nil if there is none
}

func (e *NotRepositoryError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("the catalog of %s cannot be read: %v", e.Dir, e.Cause)
	}
	return fmt.Sprintf("%s is not a repository: it has no %s", e.Dir, CatalogName)
}

func (e *NotRepositoryError) Unwrap() error { return e.Cause }

// DamagedCatalogError says that a repository's files are there, and its
// catalog is missing or no catalog any more: Rebuild makes it again.
type DamagedCatalogError struct {
	Dir   string
	Cause error // nil: it is missing
}

func (e *DamagedCatalogError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("the catalog of %s is damaged: %v", e.Dir, e.Cause)
	}
	return fmt.Sprintf("the catalog of %s is missing", e.Dir)
}

func (e *DamagedCatalogError) Unwrap() error { return e.Cause }

// BusyError says that another process streams into the repository, or
// reencrypts it.
type BusyError struct {
	Dir       string
	Rewriting bool
}

func (e *BusyError) Error() string {
	if e.Rewriting {
		return fmt.Sprintf("another process reencrypts %s", e.Dir)
	}
	return fmt.Sprintf("another process streams into %s", e.Dir)
}

// MissingFileError says that a file the catalog knows is not there.
type MissingFileError struct{ Name string }

func (e *MissingFileError) Error() string { return fmt.Sprintf("%s is missing", e.Name) }
