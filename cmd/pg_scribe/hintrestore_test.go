package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// restoreHints are errors of a restore's target.
var restoreHints = []hintCase{
	{"no database to restore into", func(h *hinter) {
		f := h.fails("restore needs a target database", "restore", "-f", h.src.dir)
		f.follow(0, "NEW_DATABASE", h.newDB())
		f.came("it is restored")
	}},
	{"a database that exists", func(h *hinter) {
		db := h.newDB()
		h.c.Exec(h.t, "postgres", "CREATE DATABASE "+db)
		f := h.fails("*restore.ExistsError", "restore", "-f", h.src.dir, "-C", "-d", db)
		h.must("restore", "-f", h.src.dir, "-d", db)
		f.came("it is empty: without -C it is restored")
	}},
	{"a database that is not empty", func(h *hinter) {
		f := h.fails("*restore.NotEmptyError", "restore", "-f", h.src.dir, "-d", h.database())
		f.follow(0, "NEW_DATABASE", h.newDB())
		f.came("with -C and another name it is restored")
	}},
	{"the source itself", func(h *hinter) {
		f := h.fails("*restore.SourceTargetError", "restore", "-f", h.src.dir, "-d", h.src.db, "--force")
		h.must("restore", "-f", h.src.dir, "-C", "-d", h.newDB())
		f.came("into another database with -C it is restored")
	}},
	{"--allow-source of what is not the source", func(h *hinter) {
		f := h.fails("*restore.NotSourceError", "restore", "-f", h.src.dir, "-d", h.database(), "--allow-source")
		f.follow(0, "NEW_DATABASE", h.newDB())
		f.came("into a new database it is restored")
	}},
	{"a statement that fails in the replay", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "CREATE TABLE clash (i int PRIMARY KEY); INSERT INTO clash VALUES (1)")
		s.catchUp()
		db := h.newDB()
		h.c.Exec(h.t, "postgres", "CREATE DATABASE "+db)
		h.c.Exec(h.t, db, "CREATE TABLE clash (i int)")
		f := h.fails("*restore.IncompleteError / replay", "restore", "-f", s.dir, "-d", db, "--force")
		h.c.Exec(h.t, db, "DROP TABLE clash")
		f.follow(0)
		if got := h.c.Query(h.t, db, "SELECT i FROM clash"); got != "1" {
			h.t.Errorf("clash holds %q", got)
		}
		f.came("with the table out of the way, --resume restores the rest")
	}},
	{"an object that differs and cannot be repaired", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "CREATE TYPE odd AS ENUM ('a'); UPDATE pg_type SET typdelim = ';' WHERE typname = 'odd'; COMMENT ON TYPE odd IS 'x'")
		h.must("full-backup", "-d", s.db, "-f", s.dir)
		h.c.Exec(h.t, s.db, "INSERT INTO t VALUES (7)")
		s.catchUp()
		f := h.fails("*restore.DifferenceError", "restore", "-f", s.dir, "-C", "-d", h.newDB())
		o := f.followTo(exitWarnings, 0)
		if !strings.Contains(o.out+o.errors, "differs: type public.odd") {
			h.t.Errorf("%s%s", o.out, o.errors)
		}
		f.came("with --accept-differences it is restored, and lists what differs")
	}},
	{"--resume of nothing", func(h *hinter) {
		db := h.newDB()
		h.c.Exec(h.t, "postgres", "CREATE DATABASE "+db)
		f := h.fails("*restore.ResumeError", "restore", "-f", h.src.dir, "-d", db, "--resume")
		f.follow(0)
		f.came("without --resume it is restored")
	}},
	{"no pg_restore", func(h *hinter) {
		s := h.fresh()
		h.must("full-backup", "-d", s.db, "-f", s.dir, "--jobs", "2", "-Z", "gzip")
		h.env = slices.DeleteFunc(slices.Clone(h.env), func(e string) bool { return strings.HasPrefix(e, "PATH=") })
		tools := h.t.TempDir()
		h.ok(os.Symlink("/bin/bash", filepath.Join(tools, "bash")), os.Symlink("/bin/sh", filepath.Join(tools, "sh")))
		h.env = append(h.env, "PATH="+tools)
		db := h.newDB()
		o, name := h.runNamed(context.Background(), "restore", "-f", s.dir, "-C", "-d", db)
		if name != "*restore.ToolError" && name != "*restore.IncompleteError" {
			h.t.Fatalf("%s\n%s", name, o.errors)
		}
		f := h.failed(name, name, o)
		if clientFolder("pg_restore", 0) == "" {
			f.came("no folder of client programs is on this machine: the hint says to install them")
			return
		}
		h.c.Exec(h.t, "postgres", "DROP DATABASE IF EXISTS "+db)
		f.follow(0)
		f.came("the folder is found, and it is restored")
	}},
}
