package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// The words for a command line that cannot be meant.

// unknownCommand names the command that may have been meant.
func unknownCommand(model *kong.Application, name string) *usageError {
	problem, hint := fmt.Sprintf("unknown command %q", name), "see: pg_scribe help"
	if near := nearest(name, commandNames(model)); near != "" {
		problem += "; did you mean " + near + "?"
		hint = "see: " + commandLine("pg_scribe", "help", near)
	}
	return &usageError{problem, hint}
}

// unknownFlag returns the first flag among the arguments that no command has;
// empty: there is none.
func unknownFlag(model *kong.Application, args []string) string {
	known := map[string]bool{}
	nodes := []*kong.Node{model.Node}
	for len(nodes) > 0 {
		node := nodes[0]
		nodes = append(nodes[1:], node.Children...)
		for _, f := range node.Flags {
			known["--"+f.Name] = true
			known["-"+string(f.Short)] = f.Short != 0
		}
	}
	for _, arg := range args {
		if arg == "--" || arg == "-" || !strings.HasPrefix(arg, "-") {
			continue
		}
		name, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(name, "--") {
			name = name[:2]
		}
		if !known[name] {
			return name
		}
	}
	return ""
}

// parseWords are what the parser's messages become. It has no typed errors.
var parseWords = []struct {
	pattern *regexp.Regexp
	words   func(m []string) string
}{
	{regexp.MustCompile(`^expected "[<\[](.*?)[>\]]`), func(m []string) string { return strings.ToUpper(m[1]) + " is missing" }},
	{regexp.MustCompile(`^expected one of (.*)$`), func(m []string) string {
		return "a further word is missing, one of " + strings.ReplaceAll(m[1], `"`, "")
	}},
	{regexp.MustCompile(`^missing flags?: (.*)$`), func(m []string) string {
		flags := strings.Split(strings.ReplaceAll(m[1], "=", " "), ", ")
		if len(flags) == 1 {
			return flags[0] + " is missing"
		}
		return strings.Join(flags, " and ") + " are missing"
	}},
	{regexp.MustCompile(`^[<\[]*(.*?)[>\]]* must be one of (.*) but got (.*)$`), func(m []string) string {
		name := m[1]
		if !strings.HasPrefix(name, "-") {
			name = strings.ToUpper(name)
		}
		return name + " is one of " + strings.ReplaceAll(strings.ReplaceAll(m[2], `"`, ""), ",", ", ") + ", not " + m[3]
	}},
	{regexp.MustCompile(`^(--[a-z-]+): expected .* but got "EOL"`), func(m []string) string { return m[1] + " needs a value" }},
	{regexp.MustCompile(`^(--[a-z-]+): expected .* but got (".*") \((short|long) flag\)`), func(m []string) string {
		return m[1] + " needs a value; one that begins with a dash is written " + m[1] + "=" + strings.Trim(m[2], `"`)
	}},
	{regexp.MustCompile(`^(--[a-z-]+ and --[a-z-]+) can't be used together`), func(m []string) string { return m[1] + " exclude each other" }},
	{regexp.MustCompile(`^unexpected argument (\S+), did you mean "(.*)"\?$`), func(m []string) string {
		return fmt.Sprintf("unknown word %q; did you mean %s?", m[1], m[2])
	}},
	{regexp.MustCompile(`^unexpected argument (.*)$`), func(m []string) string { return fmt.Sprintf("unexpected argument %q", m[1]) }},
	{regexp.MustCompile(`^unknown flag (-\S+), did you mean "(.*)"\?$`), func(m []string) string {
		return "unknown flag " + m[1] + "; did you mean " + m[2] + "?"
	}},
}

// parseError puts an error of the parser into the words of a user.
func parseError(err error) string {
	text := err.Error()
	for _, p := range parseWords {
		if m := p.pattern.FindStringSubmatch(text); m != nil {
			return p.words(m)
		}
	}
	return text
}

// nearest returns the one that a mistyped word may mean, or nothing.
func nearest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if i := slices.IndexFunc(known, func(k string) bool { return len(word) > 3 && strings.Contains(k, word) }); best == "" && i >= 0 {
		return known[i]
	}
	return best
}

// distance is the number of letters to change, add or leave out (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
