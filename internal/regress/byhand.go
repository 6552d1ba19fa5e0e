package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// byHand restores with zstd and psql alone, as the repository's metadata file says, and goes on behind statements that
// fail, so that one run tells all of them.
func (r *run) byHand(ctx context.Context) error {
	target, err := r.cluster()
	if err != nil {
		return err
	}
	defer target.Stop()
	want := r.observed[len(r.observed)-1]
	if err := psql(ctx, target, "postgres", "CREATE DATABASE "+database+" TEMPLATE template0"); err != nil {
		return err
	}
	// Commands on tablespaces that were dropped since are in the stream, and psql cannot leave their clauses out.
	if err := psql(ctx, target, "postgres", `SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_tblspace LOCATION ''; CREATE TABLESPACE regress_tblspace_renamed LOCATION '';`); err != nil {
		return err
	}
	r.say("By hand: psql over the files")
	script := `set -o pipefail; cd "$1"
cat globals-*.sql* | { case $(ls globals-*) in *.zst) zstd -dcq;; *) cat;; esac; } | psql -Xq -d postgres
for f in base-*.zst incremental-*.zst; do
	zstd -dcq "$f" | psql -Xq -v ON_ERROR_ROLLBACK=on -v ECHO=errors -d ` + database + ` || exit 1
done`
	cmd := exec.CommandContext(ctx, "bash", "-c", script, "byhand", r.repository())
	cmd.Env = target.Env()
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		return err
	}
	failed := failures(pipe)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("psql: %w", err)
	}
	r.print("failing statements by hand", failed)
	return r.judge(ctx, target, database, want, "by hand, "+want.moment)
}

var failure = regexp.MustCompile(`^psql:<stdin>:(\d+): ERROR:  (.*)`)

// failures reads psql's errors, each with its statement behind it.
func failures(in io.Reader) []difference {
	var found []difference
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<30)
	for lines.Scan() {
		line := lines.Text()
		if m := failure.FindStringSubmatch(line); m != nil {
			found = append(found, difference{kind: "statement", what: m[2], text: "line " + m[1]})
		} else if statement, ok := strings.CutPrefix(line, "STATEMENT:  "); ok && len(found) > 0 {
			found[len(found)-1].text += ": " + statement
		} else if strings.HasPrefix(line, "ERROR:  ") { // of the globals
			found = append(found, difference{kind: "statement", what: strings.TrimPrefix(line, "ERROR:  ")})
		}
	}
	return found
}

// marks lists what the capture said that it could not capture.
func (r *run) marks(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "bash", "-c", `zstd -dcq "$1"/incremental-* | grep -a '^-- pg_scribe gap ' || true`, "marks", r.repository()).Output()
	if err != nil {
		return fmt.Errorf("the segments: %w", err)
	}
	var found []difference
	for line := range strings.Lines(string(out)) {
		found = append(found, difference{kind: "gap", what: strings.TrimSpace(strings.TrimPrefix(line, "-- pg_scribe gap "))})
	}
	r.print("marks in the segments", found)
	return nil
}

// compareResults compares what the suite printed with and without capture.
func (r *run) compareResults(ctx context.Context) error {
	var found []difference
	for _, group := range r.groups {
		for _, test := range group {
			lines, err := diffFiles(ctx, filepath.Join(r.dir, "plain/results", test+".out"), filepath.Join(r.dir, "captured/results", test+".out"))
			if err != nil {
				return fmt.Errorf("the results of %s: %w", test, err)
			}
			for _, line := range lines {
				found = append(found, difference{kind: "result", what: test + ": " + strings.TrimSpace(line[1:]), text: line})
			}
		}
	}
	r.print("results with capture against those without", found)
	return nil
}
