package main

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// cli is the grammar: pg_scribe COMMAND [flags].
type cli struct {
	Help    bool   `short:"?" help:"Show help and exit."`
	Version bool   `short:"V" help:"Show the version and exit."`
	Verbose bool   `short:"v" help:"Print steps and the external commands that are run."`
	Quiet   bool   `short:"q" help:"For cron: print nothing when all is well."`
	UTC     bool   `name:"utc" help:"Show moments in UTC only, without local time (TZ) beside it."`
	Config  string `placeholder:"FILE" help:"Read flags from this file instead of ~/.pg_scribe.conf and /etc/pg_scribe.conf."`

	Init       initCmd       `cmd:"" help:"Begin a backup: checks, capture set-up, replication slot, first base."`
	Start      startCmd      `cmd:"" help:"Stream changes into the repository until stopped."`
	FullBackup fullBackupCmd `cmd:"" help:"Take a further base backup."`
	Restore    restoreCmd    `cmd:"" help:"Restore to the end, an LSN, a time, a transaction or a mark."`
	Status     statusCmd     `cmd:"" help:"Judge slot and repository; exit 10 on warnings."`
	List       listCmd       `cmd:"" help:"List bases, segments and restore points."`
	Copy       copyCmd       `cmd:"" help:"Send what is not on the storages yet; add or forget a storage."`
	Mark       markCmd       `cmd:"" help:"Name the present moment, to restore to it later."`
	Rehearse   rehearseCmd   `cmd:"" help:"Prove that the commands behind the newest base run again; exit 4 if one does not."`
	Verify     verifyCmd     `cmd:"" help:"Compare every file with the catalog; exit 4 on damage."`
	Expire     expireCmd     `cmd:"" help:"Show what a retention policy removes, and with --confirm remove it."`
	Keep       keepCmd       `cmd:"" help:"Make expire leave a base alone."`
	Unkeep     unkeepCmd     `cmd:"" help:"Let expire remove a base again."`
	Catalog    catalogCmd    `cmd:"" help:"Check the catalog, or rebuild it from the files."`
	Reencrypt  reencryptCmd  `cmd:"" help:"Pass the files of a repository through other filters, such as a new key."`
	Drop       dropCmd       `cmd:"" help:"Remove slot, publication and capture from the server."`
	HelpOn     helpCmd       `cmd:"" name:"help" help:"Show help on a command."`
}

// connFlags say which server and database.
type connFlags struct {
	Dbname     string `short:"d" placeholder:"NAME" help:"Database name, connection string or URI (default: PGDATABASE)."`
	Host       string `short:"h" placeholder:"HOST" help:"Server host or socket directory (default: PGHOST)."`
	Port       string `short:"p" placeholder:"PORT" help:"Server port (default: PGPORT, or 5432)."`
	Username   string `short:"U" placeholder:"NAME" help:"User name (default: PGUSER)."`
	NoPassword bool   `short:"w" xor:"password" help:"Never ask for a password."`
	Password   bool   `short:"W" xor:"password" help:"Always ask for a password."`
}

// outputFlag chooses the form of a report.
type outputFlag struct {
	Output string `enum:"text,json" default:"text" placeholder:"FORMAT" help:"Form of the report: text or json."`
}

func (o outputFlag) json() bool { return o.Output == "json" }

// shows says whether a command prints what was asked for, whatever --quiet
// says. One without this method reports what it did or found: with --quiet
// only when it fails or warns.
func (o outputFlag) shows() bool { return o.json() }

// actions are the flags that mean the same as the word.
var actions = []string{"init", "start", "full-backup", "restore", "status"}

// rewriteActions turns an action flag anywhere in the arguments into the
// command in front of them.
func rewriteActions(args []string, commands []string) ([]string, error) {
	var found, rest []string
	for i, arg := range args {
		if arg == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		name, isFlag := strings.CutPrefix(arg, "--")
		switch {
		case isFlag && slices.Contains(actions, name), i == 0 && slices.Contains(commands, arg):
			if !slices.Contains(found, name) {
				found = append(found, name)
			}
		default:
			rest = append(rest, arg)
		}
	}
	switch len(found) {
	case 0:
		return rest, nil
	case 1:
		return append(found, rest...), nil
	}
	return nil, &usageError{fmt.Sprintf("two actions: %s and %s", found[0], found[1]),
		fmt.Sprintf("give one of them only: pg_scribe %s …", found[0])}
}

// dispatch parses the arguments and runs the command.
func (a *app) dispatch(ctx context.Context, args []string) error {
	var c cli
	settings := &settings{lookup: a.lookup}
	parser, err := kong.New(&c, kong.Name("pg_scribe"), kong.NoDefaultHelp(), kong.Resolvers(settings),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(a), kong.Exit(func(int) {}))
	if err != nil {
		return err // a fault of the grammar; every test would see it
	}
	args, err = rewriteActions(args, commandNames(parser.Model))
	if err != nil {
		return err
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		a.hintContext.command = args[0]
	}
	before := args
	if i := slices.Index(args, "--"); i >= 0 {
		before = args[:i]
	}
	switch {
	case slices.Contains(before, "-?") || slices.Contains(before, "--help"):
		return a.help(parser.Model, a.hintContext.command)
	case slices.Contains(before, "-V") || slices.Contains(before, "--version"):
		a.print("pg_scribe %s", version)
		return nil
	case a.hintContext.command == "":
		return noCommand(a, parser.Model, args)
	case !slices.Contains(commandNames(parser.Model), a.hintContext.command):
		return unknownCommand(parser.Model, a.hintContext.command)
	}
	if err := settings.load(configFlag(before), parser.Model); err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return &usageError{parseError(err), "see: " + commandLine("pg_scribe", "help", a.hintContext.command)}
	}
	a.hintContext.note(parsed, args)
	a.verbose, a.utc, a.words.quiet = c.Verbose, c.UTC, c.Quiet && !c.Verbose
	if c.Help {
		return a.help(parser.Model, a.hintContext.command)
	}
	shows, ok := parsed.Selected().Target.Addr().Interface().(interface{ shows() bool })
	if !a.words.quiet || ok && shows.shows() {
		return parsed.Run(a, parser.Model)
	}
	report, stdout := &bytes.Buffer{}, a.stdout
	a.stdout = report
	if err = parsed.Run(a, parser.Model); err != nil {
		stdout.Write(report.Bytes())
	}
	return err
}

// noCommand says what a command line lacks.
func noCommand(a *app, model *kong.Application, args []string) error {
	for _, arg := range args {
		if slices.Contains(commandNames(model), arg) {
			return &usageError{"the command comes first", "write it in front: pg_scribe " + arg + " [flags]"}
		}
	}
	if name := unknownFlag(model, args); name != "" {
		return &usageError{"unknown flag " + name, "see: pg_scribe help"}
	}
	a.shortUsage(model)
	return &exitError{exitUsage}
}

func commandNames(model *kong.Application) []string {
	var names []string
	for _, child := range model.Children {
		names = append(names, child.Name)
	}
	return names
}

// configFlag finds --config, which has to be known before the other flags are
// read.
func configFlag(args []string) string {
	file := ""
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			file = value
		} else if arg == "--config" && i+1 < len(args) {
			file = args[i+1]
		}
	}
	return file
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "PG_SCRIBE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// isBool tells a flag that takes no value.
func isBool(flag *kong.Flag) bool { return flag.Target.Kind() == reflect.Bool }

// usageError is a command line that cannot be meant.
type usageError struct{ problem, hint string }

func (e *usageError) Error() string { return e.problem }
