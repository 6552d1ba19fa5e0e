package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/show"
	"pg_scribe/restore"
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
	return show.Plural(int64(e.critical), "critical finding") + "; nothing was changed"
}

// A remedy is what the program makes of an error.
type remedy struct {
	code int
	hint string
}

// rule knows one kind of error. Its name is the error's type or text.
type rule struct {
	name string
	know func(err error, f hintContext) (remedy, bool)
}

// on makes a rule for an error type.
func on[E error](code int, hint func(e E, f hintContext) string) rule {
	return rule{reflect.TypeFor[E]().String(), func(err error, f hintContext) (remedy, bool) {
		var e E
		if !errors.As(err, &e) {
			return remedy{}, false
		}
		return remedy{code, hint(e, f)}, true
	}}
}

// is makes a rule for an error value.
func is(target error, code int, hint func(f hintContext) string) rule {
	return isAny(target, code, func(_ error, f hintContext) string { return hint(f) })
}

// isAny is the same with a hint that looks at the error around the value.
func isAny(target error, code int, hint func(err error, f hintContext) string) rule {
	return rule{target.Error(), func(err error, f hintContext) (remedy, bool) {
		if !errors.Is(err, target) {
			return remedy{}, false
		}
		return remedy{code, hint(err, f)}, true
	}}
}

// remedyFor decides how the program ends on an error. interrupted reports that
// it was asked to stop, whatever became of it then.
func remedyFor(err error, interrupted bool, f hintContext) (code int, hint string) {
	code, hint = exitGeneral, "run it again with -v to see its steps: "+f.again("-v")
	switch f.command {
	case "init", "full-backup", "rehearse", "restore", "start", "reencrypt":
		code = exitBackup
	}
	if r, _, ok := firstRule(err, f); ok {
		code, hint = r.code, r.hint
	}
	if interrupted {
		code = exitGeneral
		if !errors.As(err, new(*restore.IncompleteError)) && !errors.As(err, new(*restore.SwapError)) {
			hint = interruptedHint(f)
		}
	}
	if len(causes(err)) > 1 && f.command == "init" {
		hint = "not all that this run made could be removed again: " + f.scribe("drop", "-S", f.slot) + "; and on disk: " + commandLine("ls", "-la", existing(f.dir))
	}
	return code, hint
}

// allRules are the tables in the order in which they are tried.
func allRules() []rule {
	return slices.Concat(rehearseRules, rules, storageRules, planRules, restoreRules, systemRules)
}

// firstRule is what the first rule that knows the error makes of it, and that
// rule's name.
func firstRule(err error, f hintContext) (found remedy, name string, ok bool) {
	for _, r := range allRules() {
		if found, ok = r.know(err, f); ok {
			return found, r.name, true
		}
	}
	return remedy{}, "", false
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
		text := plainText(cause)
		if i == 0 && interrupted {
			text = "interrupted"
		}
		if !slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(p, text) }) {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

// plainText is an error's text without the severity that a server's message
// begins with, and with each part of it once.
func plainText(err error) string {
	text := err.Error()
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		text = strings.ReplaceAll(text, pg.Severity+": "+pg.Message, pg.Message)
	}
	parts := strings.Split(text, ": ")
	return strings.Join(slices.Compact(parts), ": ")
}

func interruptedHint(f hintContext) string {
	switch f.command {
	case "init":
		return "what this run made on the server and on disk has been removed again"
	case "full-backup":
		return "nothing of this base was kept; run it again: " + f.scribe("full-backup", "-f", f.dir)
	}
	return "run it again: " + f.again()
}
