package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

type helpCmd struct {
	Command string `arg:"" optional:"" help:"Command to explain."`
}

// Run shows help.
func (c *helpCmd) Run(a *app, model *kong.Application) error {
	for _, child := range model.Children {
		if c.Command == "" || c.Command == child.Name {
			return a.help(model, c.Command)
		}
	}
	return &usageError{fmt.Sprintf("there is no command %q", c.Command), "see: pg_scribe help"}
}

// help prints that of a command, or of the whole.
func (a *app) help(model *kong.Application, command string) error {
	for _, child := range model.Children {
		if child.Name == command && command != "help" {
			a.commandHelp(model, child)
			return nil
		}
	}
	a.print("pg_scribe keeps continuous, incremental backups of a PostgreSQL database as plain SQL.\n\nUsage: pg_scribe COMMAND [flags]\n\nCommands:")
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	for _, child := range model.Children {
		fmt.Fprintf(w, "  %s\t%s\n", usageOf(child), child.Help)
	}
	w.Flush()
	a.print("\n--init, --start, --full-backup, --restore and --status mean the same as the words.")
	a.print("\nExamples:\n%s", `  pg_scribe init -d shop -f /backup/shop                        begin
  pg_scribe start -d shop -f /backup/shop                       stream, as long as the database lives
  pg_scribe full-backup -d shop -f /backup/shop                 a further base, now and then
  pg_scribe status -d shop -f /backup/shop                      is it well?
  pg_scribe restore -f /backup/shop -C -d rescued               everything
  pg_scribe init -d shop -f /backup/shop -Z zstd --filter 'age recipient=age1…'    compressed and encrypted
  pg_scribe reencrypt -f /backup/shop -i OLD_KEY -Z zstd --filter 'age recipient=age1…'    for another key
  pg_scribe verify -f /backup/shop                              are the files whole?
  pg_scribe expire -f /backup/shop                              what may go?
  pg_scribe restore -f /backup/shop -C -d rescued --target-time '2026-11-21 02:00:00 Europe/Berlin'`)
	a.print("\nFlags of every command:")
	a.flagTable(model.Flags)
	a.print(`
Any flag may also stand in the environment (PG_SCRIBE_FILE for --file) or in a
configuration file (file = /backup/shop). Exit codes: 0 success, 1 general,
2 connection, 3 replication slot, 4 backup or restore, 5 invalid arguments or
failed validation, 10 warnings (status, verify, expire, catalog).

pg_scribe help COMMAND shows the flags of a command.`)
	return nil
}

func usageOf(command *kong.Node) string {
	usage := command.Name
	for _, arg := range command.Positional {
		name := strings.ToUpper(arg.Name)
		if !arg.Required {
			name = "[" + name + "]"
		}
		usage += " " + name
	}
	return usage
}

func (a *app) commandHelp(model *kong.Application, command *kong.Node) {
	a.print("%s\n\nUsage: pg_scribe %s [flags]\n", command.Help, usageOf(command))
	for _, arg := range command.Positional {
		a.print("  %s: %s\n", strings.ToUpper(arg.Name), arg.Help)
	}
	a.print("Flags, and the environment variable of each:")
	a.flagTable(command.Flags)
	a.print("\nFlags of every command:")
	a.flagTable(model.Flags)
}

func (a *app) flagTable(flags []*kong.Flag) {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, f := range flags {
		short, value, env := "    ", "", envName(f.Name)
		if f.Short != 0 {
			short = "-" + string(f.Short) + ", "
		}
		if !isBool(f) {
			value = "=" + f.PlaceHolder
		}
		if slices.Contains(unsettable, f.Name) {
			env = ""
		}
		fmt.Fprintf(w, "  %s--%s%s\t%s\t%s\n", short, f.Name, value, f.Help, env)
	}
	w.Flush()
}

// shortUsage is what a command line without a command gets.
func (a *app) shortUsage(model *kong.Application) {
	fmt.Fprintf(a.stderr, "Usage: pg_scribe COMMAND [flags]\nCommands: %s\nTry \"pg_scribe help\".\n",
		strings.Join(commandNames(model), ", "))
}
