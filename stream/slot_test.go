package stream

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// A position that the server has not reached yet is accepted by it, and all
// before that is passed over in silence.
func TestServerBehindTheRepositoryIsRefused(t *testing.T) {
	ctx := context.Background()
	s := newSource(t, "CREATE TABLE t (id int PRIMARY KEY)")
	r := s.open()
	info, err := r.Catalog().Repository(ctx)
	if err != nil {
		t.Fatal(err)
	}
	future := s.lsn() + 1<<40
	id, err := r.Catalog().OpenSegment(ctx, catalog.Artifact{Name: "x.open", SystemID: info.SystemID, Timeline: info.Timeline,
		Database: info.Database, Start: s.base.Base.Start, Filters: "none"})
	if err == nil {
		err = r.Catalog().SealSegment(ctx, id, "x", "none", catalog.Progress{End: future}, "", "", time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var mismatch *source.MismatchError
	if err := s.runOnce(s.slot); !errors.As(err, &mismatch) || mismatch.Repository != future.String() {
		t.Errorf("%v", err)
	}
	behind := "SELECT confirmed_flush_lsn <= '" + s.base.Base.Start.String() + "' FROM pg_replication_slots WHERE slot_name = '" + s.slot + "'"
	if got := s.cluster.Query(t, s.db, behind); got != "t" {
		t.Error("the slot was confirmed up to a position that does not exist")
	}
}

func TestPhysicalSlotIsRefused(t *testing.T) {
	s := newSource(t, "")
	s.exec("SELECT pg_drop_replication_slot('" + s.slot + "'); SELECT pg_create_physical_replication_slot('" + s.slot + "')")
	defer s.exec("SELECT pg_drop_replication_slot('" + s.slot + "')")
	var slot *source.SlotError
	if err := s.runOnce(s.slot); !errors.As(err, &slot) || slot.Problem != source.SlotForeign {
		t.Errorf("%v", err)
	}
}

// A slot whose WAL the server has removed is refused, and nothing is stored.
func TestLostSlotIsRefused(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0", "min_wal_size": "32MB",
		"max_wal_size": "32MB"}})
	s := newSourceOn(t, cluster, "CREATE TABLE t (id int PRIMARY KEY)")
	for range 4 {
		s.exec("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t")
		s.exec("SELECT pg_switch_wal()")
		s.exec("CHECKPOINT")
	}
	slot, err := source.FindSlot(context.Background(), s.conn(), s.slot)
	if err != nil || slot.WALStatus != "lost" {
		t.Fatalf("%+v, %v", slot, err)
	}
	var refused *source.SlotError
	if err := s.runOnce(s.slot); !errors.As(err, &refused) || refused.Problem != source.SlotLost {
		t.Errorf("%v", err)
	}
	if s.text() != "" {
		t.Error("a refused run left something in the repository")
	}
}

// newSourceOn is newSource on a cluster of its own.
func newSourceOn(tb testing.TB, cluster *pgtest.Cluster, setup string) *sourceDB {
	tb.Helper()
	s := &sourceDB{tb: tb, cluster: cluster, db: cluster.CreateDB(tb, "src"), dir: filepath.Join(tb.TempDir(), "repo")}
	s.slot = s.db
	if setup != "" {
		cluster.Exec(tb, s.db, setup)
	}
	base, err := Init(context.Background(), InitOptions{BaseOptions: s.options(), Dir: s.dir, Slot: s.slot, Step: func(string) {}},
		func(info catalog.Repository) (*repo.Repository, error) {
			info.CreatedAt = time.Now()
			return repo.Create(context.Background(), s.dir, info, time.Now)
		})
	if err != nil {
		tb.Fatal(err)
	}
	s.base = base
	return s
}

// What keeps a slot from being made is named: a session and a prepared
// transaction. No slot is left.
func TestBlockersOfASlot(t *testing.T) {
	ctx := context.Background()
	s := newSource(t, "CREATE TABLE t (id int PRIMARY KEY)")
	s.exec("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '" + s.db + " it''s'")
	other := s.cluster.Conn(t, s.db)
	if _, err := other.Exec(ctx, "BEGIN; INSERT INTO t VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	conn, err := source.ConnectReplication(ctx, s.conn(), "UTF8", 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	_, err = source.CreateSlot(ctx, conn, source.Server{VersionNum: 150000}, source.SlotOptions{Name: s.db + "_blocked"})
	var blocked *source.SlotError
	if err = source.WithBlockers(ctx, err, s.conn()); !errors.As(err, &blocked) || blocked.Problem != source.SlotBlocked {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{fmt.Sprintf("process %d (idle in transaction, user postgres", other.PgConn().PID()), "prepared transaction '" + s.db +
		" it''s'"} {
		if !strings.Contains(blocked.Detail, want) {
			t.Errorf("%q lacks %q", blocked.Detail, want)
		}
	}
	if got := s.cluster.Query(t, s.db, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+s.db+"_blocked'"); got != "0" {
		t.Error("a slot is left")
	}
	s.exec("ROLLBACK PREPARED '" + s.db + " it''s'")
}
