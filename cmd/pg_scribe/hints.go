package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/target"
	"pg_scribe/restore"
	"pg_scribe/stream"
)

// incompleteHint says what a broken-off restore has left, and the way on.
func incompleteHint(e *restore.IncompleteError, f facts) string {
	removed := ""
	if fileGone(e.Err) && target.IsSpec(f.dir) {
		removed = "it was removed while the restore read it, as expire does; "
	} else if e.Resumable && e.Swap != nil {
		return fmt.Sprintf("the source is as it was, %q is whole up to %s; mend the cause, then go on to the same target: %s; then swap the names: %s",
			e.Database, e.Applied, f.onDatabase(e.Database).scribe("restore", "-f", f.dir)+" --resume", f.swap(*e.Swap))
	} else if e.Resumable {
		return fmt.Sprintf("the target is whole up to %s; mend the cause, then give the same command with --resume", e.Applied)
	}
	what := "the target holds part of the base"
	if e.Created {
		what = "the new database holds part of the base"
	}
	if e.Resumable {
		what = "the target is whole up to " + e.Applied.String()
	}
	if !e.Created { // it may hold what nobody else has
		return removed + what + "; begin again in a new database: " + f.restoreAnew()
	}
	return removed + what + "; remove what this run made, and begin again: " + f.server("dropdb", e.Database)
}

// restoreAnew is the command that restores into a database that there is not yet.
func (f facts) restoreAnew() string {
	return f.onDatabase("NEW_DATABASE").scribe("restore", "-f", f.dir) + " -C"
}

// swap is the command that gives a restored database the source's name, and the
// source another, or does nothing.
func (f facts) swap(s restore.Swap) string {
	maintenance := "postgres"
	if s.Source == maintenance {
		maintenance = "template1"
	}
	args := []string{"-1", "-v", "ON_ERROR_STOP=1"}
	for _, sql := range s.Statements() {
		args = append(args, "-c", sql)
	}
	return f.onDatabase(maintenance).tool("psql", args...)
}

// fileGone tells whether a file of the repository is not where the catalog says.
func fileGone(err error) bool {
	return errors.As(err, new(*repo.MissingFileError)) || errors.Is(err, target.NotFound)
}

// rereadHint is for whoever reads from a target, where nothing keeps expire away.
const rereadHint = "it may have been removed since the catalog was read, as expire does: run it again, which begins with the newest catalog there"

func connectHint(e *stream.ConnectError, f facts) string {
	switch e.Fault {
	case stream.FaultPooler:
		return "connect to the server itself, by an address that is not the pooler's: " +
			commandLine("pg_scribe", f.command, "-h", "SERVER", "-p", "5432", "-U", e.User, "-d", e.Database)
	case stream.FaultServer:
		return fmt.Sprintf("is PostgreSQL running there? Ask: %s; choose another server with -h and -p",
			commandLine("pg_isready", "-h", e.Host, "-p", fmt.Sprint(e.Port)))
	case stream.FaultPassword:
		if pg, ok := errors.AsType[*pgconn.PgError](e.Err); ok && pg.Code == "28000" {
			return refusedHint(pg, e)
		}
		return "ask for the password with -W, or give the right one in PGPASSWORD or ~/.pgpass"
	case stream.FaultDatabase:
		if f.command == "restore" {
			return "create it by restoring with -C, or choose another with -d"
		}
		return "see which databases there are: " + commandLine("psql", "-h", e.Host, "-p", fmt.Sprint(e.Port), "-U", e.User, "-l")
	}
	return "try the same connection with: " + f.tool("psql")
}

// refusedHint is for a role that no password lets in. The server's words may be
// in any language; the routine is not.
func refusedHint(pg *pgconn.PgError, e *stream.ConnectError) string {
	other := ", or connect as another role with -U"
	switch {
	case strings.Contains(pg.Message, "is not permitted to log in"):
		return "let it log in, as a superuser: " + alterRole(e.User, "LOGIN") + other
	case strings.Contains(pg.Message, "does not exist"):
		return "create it: " + commandLine("createuser", "-h", e.Host, "-p", fmt.Sprint(e.Port), e.User) + other
	case pg.Routine == "InitializeSessionUserId": // one of both
		return "create the role, or let it log in, as a superuser: " + alterRole(e.User, "LOGIN") + other
	}
	return "add a line for it to the server's pg_hba.conf and reload that, come by another way with -h" + other
}

