package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

type helpCmd struct {
	Command string `arg:"" optional:"" help:"Command to explain."`
}

func (*helpCmd) shows() bool { return true }

// Run shows help.
func (c *helpCmd) Run(a *app, model *kong.Application) error {
	if c.Command != "" && !slices.Contains(commandNames(model), c.Command) {
		return unknownCommand(model, c.Command)
	}
	return a.help(model, c.Command)
}

// help prints that of a command, or of the whole.
func (a *app) help(model *kong.Application, command string) error {
	for _, child := range model.Children {
		if child.Name == command && command != "help" {
			a.commandHelp(model, child)
			return nil
		}
	}
	a.print("pg_scribe keeps continuous, incremental backups of a PostgreSQL database as\nplain SQL.\n\nUsage: pg_scribe COMMAND [flags]\n\nCommands:")
	var commands [][2]string
	for _, child := range model.Children {
		commands = append(commands, [2]string{usageOf(child), child.Help})
	}
	a.explain(commands)
	a.print("\n--init, --start, --full-backup, --restore and --status mean the same as the words.")
	a.print("\nExamples:\n%s", `  pg_scribe init -d shop -f /backup/shop           begin
  pg_scribe start -d shop -f /backup/shop          stream, as long as it lives
  pg_scribe full-backup -d shop -f /backup/shop    a further base, now and then
  pg_scribe status -d shop -f /backup/shop         is it well?
  pg_scribe restore -f /backup/shop -C -d rescued  everything
  pg_scribe verify -f /backup/shop                 are the files intact?
  pg_scribe rehearse -f /backup/shop               would its commands run again?
  pg_scribe expire -f /backup/shop                 what may go?
  pg_scribe restore -f /backup/shop -C -d rescued \
      --target-time '2026-11-21 02:00:00 Europe/Berlin'
  pg_scribe init -d shop -f /backup/shop \
      -Z zstd --filter 'age recipient=age1…'       compressed and encrypted
  pg_scribe reencrypt -f /backup/shop -i OLD_KEY \
      -Z zstd --filter 'age recipient=age1…'       for another key`)
	a.print("\nFlags of every command:")
	a.flagTable(model.Flags)
	a.print(`
Any flag may also stand in the environment (PG_SCRIBE_FILE for --file) or in a
configuration file (file = /backup/shop). Exit codes: 0 success, 1 general,
2 connection, 3 replication slot, 4 backup or restore, 5 invalid arguments or
failed validation, 10 warnings (status, rehearse, verify, expire, catalog).

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

// flagTable explains flags, each with the environment variable that sets it.
func (a *app) flagTable(flags []*kong.Flag) {
	var rows [][2]string
	for _, f := range flags {
		name, text := "    --"+f.Name, f.Help
		if f.Short != 0 {
			name = "-" + string(f.Short) + ", --" + f.Name
		}
		if !isBool(f) {
			name += "=" + f.PlaceHolder
		}
		if !slices.Contains(unsettable, f.Name) {
			text += " [" + envName(f.Name) + "]"
		}
		rows = append(rows, [2]string{name, text})
	}
	a.explain(rows)
}

// explain prints two columns, the second wrapped to the width of the terminal.
func (a *app) explain(rows [][2]string) {
	const indent, most = "  ", 28
	column := 0
	for _, row := range rows {
		if n := utf8.RuneCountInString(row[0]); n <= most {
			column = max(column, n)
		}
	}
	column += 2
	for _, row := range rows {
		lines := wrap(row[1], a.width()-len(indent)-column)
		if utf8.RuneCountInString(row[0]) > column-2 {
			lines = append([]string{""}, lines...)
		}
		for i, line := range lines {
			name := ""
			if i == 0 {
				name = row[0]
			}
			a.print("%s", strings.TrimRight(fmt.Sprintf("%s%-*s%s", indent, column, name, line), " "))
		}
	}
}

// width is that of the terminal, within reason.
func (a *app) width() int {
	width := 80
	if f, ok := a.stdout.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			width = columns
		}
	}
	if text, ok := a.lookup("COLUMNS"); ok {
		if columns, err := strconv.Atoi(text); err == nil && columns > 0 {
			width = columns
		}
	}
	return min(max(width, 60), 120)
}

// wrap breaks text into lines at blanks.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}

// shortUsage is what a command line without a command gets.
func (a *app) shortUsage(model *kong.Application) {
	fmt.Fprintf(a.stderr, "Usage: pg_scribe COMMAND [flags]\nCommands: %s\nTry \"pg_scribe help\".\n",
		strings.Join(commandNames(model), ", "))
}
