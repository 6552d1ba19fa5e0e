package main

import (
	"fmt"
	"reflect"

	"pg_scribe/catalog"
	"pg_scribe/internal/throwaway"
	"pg_scribe/restore"
	"pg_scribe/restore/rehearse"
)

// rehearseRules know what keeps a rehearsal from a verdict. They come first: the
// hints of other rules are for a restore.
var rehearseRules = []rule{
	on(exitGeneral, func(e *throwaway.NoServerError, f hintContext) string {
		return fmt.Sprintf("install them (package postgresql-%d of Debian), name their folder with --bindir, or rehearse on a server that runs: %s", e.Major,
			f.run(dropFlags(f.line, f.flags, "scratch"), "--scratch", "host=SERVER dbname=postgres"))
	}),
	on(exitGeneral, func(_ *rehearse.ServerError, f hintContext) string {
		return "see what it says, and whether --bindir and --server-setting are right; or rehearse on a server that runs: " +
			f.run(dropFlags(f.line, f.flags, "scratch", "bindir", "server-setting"), "--scratch", "host=SERVER dbname=postgres")
	}),
	on(exitUsage, func(e *rehearse.SourceServerError, f hintContext) string {
		return "name another server with --scratch; or, if it may be that one: " + f.again("--allow-source")
	}),
	inRehearsal(exitBackup, func(e catalog.HoleError, f hintContext) string {
		return "bring the missing segment back; or take a base behind it: " + f.onSource("full-backup", "-f", f.dir)
	}),
	inRehearsal(exitBackup, func(_ catalog.SchemaGapError, f hintContext) string {
		return "a base behind it makes what follows restorable: " + f.onSource("full-backup", "-f", f.dir)
	}),
	inRehearsal(exitBackup, func(e *restore.OlderTargetError, f hintContext) string {
		return "rehearse on a server of the same or a newer version; without --bindir and --scratch one is looked for: " +
			f.run(dropFlags(f.line, f.flags, "scratch", "allow-source", "bindir"))
	}),
	inRehearsal(exitBackup, func(*restore.LocaleError, hintContext) string {
		return "install the locale on the scratch server's machine; a restore there needs it too"
	}),
}

// inRehearsal makes a rule for an error type that holds for rehearse alone.
func inRehearsal[E error](code int, hint func(e E, f hintContext) string) rule {
	r := on(code, hint)
	return rule{reflect.TypeFor[E]().String() + " of rehearse", func(err error, f hintContext) (remedy, bool) {
		if f.command != "rehearse" {
			return remedy{}, false
		}
		return r.know(err, f)
	}}
}
