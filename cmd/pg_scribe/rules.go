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
	on(exitBackup, func(e *stream.CopyError, f facts) string {
		return "to back it up itself: " + f.scribe("init", "-f", "NEW_DIRECTORY") + "; to remove what came along: " + f.scribe("drop")
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
		if target.IsSpec(f.dir) {
			return rereadHint
		}
		return "bring it back from a copy of the repository, or see what can be restored without it: " +
			commandLine("pg_scribe", "status", "-f", f.dir)
	}),
	on(exitBackup, func(e *repo.FormatError, f facts) string {
		if strings.HasSuffix(e.File, ".open") && !target.IsSpec(f.dir) {
			return "bring the file back; if nobody has it, move it away and make the catalog again without it, and start tells whether the server still has its changes: " +
				commandLine("pg_scribe", "catalog", "rebuild", "--force", "-f", f.dir)
		}
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
		return "mend the target, then send what waits: " + commandLine("pg_scribe", "copy", "-f", f.dir) + "; or raise --spool-limit; a target that is gone for good: " +
			commandLine("pg_scribe", "copy", "-f", f.dir, "--forget") + " WHERE"
	}),
	on(exitUsage, func(e *repo.UnknownTargetError, _ facts) string {
		if len(e.Known) == 0 {
			return "it has none at all"
		}
		var known []string
		for _, t := range e.Known {
			known = append(known, commandLine("--forget", t))
		}
		return "it has " + strings.Join(known, ", ")
	}),
	on(exitUsage, func(e *repo.TargetReliedOnError, f facts) string {
		first := "bring that one up to date: " + commandLine("pg_scribe", "copy", "-f", f.dir, "--target", e.Heir)
		if e.Heir == "" {
			first = "add the one that takes its place: " + commandLine("pg_scribe", "copy", "-f", f.dir, "--target") + " WHERE"
		}
		return first + ", or run start without --durability target from now on; then forget this one"
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
	func(err error, _ facts) (remedy, bool) {
		e, ok := errors.AsType[*target.Error](err)
		if !ok || !strings.HasPrefix(e.Target, "/") || e.Fault != target.Denied && e.Fault != target.ReadOnly {
			return remedy{}, false
		}
		return remedy{exitBackup, "let this user read and write there: " + commandLine("ls", "-ld", e.Target)}, true
	},
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
		if f.command == "restore" {
			return rereadHint
		}
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
