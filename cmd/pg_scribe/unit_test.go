package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/show"
	"pg_scribe/repo"
	"pg_scribe/restore"
	"pg_scribe/restore/compare"
	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

func TestTargetTime(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-21 02:00:00+01":              "2026-11-21T01:00:00Z",
		"2026-11-21 02:00:00.123456 +01:30":   "2026-11-21T00:30:00.123456Z",
		"2026-11-21T02:00:00Z":                "2026-11-21T02:00:00Z",
		"2026-11-21t02:00:00.5z":              "2026-11-21T02:00:00.5Z",
		"2026-11-21 02:00 UTC":                "2026-11-21T02:00:00Z",
		"2026-11-21 02:00:00-0330":            "2026-11-21T05:30:00Z",
		" 2026-11-21  02:00:00  Asia/Kolkata": "2026-11-20T20:30:00Z",
		"2026-07-01 02:00:00 Europe/Berlin":   "2026-07-01T00:00:00Z",
		"2026-11-21 Z":                        "2026-11-21T00:00:00Z",
		"2026-11-21 02:00:00+05:53:28":        "2026-11-20T20:06:32Z",
	} {
		at, err := parseTargetTime(text)
		if err != nil || at.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v; want %s", text, at.UTC(), err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                  "is not a time",
		"now":                               "is not a time",
		"2026-13-01 00:00Z":                 "no such moment",
		"2026-11-21 25:00Z":                 "no such moment",
		"2026-03-29 02:30 Europe/Berlin":    "put forward",
		"2026-10-25 02:30 Europe/Berlin":    "happened twice",
		"2026-11-21 02:00 Local":            "no time zone",
		"2026-11-21 02:00 ../../etc/passwd": "no time zone",
		"2026-11-21 02:00+99":               "no time zone",
		"2026-11-21 02:00":                  "has no time zone",
		"2026-11-21":                        "has no time zone",
	} {
		if _, err := parseTargetTime(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	got := (&zoneError{"2026-11-21 02:00:00"}).readings(berlin)
	if got != "say the zone: --target-time '2026-11-21 02:00:00Z' for UTC, --target-time '2026-11-21 02:00:00+01:00' for this machine's CET" {
		t.Error(got)
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]time.Duration{"10": 10 * time.Second, "0": 0, "1.5": 1500 * time.Millisecond, "2m": 2 * time.Minute} {
		var i interval
		if err := i.UnmarshalText([]byte(text)); err != nil || time.Duration(i) != want {
			t.Errorf("%q is %v, %v", text, time.Duration(i), err)
		}
	}
	for text, want := range map[string]int64{"128MB": 128 << 20, "64 kB": 64 << 10, "1gb": 1 << 30, "77": 77, "0": 0} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "-1", "x", "1e30", "NaN", "9999999999999999999TB", "9000000000GB"} {
		var i interval
		var s size
		if i.UnmarshalText([]byte(text)) == nil || s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is taken: %v, %d", text, time.Duration(i), s)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 kB", 20 << 20: "20 MB", 3 << 30: "3.0 GB", -2048: "-2.0 kB",
		1 << 60: "1048576 TB"} {
		if got := show.Bytes(n); got != want {
			t.Errorf("show.Bytes(%d) is %s, want %s", n, got, want)
		}
	}
}

// TestShellQuote asks a shell.
func TestShellQuote(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no shell that knows $'…'")
	}
	for _, s := range []string{"", "plain", "a b", "it's", "$(x) `y` \\ \"", "line\nline\ttab\\n'", "é…", "--x", "*"} {
		out, err := exec.Command(shell, "-c", "printf %s "+shellQuote(s)).Output()
		if err != nil || string(out) != s || strings.Contains(shellQuote(s), "\n") {
			t.Errorf("%q became %s: %q, %v", s, shellQuote(s), out, err)
		}
	}
}

