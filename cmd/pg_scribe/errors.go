package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/target"
	"pg_scribe/restore"
	"pg_scribe/stream"
)

// Exit codes.
const (
	exitOK         = 0
	exitGeneral    = 1
	exitConnection = 2
	exitSlot       = 3
	exitBackup     = 4 // backup or restore
	exitUsage      = 5 // invalid arguments or failed validation
	exitWarnings   = 10
)

// exitError ends the program with a code and no further words.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// validationError: the source is not fit for a backup. The findings have been
// printed.
type validationError struct{ critical int }

func (e *validationError) Error() string {
	return plural(int64(e.critical), "critical finding") + "; nothing was changed"
}

// A remedy is what the program makes of an error.
type remedy struct {
	code int
	hint string
}

// rule knows one kind of error.
type rule func(err error, f facts) (remedy, bool)

// on makes a rule for an error type.
func on[E error](code int, hint func(e E, f facts) string) rule {
	return func(err error, f facts) (remedy, bool) {
		var e E
		if !errors.As(err, &e) {
			return remedy{}, false
		}
		return remedy{code, hint(e, f)}, true
	}
}

// is makes a rule for an error value.
func is(target error, code int, hint func(f facts) string) rule {
	return func(err error, f facts) (remedy, bool) {
		if !errors.Is(err, target) {
			return remedy{}, false
		}
		return remedy{code, hint(f)}, true
	}
}

