package main

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream"
)

// runAlone runs the program without a server.
func runAlone(env []string, args ...string) outcome {
	var out, errs bytes.Buffer
	code := run(context.Background(), args, env, strings.NewReader(""), &out, &errs)
	return outcome{args, code, out.String(), errs.String()}
}

// What is wrong with a command line is said in words of a user.
func TestUsageWords(t *testing.T) {
	for _, c := range []struct{ line, problem, hint string }{
		{"backup -f x", `unknown command "backup"; did you mean full-backup?`, "pg_scribe help full-backup"},
		{"restor -f x", `unknown command "restor"; did you mean restore?`, "pg_scribe help restore"},
		{"frobnicate", `unknown command "frobnicate"`, "see: pg_scribe help"},
		{"help bakup", `unknown command "bakup"`, "see: pg_scribe help"},
		{"--nope", "unknown flag --nope", "see: pg_scribe help"},
		{"-x", "unknown flag -x", "see: pg_scribe help"},
		{"status --nope", "unknown flag --nope", "pg_scribe help status"},
		{"status --outptu json", "unknown flag --outptu", "pg_scribe help status"},
		{"-q status", "the command comes first", "pg_scribe status"},
		{"keep -f x", "BASE is missing", "pg_scribe help keep"},
		{"catalog -f x", "ACTION is missing", "pg_scribe help catalog"},
		{"start", "--file DIRECTORY is missing", "pg_scribe help start"},
		{"start -f", "--file needs a value", "pg_scribe help start"},
		{"start -f x --status-interval -3s", "--status-interval=-3s", "pg_scribe help start"},
		{"restore -f x extra", `unexpected argument "extra"`, "pg_scribe help restore"},
		{"list foo -f x", `WHAT is one of bases, segments, points, all, not "foo"`, "pg_scribe help list"},
		{"verify --output xml -f x", `--output is one of text, json, not "xml"`, "pg_scribe help verify"},
		{"init -d x -f y -w -W", "--no-password and --password exclude each other", "pg_scribe help init"},
	} {
		o := runAlone(nil, strings.Fields(c.line)...)
		o.refused(t, exitUsage, c.problem, c.hint)
		if m := regexp.MustCompile(`[<>\[]|EOL|\bexpected|got |string value`).FindString(strings.ReplaceAll(o.errors, "[flags]", "")); m != "" {
			t.Errorf("%s: the parser's own word %q\n%s", c.line, m, o.errors)
		}
	}
}

// Help fits the terminal it is read on.
func TestHelpIsWrapped(t *testing.T) {
	for _, columns := range []int{72, 80, 100} {
		for _, command := range []string{"", "init", "restore", "start", "expire"} {
			args := []string{"help"}
			if command != "" {
				args = append(args, command)
			}
			o := runAlone([]string{"COLUMNS=" + strconv.Itoa(columns)}, args...)
			for _, line := range strings.Split(o.out, "\n") {
				if n := utf8.RuneCountInString(line); n > max(columns, 82) { // the paragraphs are for 80
					t.Errorf("help %s at %d columns: %d wide: %s", command, columns, n, line)
				}
			}
			if !strings.Contains(o.out, "--quiet") {
				t.Errorf("help %s lacks the common flags", command)
			}
		}
	}
}

// The same words do not stand twice in an error, and no severity of the server
// behind our own.
func TestErrorsAreSaidOnce(t *testing.T) {
	c := pgtest.Shared(t)
	b := newBench(t, c)
	for _, args := range [][]string{
		{"status", "-d", "no_such_database"},
		{"status", "-d", "postgres", "-U", "no_such_role"},
		{"status", "-d", "postgres", "-S", "none"},
		{"mark", "-d", "postgres", "here"},
	} {
		o := b.run(args...)
		line, _, _ := strings.Cut(o.errors, "\n")
		if o.code == exitOK || strings.Contains(line, "ERROR:") || strings.Contains(line, "FATAL:") {
			t.Errorf("%q: %s", args, o.errors)
		}
		parts := strings.Split(strings.TrimPrefix(line, "pg_scribe: error: "), ": ")
		seen := map[string]bool{}
		for _, p := range parts {
			if seen[p] {
				t.Errorf("%q says %q twice: %s", args, p, line)
			}
			seen[p] = true
		}
	}
}

