// Command bench measures pg_scribe against its peers on one machine in one
// run, and prints ratios: absolute times say more about the machine than about
// the programs. The workload, W1, is about a million row changes: pgbench
// transactions, one large INSERT, one large UPDATE.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
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
	scale := flag.Float64("scale", 1, "size of the workload; 1 is a million row changes")
	rounds := flag.Int("rounds", 3, "times that each contender runs; the median counts")
	huge := flag.Int("huge", 10_000_000, "rows of the one transaction that measures memory; 0: leave it out")
	onlyReplay := flag.Bool("replay", false, "measure only the replay of segments")
	onlyDDL := flag.Bool("ddl", false, "measure only what the capture costs DDL commands")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx, scale: *scale, rounds: *rounds, huge: *huge, onlyDDL: *onlyDDL, onlyReplay: *onlyReplay}
	if err := b.run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	ctx          context.Context
	scale        float64
	rounds, huge int
	onlyDDL      bool
	onlyReplay   bool
	cluster      *pgtest.Cluster
	binary, work string
	end          string // LSN behind the workload
	rows         []row
}

// row is one line of the table that is printed last.
type row struct {
	id, what           string
	ours, peer         string
	ratio, goal, limit float64
}

func (b *bench) repo() string { return filepath.Join(b.work, "repo") }