func TestConnString(t *testing.T) {
	// What the environment of the test says must not matter.
	for _, name := range []string{"PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSERVICE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	odd := "a 'b' \\c\n;\"d"
	flags := connFlags{Host: "flag", Port: "99", Username: "who"}
	with := func(d string) connFlags { f := flags; f.Dbname = d; return f }
	for _, tc := range []struct {
		f    connFlags
		want string
	}{
		{with("shop"), "flag 99 who shop "},
		{with(odd), "flag 99 who " + odd + " "},
		{with("host=inner user='x y' dbname=z password=p"), "inner 99 x y z p"},
		{with("postgresql://me:p%20w@there:77/shop?sslmode=disable"), "there 77 me shop p w"},
		{with("postgres:///shop"), "flag 99 who shop "},
		{with("postgres://:5/shop"), "flag 5 who shop "},
		{with("postgres://u@/shop?host=/run/x"), "/run/x 99 u shop "},
		{with("postgres://[::1]/shop"), "::1 99 who shop "},
		{connFlags{Host: odd, Dbname: "d", Username: odd}, odd + " 5432 " + odd + " d "},
	} {
		i, err := tc.f.info()
		if err != nil {
			t.Errorf("%+v: %v", tc.f, err)
			continue
		}
		cfg, err := i.Config()
		if err != nil {
			t.Errorf("%q: %v", i, err)
			continue
		}
		if got := fmt.Sprintf("%s %d %s %s %s", cfg.Host, cfg.Port, cfg.User, cfg.Database, cfg.Password); got != tc.want {
			t.Errorf("%+v became %q, read as %q, want %q", tc.f, i, got, tc.want)
		}
		elsewhere, err := withDatabase(i.With("password", odd).Keywords(), odd)
		if err != nil {
			t.Fatal(err)
		}
		moved, err := conninfo.Config(elsewhere)
		if err != nil || moved.Database != odd || moved.Password != odd || moved.Host != cfg.Host || moved.User != cfg.User {
			t.Errorf("%q with another database: %v %+v", i, err, moved)
		}
	}
}

func TestStateHideThePassword(t *testing.T) {
	f := connFlags{Dbname: "postgresql://me:s3cret@there/shop"}
	i, err := f.info()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := i.Config()
	if err != nil {
		t.Fatal(err)
	}
	var hintContext hintContext
	hintContext.setConn(f, i, &cfg.Config)
	if got := hintContext.scribe("start", "-f", "/a b", "-S", ""); got != "pg_scribe start -d shop -h there -p 5432 -U me -f '/a b'" {
		t.Error(got)
	}
	b := newBench(t, pgtest.Shared(t))
	for _, d := range []string{"postgresql://me:s3cret@[there/shop", "password=s3cret host", "password='s3cret", "postgresql://me:s3cret@there:port/x"} {
		o := b.run("mark", "x", "-d", d)
		o.refused(t, exitUsage, "connection settings", "postgresql://")
		if strings.Contains(o.errors, "s3cret") {
			t.Errorf("the password is shown: %s", o.errors)
		}
	}
}

// TestCommandLinesInHints: they repeat this run's own, however the connection
// was written, and never its password.
func TestCommandLinesInHints(t *testing.T) {
	uri := "postgresql://me:s3cret@there:77/shop"
	for _, line := range []string{
		"full-backup -d URI -f /r", "full-backup -dURI -f /r", "full-backup -f /r --dbname URI",
		"full-backup -f /r --dbname=URI", "full-backup -vd URI -f /r", "full-backup -h there -p 77 -U me -d URI -f /r", "--full-backup -f /r -d URI",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "URI", uri))
		var out, errs bytes.Buffer
		a := newApp([]string{"PATH=/nonexistent"}, strings.NewReader(""), &out, &errs)
		a.run(context.Background(), args)
		want := "pg_scribe full-backup -d shop -h there -p 77 -U me -f /r --jobs 2"
		got := strings.Replace(a.hintContext.again("--jobs", "2"), "-v ", "", 1)
		if got != want || strings.Contains(a.hintContext.elsewhere("/s"), "/r") || strings.Contains(errs.String(), "s3cret") {
			t.Errorf("%s: %s; elsewhere %s\n%s", line, got, a.hintContext.elsewhere("/s"), errs.String())
		}
	}
	a := newApp(nil, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
	a.run(context.Background(), []string{"mark", "-d", "shop", "--", "-d"})
	if got := a.hintContext.again("-v"); got != "pg_scribe mark -d shop -v -- -d" {
		t.Error(got)
	}
}

