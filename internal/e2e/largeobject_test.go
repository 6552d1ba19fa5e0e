package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"pg_scribe/repo"
	"pg_scribe/stream"
)

const listLargeObjects = `SELECT m.oid, md5(lo_get(m.oid)), length(lo_get(m.oid)), pg_get_userbyid(lomowner), obj_description(m.oid, 'pg_largeobject'),
	(SELECT string_agg(x, ', ' ORDER BY x COLLATE "C") FROM (SELECT format('%s %s %s %s', grantor::regrole, grantee::regrole, privilege_type, is_grantable) AS x
	  FROM aclexplode(coalesce(lomacl, acldefault('L', lomowner)))) a)
	FROM pg_largeobject_metadata m ORDER BY 1`

// largeObjects compares every large object's contents, owner, privileges and
// comment.
func (tr *trip) largeObjects() {
	tr.t.Helper()
	want, got := tr.source.Query(tr.t, tr.db, listLargeObjects), tr.target.Query(tr.t, tr.restored, listLargeObjects)
	if want != got {
		tr.t.Errorf("large objects differ: source\n%s\nrestored\n%s", want, got)
	}
}

func (tr *trip) fullBackup() {
	tr.t.Helper()
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	if _, err := stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Command: tr.command, Notice: func(s string) { tr.t.Log(s) }}); err != nil {
		tr.t.Fatal(err)
	}
}

func TestLargeObjects(t *testing.T) {
	bytes := func(n string) string {
		return "(SELECT string_agg(decode(md5(g::text || '" + n + "'), 'hex'), '') FROM generate_series(1, 2000) g)"
	}
	tr := begin(t, `SELECT lo_from_bytea(100, `+bytes("a")+`), lo_from_bytea(101, 'short'), lo_from_bytea(102, `+bytes("c")+`), lo_create(103), `+
		`lo_from_bytea(104, 'gone later'), lo_from_bytea(105, `+bytes("h")+`)`)
	one, two := tr.db+"_one", tr.db+"_two"
	tr.run(`CREATE ROLE `+one+`; CREATE ROLE `+two,
		// Each kind of change to what the base holds: in the middle, appended, cut, cut within a page and extended, removed.
		`SELECT lo_put(100, 5000, 'in the middle'), lo_put(101, 5, ' and longer')`,
		`BEGIN; SELECT lo_truncate(lo_open(102, 131072), 3000); COMMIT; BEGIN; SELECT lo_truncate(lo_open(105, 131072), 100); COMMIT;
		  SELECT lo_put(105, 4096, 'behind a hole'), lo_unlink(104)`,
		// Written by a subtransaction.
		`DO $$BEGIN BEGIN PERFORM lo_put(103, 0, 'inner'); EXCEPTION WHEN OTHERS THEN RAISE; END; END$$`,
		// A new one, with commands that its target does not know yet.
		`SELECT lo_from_bytea(200, `+bytes("new")+`); COMMENT ON LARGE OBJECT 200 IS 'it''s "new"';
		  ALTER LARGE OBJECT 200 OWNER TO `+one+`; GRANT SELECT ON LARGE OBJECT 200, 100 TO `+two+` WITH GRANT OPTION;
		  GRANT UPDATE ON LARGE OBJECT 101 TO PUBLIC; SET ROLE `+two+`; GRANT SELECT ON LARGE OBJECT 200 TO PUBLIC`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.largeObjects()
	if got := tr.target.Query(t, tr.restored, "SELECT count(*) FROM pg_largeobject_metadata"); got != "6" {
		t.Errorf("%s large objects came back", got)
	}

	tr.target.Exec(t, "postgres", "DROP DATABASE "+tr.restored+" WITH (FORCE)")
	tr.target.Exec(t, "postgres", "DROP ROLE "+one+", "+two) // a restore leaves those alone that it finds

	// A further base in between, and what changed before and behind it.
	tr.run(`SELECT lo_put(200, 0, 'before the base'), lo_unlink(101)`)
	tr.fullBackup()
	tr.run(`SELECT lo_put(200, 7000, 'behind the base'), lo_from_bytea(101, 'again'), lo_create(201);
	  REASSIGN OWNED BY `+one+` TO `+two+`; DROP OWNED BY `+one+`; DROP ROLE `+one,
		`REVOKE ALL ON LARGE OBJECT 100 FROM `+two+`; COMMENT ON LARGE OBJECT 200 IS NULL`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.largeObjects()
	if got := tr.target.Query(t, tr.restored, "SELECT count(*) FROM pg_roles WHERE rolname = '"+one+"'"); got != "0" {
		t.Error("a role that was dropped is still there, because large objects belonged to it")
	}

	// What did not change costs nothing.
	before := len(tr.text())
	tr.capture()
	if more := tr.text()[before:]; strings.Contains(more, "LARGE OBJECT") {
		t.Errorf("a sample without changes wrote %s", more)
	}
}

// A transaction that was running at the last sample is in the next one.
func TestLargeObjectOfLongTransaction(t *testing.T) {
	tr := begin(t, `SELECT lo_from_bytea(100, 'first')`)
	conn := tr.source.Conn(t, tr.db)
	ctx := context.Background()
	if _, err := conn.Exec(ctx, "BEGIN; SELECT lo_put(100, 0, 'FIRST'), lo_from_bytea(300, 'late'); SAVEPOINT s; SELECT lo_put(100, 5, ' and inner'); "+
		"RELEASE s"); err != nil {
		t.Fatal(err)
	}
	tr.run(`SELECT lo_from_bytea(200, 'other')`)
	tr.capture()
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	tr.capture()
	tr.back()
	tr.largeObjects()
}

// A catalog that was built anew from the files knows no sample: the next one
// sends everything, and what is gone goes.
func TestLargeObjectsWithoutTheSampleBefore(t *testing.T) {
	tr := begin(t, `SELECT lo_from_bytea(100, 'kept'), lo_from_bytea(1000, 'alone in its range'), lo_from_bytea(101, 'beside it')`)
	tr.run(`SELECT lo_unlink(1000), lo_unlink(101), lo_put(100, 0, 'KEPT')`)
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Catalog().SetSetting(context.Background(), "state large objects", "null"); err != nil {
		t.Fatal(err)
	}
	r.Close()
	tr.capture()
	tr.noGap()
	tr.back()
	tr.largeObjects()
}
