package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// known is one accepted difference: its kind, a pattern for what differs, and the cause.
type known struct {
	kind    string
	pattern *regexp.Regexp
	cause   string
	line    int
	used    int
}

// readKnown reads the list of accepted differences. Each line is KIND, a regular expression for the whole of what
// differs, and a cause, separated by tabs.
func readKnown(path string) ([]*known, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []*known
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if text := strings.TrimSpace(lines.Text()); text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		fields := strings.FieldsFunc(lines.Text(), func(r rune) bool { return r == '\t' })
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s:%d: want kind, pattern and cause, separated by tabs", path, n)
		}
		pattern, err := regexp.Compile("^(?s:" + fields[1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		list = append(list, &known{kind: fields[0], pattern: pattern, cause: fields[2], line: n})
	}
	return list, lines.Err()
}

// explain returns the entry that accepts d, or nil.
func explain(list []*known, d difference) *known {
	for _, k := range list {
		if k.kind == d.kind && k.pattern.MatchString(d.what) {
			k.used++
			return k
		}
	}
	return nil
}
