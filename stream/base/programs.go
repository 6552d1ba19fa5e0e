package base

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"

	"pg_scribe/internal/command"
	"pg_scribe/internal/conninfo"
	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// pgOptions pins what shapes a dump's text in the sessions of external tools.
const pgOptions = "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C" +
	" -c standard_conforming_strings=on -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0"

// tool runs pg_dump or pg_dumpall and hands its output to read.
func (d *Dumper) tool(ctx context.Context, name string, args []string, read func(io.Reader) error) error {
	way, err := conninfo.ForTool(d.Options.ConnString, pgOptions)
	if err != nil {
		return err
	}
	defer way.Close()
	p := command.New(d.Options.Command(ctx, name, append([]string{"--dbname=" + way.Dbname, "--no-password"}, args...)...), name)
	p.Cmd.Env = append(way.Environ(p.Cmd.Environ()), "LC_MESSAGES=C")
	out, err := p.Cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		err = errors.Unwrap(err)
		return &DumpError{Tool: name, Reason: err.Error(), Err: err}
	}
	widenPipe(out)
	readErr := read(out)
	if readErr != nil {
		p.Kill(nil) // nobody reads on; it may have ended by itself, which then says more
	}
	err = p.Wait()
	words := p.Said.String()
	var format *repo.FormatError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case readErr != nil && !errors.As(readErr, &format):
		return readErr
	case err != nil && tooLarge(words) != "":
		return &source.LargeValueError{Table: tooLarge(words), Reason: errorLine(words)}
	case err != nil:
		reason := errorLine(words)
		if reason == "" {
			reason = errors.Unwrap(err).Error()
		}
		return &DumpError{Tool: name, Reason: reason, Err: err}
	}
	return readErr
}

var copyCommand = regexp.MustCompile(`(?s)COPY (.+?) \([^)]*\) TO stdout`)

// tooLarge is the table on which pg_dump failed because of the size of a
// value, or "".
func tooLarge(words string) string {
	if m := copyCommand.FindStringSubmatch(words); m != nil && source.IsTooLarge(words) {
		return m[1]
	}
	return ""
}

// errorLine is the line of a tool's words that says what is wrong: the first that
// calls itself an error, or the last.
func errorLine(words string) string {
	lines := strings.Split(strings.TrimSpace(words), "\n")
	for _, l := range lines {
		if strings.Contains(l, "error: ") || strings.Contains(l, "ERROR: ") {
			return strings.TrimSpace(l)
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
