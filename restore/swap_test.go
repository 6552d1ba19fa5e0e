package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/internal/sqltext"
)

// swapBench is a source on the shared cluster and a repository of it.
type swapBench struct {
	t      *testing.T
	c      *pgtest.Cluster
	source string
	p      *Prepared
	o      Options
}

func newSwapBench(t *testing.T, name string) *swapBench {
	t.Helper()
	c := pgtest.Shared(t)
	s := &swapBench{t: t, c: c, source: name, o: Options{MaintenanceConn: c.ConnString("postgres"), SyncSequences: true}}
	c.Exec(t, "postgres", "CREATE DATABASE "+sqltext.Identifier(name)+" TEMPLATE template0")
	c.Exec(t, name, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'today'); CREATE TABLE later ()")
	b := build(t)
	info, err := b.repo.Catalog().Repository(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b.header.SystemID = c.Query(t, "postgres", "SELECT system_identifier FROM pg_control_system()")
	b.header.Database = "another label"
	if err := b.repo.Catalog().SetDatabase(context.Background(), info.Database, oidOf(t, c, name)); err != nil {
		t.Fatal(err)
	}
	b.base(100, 5, smallBase, "")
	s.p = b.prepare(catalog.Target{})
	s.swapTo(NewSwap(name, time.Now()))
	t.Cleanup(func() {
		for _, db := range strings.Fields(c.Query(t, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE "+sqltext.Literal(name+"%"))) {
			c.Exec(t, "postgres", "DROP DATABASE "+sqltext.Identifier(db)+" WITH (FORCE)")
		}
	})
	return s
}

func (s *swapBench) swapTo(swap *Swap) {
	s.o.Swap, s.o.TargetConn = swap, s.c.ConnString(swap.Restored)
}

func (s *swapBench) execute() (Report, error) {
	s.t.Helper()
	return s.p.Execute(context.Background(), s.o)
}

// rows are those of table t, and the OID of the database.
func (s *swapBench) rows(db string) string {
	s.t.Helper()
	return s.c.Query(s.t, db, "SELECT string_agg(v, ',' ORDER BY id) FROM t") + " " + fmt.Sprint(oidOf(s.t, s.c, db))
}

func (s *swapBench) databases() string {
	s.t.Helper()
	return s.c.Query(s.t, "postgres", "SELECT datname, oid FROM pg_database ORDER BY oid")
}

func oidOf(t *testing.T, c *pgtest.Cluster, db string) (oid uint32) {
	t.Helper()
	text := c.Query(t, "postgres", "SELECT oid FROM pg_database WHERE datname = "+sqltext.Literal(db))
	if _, err := fmt.Sscan(text, &oid); err != nil {
		t.Fatalf("database %s: %v", db, err)
	}
	return oid
}

// TestSwap: the restored database has the source's name, owner and limit, and
// the source is as it was under another name.
func TestSwap(t *testing.T) {
	s := newSwapBench(t, "swap")
	s.c.Exec(t, "postgres", "CREATE ROLE swap_owner; ALTER DATABASE swap OWNER TO swap_owner; ALTER DATABASE swap CONNECTION LIMIT 7")
	defer s.c.Exec(t, "postgres", "DROP ROLE swap_owner")
	defer s.c.Exec(t, "postgres", "ALTER DATABASE swap OWNER TO postgres; ALTER DATABASE "+s.o.Swap.Kept+" OWNER TO postgres")
	before := s.rows("swap")
	report, err := s.execute()
	if err != nil || report.Database != "swap" || report.Kept != s.o.Swap.Kept || !report.Created {
		t.Fatalf("%+v, %v", report, err)
	}
	if got := s.rows(s.o.Swap.Kept); got != before {
		t.Errorf("the kept database has %q, had %q", got, before)
	}
	if got := s.rows("swap"); !strings.HasPrefix(got, "one,two;") {
		t.Errorf("the restored database has %q", got)
	}
	if got := s.c.Query(t, "postgres", "SELECT datdba::regrole, datconnlimit FROM pg_database WHERE datname = 'swap'"); got != "swap_owner|7" {
		t.Errorf("owner and limit: %s", got)
	}
	if exists(t, s.c, s.o.Swap.Restored) {
		t.Error("the new database has its first name, too")
	}
	notices := strings.Join(report.Notices, "\n")
	for _, words := range []string{"only in the kept database: public.later", "only in the restored database: public.s, public.s_id_seq"} {
		if !strings.Contains(notices, words) {
			t.Errorf("the comparison does not say %q: %q", words, notices)
		}
	}
	if last := report.Phases[len(report.Phases)-1]; last.Name != PhaseSwap {
		t.Errorf("the last phase is %+v", last)
	}
}

// TestSwapIsNotDone while somebody is connected or a transaction is prepared,
// without a lock that others would wait for; what it names does it later.
func TestSwapIsNotDone(t *testing.T) {
	for what, occupy := range map[string]func(s *swapBench) (release func()){
		"a session": func(s *swapBench) func() {
			conn := s.c.Conn(t, s.source)
			return func() { conn.Close(context.Background()) }
		},
		"a prepared transaction": func(s *swapBench) func() {
			s.c.Exec(t, s.source, "BEGIN; INSERT INTO t VALUES (9, 'prepared'); PREPARE TRANSACTION 'swap_held'")
			return func() { s.c.Exec(t, s.source, "ROLLBACK PREPARED 'swap_held'") }
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSwapBench(t, "swap_busy")
			before := s.rows(s.source)
			release := occupy(s)
			report, err := s.execute()
			var refused *SwapError
			if !errors.As(err, &refused) || len(refused.Others) != 1 || refused.Err != nil || report.Database != s.o.Swap.Restored || report.Kept != "" {
				t.Fatalf("%+v, %v", report, err)
			}
			if got := s.rows(s.source); got != before || !strings.HasPrefix(s.rows(s.o.Swap.Restored), "one,") {
				t.Errorf("the source has %q, had %q", got, before)
			}
			release()
			s.c.Exec(t, "postgres", strings.Join(refused.Statements(), "; "))
			if s.rows(s.o.Swap.Kept) != before || !strings.HasPrefix(s.rows(s.source), "one,") {
				t.Errorf("after the statements: %s", s.databases())
			}
		})
	}
}

// TestSwapIsOneTransaction: when the second name cannot be given, the first is
// taken back, and no one is kept from the source.
func TestSwapIsOneTransaction(t *testing.T) {
	s := newSwapBench(t, "swap_half")
	conn := s.c.Conn(t, s.source) // so that it is restored and not swapped
	_, err := s.execute()
	conn.Close(context.Background())
	if !errors.As(err, new(*SwapError)) {
		t.Fatal(err)
	}
	before := s.databases()
	x := &execution{p: s.p, o: s.o}
	admin, err := connect(context.Background(), s.o.MaintenanceConn)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(admin)
	s.c.Conn(t, s.o.Swap.Restored) // comes in behind the look at who is connected
	waitGone(t, s, s.source)
	if err := x.exchange(context.Background(), admin); state(err) != stateInUse {
		t.Errorf("%v", err)
	}
	if after := s.databases(); after != before || x.swapped(context.Background()) {
		t.Errorf("databases:\n%s\nbefore:\n%s", after, before)
	}
	s.rows(s.source) // no lock is left, though the connection is
}

// waitGone waits until no session of a database is left.
func waitGone(t *testing.T, s *swapBench, db string) {
	t.Helper()
	count := "SELECT count(*) FROM pg_stat_activity WHERE datname = " + sqltext.Literal(db)
	for began := time.Now(); s.c.Query(t, "postgres", count) != "0"; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("somebody stays in %s", db)
		}
	}
}

