package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// phase finds the duration of one phase in restore's report.
func phase(report []byte, name string) (time.Duration, error) {
	var r struct {
		Phases []struct {
			Name    string  `json:"name"`
			Seconds float64 `json:"seconds"`
		} `json:"phases"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0, fmt.Errorf("restore's report: %w", err)
	}
	for _, p := range r.Phases {
		if p.Name == name {
			return time.Duration(p.Seconds * float64(time.Second)), nil
		}
	}
	return 0, fmt.Errorf("restore's report has no phase %q: %s", name, report)
}

// bases are the names of the repository's bases, oldest first.
func (b *bench) bases() []string {
	names, _ := filepath.Glob(filepath.Join(b.repo(), "base-*"))
	slices.Sort(names)
	return names
}

func (b *bench) firstBase() string { return filepath.Base(b.bases()[0]) }

// basePoint is the point of the newest base.
func (b *bench) basePoint() string {
	all := b.bases()
	return b.pointOf(filepath.Base(all[len(all)-1]))
}

// pointOf reads a base's point from its header.
func (b *bench) pointOf(name string) string {
	out, err := b.command("bash", "-c", "zstd -dc "+filepath.Join(b.repo(), name)+" 2>/dev/null | head -30 | sed -n 's/^-- start: //p'").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// rowStatements turns test_decoding's text into one SQL statement a row, as a
// plugin does that knows no COPY.
func rowStatements(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	src, dst := bufio.NewReaderSize(in, 1<<20), bufio.NewWriterSize(out, 1<<20)
	for {
		line, err := src.ReadString('\n')
		if line != "" {
			dst.WriteString(statement(strings.TrimSuffix(line, "\n")))
		}
		if errors.Is(err, io.EOF) {
			return dst.Flush()
		}
		if err != nil {
			return err
		}
	}
}

var typed = regexp.MustCompile(`(\w+)\[[^\]]*\]:('(?:[^']|'')*'|[^ ]+)`)

// statement is one line of test_decoding as SQL.
func statement(line string) string {
	rest, ok := strings.CutPrefix(line, "table ")
	if !ok {
		word, _, _ := strings.Cut(line, " ")
		return word + ";\n"
	}
	table, rest, _ := strings.Cut(rest, ": ")
	kind, rest, _ := strings.Cut(rest, ": ")
	columns := typed.FindAllStringSubmatch(rest, -1)
	var names, values, sets []string
	for _, c := range columns {
		names, values = append(names, c[1]), append(values, c[2])
		sets = append(sets, c[1]+" = "+c[2])
	}
	switch {
	case kind == "INSERT":
		return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ");\n"
	case kind == "UPDATE" && len(sets) > 0:
		return "UPDATE " + table + " SET " + strings.Join(sets, ", ") + " WHERE " + sets[0] + ";\n"
	case kind == "DELETE" && len(sets) > 0:
		return "DELETE FROM " + table + " WHERE " + strings.Join(sets, " AND ") + ";\n"
	}
	return line + "\n"
}
