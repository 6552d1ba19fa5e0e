package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"pg_scribe/internal/pgtest"
)

// excludedModules are contrib modules whose tests say nothing of a database: they configure the server, need a reload of
// it with a library, or another language than those installed.
var excludedModules = []string{"sepgsql", "basic_archive", "auto_explain", "pg_stat_statements", "test_decoding", "passwordcheck"}

// excludedSpecs are isolation specifications that take many minutes, one that renames a TOAST table, whose name holds an OID,
// by allow_system_table_mods, and one whose index calls a function that needs a
// setting of the session, which neither pg_dump's script nor any other restore has.
var excludedSpecs = regexp.MustCompile(`^(?:prepared-transactions(?:-cic)?|insert-conflict-specconflict|reindex-concurrently-toast)\.spec$`)

// module is a folder of tests that share a database.
type module struct {
	name  string
	dir   string
	tests []string
}

var (
	regressLine = regexp.MustCompile(`(?m)^REGRESS\s*:?\+?=(.*)$`)
	makeWord    = regexp.MustCompile(`\$\([^)]*\)`)
)

// modules lists the contrib modules that have tests and are installed.
func (s *suite) modules(available map[string]string) ([]module, error) {
	files, err := filepath.Glob(filepath.Join(s.contrib, "*", "Makefile"))
	if err != nil {
		return nil, err
	}
	var found []module
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m := module{name: filepath.Base(filepath.Dir(file)), dir: filepath.Dir(file)}
		for _, line := range regressLine.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "), -1) {
			m.tests = append(m.tests, strings.Fields(makeWord.ReplaceAllString(line[1], ""))...)
		}
		installed := available[m.name] != "" || m.name == "spi"
		if len(m.tests) > 0 && installed && !slices.Contains(excludedModules, m.name) {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no contrib module is installed")
	}
	return found, nil
}

// contrib runs the tests of each contrib module under capture, in a database and repository of its own.
func (r *run) contrib(ctx context.Context) error {
	source, target, err := r.pair()
	if err != nil {
		return err
	}
	defer source.Stop()
	defer target.Stop()
	available, err := pairs(ctx, source, "postgres", "SELECT name, default_version FROM pg_available_extensions")
	if err != nil {
		return err
	}
	modules, err := r.suite.modules(available)
	if err != nil {
		return err
	}
	for _, m := range modules {
		results := filepath.Join(r.dir, "contrib", m.name)
		work := func() error { return r.suite.runIn(ctx, source, "contrib_regression", m.dir, results, m.tests, 1) }
		if err := r.aside(ctx, source, target, "contrib_regression", "contrib "+m.name, results, work); err != nil {
			return err
		}
	}
	return nil
}

// isolation runs the specifications of the isolation suite, without capture and with it.
func (r *run) isolation(ctx context.Context) error {
	source, target, err := r.pair()
	if err != nil {
		return err
	}
	defer source.Stop()
	defer target.Stop()
	specs, err := filepath.Glob(filepath.Join(r.suite.dir, "../isolation/specs/*.spec"))
	if err != nil {
		return err
	}
	specs = slices.DeleteFunc(specs, func(s string) bool { return excludedSpecs.MatchString(filepath.Base(s)) })
	results := filepath.Join(r.dir, "isolation")
	all := func(kind string) error {
		dir := filepath.Join(results, kind)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, spec := range specs {
			if err := r.specification(ctx, source, spec, filepath.Join(dir, filepath.Base(spec)+".out")); err != nil {
				return err
			}
		}
		return nil
	}
	if !r.noPlain {
		r.say("%d isolation specifications without capture", len(specs))
		if err := psql(ctx, source, "postgres", "CREATE DATABASE isolation_regression TEMPLATE template0"); err != nil {
			return err
		}
		if err := all("plain"); err != nil {
			return err
		}
		if err := psql(ctx, source, "postgres", "DROP DATABASE isolation_regression WITH (FORCE)"); err != nil {
			return err
		}
	}
	if err := r.aside(ctx, source, target, "isolation_regression", "isolation", results, func() error { return all("captured") }); err != nil {
		return err
	}
	if r.noPlain {
		return nil
	}
	var found []difference
	for _, spec := range specs {
		name := filepath.Base(spec) + ".out"
		lines, err := diffFiles(ctx, filepath.Join(results, "plain", name), filepath.Join(results, "captured", name))
		if err != nil {
			return err
		}
		for _, line := range lines {
			found = append(found, difference{kind: "result", what: "isolation " + strings.TrimSuffix(name, ".spec.out") + ": " + strings.TrimSpace(line[1:]),
				text: line})
		}
	}
	r.print("isolation with capture against without", found)
	return nil
}

