package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"pg_scribe/internal/throwaway"
)

// Standby starts a physical standby that streams from the cluster. It is stopped at the end of the test.
func (c *Cluster) Standby(tb testing.TB) *Cluster {
	tb.Helper()
	return c.startCopy(tb, func(dir string) *exec.Cmd { return c.baseBackup(dir, "-R") })
}

// Snapshot starts a copy of the cluster's files as a server of its own. It is stopped at the end of the test. Of a stopped
// cluster it has all there is; of a running one, what pg_basebackup copies, which leaves out replication slots.
func (c *Cluster) Snapshot(tb testing.TB) *Cluster {
	tb.Helper()
	if c.Running() {
		return c.startCopy(tb, func(dir string) *exec.Cmd { return c.baseBackup(dir) })
	}
	return c.startCopy(tb, func(dir string) *exec.Cmd { return exec.Command("cp", "-a", c.DataDir, dir) })
}

func (c *Cluster) baseBackup(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.BinDir, "pg_basebackup"), append([]string{"-D", dir, "-X", "stream", "-c", "fast", "--no-sync"}, args...)...)
	cmd.Dir, cmd.Env = filepath.Dir(dir), c.Env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.User}
	return cmd
}

// startCopy starts a server on a data directory that a command fills.
func (c *Cluster) startCopy(tb testing.TB, fill func(dir string) *exec.Cmd) *Cluster {
	tb.Helper()
	s, err := newCluster(c.BinDir, c.password)
	if err != nil {
		tb.Fatal(err)
	}
	s.Major = c.Major
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("stopping the copy: %v", err)
		}
	})
	cmd := fill(s.DataDir)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", filepath.Base(cmd.Path), err, out)
	}
	if err := s.Start(); err != nil {
		tb.Fatalf("starting a copy: %v", err)
	}
	return s
}

// CheckUpgrade runs pg_upgrade --check from the running cluster to another one of a newer version, which it shuts down.
func (c *Cluster) CheckUpgrade(tb testing.TB, newer *Cluster) {
	tb.Helper()
	if err := newer.Halt(syscall.SIGINT); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(newer.BinDir, "pg_upgrade"), "--check", "-U", throwaway.Superuser, "-b", c.BinDir, "-B", newer.BinDir,
		"-d", c.DataDir, "-D", newer.DataDir, "-p", strconv.Itoa(c.Port), "-P", strconv.Itoa(newer.Port), "-s", newer.Dir)
	cmd.Dir, cmd.Env = newer.Dir, throwaway.Env(newer.BinDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.User}
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Errorf("pg_upgrade --check: %v\n%s", err, out)
	}
}

// CatchUp waits until the standby has replayed all that its primary has written.
func (c *Cluster) CatchUp(tb testing.TB, primary *Cluster) {
	tb.Helper()
	lsn := primary.Query(tb, "postgres", "SELECT pg_current_wal_flush_lsn()")
	c.Exec(tb, "postgres", `DO $$ BEGIN
		FOR i IN 1 .. 3000 LOOP
			IF pg_last_wal_replay_lsn() >= '`+lsn+`' THEN RETURN; END IF;
			PERFORM pg_sleep(0.01);
		END LOOP;
		RAISE 'the standby does not catch up';
	END $$`)
}

// CopySlot gives a stopped standby the state that a running primary keeps of a replication slot, as programs for high
// availability do for versions that cannot keep slots in step.
func (c *Cluster) CopySlot(tb testing.TB, primary *Cluster, slot string) {
	tb.Helper()
	primary.Exec(tb, "postgres", "CHECKPOINT")
	folder := filepath.Join(c.DataDir, "pg_replslot", slot)
	if err := os.RemoveAll(folder); err != nil {
		tb.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(primary.DataDir, "pg_replslot", slot), folder).CombinedOutput(); err != nil {
		tb.Fatalf("cp: %v\n%s", err, out)
	}
}

// KeepSlotsInStep makes a standby keep failover slots as its primary does, and the primary decode no more than the
// standby has. PostgreSQL 17 and later; see "Replication Slot Synchronization" in its documentation.
func (c *Cluster) KeepSlotsInStep(tb testing.TB, primary *Cluster) {
	tb.Helper()
	primary.Query(tb, "postgres", "SELECT pg_create_physical_replication_slot('standby')")
	primary.Exec(tb, "postgres", "ALTER SYSTEM SET synchronized_standby_slots = 'standby'")
	conninfo := c.Query(tb, "postgres", "SELECT quote_literal(current_setting('primary_conninfo') || ' dbname=postgres')")
	for name, value := range map[string]string{"primary_slot_name": "standby", "hot_standby_feedback": "on", "sync_replication_slots": "on",
		"primary_conninfo": conninfo} {
		c.Exec(tb, "postgres", "ALTER SYSTEM SET "+name+" = "+value)
	}
	for _, one := range []*Cluster{primary, c} {
		one.Query(tb, "postgres", "SELECT pg_reload_conf()")
	}
}

// HasSlot says whether a standby that keeps slots in step could go on with one after a promotion.
func (c *Cluster) HasSlot(tb testing.TB, slot string) bool {
	tb.Helper()
	return c.Query(tb, "postgres", "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary AND slot_name = '"+slot+"'") == "1"
}
