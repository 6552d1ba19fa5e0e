package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/restore"
	"pg_scribe/stream"
)

// renaming is a trip with roles, whose names no other test has: ONE, TWO and
// THREE are replaced in every script. ONE has a bit of everything.
type renaming struct {
	*trip
	names *strings.Replacer
}

const renamedSetup = `CREATE ROLE ONE CREATEROLE LOGIN PASSWORD 'secret'; CREATE ROLE TWO; CREATE ROLE "TWO_granted";
  GRANT CREATE, USAGE ON SCHEMA public TO ONE, TWO;
CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, a int, b int); INSERT INTO s.t VALUES (1, 1, 1); CREATE SEQUENCE s.q;
  CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE s.e AS ENUM ('x');
CREATE PROCEDURE s.p(int) LANGUAGE sql AS 'SELECT 1'; CREATE DOMAIN s.d AS int; CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER srv FOREIGN DATA WRAPPER fdw;
GRANT USAGE ON SCHEMA s TO ONE WITH GRANT OPTION; GRANT SELECT, UPDATE ON s.t TO ONE WITH GRANT OPTION; GRANT INSERT (a, b) ON s.t TO ONE WITH GRANT OPTION;
  GRANT SELECT ON SEQUENCE s.q TO ONE;
REVOKE ALL ON FUNCTION s.f(int) FROM PUBLIC; GRANT EXECUTE ON FUNCTION s.f(int) TO ONE; REVOKE ALL ON PROCEDURE s.p(int) FROM PUBLIC;
  GRANT EXECUTE ON PROCEDURE s.p(int) TO ONE;
GRANT USAGE ON TYPE s.e, s.d TO ONE; GRANT USAGE ON FOREIGN SERVER srv TO ONE; GRANT USAGE ON FOREIGN DATA WRAPPER fdw TO ONE;
  GRANT USAGE ON LANGUAGE sql TO ONE;
CREATE USER MAPPING FOR ONE SERVER srv OPTIONS ("User" 'it''s=me');
SET ROLE ONE; CREATE TABLE own (id int PRIMARY KEY); CREATE FUNCTION own_f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT SELECT ON own TO TWO;
  GRANT SELECT, INSERT (a) ON s.t TO TWO WITH GRANT OPTION; GRANT USAGE ON SCHEMA s TO TWO;
SET ROLE TWO; GRANT SELECT ON s.t TO "TWO_granted"; RESET ROLE;
ALTER DEFAULT PRIVILEGES FOR ROLE ONE IN SCHEMA s GRANT SELECT ON TABLES TO TWO;
  ALTER DEFAULT PRIVILEGES FOR ROLE ONE REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
  ALTER DEFAULT PRIVILEGES FOR ROLE TWO GRANT INSERT ON TABLES TO ONE WITH GRANT OPTION;
CREATE POLICY pol ON s.t TO ONE USING (true); CREATE POLICY two_pol ON s.t TO TWO USING (false); GRANT "TWO_granted" TO ONE; GRANT ONE TO TWO;
  ALTER ROLE ONE IN DATABASE DATABASE SET work_mem = '5MB'; ALTER ROLE ONE SET search_path = s; COMMENT ON ROLE ONE IS 'the one';
SELECT lo_from_bytea(4711, 'x'); ALTER LARGE OBJECT 4711 OWNER TO ONE; SELECT lo_from_bytea(4712, 'x'); GRANT SELECT ON LARGE OBJECT 4712 TO ONE`

func beginRenaming(t *testing.T) *renaming {
	t.Helper()
	tr := begin(t, `CREATE TABLE seed (id int)`)
	r := &renaming{tr, strings.NewReplacer("ONE", tr.db+"_one", "TWO", tr.db+"_two", "THREE", tr.db+"_three", "DATABASE DATABASE", "DATABASE "+tr.db)}
	r.do(renamedSetup)
	r.capture()
	return r
}

func (r *renaming) do(scripts ...string) {
	r.t.Helper()
	for _, sql := range scripts {
		r.run(r.names.Replace(sql))
	}
}

