package stream

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/source"
)

// runOnce streams to now over one connection and returns the error.
func (s *sourceDB) runOnce(slot string) error {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := s.open()
	defer r.Close()
	if err := r.Recover(ctx); err != nil {
		s.tb.Fatal(err)
	}
	return Run(ctx, r, RunOptions{ConnString: s.conn(), Slot: slot, Publication: DefaultPublication, NoLoop: true,
		StatusInterval: 200 * time.Millisecond, FsyncInterval: time.Second, Endpos: s.lsn()})
}

func TestRunRefusesWhatDoesNotBelongTogether(t *testing.T) {
	s := newSource(t, "CREATE TABLE t (id int PRIMARY KEY)")
	var slot *source.SlotError
	var mismatch *source.MismatchError

	if err := s.runOnce("no_such_slot"); !errors.As(err, &slot) || slot.Problem != source.SlotMissing {
		t.Errorf("missing slot: %v", err)
	}
	s.exec("SELECT pg_copy_logical_replication_slot('" + s.slot + "', '" + s.slot + "_b')")
	if err := s.runOnce(s.slot + "_b"); !errors.As(err, &mismatch) || mismatch.What != "slot" {
		t.Errorf("slot of another repository: %v", err)
	}
	s.exec("SELECT pg_create_logical_replication_slot('" + s.slot + "_c', 'test_decoding')")
	if err := s.runOnce(s.slot + "_c"); !errors.As(err, &slot) || slot.Problem != source.SlotForeign {
		t.Errorf("slot of another plugin: %v", err)
	}

	// Another database of the same cluster.
	other := *s
	other.db = s.cluster.CreateDB(t, "other")
	var identity *source.IdentityError
	if err := other.runOnce(s.slot); !errors.As(err, &identity) || identity.Now != s.db || identity.Source.Database != other.db {
		t.Errorf("another database: %v", err)
	}

	// The slot was confirmed past the repository's end: history is lost.
	s.exec("INSERT INTO t VALUES (1)")
	lsn := s.lsn()
	s.exec("SELECT pg_replication_slot_advance('" + s.slot + "', '" + lsn.String() + "')")
	if err := s.runOnce(s.slot); !errors.As(err, &slot) || slot.Problem != source.SlotAhead {
		t.Errorf("slot ahead of the repository: %v", err)
	}
	if s.text() != "" {
		t.Error("a refused run left something in the repository")
	}
}

func TestSecondStreamerIsRefused(t *testing.T) {
	s := newSource(t, "")
	r := s.open()
	defer r.Close()
	release, err := r.LockStreamer()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	again := s.open()
	defer again.Close()
	var busy *repo.BusyError
	if _, err := again.LockStreamer(); !errors.As(err, &busy) {
		t.Errorf("a second lock: %v", err)
	}
}

