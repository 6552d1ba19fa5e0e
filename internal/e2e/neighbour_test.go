package e2e

import (
	"path/filepath"
	"testing"
)

// Two repositories of one database sample on their own: what one has put into
// the stream for itself is not the other's sample before.
func TestTwoRepositoriesOfADatabase(t *testing.T) {
	a := begin(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) VALUES ('base'); SELECT lo_from_bytea(100, 'base')`)
	b := &trip{t: t, source: a.source, target: a.target, db: a.db, slot: a.slot + "_b", dir: filepath.Join(t.TempDir(), "repo")}
	b.begin()
	role := a.db + "_role"
	t.Cleanup(func() { a.source.Exec(t, "postgres", "DROP ROLE IF EXISTS "+role) })
	// Each of them sees a state that is gone when the other one samples.
	a.run(`CREATE ROLE `+role, `SELECT lo_from_bytea(200, 'for a moment'), lo_put(100, 0, 'BASE')`, `ALTER DATABASE `+a.db+` SET work_mem = '5MB'`,
		`INSERT INTO t (v) VALUES ('one')`)
	a.capture()
	a.run(`DROP ROLE `+role, `SELECT lo_unlink(200), lo_put(100, 0, 'base')`, `ALTER DATABASE `+a.db+` RESET work_mem`, `INSERT INTO t (v) VALUES ('two')`)
	b.capture()
	a.capture()
	for name, tr := range map[string]*trip{"a": a, "b": b} {
		tr.noGap()
		tr.back()
		tr.equal()
		tr.largeObjects()
		if got := tr.target.Query(t, "postgres", `SELECT count(*) FROM pg_roles WHERE rolname = '`+role+`'`); got != "0" {
			t.Errorf("%s: the role is there", name)
		}
		if got := tr.target.Query(t, tr.restored, `SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`); got != "0" {
			t.Errorf("%s: %s settings of the database", name, got)
		}
	}
}
