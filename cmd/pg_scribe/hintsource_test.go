package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pg_scribe/internal/pgtest"
)

// sourceHints are errors of the command line, the connection, and the source.
var sourceHints = []hintCase{
	{"a flag that cannot be meant", func(h *hinter) {
		f := h.fails("*main.usageError", "restore", "-f", h.src.dir, "--dry-run", "-j", "0")
		h.must("restore", "-f", h.src.dir, "--dry-run", "-j", "4")
		f.came("with the flag as the hint writes it, the plan is shown")
	}},
	{"copy without a storage", func(h *hinter) {
		s := h.fresh()
		f := h.fails("*main.usageError", "copy", "-f", s.dir)
		place := h.t.TempDir()
		f.follow(0, "WHERE", place)
		if held(place, "base") != 1 {
			h.t.Error("the base is not on the storage")
		}
		f.came("the base is on the new storage")
	}},
	{"a time without zone", func(h *hinter) {
		segments := decode[listJSON2](h.t, h.must("list", "-f", h.src.dir, "--output", "json")).Segments
		at := strings.NewReplacer("T", " ", "Z", "").Replace(segments[0].LastCommitAt)
		f := h.fails("*main.zoneError", "restore", "-f", h.src.dir, "--dry-run", "--target-time", at)
		_, flag, _ := strings.Cut(f.hint, "--target-time '")
		flag, _, _ = strings.Cut(flag, "'")
		h.must("restore", "-f", h.src.dir, "--dry-run", "--target-time", flag)
		f.came("--target-time '%s' shows the plan", flag)
	}},
	{"a role that does not exist", func(h *hinter) {
		db := h.database()
		args := []string{"init", "-d", db, "-f", h.newDir(), "-S", "hint_role", "--grant-to", "hint_streamer"}
		f := h.fails("*stream.RoleError", args...)
		f.follow(0)
		h.must(args...)
		h.forget(db, "hint_streamer")
		f.came("init succeeds")
	}},
	{"critical findings", func(h *hinter) {
		db := h.c.CreateDB(h.t, "hint")
		h.c.Exec(h.t, db, `CREATE TABLE "no key" (i int)`)
		f := h.fails("*main.validationError", "init", "-d", db, "-f", h.newDir(), "-S", "hint_findings")
		for line := range strings.Lines(f.errors) {
			if fix, ok := strings.CutPrefix(strings.TrimSpace(line), "fix: ALTER TABLE"); ok {
				h.c.Exec(h.t, db, "ALTER TABLE"+fix)
			}
		}
		f.follow(0)
		f.came("the commands behind \"fix:\" and then the hint's make a repository")
	}},
	{"-W without a terminal", func(h *hinter) {
		h.askWithout(h.t)
		f := h.fails("there is no terminal to ask on", "mark", "x", "-d", h.src.db, "-W")
		h.env = append(h.env, "PGPASSWORD=any")
		h.must("mark", "x", "-d", h.src.db)
		f.came("with PGPASSWORD and without -W it is marked")
	}},
	{"a server that is not there", func(h *hinter) {
		f := h.fails("*source.ConnectError / server", "status", "-d", "postgres", "-p", "1")
		f.followTo(2, 0)
		h.shell("pg_isready -p " + portOf(h.c)).refusedNot(h)
		f.came("pg_isready says that nothing answers there, and where the server does")
	}},
	{"a database that does not exist", func(h *hinter) {
		f := h.fails("*source.ConnectError / database", "mark", "x", "-d", "hint_nosuch")
		if o := f.follow(0); !strings.Contains(o.out, h.src.db) {
			h.t.Errorf("not listed: %s", o.out)
		}
		f.came("the list names the right one")
	}},
	{"a role that may not log in", func(h *hinter) {
		h.c.Exec(h.t, "postgres", "CREATE ROLE hint_nologin NOLOGIN SUPERUSER")
		f := h.fails("*source.ConnectError / role", "mark", "x", "-d", h.src.db, "-U", "hint_nologin")
		f.follow(0)
		h.must("mark", "x", "-d", h.src.db, "-U", "hint_nologin")
		h.forget("postgres", "hint_nologin")
		f.came("the role can connect")
	}},
	{"a role that does not exist on the server", func(h *hinter) {
		f := h.fails("*source.ConnectError / no such role", "status", "-d", h.src.db, "-S", h.src.slot, "-U", "hint_stranger")
		f.follow(0, "SUPERUSER", "postgres")
		f.came("the role can connect")
		f = h.fails("*pgconn.PgError / status", "status", "-d", h.src.db, "-S", h.src.slot, "-U", "hint_stranger")
		f.follow(0, "SUPERUSER", "postgres")
		if o := h.run("status", "-d", h.src.db, "-S", h.src.slot, "-U", "hint_stranger"); o.code != exitWarnings {
			h.t.Errorf("%d %s", o.code, o.errors)
		}
		h.forget(h.src.db, "hint_stranger")
		f.came("status shows the slot")
	}},
	{"a role without rights", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, "postgres", "CREATE ROLE hint_weak LOGIN")
		args := []string{"full-backup", "-d", s.db, "-U", "hint_weak", "-f", s.dir}
		f := h.fails("*pgconn.PgError / replication", args...)
		f.follow(0, "SUPERUSER", "postgres")
		h.must(args...)
		f.came("the base is taken")
		h.c.Exec(h.t, s.db, "CREATE ROLE hint_half LOGIN REPLICATION")
		args[4] = "hint_half"
		f = h.fails("*pgconn.PgError / schema scribe", args...)
		f.follow(0, "SUPERUSER", "postgres")
		h.must(args...)
		f.came("the base is taken")
		for _, role := range []string{"hint_weak", "hint_half"} {
			h.forget(s.db, role)
		}
	}},
	{"a right that the server misses", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "CREATE ROLE hint_marker LOGIN; GRANT USAGE ON SCHEMA scribe TO hint_marker; GRANT SELECT ON scribe.config TO hint_marker")
		f := h.fails("*pgconn.PgError", "mark", "x", "-d", s.db, "-U", "hint_marker")
		f.follow(0, "SUPERUSER", "postgres")
		h.must("mark", "x", "-d", s.db, "-U", "hint_marker")
		h.forget(s.db, "hint_marker")
		f.came("it is marked")
	}},
	{"a second database on one server", func(h *hinter) {
		s := h.fresh("-S", "hint_first")
		db := h.database()
		f := h.fails("*source.SlotError / exists", "init", "-d", db, "-f", h.newDir(), "-S", "hint_first")
		if strings.Contains(f.hint, "drop") {
			h.t.Errorf("the hint removes another database's slot: %s", f.hint)
		}
		f.follow(0)
		s.catchUp()
		f.came("both databases have a slot; the first one streams on")
	}},
	{"a slot of the same database", func(h *hinter) {
		s := h.fresh("-S", "hint_same")
		f := h.fails("*source.SlotError / exists", "init", "-d", s.db, "-f", h.newDir(), "-S", "hint_same")
		f.follow(0)
		s.catchUp()
		f.came("a second repository of the database, and the first one streams on")
	}},
	{"a slot that is gone", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "SELECT pg_drop_replication_slot('"+s.slot+"')")
		f := h.fails("*source.SlotError / missing", "start", "-d", s.db, "-f", s.dir)
		f.follow(0)
		s.catchUp()
		f.came("start streams again")
	}},
	{"drop of a slot that is not there", func(h *hinter) {
		f := h.fails("*source.SlotError / missing", "drop", "-d", h.database(), "-S", "hint_none", "--yes")
		if o := f.follow(0); !strings.Contains(o.out, h.src.slot) {
			h.t.Errorf("the slots are not listed: %s", o.out)
		}
		f.came("the slots are listed")
	}},
	{"a slot that somebody reads", func(h *hinter) {
		s := h.fresh()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan outcome, 1)
		go func() { done <- s.runContext(ctx, "start", "-d", s.db, "-f", s.dir, "--no-loop") }()
		waitFor(h.t, "the streamer", func() bool {
			return h.c.Query(h.t, "postgres", "SELECT active FROM pg_replication_slots WHERE slot_name = '"+s.slot+"'") == "t"
		})
		f := h.fails("*source.SlotError / busy", "start", "-d", s.db, "-f", "-", "-S", s.slot, "--no-loop")
		f.follow(0)
		<-done
		s.catchUp()
		f.came("the session is ended, and the slot is free")
		f = h.busyRepository(s)
		f.came("status shows what the running one does")
	}},
	{"--new-slot without need", func(h *hinter) {
		s := h.fresh()
		f := h.fails("*source.SlotError / intact", "full-backup", "-d", s.db, "-f", s.dir, "--new-slot")
		f.follow(0)
		f.came("a base is taken, and the slot stays")
	}},
	{"a slot that was read elsewhere", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "INSERT INTO t VALUES (5)")
		h.c.Exec(h.t, s.db, fmt.Sprintf("SELECT pg_replication_slot_advance('%s', pg_current_wal_lsn())", s.slot))
		f := h.fails("*source.SlotError / ahead", "start", "-d", s.db, "-f", s.dir)
		f.follow(0)
		s.catchUp()
		f.came("start streams again")
	}},
	{"a slot of another plugin", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "SELECT pg_create_logical_replication_slot('hint_other', 'test_decoding')")
		f := h.fails("*source.SlotError / foreign", "start", "-d", s.db, "-f", "-", "-S", "hint_other")
		if o := f.follow(0); !strings.Contains(o.out, s.slot) {
			h.t.Errorf("the right slot is not listed: %s", o.out)
		}
		f.came("the list names the slot of this database that pgoutput reads")
	}},
	{"another slot than the repository's", func(h *hinter) {
		f := h.fails("*source.MismatchError", "start", "-d", h.src.db, "-f", h.src.dir, "-S", "hint_wrong", "--endpos", "0/1")
		f.follow(0)
		f.came("with the repository's slot it streams")
	}},
	{"another database than the repository's", func(h *hinter) {
		f := h.fails("*source.IdentityError", "status", "-d", h.database(), "-f", h.src.dir)
		if o := f.followTo(exitWarnings, 0); !strings.Contains(o.out, "restorable") {
			h.t.Errorf("status of the right one:\n%s", o.out)
		}
		f.came("status is of the repository's own database")
	}},
	{"a copy of a captured database", func(h *hinter) {
		s := h.fresh()
		db := h.newDB()
		h.c.Exec(h.t, "postgres", "CREATE DATABASE "+db+" TEMPLATE "+s.db)
		dir := h.newDir()
		f := h.fails("*capture.CopyError", "mark", "-d", db, "here")
		f.follow(0, "NEW_DIRECTORY", dir)
		h.must("status", "-f", dir)
		h.must("drop", "-d", db, "-f", dir, "--yes")
		f.came("the copy has a backup of its own")
	}},
	{"failover slots before version 17", func(h *hinter) {
		if h.c.Major >= 17 {
			h.rows = append(h.rows, hintRow{rule: "*source.FailoverError", outcome: "this server has failover slots"})
			return
		}
		f := h.fails("*source.FailoverError", "init", "-d", h.database(), "-f", h.newDir(), "-S", "hint_failover", "--failover")
		f.follow(0)
		f.came("init succeeds")
	}},
	{"no pg_dump in cron's PATH", func(h *hinter) {
		s := h.fresh()
		h.env = slices.DeleteFunc(slices.Clone(h.env), func(e string) bool { return strings.HasPrefix(e, "PATH=") })
		tools := h.t.TempDir()
		for _, name := range []string{"bash", "sh"} {
			if err := os.Symlink("/bin/"+name, filepath.Join(tools, name)); err != nil {
				h.t.Fatal(err)
			}
		}
		h.env = append(h.env, "PATH="+tools)
		f := h.fails("*base.DumpError / not in PATH", "full-backup", "-d", s.db, "-f", s.dir)
		if clientFolder("pg_dump", h.c.Major) == "" {
			f.came("no folder of this version's client programs is on this machine: the hint says to install them")
			return
		}
		f.follow(0)
		f.came("the folder is found, and the base taken")
	}},
	{"an old pg_dump", func(h *hinter) {
		s := h.fresh()
		h.env = h.script("pg_dump", "echo 'pg_dump (PostgreSQL) 13.3'").env
		f := h.fails("*base.DumpError / too old", "full-backup", "-d", s.db, "-f", s.dir)
		if clientFolder("pg_dump", h.c.Major) == "" {
			f.came("no folder of this version's client programs is on this machine: the hint says to install them")
			return
		}
		f.follow(0)
		f.came("the newer one is found, and the base taken")
	}},
	{"a pg_dump that fails", func(h *hinter) {
		s := h.fresh()
		real := filepath.Join(h.c.BinDir, "pg_dump")
		h.env = h.script("pg_dump", `case "$*" in *--version*) exec `+real+` --version;; esac; echo 'pg_dump: error: no luck' >&2; exit 1`).env
		f := h.fails("*base.DumpError / fails", "full-backup", "-d", s.db, "-f", s.dir)
		if o := f.followTo(1, 0); !strings.Contains(o.errors, "no luck") {
			h.t.Errorf("%s", o.errors)
		}
		f.came("pg_dump says by itself what is wrong")
	}},
	{"schema scribe is gone", func(h *hinter) {
		for _, mode := range []string{"guarded", "no-harm"} {
			s := h.fresh("--mode", mode)
			h.c.Exec(h.t, s.db, "DROP SCHEMA scribe CASCADE; CREATE ROLE hint_small LOGIN REPLICATION")
			if o := h.run("full-backup", "-d", s.db, "-U", "hint_small", "-f", s.dir, "--new-slot"); o.code == exitOK {
				h.t.Error("a role without rights installs the capture")
			}
			h.forget(s.db, "hint_small")
			if h.c.Query(h.t, "postgres", "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+s.slot+"'") != "1" {
				h.t.Error("the slot is gone, though the capture could not be installed")
			}
			f := h.fails("*capture.Error / gone", "start", "-d", s.db, "-f", s.dir)
			f.follow(0)
			h.c.Exec(h.t, s.db, "CREATE TABLE later (i int PRIMARY KEY); INSERT INTO later VALUES (7)")
			s.catchUp()
			db := h.newDB()
			h.must("restore", "-f", s.dir, "-C", "-d", db)
			if got := h.c.Query(h.t, db, "SELECT i FROM later"); got != "7" {
				h.t.Errorf("later holds %s", got)
			}
			f.came("the capture is there again in %s mode, DDL behind it is captured, and all is restored", mode)
		}
	}},
	{"the publication is gone", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "ALTER EVENT TRIGGER scribe_d DISABLE; DROP PUBLICATION pg_scribe")
		f := h.fails("*capture.Error / publication gone", "start", "-d", s.db, "-f", s.dir)
		f.follow(0)
		h.c.Exec(h.t, s.db, "INSERT INTO t VALUES (8)")
		s.catchUp()
		f.came("start streams again")
	}},
	{"a mark where nothing captures", func(h *hinter) {
		db := h.database()
		f := h.fails("*capture.Error / mark", "mark", "x", "-d", db)
		f.follow(0, "NEW_DIRECTORY", h.newDir())
		h.must("mark", "x", "-d", db)
		f.came("there is a repository, and it is marked")
	}},
	{"a schema scribe of somebody else", func(h *hinter) {
		db := h.database()
		h.c.Exec(h.t, db, "CREATE SCHEMA scribe")
		args := []string{"init", "-d", db, "-f", h.newDir(), "-S", "hint_else"}
		f := h.fails("*capture.Error / other schema", args...)
		f.follow(0)
		h.must(args...)
		f.came("it has another name, and init succeeds")
	}},
	{"a capture of the other mode", func(h *hinter) {
		s := h.fresh("--mode", "no-harm")
		f := h.fails("*capture.Error / mode", "init", "-d", s.db, "-f", h.newDir(), "-S", "hint_mode")
		f.follow(0)
		f.came("a second repository in the mode of the first")
	}},
	{"a capture of another version", func(h *hinter) {
		s := h.fresh("-S", "hint_version")
		h.c.Exec(h.t, s.db, `SELECT set_config('scribe.new_config', (SELECT jsonb_object_agg(key, value) || '{"version": "0"}' FROM scribe.config)::text, true);
		  REFRESH MATERIALIZED VIEW scribe.config`)
		f := h.fails("*capture.Error / version", "start", "-d", s.db, "-f", s.dir)
		if o := f.followTo(exitUsage, 0); !strings.Contains(o.errors, "--yes") {
			h.t.Error(o.errors)
		}
		h.must("drop", "-d", s.db, "-S", "hint_version", "--yes")
		f.follow(1, "NEW_DIRECTORY", h.newDir())
		f.came("drop asks, and with --yes both commands lead to a new repository")
	}},
	{"a server with few slots, as standby, and promoted", func(h *hinter) { h.oddServer() }},
}