// A walsender that dies within a large transaction leaves nothing of it, and
// what came before it is not sent again.
func TestBrokenConnectionWithinTransaction(t *testing.T) {
	s := newSource(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	s.exec("INSERT INTO t VALUES (0, 'before')")
	s.exec("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 200000) g")
	s.exec("INSERT INTO t VALUES (-1, 'after')")
	end := s.lsn()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := s.open()
	defer r.Close()
	var notices atomic.Int64
	kills := 0
	go func() {
		for kills < 3 && ctx.Err() == nil {
			time.Sleep(60 * time.Millisecond)
			if s.cluster.Query(t, s.db, "SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE slot_name = '"+s.slot+"' AND active") == "1" {
				kills++
			}
		}
	}()
	err := Run(ctx, r, RunOptions{ConnString: s.conn(), Slot: s.slot, Publication: DefaultPublication, StatusInterval: 200 * time.Millisecond,
		FsyncInterval: 50 * time.Millisecond, Endpos: end, Notice: func(text string) { notices.Add(1); t.Log(text) }})
	if err != nil {
		t.Fatal(err)
	}
	if notices.Load() == 0 {
		t.Fatal("the connection never broke")
	}
	text := s.text()
	for what, want := range map[string]int{"'before'": 1, "'after'": 1, "BEGIN\n": 3, "COMMIT\n": 3, "\n1\txxx": 1, "\n200000\txxx": 1} {
		if got := strings.Count(text, what); got != want {
			t.Errorf("%q stands %d times in the segments; want %d", what, got, want)
		}
	}
}

// What the capture did not sign is not obeyed.
func TestForgedMessageIsIgnored(t *testing.T) {
	s := newSource(t, "CREATE TABLE t (id int PRIMARY KEY)")
	s.exec(`CREATE ROLE ` + s.db + `_low LOGIN`)
	defer s.exec(`DROP ROLE ` + s.db + `_low`)
	s.exec(`SET SESSION AUTHORIZATION ` + s.db + `_low;
	  SELECT pg_logical_emit_message(true, 'pg_scribe', repeat('0', 64) || ' {"ev": "mark", "name": "forged"}');
	  SELECT pg_logical_emit_message(true, 'pg_scribe', '{"ev": "start", "tag": "ALTER ROLE", "sql": "ALTER ROLE low SUPERUSER"}')`)
	s.exec("INSERT INTO t VALUES (1)")
	s.stream()
	if text := s.text(); strings.Contains(text, "forged") || strings.Contains(text, "SUPERUSER;") || !strings.Contains(text, `("id") OVERRIDING`) {
		t.Errorf("the segments hold:\n%s", text)
	}
	for _, sql := range []string{"SELECT scribe.emit('x')", "SELECT scribe.mark('x')", "SELECT * FROM scribe.config", "SELECT scribe.command('')"} {
		out := s.cluster.Command("psql", "-X", "-d", s.db, "-v", "ON_ERROR_STOP=1", "-c", "SET SESSION AUTHORIZATION "+s.db+"_low; "+sql)
		if b, err := out.CombinedOutput(); err == nil || !strings.Contains(string(b), "permission denied") {
			t.Errorf("an ordinary role may run %s: %s", sql, b)
		}
	}
}

// Init that fails takes back all it made, and nothing else.
func TestInitUndoesWhatItMade(t *testing.T) {
	s := newSource(t, "CREATE TABLE bare (x int)") // schema and publication exist from here on
	dir := t.TempDir() + "/again"
	opts := s.options()
	opts.ConnString += " application_name=second"
	try := func(ctx context.Context, slot string, command source.Commander) error {
		o := opts
		o.Command = command
		_, err := Init(ctx, InitOptions{BaseOptions: o, Dir: dir, Slot: slot, Step: func(string) {}},
			func(info catalog.Repository) (*repo.Repository, error) {
				info.CreatedAt = time.Now()
				return repo.Create(ctx, dir, info, time.Now)
			})
		return err
	}
	var slot *source.SlotError
	if err := try(context.Background(), s.slot, opts.Command); !errors.As(err, &slot) || slot.Problem != source.SlotExists {
		t.Errorf("an existing slot: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := opts.Command
	err := try(ctx, s.slot+"_2", func(c context.Context, name string, args ...string) *exec.Cmd {
		if len(args) > 2 { // the dump itself, not --version
			cancel()
		}
		return command(c, name, args...)
	})
	if err == nil {
		t.Fatal("a cancelled init succeeded")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	got := s.cluster.Query(t, s.db, `SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()),
	  (SELECT count(*) FROM pg_publication), to_regnamespace('scribe') IS NOT NULL,
	  (SELECT relreplident FROM pg_class WHERE relname = 'bare')`)
	if got != "1|1|t|f" {
		t.Errorf("slots, publications, schema, identity: %s; want what the first init made", got)
	}
	// With the first one's capture removed, a failing init leaves nothing.
	if err := capture.Uninstall(context.Background(), s.conn(), DefaultPublication); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	if err := try(ctx, s.slot+"_2", func(c context.Context, name string, args ...string) *exec.Cmd {
		if len(args) > 2 {
			cancel()
		}
		return command(c, name, args...)
	}); err == nil {
		t.Fatal("a cancelled init succeeded")
	}
	got = s.cluster.Query(t, s.db, `SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()),
	  (SELECT count(*) FROM pg_publication), to_regnamespace('scribe') IS NOT NULL, (SELECT count(*) FROM pg_event_trigger),
	  (SELECT relreplident FROM pg_class WHERE relname = 'bare')`)
	if got != "1|0|f|0|d" {
		t.Errorf("slots, publications, schema, triggers, identity: %s; want only the first slot", got)
	}
}

func TestRetriable(t *testing.T) {
	connect := func(fault source.ConnectFault, code string) error {
		var err error = errors.New("refused")
		if code != "" {
			err = &pgconn.PgError{Code: code}
		}
		return &source.ConnectError{Fault: fault, Err: err}
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{connect(source.FaultServer, ""), true},
		{connect(source.FaultOther, "57P03"), true}, // the server is starting up
		{connect(source.FaultOther, "53300"), true}, // too many connections
		{connect(source.FaultPassword, "28P01"), false},
		{connect(source.FaultDatabase, "3D000"), false},
		{&pgconn.PgError{Code: "57P01"}, true},
		{&pgconn.PgError{Code: "42704"}, false},
		{&source.SlotError{Problem: source.SlotBusy}, true},
		{&source.SlotError{Problem: source.SlotLost}, false},
		{&source.MismatchError{}, false},
		{&source.IdentityError{}, false},
		{&storeError{io.ErrShortWrite}, false},
		{&renderError{pgoutput.ErrShort}, false},
		{&source.TimelineError{}, false},
		{&source.StandbyError{}, false},
		{io.ErrUnexpectedEOF, true},
	} {
		if got := retriable(c.err); got != c.want {
			t.Errorf("%v: %t", c.err, got)
		}
	}
}

// The client tries a server with TLS and without, and tells of both.
func TestConnectErrorSaysItOnce(t *testing.T) {
	_, err := source.Connect(t.Context(), "host=127.0.0.1 port=1 user=nobody dbname=none")
	var e *source.ConnectError
	if !errors.As(err, &e) || e.Fault != source.FaultServer {
		t.Fatalf("%v", err)
	}
	if strings.Count(err.Error(), "connection refused") != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q", err)
	}
}
