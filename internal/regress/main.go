// Command regress proves the backup with PostgreSQL's own regression suite: the suite runs on a source whose every change
// is captured, and what is restored into an empty other cluster must equal the source, at the end and at random moments.
// Whatever differs must be in testdata/regress/known.txt with its cause.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pg_scribe/internal/pgtest"
)

func main() {
	r := &run{began: time.Now()}
	flag.IntVar(&r.moments, "moments", 10, "how many random moments are restored, beside the end")
	flag.Uint64Var(&r.seed, "seed", uint64(time.Now().UnixNano()), "which moments those are")
	flag.StringVar(&r.only, "only", "", "run just the groups that hold one of these tests, separated by commas, after test_setup")
	flag.StringVar(&r.keep, "keep", "", "folder that keeps repository and results (default: a temporary one, removed)")
	flag.StringVar(&r.knownFile, "known", "testdata/regress/known.txt", "list of accepted differences")
	flag.BoolVar(&r.noPlain, "no-plain", false, "leave out the runs without capture")
	flag.StringVar(&r.suites, "suites", "core,contrib,isolation", "which suites to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := r.all(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "regress: %v\n", err)
		os.Exit(1)
	}
}

type run struct {
	began           time.Time
	moments         int
	seed            uint64
	only, keep      string
	suites          string
	knownFile       string
	noPlain         bool
	binary, dir     string
	suite           *suite
	groups          [][]string
	known           []*known
	observed        []*observation // the last one is the end
	unknown, failed int            // differences without a cause; restores that did not end
}

func (r *run) say(format string, args ...any) {
	fmt.Printf("[%4.0f s] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) all(ctx context.Context) (err error) {
	if r.binary, err = filepath.Abs("bin/pg_scribe"); err != nil {
		return err
	}
	if _, err := os.Stat(r.binary); err != nil {
		return fmt.Errorf("run `make regress`, which builds it first: %w", err)
	}
	if r.known, err = readKnown(r.knownFile); err != nil {
		return err
	}
	if r.dir = r.keep; r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "pg_scribe-regress-"); err != nil {
			return err
		}
		defer os.RemoveAll(r.dir)
	}
	if err := errors.Join(os.MkdirAll(r.dir, 0o755), os.Chmod(r.dir, 0o755)); err != nil {
		return err
	}
	probe, err := r.cluster()
	if err != nil {
		return err
	}
	r.suite, err = fetchSuite(ctx, probe.Major, probe.BinDir, r.say)
	if err := errors.Join(err, probe.Stop()); err != nil {
		return err
	}
	suites := map[string]func(context.Context) error{"core": r.core, "contrib": r.contrib, "isolation": r.isolation}
	for name := range strings.SplitSeq(r.suites, ",") {
		run := suites[name]
		if run == nil {
			return fmt.Errorf("there is no suite %q", name)
		}
		if err := run(ctx); err != nil {
			return err
		}
	}
	return r.verdict()
}

// core runs the regression suite itself.
func (r *run) core(ctx context.Context) error {
	if err := r.choose(); err != nil {
		return err
	}
	if !r.noPlain {
		if err := r.plain(ctx); err != nil {
			return err
		}
	}
	source, err := r.cluster()
	if err != nil {
		return err
	}
	defer source.Stop()
	if err := r.captured(ctx, source); err != nil {
		return err
	}
	if !r.noPlain {
		if err := r.compareResults(ctx); err != nil {
			return err
		}
	}
	if err := r.marks(ctx); err != nil {
		return err
	}
	for _, o := range slices.Backward(r.observed) {
		if err := r.restored(ctx, o); err != nil {
			return err
		}
	}
	return r.byHand(ctx)
}

// cluster starts a server as the suite wants it.
func (r *run) cluster() (*pgtest.Cluster, error) {
	return pgtest.Start(pgtest.Options{Settings: map[string]string{
		"max_prepared_transactions": "2", "lc_messages": "C", "log_min_messages": "fatal",
		"client_connection_check_interval": "0", "max_wal_size": "4GB", "shared_buffers": "256MB",
	}})
}

