// Command demo shows pg_scribe's main job from end to end on throwaway
// clusters: a live database is backed up without a pause, somebody makes a
// mistake, and the database comes back as it was a moment before. It prints
// every command, so that each can be tried by hand, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// demo is the stage: two servers, a repository, and the program.
type demo struct {
	source, target *pgtest.Cluster
	binary, repo   string
	began          time.Time
}

func run(ctx context.Context) (err error) {
	d := &demo{began: time.Now()}
	if d.binary, err = filepath.Abs("bin/pg_scribe"); err != nil {
		return err
	}
	if _, err := os.Stat(d.binary); err != nil {
		return fmt.Errorf("run `make demo`, which builds it first: %w", err)
	}
	work, err := os.MkdirTemp("", "pg_scribe-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	d.repo = filepath.Join(work, "backup")

	d.say("Two throwaway PostgreSQL clusters: a source and a target")
	if d.source, err = pgtest.Start(pgtest.Options{}); err != nil {
		return err
	}
	defer d.source.Stop()
	if d.target, err = pgtest.Start(pgtest.Options{}); err != nil {
		return err
	}
	defer d.target.Stop()
	return d.play(ctx)
}

func (d *demo) play(ctx context.Context) error {
	source := d.source.ConnString("shop")
	steps := []func() error{
		func() error { return d.tool("createdb", "shop") },
		func() error { return d.tool("pgbench", "-q", "-i", "-s", "5", "shop") },
		func() error {
			return d.sql(`CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text, price numeric(10,2), at timestamptz DEFAULT now());
ALTER TABLE pgbench_history ADD COLUMN id bigserial PRIMARY KEY`)
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	d.say("The application keeps writing from here on")
	load := d.source.Command("pgbench", "-n", "-c", "2", "-T", "300", "-R", "400", "shop")
	if err := load.Start(); err != nil {
		return err
	}
	stopLoad := func() {
		load.Process.Signal(syscall.SIGINT)
		load.Wait()
	}
	defer stopLoad()

	d.say("1. Begin the backup: checks, capture of DDL, slot, first base")
	if err := d.scribe(ctx, "--init", "-d", source, "-f", d.repo); err != nil {
		return err
	}
	d.say("2. Stream every change into SQL files, for as long as the database lives")
	stream, err := d.background("--start", "-d", source, "-f", d.repo, "-s", "2s", "-F", "1s")
	if err != nil {
		return err
	}
	defer stream()
	if err := d.sql(`INSERT INTO orders (item, price) SELECT 'item ' || g, g * 1.01 FROM generate_series(1, 50000) g`); err != nil {
		return err
	}
	d.say("3. Another base, and schema changes, while both go on")
	if err := d.scribe(ctx, "--full-backup", "-d", source, "-f", d.repo); err != nil {
		return err
	}
	if err := d.sql(`ALTER TABLE orders ADD COLUMN state text DEFAULT 'new';
CREATE INDEX orders_at ON orders (at);
CREATE VIEW dear_orders AS SELECT * FROM orders WHERE price > 40000;
UPDATE orders SET state = 'paid' WHERE id % 3 = 0`); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	return d.mistake(ctx, stopLoad)
}

// mistake ruins the source and brings it back from the repository.
func (d *demo) mistake(ctx context.Context, stopLoad func()) error {
	stopLoad()
	before, err := pgtest.Snapshot(ctx, d.source.ConnString("shop"), "")
	if err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	at := time.Now().UTC().Format("2006-01-02 15:04:05.000000+00")
	time.Sleep(100 * time.Millisecond)
	d.say("4. At " + at + ", somebody forgets the WHERE")
	if err := d.sql("DELETE FROM orders; DROP VIEW dear_orders; UPDATE pgbench_accounts SET abalance = 0"); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	d.say("5. What is there, and is it whole?")
	if err := d.scribe(ctx, "--status", "-f", d.repo); err != nil {
		return err
	}
	d.say("6. Restore to the moment before")
	if err := d.scribe(ctx, "--restore", "-f", d.repo, "-d", d.target.ConnString("rescued"), "-C", "--target-time", at); err != nil {
		return err
	}
	return d.prove(ctx, before)
}

// prove compares the restored database with the source as it was.
func (d *demo) prove(ctx context.Context, before pgtest.State) error {
	after, err := pgtest.Snapshot(ctx, d.source.ConnString("shop"), "")
	if err != nil {
		return err
	}
	restored, err := pgtest.Snapshot(ctx, d.target.ConnString("rescued"), "")
	if err != nil {
		return err
	}
	d.say("7. Proof: rows and content hash of every table")
	fmt.Printf("%-28s %28s %28s %28s\n", "table", "source then", "restored now", "source now")
	for _, name := range slices.Sorted(maps.Keys(before.Tables)) {
		show := func(s pgtest.State) string {
			h := s.Tables[name].Hash
			return fmt.Sprintf("%d %s", s.Tables[name].Rows, h[:min(16, len(h))])
		}
		fmt.Printf("%-28s %28s %28s %28s\n", name, show(before), show(restored), show(after))
	}
	if diff := pgtest.Diff(before, restored); diff != "" {
		return errors.New("the restored database differs:\n" + diff)
	}
	fmt.Printf("\nEqual. The demo took %s and leaves nothing behind.\n", time.Since(d.began).Round(time.Second))
	return nil
}

func (d *demo) say(text string) { fmt.Printf("\n== %s\n", text) }

// show prints a command as one would type it.
func show(name string, args []string) {
	fmt.Print("$ ", name)
	for _, a := range args {
		if strings.ContainsAny(a, " '\"\n;<>()*") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		fmt.Print(" ", a)
	}
	fmt.Println()
}

func (d *demo) tool(name string, args ...string) error {
	show(name, args)
	cmd := d.source.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func (d *demo) sql(text string) error {
	return d.tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "shop", "-c", text)
}

func (d *demo) command(ctx context.Context, args []string) *exec.Cmd {
	show("pg_scribe", args)
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Env = d.source.Env()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	return cmd
}

func (d *demo) scribe(ctx context.Context, args ...string) error {
	if err := d.command(ctx, args).Run(); err != nil {
		return fmt.Errorf("pg_scribe %s: %w", args[0], err)
	}
	return nil
}

// background runs a command until the function it returns is called.
func (d *demo) background(args ...string) (stop func(), err error) {
	cmd := d.command(context.Background(), args)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}, nil
}