// A connection that breaks is said in one line, its return in another, each
// with the time; the catalog keeps the error.
func TestStartReconnects(t *testing.T) {
	c := pgtest.Shared(t)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	stop, said := s.background()
	for range 2 {
		before := strings.Count(said(), ": reconnected")
		waitFor(t, "the walsender's end", func() bool {
			return s.c.Query(t, s.db, "SELECT count(pg_terminate_backend(active_pid))::text FROM pg_replication_slots WHERE slot_name = '"+s.slot+"' AND active") == "1"
		})
		waitFor(t, "the new connection", func() bool { return strings.Count(said(), ": reconnected") > before })
	}
	s.c.Exec(t, s.db, "INSERT INTO t VALUES (1, 'a')")
	if code, text := stop(); code != exitOK {
		t.Fatalf("start ended with %d\n%s", code, text)
	}
	lost := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ pg_scribe: connection lost \(terminating connection due to administrator ` +
		`command\); reconnecting in \d+s$`)
	if n := len(lost.FindAllString(said(), -1)); n != 2 {
		t.Errorf("%d lines of lost connections, want 2\n%s", n, said())
	}
	for _, line := range strings.Split(strings.TrimSpace(said()), "\n") {
		if !logStamp.MatchString(line) {
			t.Errorf("a line without time: %s", line)
		}
	}
	ctx := context.Background()
	r, err := repo.OpenReadOnly(ctx, s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	last, err := stream.ReadLastError(ctx, r)
	if err != nil || last.At.IsZero() || last.Over.Before(last.At) || !strings.Contains(last.Message, "connection lost (terminating") {
		t.Errorf("the catalog has %+v, %v", last, err)
	}
}

// What ended start stands in status until it streams again.
func TestStatusShowsTheLastError(t *testing.T) {
	c := pgtest.Shared(t)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	type lastError struct{ Message string }
	status := func() (o outcome, e *lastError) {
		o = s.run("status", "-f", s.dir, "--output", "json")
		var doc struct {
			Repository struct {
				LastError *lastError `json:"last_error"`
			}
		}
		if err := json.Unmarshal([]byte(o.out), &doc); err != nil {
			t.Fatal(err, o.out)
		}
		return o, doc.Repository.LastError
	}
	if _, e := status(); e != nil {
		t.Fatalf("an error before the first start: %+v", e)
	}
	conn := s.c.ConnString(s.db)
	s.c.Exec(t, s.db, "SELECT pg_drop_replication_slot('"+s.slot+"')")
	if o := s.run("start", "-d", conn, "-f", s.dir, "--no-loop"); o.code == exitOK {
		t.Fatal("start went on without its slot")
	}
	o, e := status()
	if e == nil || !strings.Contains(e.Message, "does not exist") || !strings.Contains(o.out, "the last run of start ended with an error") ||
		o.code != exitWarnings {
		t.Errorf("status: %d, %+v\n%s", o.code, e, o.out)
	}
}

// With --quiet, what went well prints nothing, and the rest as ever.
func TestQuiet(t *testing.T) {
	c := pgtest.Shared(t)
	s := targetSource(t, c, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	conn := s.c.ConnString(s.db)
	for _, args := range [][]string{
		{"full-backup", "-q", "-d", conn, "-f", s.dir},
		{"verify", "--quiet", "-f", s.dir},
		{"mark", "-q", "-d", conn, "here"},
	} {
		if o := s.must(args...); o.out+o.errors != "" {
			t.Errorf("%q prints\n%s%s", args, o.out, o.errors)
		}
	}
	for _, args := range [][]string{{"list", "-q", "-f", s.dir}, {"restore", "-q", "-f", s.dir, "--dry-run"}, {"expire", "-q", "-f", s.dir},
		{"full-backup", "-q", "-d", conn, "-f", s.dir, "--output", "json"}} {
		if o := s.must(args...); o.out == "" {
			t.Errorf("%q prints nothing", args)
		}
	}
	if o := s.run("status", "-q", "-f", s.dir+"/none"); o.code == exitOK || !strings.Contains(o.errors, "error: ") {
		t.Errorf("status of nothing: %d, %s", o.code, o.errors)
	}
	s.c.Exec(t, s.db, "ALTER EVENT TRIGGER scribe_b DISABLE")
	if o := s.run("status", "-q", "-d", conn, "-f", s.dir); o.code != exitWarnings || o.out == "" {
		t.Errorf("status of a broken capture: %d\n%s%s", o.code, o.out, o.errors)
	}
}