// forget drops a role.
func (h *hinter) forget(db, role string) {
	h.t.Helper()
	h.c.Exec(h.t, db, "DROP OWNED BY "+role+"; DROP ROLE "+role)
}

// refusedNot is for what must have worked.
func (o outcome) refusedNot(h *hinter) {
	h.t.Helper()
	if o.code != exitOK {
		h.t.Errorf("exit code %d of %s\n%s%s", o.code, o.args, o.out, o.errors)
	}
}

// busyRepository makes the error of a second streamer, and looks at the first.
func (h *hinter) busyRepository(s *sourceDB) *failure {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan outcome, 1)
	go func() { done <- s.runContext(ctx, "start", "-d", s.db, "-f", s.dir) }()
	defer func() { cancel(); <-done }()
	waitFor(h.t, "the streamer", func() bool {
		return h.c.Query(h.t, "postgres", "SELECT active FROM pg_replication_slots WHERE slot_name = '"+s.slot+"'") == "t"
	})
	f := h.fails("*repo.BusyError", "start", "-d", s.db, "-f", s.dir)
	if o := h.runHint(f.hint, 0); o.code != exitOK && o.code != exitWarnings || !strings.Contains(o.out, "streamer       running") {
		h.t.Errorf("%d %s%s", o.code, o.out, o.errors)
	} else {
		h.rows[len(h.rows)-1].ran = o.args[0]
	}
	return f
}