// specification runs one of the isolation suite. That it fails is a result like another.
func (r *run) specification(ctx context.Context, c *pgtest.Cluster, spec, out string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	in, err := os.Open(spec)
	if err != nil {
		return err
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(r.suite.dlpath, "isolationtester"), c.ConnString("isolation_regression"))
	cmd.Env = c.Env()
	cmd.Stdin = in
	text, err := cmd.CombinedOutput()
	if err != nil {
		text = fmt.Appendf(text, "%v\n", err)
	}
	return errors.Join(ctx.Err(), os.WriteFile(out, text, 0o644))
}

func (r *run) pair() (source, target *pgtest.Cluster, err error) {
	if source, err = r.cluster(); err != nil {
		return nil, nil, err
	}
	if target, err = r.cluster(); err != nil {
		return nil, nil, errors.Join(err, source.Stop())
	}
	return source, target, nil
}

// aside captures work in a new database of the source, restores it into the target, compares, and removes both.
func (r *run) aside(ctx context.Context, source, target *pgtest.Cluster, db, title, results string, work func() error) error {
	if err := psql(ctx, source, "postgres", "CREATE DATABASE "+db+" TEMPLATE template0"); err != nil {
		return err
	}
	repository := filepath.Join(results, "repository")
	if err := os.MkdirAll(results, 0o755); err != nil {
		return err
	}
	report := new(strings.Builder)
	if err := r.scribe(ctx, source, report, "init", "-d", source.ConnString(db), "-f", repository); err != nil {
		return fmt.Errorf("%s: %w\n%s", title, err, report)
	}
	streamer := r.command(context.WithoutCancel(ctx), source, "start", "-d", source.ConnString(db), "-f", repository, "--state-interval", sampleEvery.String())
	streamer.Stdout, streamer.Stderr = report, report
	if err := streamer.Start(); err != nil {
		return err
	}
	err := work()
	if err == nil {
		time.Sleep(2 * sampleEvery)
	}
	_ = streamer.Process.Signal(syscall.SIGTERM)
	if err = errors.Join(err, streamer.Wait()); err != nil {
		return fmt.Errorf("%s: %w\n%s", title, err, report)
	}
	want, err := observe(ctx, source, db, title)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	want.roles = nil // those of all modules meet in the target
	report.Reset()
	// A streamer that is stopped does not wait for all of a long backlog.
	if err := r.scribe(ctx, source, report, "start", "-d", source.ConnString(db), "-f", repository, "--state-interval", "0", "--endpos",
		want.lsn.String()); err != nil {
		return fmt.Errorf("%s: %w\n%s", title, err, report)
	}
	if err := r.scribe(ctx, target, report, "restore", "-f", repository, "-d", target.ConnString(db), "-C", "--globals", "all", "--accept-gaps", "--search-path",
		"public"); err != nil {
		r.failed++
		r.say("%s: the restore failed:\n%s", title, report)
	} else if err := r.judge(ctx, target, db, want, title); err != nil {
		return err
	}
	if err := r.scribe(ctx, source, report, "drop", "-d", source.ConnString(db), "-f", repository, "--yes"); err != nil {
		return fmt.Errorf("%s: %w\n%s", title, err, report)
	}
	return errors.Join(psql(ctx, source, "postgres", "DROP DATABASE "+db+" WITH (FORCE)"), psql(ctx, target, "postgres", "DROP DATABASE IF EXISTS "+db+
		" WITH (FORCE)"))
}