// choose reads the schedule.
func (r *run) choose() error {
	groups, err := r.suite.groups()
	if err != nil {
		return err
	}
	if r.only != "" {
		wanted := strings.Split(r.only, ",")
		first := groups[0]
		groups = slices.DeleteFunc(groups, func(g []string) bool {
			return !slices.ContainsFunc(g, func(t string) bool { return slices.Contains(wanted, t) })
		})
		groups = slices.Insert(groups, 0, first)
	}
	r.groups = groups
	return nil
}

// plain runs the suite without capture, for its results.
func (r *run) plain(ctx context.Context) error {
	c, err := r.cluster()
	if err != nil {
		return err
	}
	defer c.Stop()
	r.say("The suite without capture")
	results := filepath.Join(r.dir, "plain")
	if err := r.suite.prepare(ctx, c, results); err != nil {
		return err
	}
	for _, group := range r.groups {
		if err := r.suite.run(ctx, c, results, group); err != nil {
			return err
		}
	}
	return nil
}

// sampleEvery is how often state that no event tells is sampled.
const sampleEvery = time.Second

// captured runs the suite under capture and looks at the source at random moments and at the end.
func (r *run) captured(ctx context.Context, source *pgtest.Cluster) (err error) {
	results := filepath.Join(r.dir, "captured")
	if err := r.suite.prepare(ctx, source, results); err != nil {
		return err
	}
	if err := r.scribe(ctx, source, os.Stdout, "init", "-d", source.ConnString(database)+" user="+backupRole, "-f", r.repository()); err != nil {
		return err
	}
	streamer, err := r.stream(ctx, source)
	if err != nil {
		return err
	}
	defer func() {
		if streamer != nil {
			_ = streamer.Process.Signal(syscall.SIGTERM)
			if e := streamer.Wait(); e != nil {
				err = errors.Join(err, fmt.Errorf("pg_scribe start: %w", e))
			}
		}
	}()
	r.say("The suite under capture; moments chosen by -seed %d", r.seed)
	random := rand.New(rand.NewPCG(r.seed, 0))
	boundaries := random.Perm(max(len(r.groups)-1, 0))
	// For some groups no streamer runs: killed, or its role locked out, it must not matter to anybody.
	const away = 4
	killed, locked := len(r.groups)/3, 2*len(r.groups)/3
	boundaries = slices.DeleteFunc(boundaries, func(i int) bool {
		return i >= killed && i < killed+away || i >= locked && i < locked+away
	})
	boundaries = boundaries[:min(r.moments, len(boundaries))]
	for i, group := range r.groups {
		switch {
		case i == killed && r.only == "":
			_ = streamer.Process.Kill()
			_ = streamer.Wait()
			streamer = nil
			r.say("pg_scribe start was killed")
		case i == locked && r.only == "":
			err := psql(ctx, source, "postgres", "ALTER ROLE "+backupRole+` NOLOGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+backupRole+"'")
			if err != nil {
				return err
			}
			r.say("The role of pg_scribe start was locked out: %v", streamer.Wait())
			streamer = nil
		case (i == killed+away || i == locked+away) && r.only == "":
			if err := psql(ctx, source, "postgres", "ALTER ROLE "+backupRole+" LOGIN"); err != nil {
				return err
			}
			if streamer, err = r.stream(ctx, source); err != nil {
				return err
			}
			r.say("pg_scribe start runs again")
		}
		if err := r.suite.run(ctx, source, results, group); err != nil {
			return err
		}
		if last := i == len(r.groups)-1; last || slices.Contains(boundaries, i) {
			time.Sleep(3 * sampleEvery) // whatever no event tells is in a sample then
			moment := "after " + group[len(group)-1]
			if last {
				moment = "the end"
			}
			o, err := observe(ctx, source, database, moment)
			if err != nil {
				return fmt.Errorf("the source %s: %w", moment, err)
			}
			r.observed = append(r.observed, o)
			r.say("Observed %s, at %s: %d tables", moment, o.lsn, len(o.tables))
		}
	}
	return nil
}

// stream starts pg_scribe start in the background.
func (r *run) stream(ctx context.Context, source *pgtest.Cluster) (*exec.Cmd, error) {
	cmd := r.command(ctx, source, "start", "-d", source.ConnString(database)+" user="+backupRole, "-f", r.repository(),
		"--state-interval", sampleEvery.String(), "-s", "30s", "-F", "1s")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd, cmd.Start()
}

func (r *run) repository() string { return filepath.Join(r.dir, "repository") }

// restored restores to the moment of an observation into a cluster of its own, and compares.
func (r *run) restored(ctx context.Context, want *observation) error {
	target, err := r.cluster()
	if err != nil {
		return err
	}
	defer target.Stop()
	report := new(strings.Builder)
	err = r.scribe(ctx, target, report, "restore", "-f", r.repository(), "-d", target.ConnString(database), "-C", "--globals", "all",
		"--target-lsn", want.lsn.String(), "--accept-gaps", "--search-path", "public")
	if err != nil {
		r.failed++
		r.say("Restore to %s (%s) failed:\n%s", want.lsn, want.moment, report)
		return nil
	}
	r.say("Restored to %s (%s)", want.lsn, want.moment)
	return r.judge(ctx, target, database, want, "restored "+want.moment)
}

// judge compares a target with the source as it was, and prints the differences that nothing explains.
func (r *run) judge(ctx context.Context, target *pgtest.Cluster, db string, want *observation, title string) error {
	got, err := observe(ctx, target, db, want.moment)
	if err != nil {
		r.failed++
		r.say("%s: cannot be compared: %v", title, err)
		return nil
	}
	if want.roles == nil {
		got.roles = nil
	}
	found, err := compare(ctx, want, got)
	if err != nil {
		return err
	}
	r.print(title, found)
	same := 0
	for name, hash := range want.tables {
		if got.tables[name] == hash {
			same++
		}
	}
	r.say("%s: %d of %d tables equal, %d schema lines, %d sequences, %d large objects, %d role lines on the source", title,
		same, len(want.tables), strings.Count(want.schema, "\n"), len(want.sequences), len(want.largeObjects), len(want.roles))
	return nil
}

// print shows what differs, what has a cause as one line for each cause.
func (r *run) print(title string, found []difference) {
	causes := map[*known]int{}
	count := map[string]int{}
	for _, d := range found {
		if k := explain(r.known, d); k != nil {
			causes[k]++
			continue
		}
		r.unknown++
		count[d.kind]++
		fmt.Printf("  %s %.300s: %.600s\n", d.kind, d.what, d.text)
	}
	for _, k := range r.known {
		if n := causes[k]; n > 0 {
			fmt.Printf("  known, %s, %d times: %s\n", k.kind, n, k.cause)
		}
	}
	r.say("%s: %d differences, %d of them unexplained %v", title, len(found), len(found)-sum(causes), count)
}

func sum(causes map[*known]int) (total int) {
	for _, n := range causes {
		total += n
	}
	return total
}

func (r *run) verdict() error {
	for _, k := range r.known {
		if k.used == 0 && r.only == "" && !r.noPlain && r.suites == "core,contrib,isolation" {
			fmt.Printf("note: %s:%d was not needed\n", r.knownFile, k.line)
		}
	}
	if r.unknown > 0 || r.failed > 0 {
		return fmt.Errorf("%d differences without a known cause, %d restores failed", r.unknown, r.failed)
	}
	r.say("Equal, but for what %s lists", r.knownFile)
	return nil
}

func (r *run) command(ctx context.Context, c *pgtest.Cluster, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.binary, args...)
	cmd.Env = c.Env()
	return cmd
}

func (r *run) scribe(ctx context.Context, c *pgtest.Cluster, out io.Writer, args ...string) error {
	cmd := r.command(ctx, c, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pg_scribe %s: %w", args[0], err)
	}
	return nil
}
