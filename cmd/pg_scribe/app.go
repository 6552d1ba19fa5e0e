package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"pg_scribe/catalog"
	"pg_scribe/internal/throwaway"
	"pg_scribe/repo"
)

// app is what every command has at hand.
type app struct {
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer
	words          *words
	verbose        bool
	utc            bool // no local time beside UTC
	now            func() time.Time
	askPassword    func(prompt string) (string, error)

	hintContext hintContext
	failure     error // why the run ended, once it has
}

// hintContext is what is known of the run when an error needs a hint.
type hintContext struct {
	command string
	dir     string
	spool   string // where its working files lie, if elsewhere
	slot    string
	conn    []string // the connection flags, without any password
	base    string   // the database, for sentences
	role    string   // that connects
	source  string   // the database that the repository is of, once it is open

	flags    []*kong.Flag // of the command
	line     []string     // the arguments behind the command, without the connection flags
	connects bool         // it takes connection flags
}

// run is the program. It returns its exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(env, stdin, stdout, stderr).runUntilSignal(ctx, args)
}

func newApp(env []string, stdin io.Reader, stdout, stderr io.Writer) *app {
	a := &app{env: env, stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now, askPassword: askTerminal}
	a.words = newWords(stderr, a.lookup)
	return a
}

// runUntilSignal is run that a signal stops.
func (a *app) runUntilSignal(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, endSignals(args)...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	// A reader that goes away, as head does, must not keep this from cleaning up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	return a.run(ctx, args)
}

// run runs a command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	err := a.dispatch(ctx, args)
	a.failure = err
	if err == nil {
		return exitOK
	}
	var quiet *exitError
	if errors.As(err, &quiet) {
		return quiet.code
	}
	interrupted := ctx.Err() != nil
	code, hint := remedyFor(err, interrupted, a.hintContext)
	a.words.fail(problemOf(err, interrupted), hint)
	return code
}

// endSignals ask the program to stop. To start, SIGHUP means something else.
func endSignals(args []string) []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	isStart := slices.Contains(args, "--start") || len(args) > 0 && args[0] == "start"
	if !isStart && !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// lookup reads the environment.
func (a *app) lookup(name string) (string, bool) {
	for i := len(a.env) - 1; i >= 0; i-- {
		if key, value, ok := strings.Cut(a.env[i], "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// command makes the command of an external program, found in the PATH that
// this run was given.
func (a *app) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	path, err := a.lookPath(name)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = a.env
	if err != nil {
		cmd.Err = err
	}
	if a.verbose {
		a.words.say("running %s", commandLine(append([]string{name}, args...)...))
	}
	return cmd
}

func (a *app) lookPath(name string) (string, error) {
	path, _ := a.lookup("PATH")
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if throwaway.IsProgram(file) {
			return filepath.Abs(file)
		}
	}
	return "/nonexistent/" + name, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// step prints what -v shows.
func (a *app) step(text string) {
	if a.verbose {
		a.words.say("%s", text)
	}
}

// print writes a line of a report.
func (a *app) print(format string, args ...any) {
	fmt.Fprintf(a.stdout, format+"\n", args...)
}

// openRepository opens the repository for writing.
func (a *app) openRepository(ctx context.Context, dir string) (*repo.Repository, error) {
	a.hintContext.dir = dir
	if isStorage(dir) {
		return nil, &usageError{a.hintContext.command + " needs a local directory: " + dir + " can only be read",
			"give the repository's directory with -f; its files are sent to a --storage"}
	}
	r, err := repo.Open(ctx, dir, a.now)
	if err == nil {
		a.hintContext.of(ctx, r)
	}
	return r, err
}

// of notes what hints need to know of a repository.
func (f *hintContext) of(ctx context.Context, r *repo.Repository) {
	f.spool = r.SpoolDir()
	if info, err := r.Catalog().Repository(ctx); err == nil {
		f.source = info.Database
	}
}

// operation runs one that changes the repository and keeps a record of it
// there. The record must not decide over the operation's success.
func (a *app) operation(ctx context.Context, r *repo.Repository, command string, f func() error) error {
	id, err := r.Catalog().BeginOperation(ctx, command, os.Getpid(), a.now())
	if err != nil {
		return err
	}
	err = f()
	outcome, detail := catalog.OutcomeOK, ""
	if err != nil {
		outcome, detail = catalog.OutcomeFailed, err.Error()
	}
	if rerr := r.Catalog().EndOperation(context.WithoutCancel(ctx), id, a.now(), outcome, detail); rerr != nil {
		a.words.warn("the end of this operation is not in the catalog: %v", rerr)
	}
	return err
}
