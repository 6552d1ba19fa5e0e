package main

import (
	"bufio"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"pg_scribe/internal/spec"

	"github.com/alecthomas/kong"
)

// settings give flags that are not on the command line their values: from the
// environment, else from a configuration file.
type settings struct {
	lookup func(string) (string, bool)
	files  []configFile // those that win first
}

// configFile is one file's lines, by section ("" for those before any) and
// flag.
type configFile map[string]map[string]configValue

// configValue is what a flag is set to, the last of several times; all are for
// flags that may be given several times.
type configValue struct {
	text, where string
	all         []string
}

// systemConfig holds for every user of the machine.
const systemConfig = "/etc/pg_scribe.conf"

// unsettable flags make sense on a command line only. A password is no place
// for a file or variable named after a flag that only asks for it.
var unsettable = []string{"help", "version", "config", "password", "yes", "confirm", "reason", "forget"}

// load reads the configuration files: the one named, or those that exist.
func (s *settings) load(named string, model *kong.Application) error {
	if named == "" {
		named, _ = s.lookup(envName("config"))
	}
	paths := []string{named}
	if named == "" {
		paths = []string{systemConfig}
		if home, ok := s.lookup("HOME"); ok && home != "" {
			paths = []string{filepath.Join(home, ".pg_scribe.conf"), systemConfig}
		}
	}
	for _, path := range paths {
		file, err := readConfig(path, model)
		switch {
		case err == nil:
			s.files = append(s.files, file)
		case named == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)):
			// As after sudo, the home may be another user's.
		case errors.As(err, new(*usageError)):
			return err
		default:
			return &usageError{fmt.Sprintf("configuration file %s cannot be read: %v", path, errors.Unwrap(err)),
				"name one with --config FILE, or leave it out"}
		}
	}
	return nil
}

// readConfig reads lines of the form name = value under [command] sections.
func readConfig(path string, model *kong.Application) (configFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file := configFile{}
	section := ""
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		where := fmt.Sprintf("%s line %d", path, number)
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			name, rest, closed := strings.Cut(line[1:], "]")
			section = strings.TrimSpace(name)
			rest = strings.TrimSpace(rest)
			if !closed || rest != "" && rest[0] != '#' || !slices.Contains(commandNames(model), section) {
				return nil, &usageError{where + ": no such section: " + line, "sections are named after commands: [init], [start], …"}
			}
			continue
		}
		name, value, err := configLine(line)
		if err == nil {
			name, err = knownFlag(model, section, name)
		}
		if err != nil {
			return nil, &usageError{where + ": " + err.Error(), "names are those of the flags, see: pg_scribe help " + section}
		}
		if file[section] == nil {
			file[section] = map[string]configValue{}
		}
		file[section][name] = configValue{value, where, append(file[section][name].all, value)}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return file, nil
}

// configLine splits a line. A value may stand in single quotes, which are
// doubled inside, as in postgresql.conf.
func configLine(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" {
		return "", "", fmt.Errorf("it is not of the form name = value: %s", line)
	}
	name = strings.ReplaceAll(name, "_", "-")
	if !strings.HasPrefix(value, "'") {
		value, _, _ = strings.Cut(value, "#")
		return name, strings.TrimSpace(value), nil
	}
	text, after, closed := spec.Unquote(value)
	if !closed {
		return "", "", fmt.Errorf("the quote is not closed: %s", line)
	}
	if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
		return "", "", fmt.Errorf("there is something behind the closing quote: %s", line)
	}
	return name, text, nil
}

// knownFlag returns the present name of a flag that a command has; without a
// section any may.
func knownFlag(model *kong.Application, section, name string) (string, error) {
	if slices.Contains(unsettable, name) {
		return "", fmt.Errorf("%s can be given on the command line only", name)
	}
	flags := model.Flags
	for _, child := range model.Children {
		if section == "" || section == child.Name {
			flags = slices.Concat(flags, child.Flags)
		}
	}
	for _, f := range flags {
		if f.Name == name || slices.Contains(f.Aliases, name) {
			return f.Name, nil
		}
	}
	if section != "" {
		return "", fmt.Errorf("command %s has no flag named %q", section, name)
	}
	return "", fmt.Errorf("no command has a flag named %q", name)
}

// Validate is part of kong.Resolver; load has checked everything.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve finds the value of a flag that is not on the command line.
func (s *settings) Resolve(c *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if slices.Contains(unsettable, flag.Name) {
		return nil, nil
	}
	section := ""
	if selected := c.Selected(); selected != nil {
		section = selected.Name
	}
	value, ok := s.find(section, flag)
	if !ok || excluded(parent, flag) {
		return nil, nil
	}
	if flag.Target.Kind() == reflect.Slice {
		list := make([]any, len(value.all))
		for i, text := range value.all {
			list[i] = text
		}
		return list, nil
	}
	// kong would not say where the value comes from.
	if err := parses(flag, value.text); err != nil {
		return nil, fmt.Errorf("%s: %w", value.where, err)
	}
	return value.text, nil
}

// excluded reports that the command line has another flag of the same group,
// which goes before what stands in the background.
func excluded(parent *kong.Path, flag *kong.Flag) bool {
	for _, other := range parent.Flags {
		if other != flag && other.Set && slices.ContainsFunc(other.Xor, func(x string) bool { return slices.Contains(flag.Xor, x) }) {
			return true
		}
	}
	return false
}

// find looks for a flag's value. In a variable, several stand on lines of
// their own.
func (s *settings) find(section string, flag *kong.Flag) (configValue, bool) {
	for _, name := range append([]string{flag.Name}, flag.Aliases...) {
		if value, ok := s.lookup(envName(name)); ok && value != "" {
			return configValue{value, envName(name), strings.Split(strings.TrimSpace(value), "\n")}, true
		}
	}
	for _, file := range s.files {
		for _, part := range []string{section, ""} {
			if v, ok := file[part][flag.Name]; ok {
				return v, true
			}
		}
	}
	return configValue{}, false
}

// parses tries a value on a copy of the flag's target.
func parses(flag *kong.Flag, value string) error {
	if isBool(flag) && !slices.Contains([]string{"true", "1", "yes", "false", "0", "no"}, strings.ToLower(value)) {
		return fmt.Errorf("%q is neither yes nor no", value)
	}
	if flag.Enum != "" && !flag.EnumMap()[value] {
		return fmt.Errorf("%q is none of %s", value, strings.Join(flag.EnumSlice(), ", "))
	}
	if target, ok := reflect.New(flag.Target.Type()).Interface().(encoding.TextUnmarshaler); ok {
		return target.UnmarshalText([]byte(value))
	}
	return nil
}
