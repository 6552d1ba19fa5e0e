// Package health says what is wrong with a backup: pure functions from what is known to
// findings. Whoever has looked at a repository, a slot and a capture gives what was
// seen; a finding has a code for programs, a text for people, and what fixes it.
//
// The package looks at nothing by itself, prints nothing, and knows no flag of a
// connection: the command that fixes a finding says that it needs one.
package health

import (
	"fmt"

	"pg_scribe/stream/source"
)

// A Severity says how bad a finding is.
type Severity string

// The severities. OK is a verdict alone.
const (
	OK       Severity = "ok"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// A Code names a kind of finding, for programs. It never changes.
type Code string

// A Finding is one thing that is wrong.
type Finding struct {
	Code     Code
	Severity Severity
	Text     string // in one line
	Fix      []Step // nil: only the cause can be fixed
}

// A Step of a fix is said in words, or done by a command, or both.
type Step struct {
	Words   string
	Command Command
}

// A Command is a command line. Its Args are complete but for the connection.
type Command struct {
	Program  string   // empty: pg_scribe
	Args     []string // of pg_scribe: the command's name comes first
	Connect  bool     // behind the name comes the connection, which the caller knows
	Database string   // instead: all that is known of the connection
}

// Given says whether there is a command.
func (c Command) Given() bool { return len(c.Args) > 0 }

// Worst is the verdict on findings.
func Worst(findings []Finding) Severity {
	worst := OK
	for _, f := range findings {
		if f.Severity == Critical || worst == OK {
			worst = f.Severity
		}
	}
	return worst
}

// list collects findings.
type list []Finding

func (l *list) add(code Code, s Severity, fix []Step, format string, args ...any) {
	*l = append(*l, Finding{code, s, fmt.Sprintf(format, args...), fix})
}

// words is a fix that no command does.
func words(text string) []Step { return []Step{{Words: text}} }

// run is a fix that a command does.
func run(text string, c Command) []Step { return []Step{{text, c}} }

// scribe is a command that needs no connection.
func scribe(args ...string) Command { return Command{Args: args} }

// Capture judges what a look at the capture has found.
func Capture(found []source.Finding, directory string) []Finding {
	var l list
	for _, f := range found {
		fix := words(f.Fix)
		if len(f.Command) > 0 {
			args := append([]string{f.Command[0], "-f", orRepository(directory)}, f.Command[1:]...)
			fix = run(f.Fix, Command{Args: args, Connect: true})
		}
		l.add("capture", Critical, fix, "%s", f.Problem)
	}
	return l
}

func orRepository(directory string) string {
	if directory == "" {
		return "REPOSITORY"
	}
	return directory
}