func alterRole(role, what string) string {
	return fmt.Sprintf("ALTER ROLE %s %s", pgx.Identifier{role}.Sanitize(), what)
}

func keyHint(e *filter.KeyError, f facts) string {
	switch e.Fault {
	case filter.KeyMissing:
		return "give the secret key with --identity FILE, or the passphrase with --passphrase-file FILE"
	case filter.KeyWrong:
		return "give the key that was in use when the file was written, with --identity FILE; several may be given"
	}
	return "look at it: " + commandLine("ls", "-l", e.File)
}

func slotHint(e *stream.SlotError, f facts) string {
	drop := f.scribe("drop", "-S", e.Slot)
	switch e.Problem {
	case stream.SlotExists:
		return "choose another name with -S, or, if nothing needs it any more, remove it: " + drop
	case stream.SlotMissing:
		if f.command == "drop" {
			return "see which slots there are: " + f.tool("psql", "-c", "SELECT * FROM pg_replication_slots")
		}
		if f.dir != "" {
			return "if it is gone, begin again with a new slot and base: " + f.newSlot()
		}
		return "name the right slot with -S, or begin a new repository: " + f.scribe("init", "-S", e.Slot, "-f", "NEW_DIRECTORY")
	case stream.SlotBusy:
		if e.PID == 0 {
			return "stop the other pg_scribe or pg_recvlogical that reads it"
		}
		return "stop the program that reads it, or end its session: " +
			f.tool("psql", "-c", fmt.Sprintf("SELECT pg_terminate_backend(%d)", e.PID))
	case stream.SlotWhole:
		return "leave out --new-slot: " + f.scribe("full-backup", "-f", f.dir)
	case stream.SlotLost, stream.SlotAhead:
		if f.dir != "" {
			return "the changes in between are gone; begin again with a new slot and base: " + f.newSlot()
		}
		return "the changes in between are gone; begin anew: " + drop + " && " + f.scribe("init", "-S", e.Slot, "-f", "NEW_DIRECTORY")
	case stream.SlotForeign:
		switch {
		case f.command == "full-backup":
			return "the slot of this repository is gone, and another one has its name; begin a new repository with another slot: " +
				f.scribe("init", "-S", "NEW_SLOT", "-f", "NEW_DIRECTORY")
		case e.Database != "" && f.command == "status":
			return "name its database with -d, or another slot with -S: " + f.onDatabase(e.Database).scribe("status", "-S", e.Slot)
		case f.command == "drop": // never one that removes what was not meant
			return "name one of this database with -S: " + f.tool("psql", "-c", "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")
		}
		return "choose the slot that init made with -S, and its database with -d"
	case stream.SlotBlocked:
		return "end the transactions that it waits for, or try again later"
	case stream.SlotNoneFree:
		return "raise max_replication_slots and restart the server, or remove a slot that nothing needs"
	}
	return "look at it: " + f.tool("psql", "-c", "SELECT * FROM pg_replication_slots")
}

func mismatch(err error, f facts) (remedy, bool) {
	var e *stream.MismatchError
	switch {
	case !errors.As(err, &e):
		return remedy{}, false
	case e.What == "slot":
		return remedy{exitSlot, "leave out -S, or say -S " + shellQuote(e.Repository)}, true
	}
	return remedy{exitUsage, "connect to the server and database that the repository is of, or begin a new one: " +
		f.scribe("init", "-f", "NEW_DIRECTORY")}, true
}

