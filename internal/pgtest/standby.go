package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Standby starts a physical standby that streams from the cluster. It is stopped at the end of the test.
func (c *Cluster) Standby(tb testing.TB) *Cluster {
	tb.Helper()
	s, err := c.startStandby()
	if err != nil {
		tb.Fatalf("starting a standby: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("stopping the standby: %v", err)
		}
	})
	return s
}

func (c *Cluster) startStandby() (*Cluster, error) {
	dir, g, err := makeDir(c.cred)
	if err != nil {
		return nil, err
	}
	s := &Cluster{Dir: dir, DataDir: filepath.Join(dir, "data"), BinDir: c.BinDir, SocketDir: dir, Host: dir,
		LogFile: filepath.Join(dir, "server.log"), Major: c.Major, password: c.password, cred: c.cred, guard: g}
	cmd := exec.Command(filepath.Join(c.BinDir, "pg_basebackup"), "-D", s.DataDir, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	cmd.Dir, cmd.Env = dir, c.Env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("pg_basebackup: %w\n%s", err, out), s.Stop())
	}
	s.mu.Lock()
	err = s.startOnFreePort()
	s.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
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
	for name, value := range map[string]string{"primary_slot_name": "standby", "hot_standby_feedback": "on", "sync_replication_slots": "on", "primary_conninfo": conninfo} {
		c.Exec(tb, "postgres", "ALTER SYSTEM SET "+name+" = "+value)
	}
	for _, one := range []*Cluster{primary, c} {
		one.Query(tb, "postgres", "SELECT pg_reload_conf()")
	}
}

// HasSlot tells whether a standby that keeps slots in step could go on with one after a promotion.
func (c *Cluster) HasSlot(tb testing.TB, slot string) bool {
	tb.Helper()
	return c.Query(tb, "postgres", "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary AND slot_name = '"+slot+"'") == "1"
}