// oddServer has few slots and little WAL, is a standby for a while, and then a
// primary on another timeline.
func (h *hinter) oddServer() {
	shared := h.bench
	c := pgtest.New(h.t, pgtest.Options{InitArgs: []string{"--wal-segsize=1"}, Settings: map[string]string{
		"max_replication_slots": "1", "max_slot_wal_keep_size": "1MB", "max_wal_size": "2MB", "min_wal_size": "2MB"}})
	defer func() { h.bench = shared }()
	h.bench = newBench(h.t, c)
	h.reach(h.t)
	s := h.fresh("--force")
	f := h.fails("*source.SlotError / nonefree", "full-backup", "-d", s.db, "-f", s.dir)
	f.follow(0)
	if err := c.Restart("fast"); err != nil {
		h.t.Fatal(err)
	}
	h.must("full-backup", "-d", s.db, "-f", s.dir)
	f.came("with the restart, the base is taken")
	for i := range 4 {
		c.Exec(h.t, s.db, fmt.Sprintf("INSERT INTO t SELECT g + %d FROM generate_series(2, 20000) g", i*20000))
		c.Exec(h.t, s.db, "CHECKPOINT")
	}
	if o := h.run("status", "-d", s.db, "-f", s.dir); !strings.Contains(o.out, "lost, the server has removed WAL") || strings.Contains(o.out, "no limit") {
		h.t.Errorf("status of a lost slot:\n%s", o.out)
	}
	f = h.fails("*source.SlotError / lost", "start", "-d", s.db, "-f", s.dir)
	f.follow(0)
	s.catchUp()
	f.came("start streams again")
	if err := c.Kill(); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, "standby.signal"), nil, 0o644); err != nil {
		h.t.Fatal(err)
	}
	if err := c.StartAgain(); err != nil {
		h.t.Fatal(err)
	}
	f = h.fails("*source.StandbyError", "full-backup", "-d", s.db, "-f", s.dir)
	f.follow(0)
	f.came("it is promoted, and accepts what a primary does")
	f = h.fails("*source.TimelineError", "full-backup", "-d", s.db, "-f", s.dir)
	if !strings.Contains(f.hint, "pg_scribe start") { // the slot did not survive
		f.follow(0)
	} else {
		o := h.shell("timeout -s INT 5 " + hintCommands(f.hint)[0])
		h.rows[len(h.rows)-1].ran = o.args[0]
		h.must("full-backup", "-d", s.db, "-f", s.dir)
	}
	f.came("the stream is on the new timeline, and a base is taken there")
}

// listJSON2 reads what listJSON writes.
type listJSON2 struct {
	Segments []struct {
		Name         string
		EndLSN       string `json:"end_lsn"`
		LastCommitAt string `json:"last_commit_at"`
	}
}