func (b *bench) run() (err error) {
	if b.binary, err = filepath.Abs("bin/pg_scribe"); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "pg_scribe-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	os.Chmod(b.work, 0o755)
	b.cluster, err = pgtest.Start(pgtest.Options{Settings: map[string]string{"shared_buffers": "1GB",
		"synchronous_commit": "off", "max_wal_size": "8GB", "autovacuum": "off"}})
	if err != nil {
		return err
	}
	defer b.cluster.Stop()
	steps := []func() error{b.prepare, b.base, b.receive, b.size, b.replay, b.memory, b.ddl, b.rewriting}
	if b.onlyReplay {
		steps = []func() error{b.prepare, b.stream, b.replay}
	}
	if b.onlyDDL {
		steps = []func() error{b.ddl, b.rewriting}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	b.print()
	return nil
}

// prepare makes the database, begins the backup, and runs the workload.
func (b *bench) prepare() error {
	fmt.Printf("workload W1 at scale %g\n", b.scale)
	if err := b.tool(nil, "createdb", "bench"); err != nil {
		return err
	}
	if err := b.tool(nil, "pgbench", "-q", "-i", "-s", "20", "bench"); err != nil {
		return err
	}
	if err := b.sql(`CREATE TABLE wide (id bigserial PRIMARY KEY, a int, b text, c timestamptz DEFAULT now(), d numeric, e jsonb, f boolean);
	  ALTER TABLE pgbench_history REPLICA IDENTITY FULL;
	  CREATE PUBLICATION native FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history, wide`); err != nil {
		return err
	}
	if err := b.scribe(nil, "init", "-d", b.conn("bench"), "-f", b.repo()); err != nil {
		return err
	}
	if err := b.sql("SELECT pg_copy_logical_replication_slot('pg_scribe', 'keep')"); err != nil {
		return err
	}
	if err := b.tool(nil, "pgbench", "-n", "-c", "4", "-t", fmt.Sprint(int(25000*b.scale)), "bench"); err != nil {
		return err
	}
	if err := b.sql(fmt.Sprintf(`INSERT INTO wide (a, b, d, e, f) SELECT g, 'row number ' || g || ' ' || md5(g::text), g * 1.37,
	  jsonb_build_object('k', g, 'v', md5(g::text)), g %% 2 = 0 FROM generate_series(1, %d) g`, int(500000*b.scale))); err != nil {
		return err
	}
	if err := b.sql("UPDATE wide SET a = a + 1 WHERE id % 4 = 0"); err != nil {
		return err
	}
	end, err := b.position()
	b.end = end
	return err
}

// position makes the server write out its WAL and returns where it ends.
func (b *bench) position() (string, error) {
	// The message's commit writes out what committed before, so it has to be over.
	if err := b.sql("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'bench', '')"); err != nil {
		return "", err
	}
	return b.query("SELECT pg_current_wal_flush_lsn()")
}

// base measures full-backup against pg_dump | zstd (R4) and the restore of the
// base against pg_restore -j2 (R5).
func (b *bench) base() error {
	dump := filepath.Join(b.work, "dump.sql.zst")
	archive := filepath.Join(b.work, "dump.dir")
	var ours, peer []time.Duration
	for range b.rounds {
		if err := timed(&ours, func() error { return b.scribe(nil, "full-backup", "-d", b.conn("bench"), "-f", b.repo()) }); err != nil {
			return err
		}
		if err := timed(&peer, func() error { return b.shell("pg_dump -d bench | zstd -q -3 -f -o " + dump) }); err != nil {
			return err
		}
	}
	b.add("R4", "full-backup / pg_dump | zstd -3", ours, peer, 1.00, 1.10)
	if err := b.tool(nil, "pg_dump", "-Fd", "-j2", "-f", archive, "bench"); err != nil {
		return err
	}
	ours, peer = nil, nil
	for i := range b.rounds {
		name := fmt.Sprintf("base%d", i)
		err := timed(&ours, func() error {
			return b.scribe(nil, "restore", "-d", b.conn(name), "-C", "-f", b.repo(), "--target-lsn", b.basePoint(), "--target-exclusive")
		})
		if err != nil {
			return err
		}
		err = timed(&peer, func() error {
			if err := b.tool(nil, "createdb", "-T", "template0", name+"p"); err != nil {
				return err
			}
			return b.tool(nil, "pg_restore", "-j2", "-d", name+"p", archive)
		})
		if err != nil {
			return err
		}
		if err := b.tool(nil, "dropdb", name); err != nil {
			return err
		}
		if err := b.tool(nil, "dropdb", name+"p"); err != nil {
			return err
		}
	}
	b.add("R5", "restore of a base / pg_restore -j2", ours, peer, 0.70, 1.00)
	return nil
}

// receive measures start against pg_recvlogical (R1). Each contender reads
// the same WAL through a copy of one slot.
func (b *bench) receive() error {
	pristine := filepath.Join(b.work, "pristine")
	if err := b.shell("cp -a " + b.repo() + " " + pristine); err != nil {
		return err
	}
	var ours, peer []time.Duration
	for range b.rounds {
		if err := b.sql("SELECT pg_copy_logical_replication_slot('keep', 'peer')"); err != nil {
			return err
		}
		err := timed(&peer, func() error {
			return b.tool(nil, "pg_recvlogical", "-d", "bench", "--slot", "peer", "--start", "--endpos", b.end, "--no-loop",
				"-o", "proto_version=1", "-o", "publication_names=pg_scribe", "-f", "/dev/null")
		})
		if err != nil {
			return err
		}
		if err := b.sql("SELECT pg_drop_replication_slot('peer')"); err != nil {
			return err
		}
		if err := b.sql("SELECT pg_drop_replication_slot('pg_scribe')"); err != nil {
			return err
		}
		if err := b.sql("SELECT pg_copy_logical_replication_slot('keep', 'pg_scribe')"); err != nil {
			return err
		}
		if err := b.shell("rm -rf " + b.repo() + " && cp -a " + pristine + " " + b.repo()); err != nil {
			return err
		}
		err = timed(&ours, func() error {
			return b.scribe(nil, "start", "-d", b.conn("bench"), "-f", b.repo(), "--endpos", b.end, "--no-loop")
		})
		if err != nil {
			return err
		}
	}
	b.add("R1", "start / pg_recvlogical + pgoutput to /dev/null", ours, peer, 1.00, 1.25)
	return nil
}

// stream brings the workload into segments.
func (b *bench) stream() error {
	return b.scribe(nil, "start", "-d", b.conn("bench"), "-f", b.repo(), "--endpos", b.end, "--no-loop")
}

// size compares the bytes of the segments with what a plugin that writes one
// SQL statement a row leaves after zstd -3 (R6). The statements are made from
// test_decoding's text of the same WAL.
func (b *bench) size() error {
	if err := b.sql("SELECT pg_copy_logical_replication_slot('keep', 'plain', false, 'test_decoding')"); err != nil {
		return err
	}
	raw := filepath.Join(b.work, "rows.sql")
	if err := b.tool(nil, "pg_recvlogical", "-d", "bench", "--slot", "plain", "--start", "--endpos", b.end, "--no-loop", "-f", raw+".td"); err != nil {
		return err
	}
	if err := b.sql("SELECT pg_drop_replication_slot('plain')"); err != nil {
		return err
	}
	if err := rowStatements(raw+".td", raw); err != nil {
		return err
	}
	if err := b.shell("zstd -q -3 -f " + raw); err != nil {
		return err
	}
	peer, err := os.Stat(raw + ".zst")
	if err != nil {
		return err
	}
	var ours int64
	names, err := filepath.Glob(filepath.Join(b.repo(), "incremental-*"))
	if err != nil {
		return err
	}
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			return err
		}
		ours += info.Size()
	}
	b.rows = append(b.rows, row{"R6", "segments / one SQL statement a row through zstd -3", megabytes(ours), megabytes(peer.Size()),
		float64(ours) / float64(peer.Size()), 0.80, 1.10})
	return nil
}

