package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/stream/source"
)

// The table of hints: each rule's error is made for real, its hint is read from
// what was printed, and the command in it is run by a shell as it stands. What
// is behind "; " is another command or another sentence.

// A hintCase is one row: it makes an error, follows its hint, and shows that the
// user has come further.
type hintCase struct {
	name string
	run  func(h *hinter)
}

// A hintRow is what became of it.
type hintRow struct{ rule, problem, hint, ran, outcome string }

type hinter struct {
	*bench
	src  *sourceDB // with two bases, a segment and a mark; nobody changes it
	rows []hintRow
}

// failure is a run that ended with a hint.
type failure struct {
	outcome
	h    *hinter
	hint string
}

// runNamed is bench.run that also returns which rule decided.
func (b *bench) runNamed(ctx context.Context, args ...string) (outcome, string) {
	b.t.Helper()
	var out, errs safeBuffer
	a := newApp(b.env, strings.NewReader(""), &out, &errs)
	began := time.Now()
	code := a.run(ctx, args)
	b.t.Logf("%6.2fs pg_scribe %q", time.Since(began).Seconds(), args)
	name := ""
	if a.failure != nil {
		_, name, _ = firstRule(a.failure, a.hintContext)
	}
	return outcome{args, code, out.String(), errs.String()}, name
}

// fails makes an error that the rule knows; what follows " / " in it is for the
// table.
func (h *hinter) fails(rule string, args ...string) *failure {
	h.t.Helper()
	o, name := h.runNamed(context.Background(), args...)
	return h.failed(rule, name, o)
}

func (h *hinter) failed(rule, name string, o outcome) *failure {
	h.t.Helper()
	problem, hint := lineAfter(o.errors, "error: "), lineAfter(o.errors, "hint: ")
	if want, _, _ := strings.Cut(rule, " / "); name != want || hint == "" || o.code == exitOK {
		h.t.Fatalf("pg_scribe %q: rule %q, want %q; exit code %d\n%s%s", o.args, name, want, o.code, o.out, o.errors)
	}
	if dots.MatchString(hint) {
		h.t.Errorf("the hint has dots: %s", hint)
	}
	h.rows = append(h.rows, hintRow{rule: rule, problem: problem, hint: hint})
	return &failure{o, h, hint}
}

// lineAfter is the rest of the last line with a label.
func lineAfter(text, label string) (rest string) {
	for line := range strings.Lines(text) {
		if _, after, ok := strings.Cut(line, label); ok {
			rest = strings.TrimSpace(after)
		}
	}
	return rest
}

// follow runs a command of the hint. pairs say what stands for a placeholder.
func (f *failure) follow(nth int, pairs ...string) outcome {
	f.h.t.Helper()
	return f.followTo(exitOK, nth, pairs...)
}

// followTo is follow for a command that ends with another code, as status does.
func (f *failure) followTo(code, nth int, pairs ...string) outcome {
	f.h.t.Helper()
	o := f.h.runHint(f.hint, nth, pairs...)
	if o.code != code {
		f.h.t.Fatalf("exit code %d, want %d, of %s\n%s%s", o.code, code, o.args, o.out, o.errors)
	}
	row := &f.h.rows[len(f.h.rows)-1]
	row.ran = strings.TrimPrefix(row.ran+" && "+o.args[0], " && ")
	return o
}

// runHint runs a command of a hint by a shell, as it is printed.
func (h *hinter) runHint(hint string, nth int, pairs ...string) outcome {
	h.t.Helper()
	commands := hintCommands(hint)
	if nth >= len(commands) {
		h.t.Fatalf("no command %d in the hint: %s\nfound %q", nth, hint, commands)
	}
	command := strings.NewReplacer(pairs...).Replace(commands[nth])
	if left := placeholder.FindString(command); left != "" {
		h.t.Fatalf("placeholder %s in: %s", left, command)
	}
	if sqlStart.MatchString(command) {
		command = commandLine("psql", "-d", "postgres", "-c", command)
	}
	return h.shell(command)
}

// shell runs a command line with the program in PATH.
func (h *hinter) shell(command string) outcome {
	h.t.Helper()
	cmd := exec.Command("/bin/bash", "-c", command)
	cmd.Env = append(h.env[:len(h.env):len(h.env)], "PATH="+programFolder(h.t)+":"+h.path())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	h.t.Logf("%6.2fs %s", time.Since(began).Seconds(), command)
	if cmd.ProcessState == nil {
		h.t.Fatal(err)
	}
	return outcome{[]string{command}, cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (h *hinter) path() (path string) {
	for _, e := range h.env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			path = p
		}
	}
	return path
}