// ofRoles is what of the roles a dump of the database does not tell.
func (r *renaming) ofRoles(where *pgtest.Cluster, db string) string {
	like := "'" + strings.ReplaceAll(r.db, "_", `\_`) + `\_%'`
	return where.Query(r.t, db, `SELECT 'role', rolname, rolcreaterole::text, rolcanlogin::text, rolconfig::text, shobj_description(oid, 'pg_authid') FROM `+
		`pg_roles WHERE rolname LIKE `+like+`
	  UNION ALL SELECT 'member', roleid::regrole::text, member::regrole::text, admin_option::text, '', '' FROM pg_auth_members WHERE member::regrole::text LIKE `+
		like+`
	  UNION ALL SELECT 'setting', setrole::regrole::text, setconfig::text, '', '', '' FROM pg_db_role_setting WHERE setrole <> 0 AND setdatabase = (SELECT oid `+
		`FROM pg_database WHERE datname = current_database())
	  UNION ALL SELECT 'policy', polname, (SELECT string_agg(x::regrole::text, ' ' ORDER BY x::regrole::text COLLATE "C") FROM unnest(polroles) x), '', '', `+
		`'' FROM pg_policy
  UNION ALL SELECT 'large object', oid::text, lomowner::regrole::text, lomacl::text, '', '' FROM pg_largeobject_metadata ORDER BY 1, 2, 3`)
}

// compare restores, twice: the second time the roles of the first are there,
// and belong to its database.
func (r *renaming) compare() {
	r.t.Helper()
	r.noGap()
	var first string
	for i := range 2 {
		r.back()
		r.owners()
		r.equal()
		want, got := r.ofRoles(r.source, r.db), r.ofRoles(r.target, r.restored)
		if want != got {
			r.t.Errorf("restore %d: roles differ: source\n%s\nrestored\n%s\n%s", i, want, got, r.text())
		}
		if i == 0 {
			first = r.restored
		}
	}
	schema, err := r.target.NormalSchema(r.t.Context(), first)
	if err != nil {
		r.t.Fatal(err)
	}
	want, err := r.source.NormalSchema(r.t.Context(), r.db)
	if err != nil {
		r.t.Fatal(err)
	}
	if diff := lineDiff(want, schema); diff != "" {
		r.t.Errorf("the second restore changed the first one's database:\n%s", diff)
	}
}

func TestRenamedRole(t *testing.T) {
	r := beginRenaming(t)
	before := r.moment()
	r.do(`ALTER ROLE ONE RENAME TO "THREE ""q"" 's"`)
	r.capture()
	r.compare()
	r.at(before)
}

// Roles change their names between two samples, and commands follow that name none
// of them: what is said of their objects then has other roles than what was said
// before.
func TestRolesRenamedBetweenDescriptions(t *testing.T) {
	r := beginRenaming(t)
	streamer := r.launchStart("--state-interval", "1h")
	described := func() { time.Sleep(1500 * time.Millisecond) } // mostly
	r.do("ALTER TABLE own ADD x int; ALTER TABLE s.t ADD x int")
	described()
	r.do("ALTER ROLE ONE RENAME TO THREE", "ALTER TABLE own ADD y int; CREATE INDEX ON s.t (a)")
	described()
	r.do("ALTER ROLE TWO RENAME TO ONE; ALTER ROLE THREE RENAME TO TWO", "ALTER TABLE own ADD z int; ALTER TABLE s.t ADD z int")
	described()
	r.do(`CREATE ROLE THREE; REASSIGN OWNED BY TWO TO THREE; ALTER TABLE own ADD late int`)
	described()
	streamer.stop(t)
	if n := strings.Count(r.text(), `object "table" "public.own"`); n == 0 {
		t.Fatal("the table is not described")
	}
	r.compare()
}

// Names that change hands between two samples.
func TestRolesExchangeNames(t *testing.T) {
	r := beginRenaming(t)
	r.do(`ALTER ROLE ONE RENAME TO THREE; ALTER ROLE TWO RENAME TO ONE; ALTER ROLE THREE RENAME TO TWO`)
	r.capture()
	r.compare()
}

func TestRenamedRoleLeavesItsNameToANewOne(t *testing.T) {
	r := beginRenaming(t)
	r.do(`ALTER ROLE ONE RENAME TO THREE; CREATE ROLE ONE CREATEROLE LOGIN PASSWORD 'secret'; COMMENT ON ROLE ONE IS 'the one'; GRANT ONE TO TWO;
	  REVOKE THREE FROM TWO; ALTER ROLE ONE SET search_path = s;
ALTER ROLE ONE IN DATABASE DATABASE SET work_mem = '5MB'; ALTER ROLE THREE IN DATABASE DATABASE RESET ALL; ALTER ROLE THREE RESET ALL`)
	r.capture()
	r.compare()
}

