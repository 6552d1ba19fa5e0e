package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// SchemaDump is pg_dump's text of the schema, owners and privileges included, without what pg_scribe adds to a source
// (schema scribe, publications, event triggers and replica identities) and without what differs from run to run.
// An empty snapshotID means now.
func (c *Cluster) SchemaDump(ctx context.Context, db, snapshotID string) (string, error) {
	return c.SchemaDumpOf(ctx, c, db, snapshotID)
}

// SchemaDumpOf is the schema of a database of another cluster, whose version is not newer, by this cluster's pg_dump.
func (c *Cluster) SchemaDumpOf(ctx context.Context, other *Cluster, db, snapshotID string) (string, error) {
	args := []string{"-s", "-N", "scribe", "--no-publications", "--no-subscriptions", "-d", other.ConnString(db)}
	if snapshotID != "" {
		args = append(args, "--snapshot="+snapshotID)
	}
	out, err := c.output(ctx, "", "pg_dump", args...)
	if err != nil {
		return "", err
	}
	return normalizeDump(out), nil
}

// NormalSchema is the schema after one dump and restore. pg_dump prints some expressions otherwise once they were
// restored, and the same from then on, so only this form can be compared between a source and a restored database.
func (c *Cluster) NormalSchema(ctx context.Context, db string) (string, error) {
	dump, err := c.SchemaDump(ctx, db, "")
	if err != nil {
		return "", err
	}
	return c.Normalize(ctx, dump, db)
}

// Normalize makes the form that NormalSchema returns of a schema dump, which may be of another cluster if the roles that
// it names exist here. Encoding and locale are those of database like of this cluster.
func (c *Cluster) Normalize(ctx context.Context, dump, like string) (schema string, err error) {
	create, err := c.query(ctx, "postgres", `SELECT format('ENCODING %L LC_COLLATE %L LC_CTYPE %L',
		pg_encoding_to_char(encoding), datcollate, datctype) FROM pg_database WHERE datname = `+quoteLiteral(like))
	if err != nil {
		return "", err
	}
	if len(create) == 0 {
		return "", fmt.Errorf("no database %q", like)
	}
	scratch := fmt.Sprintf("pgtest_normal_%d", lastDB.Add(1))
	if _, err := c.query(ctx, "postgres", "CREATE DATABASE "+scratch+" TEMPLATE template0 "+create[0][0]); err != nil {
		return "", err
	}
	defer func() {
		// The database has to go even when ctx has ended.
		err = errors.Join(err, c.dropDB(context.WithoutCancel(ctx), scratch))
	}()
	if _, err := c.output(ctx, dump, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", c.ConnString(scratch)); err != nil {
		return "", err
	}
	return c.SchemaDump(ctx, scratch, "")
}

// output runs a client program with the given input.
func (c *Cluster) output(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, name), args...)
	cmd.Env = c.Env()
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, stderr.String())
	}
	return stdout.String(), nil
}

var (
	// entryHeader is the second of the three comment lines above each object.
	entryHeader = regexp.MustCompile(`^-- Name: .*; Type: [A-Z ]+; Schema: .*; Owner: `)
	ourEntry    = regexp.MustCompile(`^-- Name: (!?scribe_.*; Type: EVENT TRIGGER|EVENT TRIGGER !?scribe_.*; Type: COMMENT); Schema: -; `)
	// noise is what differs from run to run: versions, the random key of the latest minor releases, and a setting that
	// servers before version 17 do not know.
	noise = regexp.MustCompile(`^(-- Dumped (from database|by pg_dump) version |\\(un)?restrict |SET transaction_timeout )`)
	// serverOptions are what the newest minor versions keep among the options of a column; their pg_dump hides it.
	serverOptions = regexp.MustCompile(`(?m)^ALTER (?:FOREIGN )?TABLE ONLY .* ALTER COLUMN .* SET \(pg_attver=\d+\);\n|\bpg_attver=\d+, `)
	// A name in it may hold line ends.
	replicaIdentity = regexp.MustCompile(`(?m)\n^ALTER TABLE ONLY ("(?:[^"]|"")*"|[^\s".]+)\.("(?:[^"]|"")*"|[^\s".]+) REPLICA IDENTITY ` +
		`(FULL|NOTHING|USING INDEX ` +
		`("(?:[^"]|"")*"|[^\s".;]+));\n`)
)

func normalizeDump(dump string) string {
	const end = "-- PostgreSQL database dump complete"
	dump = serverOptions.ReplaceAllString(replicaIdentity.ReplaceAllString(dump, ""), "")
	lines := strings.Split(dump, "\n")
	kept := make([]string, 0, len(lines))
	skip := false
	for i, line := range lines {
		if line == "--" && i+1 < len(lines) && (entryHeader.MatchString(lines[i+1]) || lines[i+1] == end) {
			skip = ourEntry.MatchString(lines[i+1])
		}
		switch {
		case skip:
		case noise.MatchString(line):
			// The empty line above belongs to it.
			if n := len(kept); n > 0 && kept[n-1] == "" {
				kept = kept[:n-1]
			}
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
