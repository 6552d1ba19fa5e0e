package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// observation is all that is compared of a database and its cluster at a moment when nothing else changes them. What has
// no order is kept by name.
type observation struct {
	moment string // which tests had run
	lsn    catalog.LSN
	tables map[string]string
	schema string
	// By name, as text.
	sequences, largeObjects, roles map[string]string
}

const sequencesQuery = `SELECT format('%I.%I', n.nspname, c.relname),
  (xpath('/row/v/text()', query_to_xml(format('SELECT last_value || '' '' || is_called AS v FROM %I.%I', n.nspname, c.relname), false, true, '')))[1]::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND c.relpersistence = 'p' AND n.nspname <> 'scribe'`

// Large objects with owner, privileges, comment and contents.
const largeObjectsQuery = `SELECT m.oid, concat_ws(' ', pg_get_userbyid(m.lomowner), m.lomacl, obj_description(m.oid, 'pg_largeobject'),
  md5(lo_get(m.oid)))
FROM pg_largeobject_metadata m`

// observe looks at a database, and at the roles of its cluster.
func observe(ctx context.Context, c *pgtest.Cluster, db, moment string) (*observation, error) {
	o := &observation{moment: moment, tables: map[string]string{}}
	state, err := pgtest.Snapshot(ctx, c.ConnString(db), "")
	if err != nil {
		return nil, err
	}
	for name, hash := range state.Tables {
		o.tables[name] = hash.String()
	}
	if o.schema, err = c.NormalSchema(ctx, db); err != nil {
		return nil, err
	}
	for _, q := range []struct {
		to  *map[string]string
		sql string
	}{{&o.sequences, sequencesQuery}, {&o.largeObjects, largeObjectsQuery}} {
		if *q.to, err = pairs(ctx, c, db, q.sql); err != nil {
			return nil, err
		}
	}
	if o.roles, err = roleLines(ctx, c); err != nil {
		return nil, err
	}
	lsn, err := pairs(ctx, c, db, "SELECT 'lsn', pg_current_wal_insert_lsn()")
	if err != nil {
		return nil, err
	}
	o.lsn, err = catalog.ParseLSN(lsn["lsn"])
	return o, err
}

// pairs runs a query of two columns, the first of which is unique.
func pairs(ctx context.Context, c *pgtest.Cluster, db, sql string) (map[string]string, error) {
	const field, record = "\x1f", "\x1e"
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, "psql"), "-XqAt", "-F", field, "-R", record, "-v", "ON_ERROR_STOP=1", "-d", db, "-c", sql)
	cmd.Env = c.Env()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("psql: %w\n%s", err, stderrOf(err))
	}
	found := map[string]string{}
	for row := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), record) {
		if key, value, ok := strings.Cut(row, field); ok {
			found[key] = value
		}
	}
	return found, nil
}

// roleLines are the statements of pg_dumpall that make the roles, their settings and memberships. Passwords are in them.
func roleLines(ctx context.Context, c *pgtest.Cluster) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, "pg_dumpall"), "--roles-only")
	cmd.Env = c.Env()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("pg_dumpall: %w\n%s", err, stderrOf(err))
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") && !strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, "SET ") {
			lines[line] = "present"
		}
	}
	return lines, nil
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}

// difference is one thing in which a restored database is not its source.
type difference struct {
	kind string // table, schema, sequence, large object, role, statement, result
	what string // its name, or the line
	text string // for the reader
}

// compare lists where got is not want.
func compare(ctx context.Context, want, got *observation) ([]difference, error) {
	var found []difference
	for _, part := range []struct {
		kind      string
		want, got map[string]string
	}{
		{"table", want.tables, got.tables}, {"sequence", want.sequences, got.sequences},
		{"large object", want.largeObjects, got.largeObjects}, {"role", want.roles, got.roles},
	} {
		names := maps.Clone(part.want)
		maps.Copy(names, part.got)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			w, inWant := part.want[name]
			g, inGot := part.got[name]
			switch {
			case !inGot:
				found = append(found, difference{part.kind, name, "missing: " + w})
			case !inWant:
				found = append(found, difference{part.kind, name, "surplus: " + g})
			case w != g:
				found = append(found, difference{part.kind, name, "source " + w + ", restored " + g})
			}
		}
	}
	lines, err := diffText(ctx, want.schema, got.schema)
	for _, line := range lines {
		found = append(found, difference{"schema", line[1:], line})
	}
	return found, err
}

// diffText returns the lines that only one of two texts has, each behind - (want) or + (got), without empty lines and
// comments.
func diffText(ctx context.Context, want, got string) ([]string, error) {
	dir, err := os.MkdirTemp("", "pg_scribe-diff-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"want": want, "got": got} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	lines, err := diffFiles(ctx, filepath.Join(dir, "want"), filepath.Join(dir, "got"))
	return slices.DeleteFunc(lines, func(line string) bool { return len(line) < 2 || strings.HasPrefix(line[1:], "--") }), err
}

// diffFiles returns the lines that only one of two files has, each behind - or +.
func diffFiles(ctx context.Context, want, got string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "diff", "-a", "-U0", want, got)
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("diff: %w\n%s", err, stderrOf(err))
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if line[0] != '@' && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "+++") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines, nil
}
