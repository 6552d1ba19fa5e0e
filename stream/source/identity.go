package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
)

// An Identity is what a repository belongs to: one database of one system.
// System identifier and OID decide. The name is a label, which ALTER DATABASE
// … RENAME changes and another database may get.
type Identity struct {
	SystemID string
	OID      uint32 // 0: not known, as in repositories of earlier versions
	Database string
}

// IdentityError says that a repository belongs to another database than the
// one that was named.
type IdentityError struct {
	Repository, Source Identity
	Now                string // what the repository's database is called on the source's server; empty: it is not there
}

func (e *IdentityError) Error() string {
	mine, other := e.Repository.words(e.Now), fmt.Sprintf("%q (OID %d)", e.Source.Database, e.Source.OID)
	if e.Repository.SystemID != e.Source.SystemID {
		other += " of system " + e.Source.SystemID
	}
	return fmt.Sprintf("the repository is of database %s of system %s, not of %s", mine, e.Repository.SystemID, other)
}

// words are the name, the OID if that is known, and another name that the
// database has now.
func (i Identity) words(now string) string {
	renamed := ""
	if now != "" && now != i.Database {
		renamed = fmt.Sprintf("now %q", now)
	}
	switch {
	case i.OID != 0 && renamed != "":
		return fmt.Sprintf("%q (OID %d, %s)", i.Database, i.OID, renamed)
	case i.OID != 0:
		return fmt.Sprintf("%q (OID %d)", i.Database, i.OID)
	case renamed != "":
		return fmt.Sprintf("%q (%s)", i.Database, renamed)
	}
	return fmt.Sprintf("%q", i.Database)
}

func (s Server) Identity() Identity { return Identity{s.SystemID, s.DatabaseOID, s.Database} }

// CheckIdentity makes sure that a connection leads to the database that a
// repository is of, and returns that as the server knows it. It changes
// nothing; another database is an IdentityError.
func CheckIdentity(ctx context.Context, connString string, inv catalog.Inventory) (Identity, error) {
	conn, err := Connect(ctx, connString)
	if err != nil {
		return Identity{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var src Identity
	err = conn.QueryRow(ctx, `SELECT c.system_identifier::text, d.oid, d.datname FROM pg_control_system() c, pg_database d
	  WHERE d.datname = current_database()`).Scan(&src.SystemID, &src.OID, &src.Database)
	if err != nil {
		return src, err
	}
	end, _ := inv.End()
	_, err = SameDatabase(ctx, conn, inv.Repository, src, end)
	return src, err
}

// SameDatabase compares a source with what a repository is of. The timeline may
// change: see follow. A repository of an earlier version may lack the OID: then
// its slot says which database it is of, and without that the name. proven is
// false in the last case.
func SameDatabase(ctx context.Context, conn *pgx.Conn, info catalog.Repository, src Identity, end catalog.LSN) (proven bool, err error) {
	e := &IdentityError{Repository: Identity{info.SystemID, info.DatabaseOID, info.Database}, Source: src}
	if info.SystemID != src.SystemID {
		return false, e
	}
	if info.DatabaseOID == src.OID {
		return true, nil
	}
	find, key := "SELECT datname FROM pg_database WHERE oid::text = $1", fmt.Sprint(info.DatabaseOID)
	if info.DatabaseOID == 0 {
		slot, err := ReadSlot(ctx, conn, info.Slot)
		if err != nil && !errors.As(err, new(*SlotError)) {
			return false, err
		}
		// Another repository may have got the slot's name; its slot was made later.
		switch proves := err == nil && slot.Plugin == "pgoutput" && slot.Covers(end) == nil; {
		case proves && slot.Database == src.Database:
			return true, nil
		case !proves && info.Database == src.Database:
			return false, nil
		case proves:
			e.Now = slot.Database
			return false, e
		}
		find, key = "SELECT datname FROM pg_database WHERE datname = $1", info.Database
	}
	err = conn.QueryRow(ctx, find, key).Scan(&e.Now)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	return false, e
}