// TestRules: every rule of the table gives a hint, also when nothing is known
// of the run.
func TestRules(t *testing.T) {
	known := []error{
		&usageError{"p", "h"}, &zoneError{"2026-01-01"}, &validationError{2}, errTargetNeeded, errNoTerminal,
		&restore.IncompleteError{Err: errors.New("x")}, &restore.IncompleteError{Err: errors.New("x"), Resumable: true},
		&restore.IncompleteError{Err: errors.New("x"), Created: true},
		&restore.IncompleteError{Err: &restore.DifferenceError{Differences: []compare.Difference{{}}}, Resumable: true},
		&source.SlotError{Problem: source.SlotBusy}, &source.SlotError{Problem: source.SlotLost}, &source.SlotError{Problem: source.SlotBlocked},
		&source.SlotError{Problem: source.SlotNoneFree}, &source.SlotError{}, &source.SlotError{Problem: source.SlotIntact},
		&source.TimelineError{}, &source.StandbyError{}, &source.LargeValueError{}, &source.LargeValueError{Table: "t"}, &source.FailoverError{},
		catalog.DivergedError{}, &base.FenceError{}, &capture.Error{}, &capture.CopyError{}, &base.ArchiveCodecError{},
		&source.ConnectError{Fault: source.FaultOther, Err: errors.New("x")},
		catalog.NoBaseError{}, catalog.BaseAfterTargetError{}, catalog.SchemaGapError{}, catalog.UnknownPointError{}, catalog.HoleError{},
		catalog.SchemaVersionError{Have: 2, Want: 1},
		&restore.OlderTargetError{}, &restore.LocaleError{Err: errors.New("x")}, &restore.BusyError{}, &restore.ResumeError{},
		&restore.UnreachableError{}, &restore.StatementError{Err: errors.New("x")}, &restore.RowCountError{},
		&restore.DifferenceError{Differences: []compare.Difference{{}}},
		&restore.ToolError{Err: errors.New("x")},
		&repo.SpoolMissingError{}, &repo.SpoolTakenError{}, &repo.SpoolUnfitError{}, &repo.MissingFileError{Name: "incremental-1.sql.zst.open"},
		&repo.FormatError{File: "incremental-1.sql.open"},
	}
	for _, err := range known {
		r, _, ok := firstRule(fmt.Errorf("wrapped: %w", err), hintContext{})
		if !ok || r.hint == "" || r.code < exitGeneral || r.code > exitUsage {
			t.Errorf("%T: %+v, %v", err, r, ok)
		}
	}
	differs := &restore.IncompleteError{Err: &restore.DifferenceError{Differences: []compare.Difference{{}}}, Resumable: true}
	if code, hint := remedyFor(differs, false, hintContext{command: "restore", line: []string{"-f", "r"}}); code != exitBackup ||
		!strings.Contains(hint, "pg_scribe restore -f r --resume;") || !strings.Contains(hint, "pg_scribe restore -f r --resume --accept-differences") {
		t.Errorf("%d: %s", code, hint)
	}
	code, hint := remedyFor(errors.New("never heard of"), false, hintContext{command: "list"})
	if code != exitGeneral || hint == "" {
		t.Errorf("an unknown error: %d %q", code, hint)
	}
	undone := errors.Join(errors.Join(&base.DumpError{Tool: "pg_dump", Reason: "it died"}, nil), errors.New("slot not dropped"))
	if code, hint := remedyFor(undone, true, hintContext{command: "init", slot: "s"}); code != exitGeneral || !strings.Contains(hint, "pg_scribe drop -S s") ||
		problemOf(undone, true) != "interrupted; slot not dropped" || problemOf(undone, false) != "pg_dump failed: it died; slot not dropped" {
		t.Errorf("%d %q %q", code, hint, problemOf(undone, true))
	}
}

func TestWords(t *testing.T) {
	show := func(env ...string) string {
		var b bytes.Buffer
		a := &app{env: env}
		w := newWords(&b, a.lookup)
		w.fail("bad\nthing\x1b[31m\u2028!", "mend\tit")
		return b.String()
	}
	plain := "pg_scribe: error: bad thing?[31m?!\nhint: mend it\n"
	if got := show(); got != plain {
		t.Errorf("%q", got)
	}
	if got := show("PG_COLOR=auto"); got != plain { // not a terminal
		t.Errorf("%q", got)
	}
	if got := show("PG_COLOR=always"); got != "pg_scribe: \x1b[01;31merror: \x1b[0mbad thing?[31m?!\n\x1b[01;36mhint: \x1b[0mmend it\n" {
		t.Errorf("%q", got)
	}
	if got := show("PG_COLOR=always", "PG_COLORS=error=7"); got != "pg_scribe: \x1b[7merror: \x1b[0mbad thing?[31m?!\nhint: mend it\n" {
		t.Errorf("%q", got)
	}
}

func TestHelp(t *testing.T) {
	b := newBench(t, pgtest.Shared(t))
	for _, args := range []string{"help", "-?", "--help"} {
		if o := b.must(args); !strings.Contains(o.out, "Examples:") || o.errors != "" || strings.Contains(o.out, "<no value>") {
			t.Errorf("%s: %s%s", args, o.out, o.errors)
		}
	}
	for _, args := range []string{"help start", "start -?", "--start --help", "start -f x --help"} {
		o := b.must(strings.Fields(args)...)
		for _, want := range []string{"--fsync-interval=TIME", "(default: 10s)", "PG_SCRIBE_SEGMENT_SIZE", "-h, --host"} {
			if !strings.Contains(o.out, want) {
				t.Errorf("%s does not say %q:\n%s", args, want, o.out)
			}
		}
	}
	if o := b.must("--version"); o.out != "pg_scribe "+version+"\n" {
		t.Error(o.out)
	}
	b.must("start", "-V")
}