// A role takes the name of one that is dropped.
func TestRenamedRoleTakesTheNameOfADroppedOne(t *testing.T) {
	r := beginRenaming(t)
	r.do(`CREATE ROLE THREE; CREATE TABLE was (id int); ALTER TABLE was OWNER TO THREE`)
	r.capture()
	r.do(`REASSIGN OWNED BY THREE TO TWO; DROP ROLE THREE; ALTER ROLE ONE RENAME TO THREE`)
	r.capture()
	r.compare()
}

// Commands of a renamed role, and of a new one with its old name, come before
// the sample that tells the rename.
func TestCommandsOfARenamedRole(t *testing.T) {
	r := beginRenaming(t)
	r.do(`ALTER ROLE ONE RENAME TO THREE; SET ROLE THREE; ALTER TABLE own ADD COLUMN a int; GRANT UPDATE ON s.t TO TWO`,
		`CREATE ROLE ONE; GRANT SELECT ON s.t TO ONE; GRANT ALL ON SCHEMA public TO ONE; SET ROLE ONE; CREATE TABLE second (id int)`)
	r.captureUntil(false)
	between := r.moment()
	r.capture()
	r.compare()
	r.at(between)
}

// A command names the new role before any names the renamed one.
func TestNewRoleIsNamedBeforeTheRenamedOne(t *testing.T) {
	r := beginRenaming(t)
	r.do(`ALTER ROLE ONE RENAME TO THREE; CREATE ROLE ONE; GRANT SELECT ON s.t TO ONE; GRANT ALL ON SCHEMA public TO ONE; SET ROLE ONE;
	  CREATE TABLE second (id int)`)
	r.captureUntil(false)
	r.capture()
	r.compare()
	if left := r.target.Query(t, "postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'scribe\\_role\\_%'"); left != "" {
		t.Errorf("%s is left", left)
	}
}

// The same, but the renamed role is dropped before the sample.
func TestRenamedRoleIsDropped(t *testing.T) {
	r := beginRenaming(t)
	r.do(`ALTER ROLE ONE RENAME TO THREE; CREATE ROLE ONE; GRANT SELECT ON s.t TO ONE; REASSIGN OWNED BY THREE TO TWO; DROP OWNED BY THREE CASCADE;
	  DROP ROLE THREE`)
	r.captureUntil(false)
	r.capture()
	r.compare()
	if left := r.target.Query(t, "postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'scribe\\_role\\_%'"); left != "" {
		t.Errorf("%s is left", left)
	}
}