// programFolder holds the program, which is this binary.
func programFolder(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", reexecVariable, shellQuote(self))
	if err := os.WriteFile(filepath.Join(dir, "pg_scribe"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// came notes what came of the hint.
func (f *failure) came(format string, args ...any) {
	f.h.rows[len(f.h.rows)-1].outcome = fmt.Sprintf(format, args...)
}

var (
	placeholder  = regexp.MustCompile(`\b(NEW_DIRECTORY|NEW_DATABASE|REPOSITORY|DATABASE|SUPERUSER|RECIPIENT|COLUMN|FILE)\b`)
	dots         = regexp.MustCompile(`…\D|…$|\.\.\.`) // not 1…22
	sqlStart     = regexp.MustCompile(`^(ALTER|CREATE|GRANT) `)
	commandStart = regexp.MustCompile(`^((PATH=\S+ )?pg_scribe|psql|createuser|pg_isready|dropdb|ls|df|mv|cp|mount|sudo|which|file|sh|` +
		`pg_dump|pg_dumpall|ulimit|ALTER|CREATE|GRANT) `)
)

// hintCommands are the commands of a hint: they begin behind ": " and end at
// "; " or with the line.
func hintCommands(hint string) (commands []string) {
	for _, part := range cutUnquoted(hint, "; ") {
		pieces := cutUnquoted(part, ": ")
		for i := range pieces {
			if i > 0 && commandStart.MatchString(pieces[i]) {
				commands = append(commands, strings.Join(pieces[i:], ": "))
				break
			}
		}
	}
	return commands
}

// cutUnquoted splits where a separator is not in quotes. An apostrophe behind a
// letter is prose.
func cutUnquoted(text, separator string) (parts []string) {
	quote, from := byte(0), 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && strings.HasPrefix(text[i:], `'\''`):
			i += 3
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '\'' || c == '"':
			if i == 0 || strings.IndexByte(" =$(", text[i-1]) >= 0 {
				quote = c
			}
		case strings.HasPrefix(text[i:], separator):
			parts = append(parts, text[from:i])
			from = i + len(separator)
			i = from - 1
		}
	}
	return append(parts, text[from:])
}

// reach lets connections in this process lead to the bench's cluster, as its
// environment does for others.
func (h *hinter) reach(t *testing.T) {
	for _, e := range h.c.Env() {
		if name, value, _ := strings.Cut(e, "="); name == "PGHOST" || name == "PGPORT" || name == "PGUSER" {
			t.Setenv(name, value)
		}
	}
}

// fresh is a source of its own.
func (h *hinter) fresh(flags ...string) *sourceDB {
	h.t.Helper()
	return initSource(h.t, h.c, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", flags...)
}

// database is a database of its own, without repository.
func (h *hinter) database() (db string) {
	h.t.Helper()
	db = h.c.CreateDB(h.t, "hint")
	h.c.Exec(h.t, db, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
	return db
}

// copyOf is a copy of a repository, to be harmed.
func (h *hinter) copyOf(dir string) string {
	h.t.Helper()
	to := filepath.Join(h.t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", dir, to).CombinedOutput(); err != nil {
		h.t.Fatal(err, string(out))
	}
	return to
}

// newDir is a directory that does not exist yet.
func (h *hinter) newDir() string { return filepath.Join(h.t.TempDir(), "new") }

// newDB is a database that does not exist yet, and is gone at the end.
func (h *hinter) newDB() string {
	db := fmt.Sprintf("hint_new_%d", time.Now().UnixNano())
	c := h.c
	h.t.Cleanup(func() { c.Exec(h.t, "postgres", "DROP DATABASE IF EXISTS "+db+" WITH (FORCE)") })
	return db
}

// oneFile is the only file of a repository that a pattern matches, or the first.
func (h *hinter) oneFile(dir, pattern string) string {
	h.t.Helper()
	found, _ := filepath.Glob(filepath.Join(dir, pattern))
	if len(found) == 0 {
		h.t.Fatalf("no %s in %s", pattern, dir)
	}
	return found[0]
}

// TestHints: every rule has a row, or a reason why it has none here.
func TestHints(t *testing.T) {
	h := &hinter{bench: newBench(t, pgtest.Shared(t))}
	h.reach(t)
	withS3(h.bench)
	h.src = h.fresh()
	h.src.must("mark", "-d", h.src.conn, "here")
	h.c.Exec(t, h.src.db, "INSERT INTO t VALUES (2)")
	h.src.catchUp()
	h.src.must("full-backup", "-d", h.src.conn, "-f", h.src.dir)
	h.c.Exec(t, h.src.db, "INSERT INTO t VALUES (3)")
	h.src.catchUp()
	cases := slices.Concat(sourceHints, repositoryHints, targetHints, restoreHints, rehearseHints)
	ran := 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.bench.t = t
			h.src.t = t
			rows, env := len(h.rows), h.env
			c.run(h)
			h.env = env
			ran++
			for _, row := range h.rows[rows:] {
				if row.outcome == "" {
					t.Errorf("nothing came of the hint of %s", row.rule)
				}
			}
		})
	}
	h.bench.t = t
	var table strings.Builder
	covered := map[string]bool{}
	for _, row := range h.rows {
		covered[row.rule] = true
		name, _, _ := strings.Cut(row.rule, " / ")
		covered[name] = true
		fmt.Fprintf(&table, "%s\n  error:   %s\n  hint:    %s\n  ran:     %s\n  came of: %s\n", row.rule, row.problem, row.hint, row.ran, row.outcome)
	}
	rules := 0
	for _, r := range allRules() {
		if covered[r.name] {
			rules++
		}
	}
	t.Logf("%d errors provoked, of %d of %d rules\n%s", len(h.rows), rules, len(allRules()), table.String())
	if ran < len(cases) { // some were chosen by -run
		return
	}
	names := []string{}
	for _, r := range allRules() {
		names = append(names, r.name)
	}
	for _, p := range []source.SlotProblem{source.SlotMissing, source.SlotExists, source.SlotBusy, source.SlotLost, source.SlotAhead,
		source.SlotForeign, source.SlotBlocked, source.SlotNoneFree, source.SlotIntact} {
		names = append(names, "*source.SlotError / "+string(p))
	}
	for _, name := range names {
		_, excused := unprovoked[name]
		if covered[name] == excused {
			t.Errorf("%s: a row %v, a reason for none %v", name, covered[name], excused)
		}
	}
	for name := range unprovoked {
		if !slices.Contains(names, name) {
			t.Errorf("%s is no rule", name)
		}
	}
}