// TestSettings: the command line goes before the environment, and that before
// a configuration file.
func TestSettings(t *testing.T) {
	b := newBench(t, pgtest.Shared(t))
	file := filepath.Join(t.TempDir(), "conf")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	uses := func(want string, args ...string) {
		t.Helper()
		b.run(append(args, "--config", file)...).refused(t, exitUsage, want, "")
	}
	write("# a comment\nfile = '/conf''s place'  # and another\noutput = text\n[list]\nfile = /list\n[status]\nverbose=yes\n")
	uses("/list is not a repository", "list")
	uses("/conf's place is not a repository", "status")
	uses("/flag is not a repository", "list", "-f", "/flag")
	b.env = append(b.env, "PG_SCRIBE_FILE=/environment")
	uses("/environment is not a repository", "list")
	b.env = append(b.env, "PG_SCRIBE_FILE=", "PG_SCRIBE_CONFIG="+file)
	b.run("list").refused(t, exitUsage, "/list is not a repository", "")
	for text, want := range map[string]string{
		"\nfill = x":           "line 2: no command has a flag named \"fill\"",
		"[list]\nendpos = 0/1": "line 2: command list has no flag named \"endpos\"",
		"[lists]":              "line 1: no such section: [lists]",
		"[list":                "line 1: no such section",
		"file":                 "line 1: it is not of the form name = value",
		"file = 'x":            "line 1: the quote is not closed",
		"file = 'x' y":         "line 1: there is something behind",
		"password = secret":    "line 1: password can be given on the command line only",
		"yes = yes":            "line 1: yes can be given on the command line only",
		"output = xml":         "conf line 1: \"xml\" is none of text, json",
		"verbose = maybe":      "conf line 1: \"maybe\" is neither yes nor no",
	} {
		write(text + "\nfile=/x\n")
		uses(want, "list")
	}
	write("file = /x\n[start]\nfsync_interval = nonsense") // not this command's business
	uses("/x is not a repository", "list")
	write("fsync-interval = x")
	uses("conf line 1: \"x\" is not a time span", "start", "-f", "/x")
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".pg_scribe.conf"), []byte("file = /home"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "PG_SCRIBE_CONFIG=", "HOME="+home)
	b.run("list").refused(t, exitUsage, "/home is not a repository", "")
	b.env = append(b.env, "PG_SCRIBE_TARGET_XID=1", "PG_SCRIBE_DBNAME=x")
	b.run("restore", "--target-lsn", "0/1").refused(t, exitUsage, "/home is not a repository", "")
}

// TestRewriteActions: action flags anywhere are the command.
func TestRewriteActions(t *testing.T) {
	commands := []string{"init", "mark", "start"}
	for args, want := range map[string]string{
		"-d x --init -f y":  "init -d x -f y",
		"init --init":       "init",
		"mark -- --init":    "mark -- --init",
		"--start -d --init": "",
		"mark --status":     "",
		"-d init":           "-d init",
	} {
		got, err := rewriteActions(strings.Fields(args), commands)
		if want == "" && err == nil || want != "" && strings.Join(got, " ") != want {
			t.Errorf("%s became %q, %v", args, got, err)
		}
	}
}

// TestNoPanicOnCancelled: a run that is stopped before it begins.
func TestCancelledAtOnce(t *testing.T) {
	b := newBench(t, pgtest.Shared(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.runContext(ctx, "mark", "x", "-d", b.c.ConnString("postgres")).refused(t, exitGeneral, "interrupted", "")
}

// A segment whose commits are all that the server has told of ends at the last one.
func TestStatusKnowsWhenASegmentEnds(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, a := range []catalog.Artifact{{Commits: catalog.Commits{LastCommitAt: at}}, {ReachedAt: at}, {FinishedAt: at},
		{ReachedAt: at.Add(-time.Hour), Commits: catalog.Commits{LastCommitAt: at}},
		{ReachedAt: at, Commits: catalog.Commits{LastCommitAt: at.Add(-time.Hour)}, FinishedAt: at.Add(time.Hour)}} {
		var g groupJSON
		g.add(a)
		if !time.Time(g.LastAt).Equal(at) {
			t.Errorf("%+v: %v", a, g)
		}
	}
}
