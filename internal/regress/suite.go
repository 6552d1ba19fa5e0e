package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pg_scribe/internal/pgtest"
)

// database is the name that the suite's files expect.
const database = "regression"

// backupRole is whom the capture runs as.
const backupRole = "backup_operator"

// groups are the lines of the schedule: tests of one group run at the same time.
func (s *suite) groups() ([][]string, error) {
	f, err := os.Open(filepath.Join(s.dir, "parallel_schedule"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var groups [][]string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if tests, ok := strings.CutPrefix(lines.Text(), "test:"); ok {
			groups = append(groups, strings.Fields(tests))
		}
	}
	if len(groups) == 0 {
		return nil, errors.New("the schedule of the regression suite holds no tests")
	}
	return groups, nil
}

// prepare makes the suite's database with the settings that pg_regress gives it, the role for the capture, and the folder
// of results.
func (s *suite) prepare(ctx context.Context, c *pgtest.Cluster, results string) error {
	if err := makeResults(results); err != nil {
		return err
	}
	sql := `CREATE ROLE ` + backupRole + ` SUPERUSER LOGIN;
CREATE DATABASE ` + database + ` TEMPLATE template0;
ALTER DATABASE ` + database + ` SET lc_messages TO 'C';
ALTER DATABASE ` + database + ` SET lc_monetary TO 'C';
ALTER DATABASE ` + database + ` SET lc_numeric TO 'C';
ALTER DATABASE ` + database + ` SET lc_time TO 'C';
ALTER DATABASE ` + database + ` SET bytea_output TO 'hex';
ALTER DATABASE ` + database + ` SET timezone_abbreviations TO 'Default';`
	return psql(ctx, c, "postgres", sql)
}

// run executes tests at the same time.
func (s *suite) run(ctx context.Context, c *pgtest.Cluster, results string, tests []string) error {
	return s.runIn(ctx, c, database, s.dir, results, tests, 20)
}

// runIn executes tests of a folder, so many at a time. Failed tests are no error: the expected output is that of another
// server; what counts is the difference between two runs.
func (s *suite) runIn(ctx context.Context, c *pgtest.Cluster, db, dir, results string, tests []string, together int) error {
	schedule := filepath.Join(results, "schedule")
	var text strings.Builder
	for group := range slices.Chunk(tests, together) {
		fmt.Fprintf(&text, "test: %s\n", strings.Join(group, " "))
	}
	if err := errors.Join(makeResults(results), os.WriteFile(schedule, []byte(text.String()), 0o644)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.runner, "--use-existing", "--dbname="+db, "--dlpath="+s.dlpath, "--inputdir="+dir,
		"--outputdir="+results, "--bindir="+c.BinDir, "--host="+c.SocketDir, fmt.Sprintf("--port=%d", c.Port), "--user=postgres",
		"--schedule="+schedule)
	cmd.Env = c.Env()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && ctx.Err() == nil && strings.Contains(string(out), "tests failed") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pg_regress: %w\n%s", err, out)
	}
	return nil
}

// makeResults makes the folder of results. Tests write files there, as the server's user.
func makeResults(results string) error {
	for _, dir := range []string{results, filepath.Join(results, "results"), filepath.Join(results, "testtablespace")} {
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			return err
		}
	}
	return nil
}

func psql(ctx context.Context, c *pgtest.Cluster, db, sql string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", db, "-f", "-")
	cmd.Env = c.Env()
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w\n%s", err, out)
	}
	return nil
}
