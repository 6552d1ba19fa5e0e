package main

import (
	"fmt"
	"os"

	"pg_scribe/internal/pgtest"
)

// rehearseHints are errors that keep a rehearsal from a verdict.
var rehearseHints = []hintCase{
	{"a folder without a server's programs", func(h *hinter) {
		s := h.fresh()
		f := h.fails("*rehearse.ServerError", "rehearse", "-f", s.dir, "--bindir", "/nonexistent")
		other := pgtest.New(h.t)
		f.follow(0, "host=SERVER", fmt.Sprintf("host=%s port=%d", other.Host, other.Port))
		f.came("on a server that runs, the commands are proven")
	}},
	{"the source's own server", func(h *hinter) {
		s := h.fresh()
		f := h.fails("*rehearse.SourceServerError", "rehearse", "-f", s.dir, "--scratch", "dbname=postgres password=secret")
		f.follow(0)
		f.came("with --allow-source the commands are proven there")
	}},
	{"a rehearsal over a break of the chain", func(h *hinter) {
		s := h.fresh()
		for range 3 {
			h.c.Exec(h.t, s.db, "INSERT INTO t SELECT max(id) + 1 FROM t")
			s.catchUp()
		}
		h.ok(os.Remove(h.oneFile(s.dir, "incremental-*")))
		h.run("catalog", "rebuild", "--force", "-f", s.dir)
		f := h.fails("catalog.HoleError of rehearse", "rehearse", "-f", s.dir)
		f.follow(0)
		h.must("rehearse", "-f", s.dir)
		f.came("behind a new base the commands are proven")
	}},
	{"a rehearsal over a command that nobody captured", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, `ALTER EVENT TRIGGER "!scribe_y" DISABLE`)
		h.c.Exec(h.t, s.db, "CREATE TABLE unseen (i int PRIMARY KEY)")
		s.catchUp()
		f := h.fails("catalog.SchemaGapError of rehearse", "rehearse", "-f", s.dir)
		f.follow(0)
		h.must("rehearse", "-f", s.dir)
		f.came("behind a new base the commands are proven")
	}},
}
