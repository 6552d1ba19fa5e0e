package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/storage"
	"pg_scribe/restore"
	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// incompleteHint says what a broken-off restore has left, and the way on.
func incompleteHint(e *restore.IncompleteError, f hintContext) string {
	removed := ""
	var differs *restore.DifferenceError
	if errors.As(e.Err, &differs) && e.Resumable && e.Swap == nil {
		return fmt.Sprintf("the target is whole up to %s; make it as the source is, then go on: %s; or accept what differs: %s", e.Applied,
			f.again("--resume"), f.again("--resume", "--accept-differences"))
	} else if fileGone(e.Err) && storage.IsSpec(f.dir) {
		removed = "it was removed while the restore read it, as expire does; "
	} else if e.Resumable && e.Swap != nil {
		return fmt.Sprintf("the source is as it was, %q is whole up to %s; fix the cause, then go on to the same target: %s; then swap the names: %s",
			e.Database, e.Applied, f.onDatabase(e.Database).scribe("restore", "-f", f.dir)+" --resume", f.swap(*e.Swap))
	} else if e.Resumable {
		return fmt.Sprintf("the target is whole up to %s; fix the cause, then go on: %s", e.Applied, f.again("--resume"))
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
func (f hintContext) restoreAnew() string {
	line := dropFlags(f.line, f.flags, "create", "allow-source", "resume", "force")
	return f.onDatabase("NEW_DATABASE").run(line, "-C")
}

// swap is the command that gives a restored database the source's name, and the
// source another, or does nothing.
func (f hintContext) swap(s restore.Swap) string {
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

// fileGone says whether a file of the repository is not where the catalog says.
func fileGone(err error) bool {
	return errors.As(err, new(*repo.MissingFileError)) || errors.Is(err, storage.NotFound)
}

// rereadHint is for whoever reads from a storage, where nothing keeps expire away.
func rereadHint(f hintContext) string {
	return "it may have been removed since the catalog was read, as expire does; begin again with the newest catalog there: " + f.again()
}

func connectHint(e *source.ConnectError, f hintContext) string {
	switch e.Fault {
	case source.FaultPooler:
		return "connect to the server itself, by an address that is not the pooler's: " +
			commandLine("pg_scribe", f.command, "-h", "SERVER", "-p", "5432", "-U", e.User, "-d", e.Database)
	case source.FaultServer:
		return fmt.Sprintf("is PostgreSQL running there? Ask: %s; choose another server with -h and -p",
			commandLine("pg_isready", "-h", e.Host, "-p", fmt.Sprint(e.Port)))
	case source.FaultPassword:
		if pg, ok := errors.AsType[*pgconn.PgError](e.Err); ok && pg.Code == "28000" {
			return refusedHint(pg, e, f)
		}
		return "ask for the password with -W, or give the right one in PGPASSWORD or ~/.pgpass"
	case source.FaultDatabase:
		if f.command == "restore" {
			return "create it by restoring with -C, or choose another with -d"
		}
		return "see which databases there are: " + commandLine("psql", "-h", e.Host, "-p", fmt.Sprint(e.Port), "-U", e.User, "-l")
	}
	if pg, ok := errors.AsType[*pgconn.PgError](e.Err); ok && pg.Code == "42501" { // only the replication connection is refused
		return "the role lacks the right to replicate; " + f.rights(e.User)
	}
	return "try the same connection with: " + f.tool("psql")
}

// rights is how a role gets all that start, mark, status and full-backup need.
func (f hintContext) rights(role string) string {
	owner := hintContext{conn: slices.Clone(f.conn)}
	for i := 0; i+1 < len(owner.conn); i += 2 {
		if owner.conn[i] == "-U" {
			owner.conn[i+1] = "SUPERUSER"
		}
	}
	return "as a SUPERUSER, give it all that it needs: " + owner.tool("psql", "-c", "SELECT scribe.grant_to("+quoteSQL(role)+")")
}

func quoteSQL(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// captureHint leads back to a capture that works.
func captureHint(e *capture.Error, f hintContext) string {
	switch {
	case e.Denied:
		return "connect with -U as the role that ran init; or, " + f.rights(f.role)
	case e.Locked:
		return "run it again when those transactions have ended: " + f.again()
	case e.Gone && f.dir != "" && f.command != "init":
		return "the stream cannot go on over it; install it again and begin with a new slot and base: " + f.newSlot()
	case e.Gone && f.command == "mark":
		return "begin a backup of this database: " + f.init(f.slotName(), "NEW_DIRECTORY") + "; or, if it has one, go on with that: " +
			f.scribe("full-backup", "-f", "REPOSITORY") + " --new-slot"
	case e.Gone:
		return "schema scribe is not pg_scribe's; rename it, then run this again: " +
			f.tool("psql", "-c", "ALTER SCHEMA scribe RENAME TO scribe_other")
	case e.Mode != "" && f.command == "init":
		return "take the same mode: " + f.again("--mode", e.Mode)
	case e.Mode != "":
		return "begin a new repository in that mode: " + f.init(f.slotName(), "NEW_DIRECTORY") + " --mode " + e.Mode
	}
	return "go on with the pg_scribe that installed it; or give up the repositories of this database for what comes, and set it up anew: " +
		f.scribe("drop", "-S", f.slot) + "; then: " + f.init(f.slot, "NEW_DIRECTORY")
}

// init is a command line that begins a repository of the source.
func (f hintContext) init(slot, dir string) string {
	return f.onSource("init", "-S", slot, "-f", dir)
}

// slotName is a name for a slot of this database that others do not have.
func (f hintContext) slotName() string {
	name := "pg_scribe_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(f.base))
	name = name[:min(len(name), 60)]
	if name == f.slot {
		name += "_2"
	}
	return name
}

// refusedHint is for a role that no password lets in. The server's words may be
// in any language; the routine is not.
func refusedHint(pg *pgconn.PgError, e *source.ConnectError, f hintContext) string {
	other := "; or connect as another role with -U"
	switch {
	case strings.Contains(pg.Message, "is not permitted to log in"):
		return "let it log in, as a superuser: " + alterRole(e.User, "LOGIN") + other
	case strings.Contains(pg.Message, "does not exist"):
		return "create it: " + commandLine("createuser", "-h", e.Host, "-p", fmt.Sprint(e.Port), "-U", "SUPERUSER", e.User) + other
	case pg.Routine == "InitializeSessionUserId": // one of both
		return "create the role, or let it log in, as a superuser: " + alterRole(e.User, "LOGIN") + other
	}
	return "add a line for it to the server's pg_hba.conf and reload that, come by another way with -h" + other
}

func alterRole(role, what string) string {
	return fmt.Sprintf("ALTER ROLE %s %s", pgx.Identifier{role}.Sanitize(), what)
}

func keyHint(e *filter.KeyError, f hintContext) string {
	switch e.Fault {
	case filter.KeyMissing:
		return "give the secret key with --identity FILE, or the passphrase with --passphrase-file FILE"
	case filter.KeyWrong:
		return "give the key that was in use when the file was written, with --identity FILE; several may be given"
	}
	if _, err := os.Stat(e.File); err != nil {
		above := existing(filepath.Dir(e.File))
		return "give the path of a file that this user can read; of it there is only " + above + ": " + commandLine("ls", "-la", above)
	}
	return "give another file, or look at what this one is: " + commandLine("file", e.File)
}

func slotHint(e *source.SlotError, f hintContext) string {
	drop := f.scribe("drop", "-S", e.Slot)
	switch e.Problem {
	case source.SlotExists:
		beside := "take another name: " + f.run(dropFlags(f.line, f.flags, "slot"), "-S", f.slotName())
		if e.Database == "" || e.Database != f.base {
			return beside
		}
		return beside + "; or, if no repository streams from it, for whose stream that would be the end, remove it: " + drop
	case source.SlotMissing:
		if f.command == "drop" {
			return "see which slots there are: " + f.slots()
		}
		if f.dir != "" {
			return "if it is gone, begin again with a new slot and base: " + f.newSlot()
		}
		return "name the right slot with -S; or begin a new repository: " + f.init(e.Slot, "NEW_DIRECTORY")
	case source.SlotBusy:
		if e.PID == 0 {
			return "stop the other pg_scribe or pg_recvlogical that reads it; see which: " + f.slots()
		}
		return "stop the program that reads it; or end its session: " +
			f.tool("psql", "-c", fmt.Sprintf("SELECT pg_terminate_backend(%d)", e.PID))
	case source.SlotIntact:
		return "leave out --new-slot: " + f.scribe("full-backup", "-f", f.dir)
	case source.SlotLost, source.SlotAhead:
		if f.dir != "" {
			return "the changes in between are gone; begin again with a new slot and base: " + f.newSlot()
		}
		return "the changes in between are gone, and this slot is of no more use; begin anew: " + drop + " --keep-capture && " + f.init(e.Slot, "NEW_DIRECTORY")
	case source.SlotForeign:
		switch {
		case f.command == "full-backup":
			return "the slot of this repository is gone, and another one has its name; begin a new repository with another slot: " +
				f.init(f.slotName(), "NEW_DIRECTORY")
		case e.Database != "" && f.command == "status":
			return "name its database with -d, or another slot with -S: " + f.onDatabase(e.Database).scribe("status", "-S", e.Slot)
		case f.command == "drop": // never one that removes what was not meant
			return "name one of this database with -S: " + f.tool("psql", "-c", "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")
		}
		return "choose the slot that init made with -S, and its database with -d: " + f.slots()
	case source.SlotBlocked:
		return "end the transactions that it waits for, then run it again: " + f.again()
	case source.SlotNoneFree:
		return "let there be more, then restart the server: " + f.tool("psql", "-c", "ALTER SYSTEM SET max_replication_slots = 20") +
			"; or see whether one of them is of no use: " + f.slots()
	}
	return "look at it: " + f.slots()
}

// slots is a command that shows all slots.
func (f hintContext) slots() string {
	return f.tool("psql", "-c", "SELECT slot_name, plugin, database, active, active_pid, wal_status FROM pg_replication_slots")
}

func timelineHint(e *source.TimelineError, f hintContext) string {
	if e.Behind {
		return "let start go over to it first, then run this again: " + f.scribe("start", "-f", f.dir)
	}
	return "if this server is the source from now on, begin there with a new slot and base: " + f.newSlot()
}

func largeValueHint(e *source.LargeValueError, f hintContext) string {
	if e.Table != "" {
		return "make values of 500 MB and more smaller, or take them out of the table; for each COLUMN that may have some: " +
			f.tool("psql", "-c", "SELECT ctid FROM "+e.Table+" WHERE octet_length(COLUMN) > 500000000")
	}
	return "make the value smaller, or take it out of its table (octet_length tells which), then begin again with a new slot and base: " +
		f.newSlot() + " --force"
}

func dumpHint(e *base.DumpError, f hintContext) string {
	if e.Major != 0 { // it is not there, or too old
		return inPath(e.Tool, e.Major, f)
	}
	if strings.Contains(e.Reason, "permission denied") { // in these words: the tool runs with LC_MESSAGES=C
		return "the role may not read everything; " + f.rights(f.role)
	}
	return "see what it says by itself, and fix that: " + f.tool(e.Tool) + " > /dev/null"
}

func mismatch(err error, f hintContext) (remedy, bool) {
	var e *source.MismatchError
	switch {
	case !errors.As(err, &e):
		return remedy{}, false
	case e.What == "slot":
		return remedy{exitSlot, "leave out -S: " + f.run(dropFlags(f.line, f.flags, "slot"))}, true
	}
	return remedy{exitUsage, "connect to the server and database that the repository is of; or begin a new one: " +
		f.init(f.slotName(), "NEW_DIRECTORY")}, true
}

// identityHint is for a repository and a database that are not of each other.
func identityHint(e *source.IdentityError, f hintContext) string {
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
func (f hintContext) onDatabase(name string) hintContext {
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
func damagedCatalog(err error, f hintContext) (remedy, bool) {
	var e *repo.DamagedCatalogError
	if !errors.As(err, &e) && (!catalog.IsDamaged(err) || errors.As(err, new(*repo.NotRepositoryError))) {
		return remedy{}, false
	}
	dir := f.dir
	if e != nil {
		dir = e.Dir
	}
	if errors.Is(err, catalog.ErrHotJournal) {
		return remedy{exitBackup, "open it once where it can be written: " + commandLine("pg_scribe", "list", "-f", dir)}, true
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
func (f hintContext) scribe(command string, args ...string) string {
	words := append([]string{"pg_scribe", command}, f.conn...)
	for i := 0; i+1 < len(args); i += 2 {
		if args[i+1] != "" { // not known yet
			words = append(words, args[i], args[i+1])
		}
	}
	return commandLine(words...)
}

// onSource is the same with the connection of the source, as far as it is known:
// restore's is that of the target, and others have none.
func (f hintContext) onSource(command string, args ...string) string {
	database := f.source
	if f.connects && f.command != "restore" {
		database = cmp.Or(database, f.base)
	}
	switch named := slices.Contains(f.conn, "-d"); {
	case f.command == "restore":
		f.conn = []string{"-d", cmp.Or(database, "DATABASE")}
	case !named:
		f.conn = append([]string{"-d", cmp.Or(database, "DATABASE")}, f.conn...)
	}
	for i := 1; i < len(args); i += 2 {
		if args[i-1] == "-f" && isStorage(args[i]) { // files are sent there, and not written
			args[i] = "REPOSITORY"
		}
	}
	return f.scribe(command, args...)
}

// sentLater comforts whoever sends: a storage that is down loses nothing.
func (f hintContext) sentLater() string {
	switch f.command {
	case "start", "full-backup", "copy", "expire", "reencrypt":
		return "; what is not there yet is kept and sent later"
	}
	return ""
}

// disks is a command that shows how full the repository's file systems are.
func (f hintContext) disks() string {
	if f.spool != "" {
		return commandLine("df", "-h", existing(f.dir), existing(f.spool))
	}
	return commandLine("df", "-h", existing(f.dir)) // init has removed what it made
}

// newSlot is the command that begins the stream of a repository again.
func (f hintContext) newSlot() string { return f.onSource("full-backup", "-f", f.dir) + " --new-slot" }

// tool is a command line of a PostgreSQL program with the same connection.
func (f hintContext) tool(name string, args ...string) string {
	return commandLine(append(append([]string{name}, f.conn...), args...)...)
}

// toTarget is this run's own command line for another moment.
func (f hintContext) toTarget(flags ...string) string {
	return f.run(dropFlags(f.line, f.flags, "target-lsn", "target-time", "target-xid", "target-name", "target-exclusive"), flags...)
}

// server is the same without a database, for programs that name theirs.
func (f hintContext) server(name string, args ...string) string {
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