// replay measures the replay of W1's segments, as net effects and in order,
// against psql -f of the same text (R2) and against a native subscription (R3),
// each behind the same base.
func (b *bench) replay() error {
	first := b.firstBase()
	text := filepath.Join(b.work, "w1.sql")
	if err := b.shell("for f in " + filepath.Join(b.repo(), "incremental-*.sql.zst") + "; do zstd -dc $f; done > " + text); err != nil {
		return err
	}
	var ours, ordered, peer, native []time.Duration
	for range b.rounds {
		for how, list := range map[string]*[]time.Duration{"net": &ours, "ordered": &ordered} {
			var out bytes.Buffer
			if err := b.scribe(&out, "restore", "-d", b.conn("replay"), "-C", "-f", b.repo(), "--base-backup", first, "--target-lsn", b.end, "--apply", how,
				"--output", "json"); err != nil {
				return err
			}
			d, err := phase(out.Bytes(), "replay")
			if err != nil {
				return err
			}
			*list = append(*list, d)
			if err := b.tool(nil, "dropdb", "replay"); err != nil {
				return err
			}
		}
		if err := b.subscribe(&native); err != nil {
			return err
		}
	}
	if err := b.scribe(nil, "restore", "-d", b.conn("psql"), "-C", "-f", b.repo(), "--base-backup", first,
		"--target-lsn", b.pointOf(first), "--target-exclusive"); err != nil {
		return err
	}
	if err := timed(&peer, func() error {
		return b.tool(nil, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "psql", "-f", text)
	}); err != nil {
		return err
	}
	b.add("R2", "replay of the segments / psql -f of them", ours, peer, 0.05, 0.15)
	b.add("", "… in order / psql -f of them", ordered, peer, 0.15, 0.30)
	b.add("R3", "replay of the segments / a native subscription", ours, native, 0.30, 0.70)
	return b.tool(nil, "dropdb", "psql")
}

// memory measures the peak of start and restore on one huge transaction (R8).
func (b *bench) memory() error {
	if b.huge == 0 {
		return nil
	}
	if err := b.sql(fmt.Sprintf("INSERT INTO wide (a, b) SELECT g, 'row ' || g FROM generate_series(1, %d) g", b.huge)); err != nil {
		return err
	}
	end, err := b.position()
	if err != nil {
		return err
	}
	rss, err := b.peak("start", "-d", b.conn("bench"), "-f", b.repo(), "--endpos", end, "--no-loop")
	if err != nil {
		return err
	}
	what := fmt.Sprintf("peak memory, one transaction of %d rows: ", b.huge)
	b.rows = append(b.rows, row{"R8", what + "start, MB", megabytes(rss), "-", float64(rss) / (1 << 20), 64, 256})
	if rss, err = b.peak("restore", "-d", b.conn("huge"), "-C", "-f", b.repo()); err != nil {
		return err
	}
	b.rows = append(b.rows, row{"R8", what + "restore, MB", megabytes(rss), "-", float64(rss) / (1 << 20), 64, 256})
	return nil
}

func (b *bench) add(id, what string, ours, peer []time.Duration, goal, limit float64) {
	o, p := median(ours), median(peer)
	b.rows = append(b.rows, row{id, what, fmt.Sprintf("%.2fs", o.Seconds()), fmt.Sprintf("%.2fs", p.Seconds()),
		o.Seconds() / p.Seconds(), goal, limit})
	r := b.rows[len(b.rows)-1]
	fmt.Printf("%s %s: ours %v, peer %v, ratio %.2f\n", id, what, ours, peer, r.ratio)
}

func (b *bench) print() {
	fmt.Printf("\n%-4s %-66s %10s %10s %8s %6s %6s\n", "", "", "ours", "peer", "ratio", "goal", "limit")
	slices.SortStableFunc(b.rows, func(x, y row) int { return strings.Compare(x.id, y.id) })
	for _, r := range b.rows {
		verdict := "within the limit"
		switch {
		case r.ratio <= r.goal:
			verdict = "goal reached"
		case r.ratio > r.limit:
			verdict = "OVER THE LIMIT"
		}
		fmt.Printf("%-4s %-66s %10s %10s %8.2f %6.2f %6.2f  %s\n", r.id, r.what, r.ours, r.peer, r.ratio, r.goal, r.limit, verdict)
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func timed(list *[]time.Duration, f func() error) error {
	began := time.Now()
	err := f()
	*list = append(*list, time.Since(began).Round(time.Millisecond))
	return err
}

func megabytes(n int64) string { return fmt.Sprintf("%.1fMB", float64(n)/1e6) }

func (b *bench) conn(db string) string { return b.cluster.ConnString(db) }

// command makes a command that sees the cluster; its errors carry its output.
func (b *bench) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Env = b.cluster.Env()
	return cmd
}

func finish(cmd *exec.Cmd, stdout *bytes.Buffer) error {
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, words.String())
	}
	return nil
}

func (b *bench) tool(stdout *bytes.Buffer, name string, args ...string) error {
	cmd := b.cluster.Command(name, args...)
	return finish(cmd, stdout)
}

func (b *bench) scribe(stdout *bytes.Buffer, args ...string) error {
	return finish(b.command(b.binary, args...), stdout)
}

func (b *bench) shell(script string) error {
	return finish(b.command("bash", "-c", "set -e -o pipefail; "+script), nil)
}

func (b *bench) sql(text string) error {
	return b.tool(nil, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "bench", "-c", text)
}

func (b *bench) query(text string) (string, error) {
	var out bytes.Buffer
	err := b.tool(&out, "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", "bench", "-c", text)
	return strings.TrimSpace(out.String()), err
}

// peak runs the program and returns its largest resident set, in bytes.
func (b *bench) peak(args ...string) (int64, error) {
	cmd := b.command(b.binary, args...)
	if err := finish(cmd, nil); err != nil {
		return 0, err
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}
