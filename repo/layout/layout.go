// Package layout is what a storage holds beside the files of a repository: the
// repository's identity, catalogs of what is there, and the file for a person.
//
// Names of catalogs sort in the order in which they were made, so that a listing
// shows the newest. The package reads no catalog and writes no file.
package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/storage"
)

// The names of what is there.
const (
	IdentityName   = "pg_scribe_repository.txt"
	CatalogPrefix  = "catalog-" // SEQUENCE-LSN.db.zst, with the endings of other filters
	CatalogSuffix  = ".db"
	MetadataPrefix = "pg_scribe_metadata-" // SEQUENCE.txt
)

// CatalogChain is what catalogs on storages go through: they are compressed,
// and encrypted as everything else that leaves the machine.
func CatalogChain(chain filter.Chain) filter.Chain {
	return append(filter.Chain{{Name: "zstd"}}, chain.Sealing()...)
}

// CatalogName names a catalog; end is up to where it restores.
func CatalogName(sequence uint64, end catalog.LSN, chain filter.Chain) string {
	return fmt.Sprintf("%s%016X-%s%s%s", CatalogPrefix, sequence, end.Hex(), CatalogSuffix, chain.Extension())
}

// MetadataName names the file for a person that goes with a catalog.
func MetadataName(sequence uint64) string {
	return fmt.Sprintf("%s%016X.txt", MetadataPrefix, sequence)
}

// SequenceOf reads the number of a catalog or metadata file from its name.
func SequenceOf(name string) (n uint64, ok bool) {
	for _, prefix := range []string{CatalogPrefix, MetadataPrefix} {
		rest, found := strings.CutPrefix(name, prefix)
		if found && len(rest) > 16 {
			n, err := strconv.ParseUint(rest[:16], 16, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// EndOf reads from the name of a catalog up to where it restores.
func EndOf(name string) catalog.LSN {
	rest, _ := strings.CutPrefix(name, CatalogPrefix)
	_, rest, _ = strings.Cut(rest, "-")
	text, _, _ := strings.Cut(rest, ".")
	end, _ := strconv.ParseUint(text, 16, 64)
	return catalog.LSN(end)
}

// TakenError says that a storage belongs to another repository.
type TakenError struct{ Storage string }

func (e *TakenError) Error() string {
	return fmt.Sprintf("storage %s holds the files of another repository", e.Storage)
}

// LostError says that a storage does not show that it is this repository's: it
// was emptied, or another disk is mounted there.
type LostError struct{ Storage string }

func (e *LostError) Error() string {
	return fmt.Sprintf("storage %s does not hold %s, by which it would be known", e.Storage, IdentityName)
}

// Identify makes sure that a storage is the one that was bound to the repository
// of an identity. It fails with LostError or TakenError.
func Identify(ctx context.Context, s storage.Session, t storage.Storage, want string) error {
	have, err := ReadIdentity(ctx, s)
	if errors.Is(err, storage.NotFound) {
		return &LostError{t.String()}
	}
	if err == nil && have != want {
		err = &TakenError{t.String()}
	}
	return err
}

// ReadIdentity returns the identity of the repository that a storage belongs to.
func ReadIdentity(ctx context.Context, s storage.Session) (string, error) {
	in, err := s.Open(ctx, IdentityName)
	if err != nil {
		return "", err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, 4096))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line, nil
}
