package e2e

import (
	"errors"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/stream"
)

// A value that the server can store but not send: nobody claims to have it,
// everything before it is kept, and there is a way on. The value compresses
// well, so that this takes little time and disk, but a gigabyte of memory.
func TestValueTooLargeToSend(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE "big ones" (id int PRIMARY KEY, b bytea)`)
	tr.run("INSERT INTO t VALUES (1, 'before')")
	before := tr.lsn()
	tr.run(`INSERT INTO "big ones" VALUES (7, convert_to(repeat('x', 600000000), 'UTF8'))`, "INSERT INTO t VALUES (2, 'after')")
	xid := tr.source.Query(t, tr.db, `SELECT xmin FROM "big ones"`)
	for range 2 { // it comes again
		var large *stream.LargeValueError
		err := tr.tryCapture()
		if !errors.As(err, &large) || large.Commit < before || large.Commit >= tr.lsn() || !strings.Contains(err.Error(), "transaction "+xid+",") {
			t.Fatalf("%v", err)
		}
	}
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: before}}); err != nil || got != "before" {
		t.Errorf("what was there before: %q, %v", got, err)
	}
	var large *stream.LargeValueError
	if _, err := tr.base(false); !errors.As(err, &large) || large.Table != `public."big ones"` {
		t.Errorf("a base: %v", err)
	}
	tr.run(`UPDATE "big ones" SET b = substr(b, 1, 1000000)`)
	if _, err := tr.base(true); err == nil {
		t.Error("a slot that is whole was made anew without a word")
	}
	if _, err := tr.base(true, true); err != nil {
		t.Fatal(err)
	}
	tr.run("INSERT INTO t VALUES (3, 'at last')", `UPDATE "big ones" SET id = 8`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	if got, err := tr.rows(catalog.Request{}); err != nil || got != "before after at last" {
		t.Errorf("the end: %q, %v", got, err)
	}
	inv := tr.inventory()
	if holes := catalog.Holes(inv.Artifacts, inv.Switches...); len(holes) != 1 {
		t.Errorf("holes: %v", holes)
	}
}
