package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/restore"
)

// What belongs to the cluster and to no database: tablespaces and privileges
// on settings.
func TestTablespacesAndParameters(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	role := tr.db + "_role"
	name := `"` + tr.db + `_""sp ace%"""`
	folder := func() string {
		dir, err := os.MkdirTemp("/tmp", "pg_scribe_space")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if out, err := exec.Command("chown", "--reference="+tr.source.DataDir, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return dir
	}
	tr.target.Exec(t, "postgres", `CREATE TABLESPACE `+name+` LOCATION '`+folder()+`'`)
	t.Cleanup(func() { tr.target.Exec(t, "postgres", "DROP TABLESPACE "+name) })
	tr.source.Exec(t, "postgres", `CREATE TABLESPACE `+name+` LOCATION '`+folder()+`'`)
	tr.source.Exec(t, "postgres", `CREATE TABLESPACE `+tr.db+`_absent LOCATION '`+folder()+`'`)
	t.Cleanup(func() {
		tr.source.Exec(t, "postgres", "DROP TABLESPACE "+name)
		tr.source.Exec(t, "postgres", "DROP TABLESPACE "+tr.db+"_absent")
	})
	tr.run(`CREATE ROLE `+role+`; ALTER TABLESPACE `+name+` OWNER TO `+role+`; ALTER TABLESPACE `+name+` SET (random_page_cost = 3);
	  COMMENT ON TABLESPACE `+name+` IS 'a %% comment'; GRANT CREATE ON TABLESPACE `+name+` TO PUBLIC`,
		`GRANT SET ON PARAMETER log_min_messages TO `+role+` WITH GRANT OPTION; GRANT ALTER SYSTEM ON PARAMETER work_mem TO `+role)
	// Labels whose provider neither server has: they are sent, and do not stop a restore.
	tr.source.Exec(t, tr.db, `INSERT INTO pg_shseclabel SELECT oid, 'pg_authid'::regclass, 'nobody', '100% "it''s"' FROM pg_roles WHERE rolname = '`+role+
		`'; INSERT INTO pg_shseclabel SELECT oid, 'pg_database'::regclass, 'nobody', 'x' FROM pg_database WHERE datname = current_database()`)
	defer tr.source.Exec(t, tr.db, "DELETE FROM pg_shseclabel")
	tr.capture()
	if text := tr.text(); strings.Count(text, "SECURITY LABEL FOR nobody") != 2 {
		t.Error("the labels were not sampled")
	}
	tr.run(`REVOKE ALTER SYSTEM ON PARAMETER work_mem FROM ` + role)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	if got := tr.target.Query(t, "postgres", `SELECT pg_get_userbyid(spcowner) FROM pg_tablespace WHERE spcname LIKE '`+tr.db+`\_"%'`); got != "postgres" {
		t.Errorf("a restore changed the owner of a tablespace that it found to %s", got)
	}
	tr.backTo(catalog.Request{}, true, func(o *restore.Options) { o.Globals = restore.GlobalsAll })
	for what, sql := range map[string]string{
		"tablespaces": `SELECT spcname, pg_get_userbyid(spcowner), spcoptions, shobj_description(oid, 'pg_tablespace'), (SELECT array_agg(x::text ORDER ` +
			`BY x::text) ` +
			`FROM aclexplode(spcacl) a, format('%s %s', grantee::regrole, privilege_type) x)
		  FROM pg_tablespace WHERE spcname LIKE '` + tr.db + `\_"%'`,
		"parameters": `SELECT parname, (SELECT array_agg(x::text ORDER BY x::text) FROM aclexplode(paracl) a, format('%s %s %s', grantee::regrole, privilege_type, ` +
			`is_grantable) x) FROM pg_parameter_acl WHERE parname = 'log_min_messages'
		  OR parname = 'work_mem' AND paracl::text LIKE '%` + role + `%'`,
	} {
		if want, got := tr.source.Query(t, tr.db, sql), tr.target.Query(t, tr.restored, sql); want != got || want == "" {
			t.Errorf("%s differ: source\n%s\nrestored\n%s", what, want, got)
		}
	}
	tr.source.Exec(t, tr.db, "REVOKE ALL ON PARAMETER log_min_messages FROM "+role+" CASCADE")
	tr.target.Exec(t, tr.restored, "REVOKE ALL ON PARAMETER log_min_messages FROM "+role+" CASCADE; ALTER TABLESPACE "+name+" OWNER TO CURRENT_USER")
}

// Of two roles, one was a member of the other, and is now its group: in a
// sample, and in a command that rests on it before the next one.
func TestMembershipTurnedRound(t *testing.T) {
	tr := begin(t)
	one, two := tr.db+"_one", tr.db+"_two"
	t.Cleanup(func() {
		for _, c := range []*pgtest.Cluster{tr.source, tr.target} {
			c.Exec(t, "postgres", "DROP ROLE "+one+", "+two)
		}
	})
	list := `SELECT r.rolname, m.rolname FROM pg_auth_members JOIN pg_roles r ON r.oid = roleid JOIN pg_roles m ON m.oid = member WHERE r.rolname LIKE '` +
		tr.db + `%'`
	same := func() {
		t.Helper()
		tr.noGap()
		tr.backTo(catalog.Request{}, true, func(o *restore.Options) { o.Globals = restore.GlobalsAll })
		tr.equal()
		if want, got := tr.source.Query(t, tr.db, list), tr.target.Query(t, tr.restored, list); want != got {
			t.Errorf("members: %s on the source, %s restored", want, got)
		}
	}
	tr.run(`CREATE ROLE ` + one + `; CREATE ROLE ` + two + `; GRANT ` + one + ` TO ` + two + `; CREATE SCHEMA s AUTHORIZATION ` + one)
	tr.capture()
	tr.run(`REVOKE ` + one + ` FROM ` + two + `; GRANT ` + two + ` TO ` + one)
	tr.capture()
	same()
	defer func() {
		for c, db := range map[*pgtest.Cluster]string{tr.source: tr.db, tr.target: tr.restored} {
			c.Exec(t, db, "DROP OWNED BY "+one+", "+two+" CASCADE")
		}
	}()
	tr.run(`REVOKE `+two+` FROM `+one+`; GRANT `+one+` TO `+two, `SET ROLE `+two+`; CREATE TABLE s.t (x int)`)
	tr.capture()
	same()
}