// identityHint is for a repository and a database that are not of each other.
func identityHint(e *stream.IdentityError, f facts) string {
	switch {
	case f.command == "drop" && e.Now != "": // never a command that removes what was not meant
		return "leave out -f to remove what is in this database; to see what is meant: " + f.onDatabase(e.Now).scribe("status", "-f", f.dir)
	case f.command == "drop":
		return "leave out -f to remove what is in this database: " + f.scribe("drop", "-S", f.slot)
	case e.Now != "":
		return "name its database with -d: " + f.onDatabase(e.Now).scribe(f.command, "-f", f.dir)
	case e.Repository.SystemID == e.Source.SystemID:
		return "that database is gone; what is stored of it stays restorable; for this one begin a new repository: " +
			f.scribe("init", "-f", "NEW_DIRECTORY")
	}
	return "choose its server with -h and -p; after pg_upgrade, or a dump and restore, it is another system: begin a new repository: " +
		f.scribe("init", "-f", "NEW_DIRECTORY")
}

// onDatabase is for another database of the same server.
func (f facts) onDatabase(name string) facts {
	conn := []string{"-d", name}
	for i := 0; i+1 < len(f.conn); i += 2 {
		if f.conn[i] != "-d" {
			conn = append(conn, f.conn[i], f.conn[i+1])
		} else if conninfo.IsString(f.conn[i+1]) { // the server stands in it
			if elsewhere, err := withDatabase(f.conn[i+1], name); err == nil {
				conn[1] = elsewhere
			}
		}
	}
	f.conn = conn
	return f
}

// damagedCatalog is said by every command alike.
func damagedCatalog(err error, f facts) (remedy, bool) {
	var e *repo.DamagedCatalogError
	if !errors.As(err, &e) && (!catalog.IsDamaged(err) || errors.As(err, new(*repo.NotRepositoryError))) {
		return remedy{}, false
	}
	dir := f.dir
	if e != nil {
		dir = e.Dir
	}
	return remedy{exitBackup, "make it again from the files: " + commandLine("pg_scribe", "catalog", "rebuild", "-f", dir)}, true
}

func oneOf(what, flag string, known []string) string {
	if len(known) == 0 {
		return "the repository has no " + what
	}
	if len(known) > 5 {
		known = known[len(known)-5:]
	}
	quoted := make([]string, len(known))
	for i, k := range known {
		quoted[i] = flag + " " + shellQuote(k)
	}
	return "the latest " + what + " are " + strings.Join(quoted, ", ")
}

// scribe is a command line of this program with the same connection.
func (f facts) scribe(command string, args ...string) string {
	words := append([]string{"pg_scribe", command}, f.conn...)
	for i := 0; i+1 < len(args); i += 2 {
		if args[i+1] != "" { // not known yet
			words = append(words, args[i], args[i+1])
		}
	}
	return commandLine(words...)
}

// sentLater comforts whoever sends: a target that is down loses nothing.
func (f facts) sentLater() string {
	switch f.command {
	case "start", "full-backup", "copy", "expire", "reencrypt":
		return "; what is not there yet is kept and sent later"
	}
	return ""
}

// disks is a command that shows how full the repository's file systems are.
func (f facts) disks() string {
	if f.spool != "" {
		return commandLine("df", "-h", f.dir, f.spool)
	}
	return commandLine("df", "-h", f.dir)
}

// newSlot is the command that begins the stream of a repository again.
func (f facts) newSlot() string { return f.scribe("full-backup", "-f", f.dir) + " --new-slot" }

// tool is a command line of a PostgreSQL program with the same connection.
func (f facts) tool(name string, args ...string) string {
	return commandLine(append(append([]string{name}, f.conn...), args...)...)
}

// server is the same without a database, for programs that name theirs.
func (f facts) server(name string, args ...string) string {
	words := []string{name}
	for i := 0; i+1 < len(f.conn); i += 2 {
		switch {
		case f.conn[i] != "-d":
			words = append(words, f.conn[i], f.conn[i+1])
		case conninfo.IsString(f.conn[i+1]): // the server stands in it
			if elsewhere, err := withDatabase(f.conn[i+1], "postgres"); err == nil {
				words = append(words, "--maintenance-db", elsewhere)
			}
		}
	}
	return commandLine(append(words, args...)...)
}
