package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/stream/source"
)

// A value that the server can store but not send as text comes in binary form,
// with all that its transaction holds. The value compresses well, so that this
// takes little disk, but some memory.
//
// It takes minutes: make test-large runs it.
func TestValueTooLargeToSend(t *testing.T) {
	if os.Getenv("PG_SCRIBE_TEST_LARGE") == "" {
		t.Skip("PG_SCRIBE_TEST_LARGE is not set")
	}
	tr := begin(t, `CREATE TYPE mood AS ENUM ('so', 'la la');
	  CREATE TABLE t (id int PRIMARY KEY, v text);
	  CREATE TABLE "big ones" (id int PRIMARY KEY, b bytea, e mood, f float8, ts timestamptz, j jsonb, a text[], n numeric, small bytea, r regclass, c "char", `+
		`i interval)`)
	tr.run("INSERT INTO t VALUES (1, 'before')")
	before := tr.lsn()
	tr.run(`BEGIN; INSERT INTO t VALUES (2, 'beside');
	    INSERT INTO "big ones" VALUES (7, convert_to(repeat('x', 600000000), 'UTF8'), 'la la', 0.1 + 0.2::float8, '2026-02-01 03:04:05.678901+00', `+
		`'{"a": [1.50, null]}',
	      '{"x,\"y",NULL,NULL}', 1.500, '\x00ff', 't', 'q', '1 mon -2 days');
	    INSERT INTO t SELECT g, 'row ' || g FROM generate_series(10, 30) g; UPDATE t SET id = -g, v = NULL FROM generate_series(11, 13) g WHERE id = g;
		  DELETE FROM t WHERE id = 14;
	    CREATE TABLE made AS SELECT 1.0 AS one; COMMIT`,
		"INSERT INTO t VALUES (3, 'after')")
	tr.capture()
	tr.noGap()
	tr.back()
	for _, sql := range []string{`SELECT id, md5(b), length(b), e, f, ts, j, a, n, small, r, c, i FROM "big ones"`, "SELECT * FROM t ORDER BY id",
		"SELECT * FROM made"} {
		if want, got := tr.source.Query(t, tr.db, sql), tr.target.Query(t, tr.restored, sql); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", sql, got, want)
		}
	}
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: before}}); err != nil || got != "before" {
		t.Errorf("what was there before: %q, %v", got, err)
	}
	var large *source.LargeValueError
	if _, err := tr.base(false); !errors.As(err, &large) || large.Table != `public."big ones"` {
		t.Errorf("a base: %v", err)
	}
}

// What cannot be sent in any form is claimed by nobody: everything before it
// is kept, and there is a way on.
func TestRowTooLargeInAnyForm(t *testing.T) {
	if os.Getenv("PG_SCRIBE_TEST_LARGE") == "" {
		t.Skip("PG_SCRIBE_TEST_LARGE is not set")
	}
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE "big ones" (id int PRIMARY KEY, b bytea, c bytea)`)
	tr.run("INSERT INTO t VALUES (1, 'before')")
	before := tr.lsn()
	// The old and the new row of the UPDATE together are too large.
	tr.run(`ALTER TABLE "big ones" REPLICA IDENTITY FULL`,
		`BEGIN; INSERT INTO "big ones" SELECT 7, convert_to(repeat('x', 560000000), 'UTF8');
		  UPDATE "big ones" SET c = b; COMMIT`, "INSERT INTO t VALUES (2, 'after')")
	var large *source.LargeValueError
	xid := tr.source.Query(t, tr.db, `SELECT xmin FROM "big ones"`)
	if err := tr.tryCapture(); !errors.As(err, &large) || large.Commit < before || !strings.Contains(err.Error(), "transaction "+xid+",") {
		t.Fatalf("%v", err)
	}
	if got, err := tr.rows(catalog.Request{Target: catalog.Target{Kind: catalog.ByLSN, LSN: before}}); err != nil || got != "before" {
		t.Errorf("what was there before: %q, %v", got, err)
	}
	if _, err := tr.base(false); !errors.As(err, &large) || large.Table != `public."big ones"` {
		t.Errorf("a base: %v", err)
	}
	tr.run(`UPDATE "big ones" SET b = substr(b, 1, 1000000), c = NULL`)
	if _, err := tr.base(true); err == nil {
		t.Error("a slot that is whole was made anew without a word")
	}
	if _, err := tr.base(true, true); err != nil {
		t.Fatal(err)
	}
	tr.run("INSERT INTO t VALUES (4, 'at last')", `UPDATE "big ones" SET id = 8`)
	tr.capture()
	tr.back()
	tr.equal()
	inv := tr.inventory()
	if holes := catalog.Holes(inv.Artifacts, inv.Switches...); len(holes) != 1 {
		t.Errorf("holes: %v", holes)
	}
}