// TestSwapLeavesTheSourceAlone when the restore fails, or it is not the source
// whose place is to be taken.
func TestSwapLeavesTheSourceAlone(t *testing.T) {
	s := newSwapBench(t, "swap_safe")
	s.c.Exec(t, "postgres", "CREATE DATABASE swap_safe_other TEMPLATE template0")
	before, content := s.databases(), s.rows(s.source)
	right := s.o.Swap
	for _, name := range []string{"swap_safe_other", "swap_safe_absent"} {
		s.swapTo(NewSwap(name, time.Now()))
		var refused *NotSourceError
		if _, err := s.execute(); !errors.As(err, &refused) || refused.Database != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.swapTo(right)
	ctx, cancel := context.WithCancel(context.Background())
	s.o.Progress = func(p Progress) {
		if p.Phase == PhaseBase {
			cancel()
		}
	}
	if _, err := s.p.Execute(ctx, s.o); err == nil {
		t.Error("a restore that was cancelled succeeded")
	}
	ctx, cancel = context.WithCancel(context.Background())
	s.o.Progress = func(p Progress) {
		if p.Phase == PhaseSwap {
			cancel()
		}
	}
	var refused *SwapError
	if _, err := s.p.Execute(ctx, s.o); !errors.As(err, &refused) || refused.Err == nil {
		t.Errorf("cancelled before the swap: %v", err)
	}
	s.c.Exec(t, "postgres", "DROP DATABASE "+right.Restored)
	if after := s.databases(); after != before || s.rows(s.source) != content {
		t.Errorf("databases:\n%s\nbefore:\n%s", after, before)
	}
}

// TestSwapNames: they fit, and are text.
func TestSwapNames(t *testing.T) {
	at := time.Date(2026, 11, 26, 20, 47, 8, 0, time.UTC)
	for _, name := range []string{"shop", strings.Repeat("x", 63), strings.Repeat("é", 31), "x" + strings.Repeat("é", 31), strings.Repeat("€", 21)} {
		s := NewSwap(name, at)
		for _, derived := range []string{s.Restored, s.Kept} {
			if len(derived) > 63 || !utf8.ValidString(derived) || !strings.HasSuffix(derived, "_20261126_204708") {
				t.Errorf("%q: %q", name, derived)
			}
		}
		if s.Restored == s.Kept || s.Source != name {
			t.Errorf("%+v", s)
		}
	}
	if s := NewSwap("shop", at); s.Restored != "shop_restored_20261126_204708" || s.Kept != "shop_before_20261126_204708" {
		t.Errorf("%+v", s)
	}
}
