package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/rebuild"
	"pg_scribe/repo/segment"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/upload"
	"pg_scribe/restore"
	"pg_scribe/stream"
	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// rules are tried in order; the first that knows the error decides.
var rules = []rule{
	on(exitUsage, func(e *usageError, _ hintContext) string { return e.hint }),
	on(exitUsage, func(e *zoneError, _ hintContext) string { return e.readings(time.Local) }),
	on(exitUsage, func(e *stream.RoleError, f hintContext) string {
		return "create it first: " + f.server("createuser", e.Role)
	}),
	on(exitUsage, func(_ *validationError, f hintContext) string {
		return "run the commands of the lines \"fix:\" above, then again: " + f.again() + "; --force goes on in spite of them"
	}),
	on(exitBackup, incompleteHint),
	is(errNoPassword, exitConnection, func(f hintContext) string {
		return "give the password in PGPASSWORD or ~/.pgpass; or run it again: " + f.again()
	}),
	is(errTargetNeeded, exitUsage, func(f hintContext) string {
		return "name a new database: " + f.again("-C", "-d", "NEW_DATABASE")
	}),
	is(errNoTerminal, exitConnection, func(hintContext) string {
		return "give the password in PGPASSWORD or ~/.pgpass, and leave out -W"
	}),
	on(exitConnection, connectHint),
	on(exitConnection, func(_ *pgconn.ConnectError, f hintContext) string {
		return "try the same connection with: " + f.tool("psql")
	}),
	on(exitSlot, timelineHint),
	on(exitBackup, largeValueHint),
	on(exitUsage, func(_ *source.FailoverError, f hintContext) string {
		return "leave out --failover; after a failover, full-backup --new-slot begins again: " + f.run(dropFlags(f.line, f.flags, "failover"))
	}),
	on(exitUsage, func(_ *source.StandbyError, f hintContext) string {
		return "connect to the primary with -h; if this server is to take its place, promote it: " + f.tool("psql", "-c", "SELECT pg_promote()")
	}),
	on(exitSlot, slotHint),
	on(exitUsage, identityHint),
	{"*source.MismatchError", mismatch},
	on(exitBackup, func(_ *base.FenceError, f hintContext) string {
		return "take it again when the schema is at rest: " + f.scribe("full-backup", "-f", f.dir)
	}),
	on(exitBackup, dumpHint),
	on(exitBackup, captureHint),
	on(exitBackup, func(e *capture.CopyError, f hintContext) string {
		return "to back it up itself: " + f.init(f.slotName(), "NEW_DIRECTORY") + "; to remove what came along: " + f.scribe("drop")
	}),
	on(exitUsage, func(e *repo.NotEmptyError, f hintContext) string {
		if e.Initialised {
			return "to go on with it: " + f.onSource("start", "-f", e.Dir) + "; or give init another directory with -f"
		}
		return "give an empty directory, or one that does not exist, with -f"
	}),
	on(exitBackup, func(e *repo.SpoolMissingError, f hintContext) string {
		return "mount its file system; if it is lost for good, make another one and the catalog again: " +
			commandLine("pg_scribe", "catalog", "rebuild", "-f", e.Dir, "--spool-dir", filepath.Dir(e.Spool)) +
			"; start then tells whether changes are missing that only its open segment held"
	}),
	on(exitUsage, func(e *repo.SpoolTakenError, f hintContext) string {
		return "name " + shellQuote(e.Owner) + " with -f; to give the copy a catalog of its own: " +
			commandLine("mv", filepath.Join(e.Dir, repo.SpoolName), filepath.Join(e.Dir, "old_"+repo.SpoolName)) + " && " + commandLine("pg_scribe", "catalog",
			"rebuild", "-f", e.Dir)
	}),
	on(exitUsage, func(e *repo.SpoolUnfitError, f hintContext) string {
		return "give --spool-dir an existing directory outside of the repository, which this user can write"
	}),
	{"*repo.DamagedCatalogError", damagedCatalog},
	on(exitUsage, func(e *rebuild.HealthyCatalogError, f hintContext) string {
		return "nothing needs to be done; to rebuild it all the same: " + commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", e.Dir)
	}),
	on(exitUsage, func(e *rebuild.FiltersUnknownError, f hintContext) string {
		return "say what new files are to go through, as init was told: " + f.again("-Z", "zstd", "--filter", "age recipient=RECIPIENT")
	}),
	on(exitBackup, func(e *repo.BeingWrittenError, f hintContext) string {
		return "wait until it is done, and run this again: " + f.again()
	}),
	on(exitUsage, notRepositoryHint),
	on(exitBackup, func(e *repo.BusyError, f hintContext) string {
		if e.Rewriting {
			return "wait for it, then run this again: " + f.again()
		}
		return "one streamer is enough; see what it does: " + commandLine("pg_scribe", "status", "-f", e.Dir)
	}),
	on(exitBackup, func(e *repo.MissingFileError, f hintContext) string {
		if strings.HasSuffix(e.Name, ".open") { // nothing but the source has it, if that still does
			return "bring it back; if it is lost for good, make the catalog again without it, and start tells whether the server still has its changes: " +
				commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", f.dir)
		}
		if storage.IsSpec(f.dir) {
			return rereadHint(f)
		}
		return "bring it back from a copy of the repository, or see what can be restored without it: " +
			commandLine("pg_scribe", "status", "-f", f.dir)
	}),
	on(exitBackup, func(e *repo.FormatError, f hintContext) string {
		if errors.As(e.Cause, new(segment.NewerFormatError)) {
			return newerHint
		}
		if strings.HasSuffix(e.File, ".open") && !storage.IsSpec(f.dir) {
			return "bring the file back; if nobody has it, move it away and make the catalog again without it, and start tells whether the server still has its " +
				"changes: " +
				commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", f.dir)
		}
		return "bring the file back from a copy of the repository, or restore to a point before it: " +
			commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	on(exitUsage, func(e *filter.SpecError, _ hintContext) string { return e.Hint }),
	on(exitUsage, keyHint),
	on(exitUsage, func(e *filter.TrialError, _ hintContext) string {
		return "what the filters write must be what they read; try the commands by hand: COMMAND < FILE | INVERSE | cmp - FILE"
	}),
	on(exitBackup, func(e *filter.ShellError, _ hintContext) string {
		return "run the command by hand: " + commandLine("sh", "-c", e.Command)
	}),
	on(exitBackup, func(_ *repo.UnfaithfulError, f hintContext) string {
		return "nothing was lost, as the text is kept until its file is right; fix the command of the filter, then run this again: " + f.again()
	}),
	on(exitUsage, func(e *base.ArchiveCodecError, _ hintContext) string {
		words := []string{"-Z", "gzip"} // with the other filters: without them a base of an encrypted repository would lie there in clear
		for _, f := range e.Sealing {
			words = append(words, "--filter", f.Spec())
		}
		return "leave out --jobs, or give " + commandLine(words...)
	}),
	on(exitUsage, func(*filter.CodecError, hintContext) string {
		return "give zstd, lz4, gzip or none with -Z, as in -Z zstd:9"
	}),
}

// planRules know what the catalog says of a target.
var planRules = []rule{
	on(exitBackup, func(_ catalog.NoBaseError, f hintContext) string {
		return "take one: " + f.onSource("full-backup", "-f", f.dir)
	}),
	on(exitUsage, func(e catalog.UnknownBaseError, f hintContext) string {
		if f.command == "keep" || f.command == "unkeep" {
			return oneOf("bases", commandLine("pg_scribe", f.command, "-f", f.dir), e.Known)
		}
		return oneOf("bases", "--base-backup", e.Known)
	}),
	on(exitUsage, func(e catalog.UnknownPointError, f hintContext) string {
		return oneOf("marks", "--target-name", e.Known)
	}),
	on(exitBackup, func(_ catalog.UnknownXIDError, f hintContext) string {
		return "see what can be restored: " + commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	on(exitBackup, func(e catalog.BaseAfterTargetError, f hintContext) string {
		return "leave out --base-backup, and an older base is chosen: " + f.run(dropFlags(f.line, f.flags, "base-backup"))
	}),
	on(exitBackup, func(e catalog.TargetBeforeFirstBaseError, f hintContext) string {
		return "restore the earliest that can be: " + f.toTarget("--target-lsn", e.First.Start.String())
	}),
	on(exitBackup, func(e catalog.TargetAfterEndError, f hintContext) string {
		hint := "leave the target out for the end of the repository"
		if !e.ReachedAt.IsZero() {
			hint += ", which is at " + flagTime(e.ReachedAt)
		}
		return hint + ": " + f.toTarget() + "; or let start catch up first: " + f.onSource("start", "-f", f.dir)
	}),
	on(exitBackup, func(e catalog.HoleError, f hintContext) string {
		hint := "bring the missing segment back; or restore to where it is missing"
		if !e.ReachableAt.IsZero() {
			hint += ", " + show.Time(e.ReachableAt)
		}
		return hint + ": " + f.toTarget("--target-lsn", e.Reachable.String())
	}),
	on(exitBackup, func(e catalog.DivergedError, f hintContext) string {
		return "restore to the end of what the source has kept of it: " + f.toTarget("--target-lsn", e.At.String(), "--target-exclusive") +
			"; what it has lost comes back only with its base: " + f.again("--base-backup", e.Base.Name)
	}),
	on(exitBackup, func(e catalog.SchemaGapError, f hintContext) string {
		return "restore to before it: " + f.toTarget("--target-lsn", e.Gap.From.String(), "--target-exclusive") + "; or across it: " + f.again("--accept-gaps")
	}),
	on(exitGeneral, func(catalog.SchemaVersionError, hintContext) string {
		return newerHint
	}),
}

// targetRules know where files go beside the repository's directory.
var storageRules = []rule{
	on(exitUsage, func(*storage.SpecError, hintContext) string {
		return "write it as /DIRECTORY, s3://BUCKET/PREFIX, sftp://USER@HOST/DIRECTORY or \"shell write='COMMAND' read='COMMAND' list='COMMAND' remove='COMMAND'\""
	}),
	on(exitUsage, func(*layout.TakenError, hintContext) string {
		return "give each repository a directory or prefix of its own"
	}),
	on(exitBackup, func(e *layout.LostError, f hintContext) string {
		return "is the right disk mounted, the right prefix named? To begin anew there: " + commandLine("pg_scribe", "copy", "-f", f.dir, "--storage", e.Storage)
	}),
	on(exitBackup, func(e *upload.CollisionError, f hintContext) string {
		hint := "that file is not what this repository has stored, and nothing is overwritten"
		if dir := strings.TrimPrefix(e.Storage, "file:"); strings.HasPrefix(dir, "/") {
			return hint + "; if nobody needs it, move it aside: " + commandLine("mv", filepath.Join(dir, e.Name), filepath.Join(dir, "old-"+e.Name))
		}
		return hint + "; look at it there, and give this repository a prefix of its own or move the file aside"
	}),
	on(exitBackup, func(e *upload.BacklogError, f hintContext) string {
		return "fix the storage, then send what waits: " + commandLine("pg_scribe", "copy", "-f", f.dir) + "; or raise --spool-limit; a storage that is gone for " +
			"good: " +
			commandLine("pg_scribe", "copy", "-f", f.dir, "--forget") + " WHERE"
	}),
	on(exitUsage, func(e *upload.UnknownError, _ hintContext) string {
		if len(e.Known) == 0 {
			return "it has none at all"
		}
		var known []string
		for _, t := range e.Known {
			known = append(known, commandLine("--forget", t))
		}
		return "it has " + strings.Join(known, ", ")
	}),
	on(exitUsage, func(e *upload.ReliedOnError, f hintContext) string {
		first := "bring that one up to date: " + commandLine("pg_scribe", "copy", "-f", f.dir, "--storage", e.Heir)
		if e.Heir == "" {
			first = "add the one that takes its place: " + commandLine("pg_scribe", "copy", "-f", f.dir, "--storage") + " WHERE"
		}
		return first + "; or run start without --durability storage from now on; then forget this one: " + f.again()
	}),
	on(exitBackup, func(e *upload.BusyError, f hintContext) string {
		return "it sends what is new; see how far it is: " + commandLine("pg_scribe", "status", "-f", e.Dir)
	}),
	is(storage.Unreachable, exitConnection, func(f hintContext) string {
		return "see that its server runs and that this machine reaches it" + f.sentLater()
	}),
	{storage.NoPlace.Error(), func(err error, _ hintContext) (remedy, bool) {
		hint := "make the bucket or directory, or mount the disk it is on; a storage is never made by itself"
		if e, ok := errors.AsType[*storage.Error](err); ok && strings.HasPrefix(e.Storage, "/") {
			above := existing(e.Storage)
			hint += "; of its path there is only " + above + ": " + commandLine("ls", "-la", above)
		}
		return remedy{exitBackup, hint}, errors.Is(err, storage.NoPlace)
	}},
	{"*storage.Error of a directory", func(err error, f hintContext) (remedy, bool) {
		e, ok := errors.AsType[*storage.Error](err)
		if !ok || !strings.HasPrefix(e.Storage, "/") || e.Fault != storage.Denied && e.Fault != storage.ReadOnly {
			return remedy{}, false
		}
		if e.Fault == storage.ReadOnly && errors.Is(err, syscall.EROFS) {
			return remedy{exitBackup, readOnlyHint(&fs.PathError{Path: e.Storage}, f)}, true
		}
		return remedy{exitBackup, deniedHint(e.Storage, f)}, true
	}},
	is(storage.Denied, exitBackup, func(hintContext) string {
		return "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or ~/.aws for S3; keys, agent and known_hosts of ssh for sftp"
	}),
	is(storage.ReadOnly, exitBackup, func(hintContext) string {
		return "let these credentials write there; S3 needs s3:PutObject, s3:GetObject, s3:ListBucket, s3:AbortMultipartUpload, and s3:DeleteObject to expire"
	}),
	is(storage.ClockSkew, exitBackup, func(hintContext) string { return "set the clock of this machine: timedatectl, chronyc tracking" }),
	is(storage.Full, exitBackup, func(f hintContext) string { return "make room on the storage" + f.sentLater() }),
	is(storage.Exists, exitBackup, func(hintContext) string {
		return "nothing is overwritten; give each repository a directory or prefix of its own"
	}),
	is(storage.NotFound, exitBackup, func(f hintContext) string {
		if f.command == "restore" {
			return rereadHint(f)
		}
		return "see what is there: " + commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	is(storage.Misused, exitUsage, func(hintContext) string { return "check endpoint, region, encryption and storage class of the storage" }),
	on(exitBackup, func(e *repo.SnapshotError, _ hintContext) string {
		return "make a directory from the files there, and use that: " +
			commandLine("pg_scribe", "catalog", "rebuild", "-f", "NEW_DIRECTORY", "--storage", e.Storage)
	}),
	on(exitBackup, func(e *storage.Error, _ hintContext) string {
		if e.Storage == "shell" {
			return "look at the storage with its commands, by hand; list must print a line SIZE NAME for each file"
		}
		return "look at the storage; what it says stands above"
	}),
}

// restoreRules know what a target server says.
var restoreRules = []rule{
	on(exitBackup, func(e *restore.ExistsError, f hintContext) string {
		return "choose another name: " + f.restoreAnew() + "; leave out -C if it is empty, and add --resume if it is of an interrupted restore"
	}),
	on(exitBackup, func(e *restore.NotEmptyError, f hintContext) string {
		return "restore into a new database: " + f.restoreAnew() + "; --force restores into what is there, as far as no names collide"
	}),
	on(exitBackup, func(_ *restore.SourceTargetError, f hintContext) string {
		return "restore into another database: " + f.restoreAnew() + "; --allow-source does so too, then swaps the names and keeps the source under another"
	}),
	on(exitUsage, func(_ *restore.NotSourceError, f hintContext) string {
		return "leave out --allow-source, and make a new database: " + f.restoreAnew()
	}),
	on(exitBackup, func(e *restore.SwapError, f hintContext) string {
		return "both are there, nothing is lost; when nobody is connected, swap their names: " + f.swap(e.Swap)
	}),
	on(exitBackup, func(*restore.OlderTargetError, hintContext) string {
		return "restore into a server of the same or a newer version, or try with --force"
	}),
	on(exitBackup, func(*restore.LocaleError, hintContext) string {
		return "install the locale on the target server, or create the database yourself and leave out -C"
	}),
	on(exitBackup, func(_ *restore.BusyError, f hintContext) string {
		return "choose another database with -d; or wait for it, then: " + f.again()
	}),
	on(exitBackup, func(_ *restore.ResumeError, f hintContext) string {
		return "leave out --resume, and begin with an empty database: " + f.run(dropFlags(f.line, f.flags, "resume", "create"))
	}),
	on(exitBackup, func(_ *restore.UnreachableError, f hintContext) string {
		return "see what is there: " + commandLine("pg_scribe", "list", "-f", f.dir)
	}),
	on(exitBackup, func(*restore.StatementError, hintContext) string {
		return "the target server lacks something that the source had; look at the statement and at the server's log"
	}),
	on(exitBackup, func(_ *restore.DifferenceError, f hintContext) string {
		return "look at both values; to restore all the same, and have the differences listed: " + f.again("--accept-differences")
	}),
	on(exitBackup, func(*restore.RowCountError, hintContext) string {
		return "the target was changed from elsewhere, or the backup is damaged; restore into a new database with -C"
	}),
	on(exitBackup, func(e *restore.ToolError, f hintContext) string {
		if errors.Is(e.Err, exec.ErrNotFound) {
			return inPath(e.Name, 0, f)
		}
		return "fix what it says, then begin again with an empty database; it is this one: " + commandLine("which", "-a", e.Name)
	}),
}

// systemRules know what the operating system and the server say of anything.
var systemRules = []rule{
	is(syscall.ENOSPC, exitBackup, func(f hintContext) string { return "make room: " + f.disks() }),
	on(exitBackup, func(e *owner.Error, f hintContext) string {
		return "run it as the owner of the repository: " + commandLine("sudo", "-u", fmt.Sprintf("#%d", e.UID)) + " " + f.again()
	}),
	is(syscall.EFBIG, exitBackup, func(f hintContext) string {
		return "raise the limit on the size of files, then run it again: ulimit -f unlimited && " + f.again()
	}),
	is(syscall.EDQUOT, exitBackup, func(f hintContext) string { return "make room or raise the quota: " + f.disks() }),
	isAny(syscall.EROFS, exitBackup, readOnlyHint),
	is(syscall.ENOTDIR, exitUsage, func(f hintContext) string { return "part of the path is a file; give a directory with -f" }),
	isAny(fs.ErrPermission, exitBackup, func(err error, f hintContext) string { return deniedHint(faultyPath(err, f), f) }),
	isAny(fs.ErrNotExist, exitGeneral, absentHint),
	on(exitBackup, func(e *pgconn.PgError, f hintContext) string {
		switch {
		case e.Hint != "":
			return e.Hint
		case e.Code == "42501" && f.command != "restore" && f.command != "init" && f.command != "drop":
			return "connect with -U as the role that ran init; or, " + f.rights(f.role)
		case e.Code == "42501":
			return "connect with -U as a role that may do this, such as a superuser"
		}
		return "the server says no more; look at its log for SQLSTATE " + e.Code
	}),
}
