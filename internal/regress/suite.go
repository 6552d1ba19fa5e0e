package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pg_scribe/internal/pgtest"
)

// database is the name that the suite's files expect.
const database = "regression"

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

// prepare makes the suite's database with the settings that pg_regress gives it, and the folder of results.
func (s *suite) prepare(ctx context.Context, c *pgtest.Cluster, results string) error {
	// Tests write files there, as the server's user.
	for _, dir := range []string{results, filepath.Join(results, "results"), filepath.Join(results, "testtablespace")} {
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			return err
		}
	}
	sql := `CREATE DATABASE ` + database + ` TEMPLATE template0;
ALTER DATABASE ` + database + ` SET lc_messages TO 'C';
ALTER DATABASE ` + database + ` SET lc_monetary TO 'C';
ALTER DATABASE ` + database + ` SET lc_numeric TO 'C';
ALTER DATABASE ` + database + ` SET lc_time TO 'C';
ALTER DATABASE ` + database + ` SET bytea_output TO 'hex';
ALTER DATABASE ` + database + ` SET timezone_abbreviations TO 'Default';`
	return psql(ctx, c, "postgres", sql)
}

// run executes tests at the same time. Failed tests are no error: the expected output is that of another server; what
// counts is the difference between two runs.
func (s *suite) run(ctx context.Context, c *pgtest.Cluster, results string, tests []string) error {
	schedule := filepath.Join(results, "schedule")
	if err := os.WriteFile(schedule, []byte("test: "+strings.Join(tests, " ")+"\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.runner, "--use-existing", "--dbname="+database, "--dlpath="+s.dlpath, "--inputdir="+s.dir,
		"--outputdir="+results, "--bindir="+c.BinDir, "--host="+c.SocketDir, fmt.Sprintf("--port=%d", c.Port), "--user=postgres",
		"--max-concurrent-tests=20", "--schedule="+schedule)
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

func psql(ctx context.Context, c *pgtest.Cluster, db, sql string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.BinDir, "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", db, "-f", "-")
	cmd.Env = c.Env()
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w\n%s", err, out)
	}
	return nil
}