// rules are tried in order; the first that knows the error decides.
var rules = []rule{
	on(exitUsage, func(e *usageError, _ facts) string { return e.hint }),
	on(exitUsage, func(e *zoneError, _ facts) string { return e.readings(time.Local) }),
	on(exitUsage, func(e *stream.RoleError, f facts) string {
		return "create it first: " + commandLine("createuser", e.Role)
	}),
	on(exitUsage, func(_ *validationError, f facts) string {
		return "mend them with the commands above and run init again; --force goes on in spite of them"
	}),
	on(exitBackup, incompleteHint),
	is(errNoPassword, exitConnection, func(facts) string { return "run it again, or give the password in PGPASSWORD or ~/.pgpass" }),
	is(errTargetNeeded, exitUsage, func(f facts) string {
		return "name a new database: " + commandLine("pg_scribe", "restore", "-f", f.dir, "-C", "-d", "NEW_DATABASE")
	}),
	is(errNoTerminal, exitConnection, func(facts) string {
		return "give the password in PGPASSWORD or ~/.pgpass, and leave out -W"
	}),
	on(exitConnection, connectHint),
	on(exitConnection, func(_ *pgconn.ConnectError, f facts) string {
		return "try the same connection with: " + f.tool("psql")
	}),
	on(exitSlot, func(e *stream.TimelineError, f facts) string {
		return "if this server is the source from now on, begin there with a new slot and base: " + f.newSlot()
	}),
	on(exitBackup, func(e *stream.LargeValueError, f facts) string {
		if e.Table != "" {
			return "make values of 500 MB and more smaller, or take them out of the table: SELECT … WHERE octet_length(…) > 500000000"
		}
		return "make the value smaller, or take it out of its table (octet_length tells which), then begin again with a new slot and base: " +
			f.newSlot() + " --force"
	}),
	on(exitUsage, func(*stream.FailoverError, facts) string {
		return "leave out --failover; after a failover, full-backup --new-slot begins again"
	}),
	on(exitUsage, func(*stream.StandbyError, facts) string { return "connect to the primary with -h" }),
	on(exitSlot, slotHint),
	mismatch,
	on(exitBackup, func(_ *stream.FenceError, f facts) string {
		return "take it again when the schema is at rest: " + f.scribe("full-backup", "-f", f.dir)
	}),
	on(exitBackup, func(e *stream.DumpError, f facts) string {
		return fmt.Sprintf("check %s --version and that it can read the database: %s", e.Tool, f.tool(e.Tool))
	}),
	on(exitBackup, func(e *stream.CaptureError, f facts) string {
		if e.Denied {
			return "connect with -U as the role that ran init, or as a superuser"
		}
		if e.Locked {
			return "run it again when those transactions have ended"
		}
		return "to set the capture up anew: " + f.scribe("drop", "-S", f.slot) + ", then " + f.scribe("init", "-S", f.slot, "-f", "NEW_DIRECTORY")
	}),
	on(exitUsage, func(e *repo.NotEmptyError, f facts) string {
		if e.Initialised {
			return "to go on with it: " + f.scribe("start", "-f", e.Dir) + "; or give init another directory with -f"
		}
		return "give an empty directory, or one that does not exist, with -f"
	}),
	on(exitBackup, func(e *repo.SpoolMissingError, f facts) string {
		return "mount its file system; if it is lost for good, make another one and the catalog again: " +
			commandLine("pg_scribe", "catalog", "rebuild", "-f", e.Dir, "--spool-dir", filepath.Dir(e.Spool)) +
			"; start then tells whether changes are missing that only its open segment held"
	}),
	on(exitUsage, func(e *repo.SpoolTakenError, f facts) string {
		return "name " + shellQuote(e.Owner) + " with -f; to give the copy a catalog of its own: " +
			commandLine("rm", filepath.Join(e.Dir, repo.SpoolName)) + " && " + commandLine("pg_scribe", "catalog", "rebuild", "-f", e.Dir)
	}),
	on(exitUsage, func(e *repo.SpoolUnfitError, f facts) string {
		return "give --spool-dir an existing directory outside of the repository, which this user can write"
	}),
	damagedCatalog,
	on(exitUsage, func(e *repo.HealthyCatalogError, f facts) string {
		return "nothing needs to be done; to rebuild it all the same: " + commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", e.Dir)
	}),
	on(exitUsage, func(e *repo.FiltersUnknownError, f facts) string {
		return "say what new files are to go through, as init was told: " +
			commandLine("pg_scribe", "catalog", "rebuild", "-f", e.Dir) + " -Z zstd --filter 'age recipient=age1…'"
	}),
	on(exitBackup, func(e *repo.BeingWrittenError, f facts) string { return "wait until it is done, and run this again" }),
	on(exitUsage, func(e *repo.NotRepositoryError, f facts) string {
		if e.Cause != nil {
			return "look at it with: " + commandLine("ls", "-l", e.Dir)
		}
		return "name the repository with -f, or begin one: " + f.scribe("init", "-f", e.Dir)
	}),
	on(exitBackup, func(e *repo.BusyError, f facts) string {
		if e.Rewriting {
			return "wait for it: two would stand in each other's way"
		}
		return "one streamer is enough; see what it does: " + commandLine("pg_scribe", "status", "-f", e.Dir)
	}),
	on(exitBackup, func(e *repo.MissingFileError, f facts) string {
		if strings.HasSuffix(e.Name, ".open") { // nothing but the source has it, if that still does
			return "bring it back; if it is lost for good, make the catalog again without it, and start tells whether the server still has its changes: " +
				commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", f.dir)
		}
		return "bring it back from a copy of the repository, or see what can be restored without it: " +
			commandLine("pg_scribe", "status", "-f", f.dir)
	}),
	on(exitBackup, func(e *repo.FormatError, f facts) string {
		return "bring the file back from a copy of the repository, or restore to a point before it: " +
			commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	on(exitUsage, func(e *filter.SpecError, _ facts) string { return e.Hint }),
	on(exitUsage, keyHint),
	on(exitUsage, func(e *filter.TrialError, _ facts) string {
		return "what the filters write must be what they read; try the commands by hand: COMMAND < FILE | INVERSE | cmp - FILE"
	}),
	on(exitBackup, func(e *filter.ShellError, _ facts) string {
		return "run the command by hand: " + commandLine("sh", "-c", e.Command)
	}),
	on(exitBackup, func(*repo.UnfaithfulError, facts) string {
		return "nothing was lost: the text is kept until its file is right; mend the command of the filter, then run this again"
	}),
	on(exitUsage, func(e *stream.ArchiveCodecError, _ facts) string {
		words := []string{"-Z", "gzip"} // with the other filters: without them a base of an encrypted repository would lie there in clear
		for _, f := range e.Sealing {
			words = append(words, "--filter", f.Spec())
		}
		return "leave out --jobs, or give " + commandLine(words...)
	}),
	on(exitUsage, func(*filter.CodecError, facts) string { return "give zstd, lz4, gzip or none with -Z, as in -Z zstd:9" }),
}

// planRules know what the catalog says of a target.
var planRules = []rule{
	on(exitBackup, func(_ catalog.NoBaseError, f facts) string {
		return "take one: " + f.scribe("full-backup", "-f", f.dir)
	}),
	on(exitUsage, func(e catalog.UnknownBaseError, f facts) string {
		if f.command == "keep" || f.command == "unkeep" {
			return oneOf("bases", commandLine("pg_scribe", f.command, "-f", f.dir), e.Known)
		}
		return oneOf("bases", "--base-backup", e.Known)
	}),
	on(exitUsage, func(e catalog.UnknownPointError, f facts) string { return oneOf("marks", "--target-name", e.Known) }),
	on(exitBackup, func(_ catalog.UnknownXIDError, f facts) string {
		return "see what can be restored: " + commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	on(exitBackup, func(e catalog.BaseAfterTargetError, f facts) string {
		return "leave out --base-backup, and an older base is chosen"
	}),
	on(exitBackup, func(e catalog.TargetBeforeFirstBaseError, f facts) string {
		return fmt.Sprintf("the earliest that can be restored is --target-lsn %s", e.First.Start)
	}),
	on(exitBackup, func(e catalog.TargetAfterEndError, f facts) string {
		hint := "leave the target out for the end of the repository"
		if !e.ReachedAt.IsZero() {
			hint += ", which is at --target-time " + shellQuote(flagTime(e.ReachedAt))
		}
		return hint + ", or let pg_scribe start catch up first"
	}),
	on(exitBackup, func(e catalog.HoleError, f facts) string {
		hint := fmt.Sprintf("the end of what is whole is --target-lsn %s", e.Reachable)
		if !e.ReachableAt.IsZero() {
			hint += ", at " + showTime(e.ReachableAt)
		}
		return hint + "; bring the missing segment back to go further"
	}),
	on(exitBackup, func(e catalog.DivergedError, f facts) string {
		return fmt.Sprintf("the end of what the source has kept of it is --target-lsn %s --target-exclusive; what it has lost comes back only with --base-backup %s",
			e.At, shellQuote(e.Base.Name))
	}),
	on(exitBackup, func(e catalog.SchemaGapError, f facts) string {
		return fmt.Sprintf("restore to before it with --target-lsn %s --target-exclusive, or across it with --accept-gaps", e.Gap.From)
	}),
	on(exitGeneral, func(catalog.SchemaVersionError, facts) string {
		return "use the newer version of pg_scribe that wrote it"
	}),
}

// targetRules know where files go beside the repository's directory.
var targetRules = []rule{
	on(exitUsage, func(*target.SpecError, facts) string {
		return "write it as /DIRECTORY, s3://BUCKET/PREFIX, sftp://USER@HOST/DIRECTORY or \"shell write='…' read='…' list='…' remove='…'\""
	}),
	on(exitUsage, func(*repo.TargetTakenError, facts) string {
		return "give each repository a directory or prefix of its own"
	}),
	on(exitBackup, func(e *repo.TargetLostError, f facts) string {
		return "is the right disk mounted, the right prefix named? To begin anew there: " + commandLine("pg_scribe", "copy", "-f", f.dir, "--target", e.Target)
	}),
	on(exitBackup, func(*repo.CollisionError, facts) string {
		return "look at that file; it is not what this repository has stored, and nothing is overwritten"
	}),
	on(exitBackup, func(e *repo.SpoolFullError, f facts) string {
		return "mend the target, then send what waits: " + commandLine("pg_scribe", "copy", "-f", f.dir) + "; or raise --spool-limit"
	}),
	on(exitBackup, func(e *repo.ShipBusyError, f facts) string {
		return "it sends what is new; see how far it is: " + commandLine("pg_scribe", "status", "-f", e.Dir)
	}),
	is(target.Unreachable, exitConnection, func(f facts) string {
		return "see that its server runs and that this machine reaches it" + f.sentLater()
	}),
	is(target.NoPlace, exitBackup, func(facts) string {
		return "make the bucket or directory, or mount the disk it is on; a target is never made by itself"
	}),
	is(target.Denied, exitBackup, func(facts) string {
		return "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or ~/.aws for S3; keys, agent and known_hosts of ssh for sftp"
	}),
	is(target.ReadOnly, exitBackup, func(facts) string {
		return "let these credentials write there; S3 needs s3:PutObject, s3:GetObject, s3:ListBucket, s3:AbortMultipartUpload, and s3:DeleteObject to expire"
	}),
	is(target.ClockSkew, exitBackup, func(facts) string { return "set the clock of this machine: timedatectl, chronyc tracking" }),
	is(target.Full, exitBackup, func(f facts) string { return "make room on the target" + f.sentLater() }),
	is(target.Exists, exitBackup, func(facts) string {
		return "nothing is overwritten; give each repository a directory or prefix of its own"
	}),
	is(target.NotFound, exitBackup, func(f facts) string {
		return "see what is there: " + commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	is(target.Misused, exitUsage, func(facts) string { return "check endpoint, region, encryption and storage class of the target" }),
	on(exitBackup, func(e *repo.SnapshotError, _ facts) string {
		return "make a directory from the files there, and use that: " +
			commandLine("pg_scribe", "catalog", "rebuild", "-f", "NEW_DIRECTORY", "--target", e.Target)
	}),
	on(exitBackup, func(e *target.Error, _ facts) string {
		if e.Target == "shell" {
			return "look at the target with its commands, by hand; list must print a line SIZE NAME for each file"
		}
		return "look at the target; what it says stands above"
	}),
}

// restoreRules know what a target server says.
var restoreRules = []rule{
	on(exitBackup, func(e *restore.ExistsError, f facts) string {
		return "leave out -C if it is empty, choose another name, or remove it: " + f.server("dropdb", e.Database)
	}),
	on(exitBackup, func(e *restore.NotEmptyError, f facts) string {
		return "restore into a new database with -C and another name, or go on with --force"
	}),
	on(exitBackup, func(*restore.SourceTargetError, facts) string {
		return "restore into another database with -C, or, to overwrite the source, say --allow-source"
	}),
	on(exitBackup, func(*restore.OlderTargetError, facts) string {
		return "restore into a server of the same or a newer version, or try with --force"
	}),
	on(exitBackup, func(*restore.LocaleError, facts) string {
		return "install the locale on the target server, or create the database yourself and leave out -C"
	}),
	on(exitBackup, func(*restore.BusyError, facts) string { return "wait for it, or choose another database" }),
	on(exitBackup, func(*restore.ResumeError, facts) string {
		return "leave out --resume, and begin with an empty database"
	}),
	on(exitBackup, func(_ *restore.UnreachableError, f facts) string {
		return "see what is there: " + commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	on(exitBackup, func(*restore.StatementError, facts) string {
		return "the target server lacks something that the source had; look at the statement and at the server's log"
	}),
	on(exitBackup, func(*restore.RowCountError, facts) string {
		return "the target was changed from elsewhere, or the backup is damaged; restore into a new database with -C"
	}),
	on(exitBackup, func(e *restore.ToolError, f facts) string { return "check " + e.Name + " --version" }),
}

// systemRules know what the operating system and the server say of anything.
var systemRules = []rule{
	is(syscall.ENOSPC, exitBackup, func(f facts) string { return "make room: " + f.disks() }),
	is(syscall.EFBIG, exitBackup, func(f facts) string { return "raise the limit on the size of files: ulimit -f unlimited" }),
	is(syscall.EDQUOT, exitBackup, func(f facts) string { return "make room or raise the quota: " + f.disks() }),
	is(syscall.EROFS, exitBackup, func(f facts) string { return "give a directory on a file system that can be written, with -f" }),
	is(syscall.ENOTDIR, exitUsage, func(f facts) string { return "part of the path is a file; give a directory with -f" }),
	is(fs.ErrPermission, exitBackup, func(f facts) string {
		return "let this user write there: " + commandLine("ls", "-ld", f.dir)
	}),
	is(fs.ErrNotExist, exitGeneral, func(f facts) string { return "check the path: " + commandLine("ls", "-ld", f.dir) }),
	on(exitBackup, func(e *pgconn.PgError, f facts) string {
		switch {
		case e.Hint != "":
			return e.Hint
		case e.Code == "42501":
			return "connect with -U as a role that may do this, such as a superuser"
		}
		return "the server says no more; look at its log for SQLSTATE " + e.Code
	}),
}

// remedyFor decides how the program ends on an error. interrupted tells that
// it was asked to stop, whatever became of it then.
func remedyFor(err error, interrupted bool, f facts) (code int, hint string) {
	code, hint = exitGeneral, fmt.Sprintf("run it again with -v to see its steps: pg_scribe %s -v …", f.command)
	switch f.command {
	case "init", "full-backup", "restore", "start", "reencrypt":
		code = exitBackup
	}
	if r, ok := firstRule(err, f); ok {
		code, hint = r.code, r.hint
	}
	if interrupted {
		code = exitGeneral
		if !errors.As(err, new(*restore.IncompleteError)) {
			hint = interruptedHint(f)
		}
	}
	if len(causes(err)) > 1 && f.command == "init" {
		hint = "not all that this run made could be removed again: " + f.scribe("drop", "-S", f.slot) + "; " + commandLine("ls", "-l", f.dir)
	}
	return code, hint
}

func firstRule(err error, f facts) (remedy, bool) {
	for _, list := range [][]rule{rules, targetRules, planRules, restoreRules, systemRules} {
		for _, r := range list {
			if found, ok := r(err, f); ok {
				return found, true
			}
		}
	}
	return remedy{}, false
}

// causes are the errors that were joined: the first is why an operation ended,
// the others what went wrong when it was undone.
func causes(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, causes(e)...)
	}
	return list
}

// problemOf is what the error line says.
func problemOf(err error, interrupted bool) string {
	var incomplete *restore.IncompleteError
	if errors.As(err, &incomplete) {
		err = incomplete.Err
	}
	var parts []string
	for i, cause := range causes(err) {
		if text := cause.Error(); i == 0 && interrupted {
			parts = append(parts, "interrupted")
		} else {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

func interruptedHint(f facts) string {
	switch f.command {
	case "init":
		return "what this run made on the server and on disk has been removed again"
	case "full-backup":
		return "nothing of this base was kept; run it again: " + f.scribe("full-backup", "-f", f.dir)
	}
	return "run it again: pg_scribe " + f.command + " …"
}

// incompleteHint says what a broken-off restore has left, and the way on.
func incompleteHint(e *restore.IncompleteError, f facts) string {
	if e.Resumable {
		return fmt.Sprintf("the target is whole up to %s; mend the cause, then give the same command with --resume", e.Applied)
	}
	what := "the target holds part of the base"
	if e.Created {
		what = "the new database holds part of the base"
	}
	return what + "; remove it and begin again: " + f.server("dropdb", e.Database)
}

func connectHint(e *stream.ConnectError, f facts) string {
	switch e.Fault {
	case stream.FaultServer:
		return fmt.Sprintf("is PostgreSQL running there? Ask: %s; choose another server with -h and -p",
			commandLine("pg_isready", "-h", e.Host, "-p", fmt.Sprint(e.Port)))
	case stream.FaultPassword:
		return "ask for the password with -W, or give the right one in PGPASSWORD or ~/.pgpass"
	case stream.FaultDatabase:
		if f.command == "restore" {
			return "create it by restoring with -C, or choose another with -d"
		}
		return "see which databases there are: " + commandLine("psql", "-h", e.Host, "-p", fmt.Sprint(e.Port), "-U", e.User, "-l")
	}
	return "try the same connection with: " + f.tool("psql")
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
		if f.conn[i] != "-d" {
			words = append(words, f.conn[i], f.conn[i+1])
		}
	}
	return commandLine(append(words, args...)...)
}
