package stream

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"

	"pg_scribe/internal/conninfo"
	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// pgOptions pins what shapes a dump's text in the sessions of external tools.
const pgOptions = "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C" +
	" -c standard_conforming_strings=on -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0"

// tool runs pg_dump or pg_dumpall and hands its output to read.
func (d *dumper) tool(ctx context.Context, name string, args []string, read func(io.Reader) error) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	way, err := conninfo.ForTool(d.opts.ConnString, pgOptions)
	if err != nil {
		return err
	}
	defer way.Close()
	cmd := d.opts.Command(ctx, name, append([]string{"--dbname=" + way.Dbname, "--no-password"}, args...)...)
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(way.Environ(cmd.Env), "LC_MESSAGES=C") // a copy: several tools may be begun at once from one environment
	var words tail
	cmd.Stderr = &words
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return &DumpError{Tool: name, Reason: err.Error(), Err: err}
	}
	widenPipe(out)
	readErr := read(out)
	if readErr != nil {
		cancel() // nobody reads on
	}
	err = cmd.Wait()
	var format *repo.FormatError
	switch {
	case outer.Err() != nil:
		return context.Cause(outer)
	case readErr != nil && !errors.As(readErr, &format):
		return readErr
	case err != nil && words.tooLarge() != "":
		return &source.LargeValueError{Table: words.tooLarge(), Reason: words.String()}
	case err != nil:
		reason := words.String()
		if reason == "" {
			reason = err.Error()
		}
		return &DumpError{Tool: name, Reason: reason, Err: err}
	}
	return readErr
}

// tail keeps the last line that a tool wrote, which is the error.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 16<<10 {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-8<<10:]...)
	}
	return len(p), nil
}

var copyCommand = regexp.MustCompile(`(?s)COPY (.+?) \([^)]*\) TO stdout`)

// tooLarge is the table on which pg_dump failed because of the size of a
// value, or "".
func (t *tail) tooLarge() string {
	if m := copyCommand.FindSubmatch(t.buf); m != nil && source.IsTooLarge(string(t.buf)) {
		return string(m[1])
	}
	return ""
}

func (t *tail) String() string {
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	for _, l := range lines {
		if strings.Contains(l, "error: ") || strings.Contains(l, "ERROR: ") {
			return strings.TrimSpace(l)
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