// A base between two renames has the names of its moment, whichever base a
// restore begins with.
func TestBaseBetweenRenames(t *testing.T) {
	r := beginRenaming(t)
	first := r.bases()[0]
	r.do(`ALTER ROLE ONE RENAME TO THREE; ALTER ROLE TWO RENAME TO ONE; ALTER ROLE THREE RENAME TO TWO`)
	catalogue, err := repo.Open(t.Context(), r.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer catalogue.Close()
	if _, err := stream.FullBackup(t.Context(), catalogue, stream.BaseOptions{ConnString: r.conn(), Publication: stream.DefaultPublication, Command: r.command,
		Notice: func(s string) { t.Log(s) }}); err != nil {
		t.Fatal(err)
	}
	catalogue.Close()
	r.do(`ALTER ROLE ONE RENAME TO THREE`)
	r.capture()
	r.compare()
	r.backFrom(first)
	r.owners()
	r.equal()
}

// The names that a base is made with are those of its point.
func TestRoleIsRenamedWhileABaseIsTaken(t *testing.T) {
	r := beginRenaming(t)
	catalogue, err := repo.Open(t.Context(), r.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer catalogue.Close()
	var once sync.Once
	var notices []string
	command := func(ctx context.Context, name string, args ...string) *exec.Cmd {
		if slices.Contains(args, "--globals-only") {
			once.Do(func() { r.do(`ALTER ROLE ONE RENAME TO THREE; ALTER ROLE TWO RENAME TO ONE`) })
		}
		return r.command(ctx, name, args...)
	}
	if _, err := stream.FullBackup(t.Context(), catalogue, stream.BaseOptions{ConnString: r.conn(), Publication: stream.DefaultPublication, Command: command,
		Notice: func(s string) { notices = append(notices, s) }}); err != nil {
		t.Fatal(err)
	}
	catalogue.Close()
	if !strings.Contains(strings.Join(notices, ""), "was renamed to") {
		t.Errorf("notices: %q", notices)
	}
	r.do(`ALTER ROLE ONE RENAME TO TWO`)
	r.capture()
	r.compare()
}

// Of a string that is sent once, later commands name what an earlier one renamed.
func TestLongStringRenamesARole(t *testing.T) {
	r := beginRenaming(t)
	r.once(r.names.Replace(`COMMENT ON TABLE s.t IS '` + strings.Repeat("long ", 1000) + `'; ALTER ROLE ONE RENAME TO THREE; GRANT UPDATE ON s.t TO ` +
		`THREE; GRANT ` +
		`SELECT ON own TO PUBLIC; CREATE ROLE ONE; GRANT SELECT ON s.t TO ONE`))
	r.captureUntil(false)
	between := r.moment()
	r.capture()
	r.compare()
	r.at(between)
}

// A restore that leaves roles alone, or is to bring those that exist to the
// source's state, renames none that was there.
func TestRenamedRoleOfTheTarget(t *testing.T) {
	for _, globals := range []string{restore.GlobalsNone, restore.GlobalsNew, restore.GlobalsAll} {
		t.Run(globals, func(t *testing.T) {
			r := beginRenaming(t)
			r.trip.target = pgtest.New(t)
			r.target.Exec(t, "postgres", r.names.Replace(`CREATE ROLE ONE; CREATE ROLE TWO; CREATE ROLE "TWO_granted"`))
			r.target.Exec(t, "postgres", r.names.Replace(`CREATE DATABASE neighbour OWNER ONE`))
			oid := r.target.Query(t, "postgres", r.names.Replace(`SELECT oid FROM pg_roles WHERE rolname = 'ONE'`))
			r.do(`ALTER ROLE ONE RENAME TO THREE; SET ROLE THREE; ALTER TABLE own ADD COLUMN a int`)
			r.capture()
			r.restored = "back"
			report, err := r.restoreTo(r.restored, catalog.Request{}, restore.Options{SyncSequences: true, Command: r.targetCommand, Globals: globals})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(report.Notices, ""), "was not renamed") {
				t.Errorf("notices: %q", report.Notices)
			}
			r.owners()
			r.equal()
			if got := r.target.Query(t, "postgres", "SELECT oid, rolname FROM pg_roles WHERE oid = (SELECT datdba FROM pg_database WHERE datname = "+
				"'neighbour')"); got != oid+"|"+r.db+"_one" {
				t.Errorf("the neighbour belongs to %s", got)
			}
		})
	}
}

// psql brings the names too, without any help.
func TestRenamedRoleByHand(t *testing.T) {
	r := beginRenaming(t)
	r.do(`ALTER ROLE ONE RENAME TO THREE; SET ROLE THREE; ALTER TABLE own ADD COLUMN a int; RESET ROLE; ALTER ROLE TWO RENAME TO ONE`)
	r.capture()
	target := pgtest.New(t)
	r.trip.target, r.restored = target, target.CreateDB(t, "hand")
	script := fmt.Sprintf(`set -e -o pipefail
	  cd %[1]q
	  psql -X -q -d postgres -f globals-*.sql 2>/dev/null || true
	  zstd -dc %[2]s | psql -X -q -v ON_ERROR_STOP=1 -d %[3]s >/dev/null
	  for f in incremental-*; do zstd -dcq $f | psql -X -q -v ON_ERROR_STOP=1 -d %[3]s; done`, r.dir, r.bases()[0], r.restored)
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = target.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("by hand: %v\n%s", err, out)
	}
	r.owners()
	r.equal()
	if want, got := r.ofRoles(r.source, r.db), r.ofRoles(target, r.restored); want != got {
		t.Errorf("roles differ: source\n%s\nrestored\n%s", want, got)
	}
}
