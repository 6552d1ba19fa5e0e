package e2e

import (
	"strings"
	"testing"
)

// A restore compares with what a base and the stream say, whether the base is a
// file or a directory, and finds nothing where nothing differs.
func TestRestoreCompares(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'x'); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	tr.run(`ALTER TABLE t ADD w int NOT NULL DEFAULT 3; COMMENT ON FUNCTION f() IS 'one'`, `INSERT INTO t VALUES (1)`)
	tr.capture()
	for _, jobs := range []int{0, 2} {
		if jobs > 0 {
			tr.further(jobs)
		}
		tr.run(`CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'; CREATE INDEX ON t (v)`)
		tr.capture()
		tr.restored = "compares_" + tr.db
		out, code := tr.program("restore", "-f", tr.dir, "-C", "-d", tr.target.ConnString(tr.restored))
		if code != 0 || strings.Contains(out, "repaired") || strings.Contains(out, "was not compared") {
			t.Fatalf("%d jobs, exit code %d: %s", jobs, code, out)
		}
		_, compared, ok := strings.Cut(out, "compared     ")
		if n := strings.Fields(compared); !ok || len(n) == 0 || n[0] < "4" {
			t.Errorf("%d jobs: %s", jobs, out)
		}
		if diff := tr.differences(); len(diff) > 0 {
			t.Error(strings.Join(diff, "\n"))
		}
		tr.target.Exec(t, "postgres", "DROP DATABASE "+tr.restored+" WITH (FORCE)")
	}
}
