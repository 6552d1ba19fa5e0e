package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// note keeps what hints need to know of the command line.
func (f *hintContext) note(parsed *kong.Context, args []string) {
	command := parsed.Selected()
	if command == nil || len(args) == 0 {
		return
	}
	f.flags = slices.Concat(parsed.Model.Flags, command.Flags)
	f.line = args[1:]
	if c, ok := command.Target.Addr().Interface().(interface{ connection() connFlags }); ok {
		f.connects = true
		f.line = dropFlags(f.line, f.flags, "dbname", "host", "port", "username")
		i, err := c.connection().info()
		if err != nil {
			return // connect says so
		}
		if cfg, err := i.Config(); err == nil {
			f.setConn(c.connection(), i, &cfg.Config)
		}
	}
}

func (f connFlags) connection() connFlags { return f }

// again is this run's own command line, without any password, and with further
// flags.
func (f hintContext) again(extra ...string) string {
	return f.run(f.line, extra...)
}

// elsewhere is the same with another -f.
func (f hintContext) elsewhere(dir string) string {
	return f.run(dropFlags(f.line, f.flags, "file"), "-f", dir)
}

func (f hintContext) run(line []string, extra ...string) string {
	words := slices.Concat([]string{"pg_scribe", f.command}, f.conn)
	if i := slices.Index(line, "--"); i >= 0 { // what follows is no flag
		return commandLine(slices.Concat(words, line[:i], extra, line[i:])...)
	}
	return commandLine(slices.Concat(words, line, extra)...)
}

// dropFlags returns a command line without some of its flags, however they are
// written: --host x, --host=x, -h x, -hx or -vh x.
func dropFlags(args []string, flags []*kong.Flag, names ...string) (rest []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(rest, args[i:]...)
		}
		flag, kept, whole := flagOf(arg, flags)
		if flag == nil {
			rest = append(rest, arg)
			continue
		}
		value := !isBool(flag) && !whole && i+1 < len(args)
		if slices.Contains(names, flag.Name) {
			if kept != "" {
				rest = append(rest, kept)
			}
		} else if rest = append(rest, arg); value {
			rest = append(rest, args[i+1])
		}
		if value {
			i++
		}
	}
	return rest
}

// flagOf is the flag of an argument that takes a value, or its only one. kept is
// what remains of the argument without it; whole: the value is in it too.
func flagOf(arg string, flags []*kong.Flag) (flag *kong.Flag, kept string, whole bool) {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		name, _, whole = strings.Cut(name, "=")
		for _, f := range flags {
			if f.Name == name || slices.Contains(f.Aliases, name) {
				return f, "", whole
			}
		}
		return nil, "", false
	}
	letters, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return nil, "", false
	}
	for i, r := range letters {
		at := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Short == r })
		if at < 0 {
			return nil, "", false
		}
		if flag = flags[at]; !isBool(flag) {
			if i > 0 {
				kept = "-" + letters[:i]
			}
			return flag, kept, i+1 < len(letters)
		}
	}
	return flag, "", false
}
