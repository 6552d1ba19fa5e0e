package main

import (
	"slices"
	"strings"

	"pg_scribe/internal/health"
)

// fix words the steps that fix a finding.
func (f hintContext) fix(steps []health.Step) string {
	texts := make([]string, len(steps))
	for i, s := range steps {
		texts[i] = s.Words
		switch {
		case !s.Command.Given():
		case s.Words == "":
			texts[i] = f.commandOf(s.Command)
		default:
			texts[i] += ": " + f.commandOf(s.Command)
		}
	}
	return strings.Join(texts, "; ")
}

// commandOf is a command line, with the connection that this run has.
func (f hintContext) commandOf(c health.Command) string {
	args := slices.Clone(c.Args)
	switch {
	case c.Program != "":
		return commandLine(append([]string{c.Program}, args...)...)
	case c.Database != "":
		return commandLine(slices.Concat([]string{"pg_scribe", args[0], "-d", c.Database}, args[1:])...)
	case !c.Connect:
		return commandLine(append([]string{"pg_scribe"}, args...)...)
	}
	for i := 2; i < len(args); i++ {
		if args[i-1] == "-f" && isStorage(args[i]) { // files are sent there, and not written
			args[i] = "REPOSITORY"
		}
	}
	return f.onSource(args[0]) + " " + commandLine(args[1:]...)
}
