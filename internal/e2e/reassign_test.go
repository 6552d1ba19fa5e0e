package e2e

import (
	"context"
	"strings"
	"testing"
)

// reassigned is a trip whose role ONE owns what setup made and then gave all to TWO,
// behind the last sample.
func reassigned(t *testing.T, setup string, work ...string) *trip {
	t.Helper()
	tr := begin(t, `CREATE TABLE seed (id int)`)
	roles := strings.NewReplacer("ONE", tr.db+"_one", "TWO", `"`+tr.db+` ""Two"""`, "THREE", tr.db+"_three")
	tr.run(roles.Replace(`CREATE ROLE ONE; CREATE ROLE TWO; CREATE ROLE THREE; GRANT ALL ON SCHEMA public TO ONE, TWO, THREE;
	  GRANT CREATE ON DATABASE ` + tr.db + ` TO ONE; SET ROLE ONE; ` + setup))
	tr.capture()
	tr.run(roles.Replace(`REASSIGN OWNED BY ONE TO TWO`))
	for _, sql := range work {
		tr.run(roles.Replace(sql))
	}
	tr.captureUntil(true)
	tr.noGap()
	tr.back()
	tr.owners()
	tr.equal()
	return tr
}

// What a role may do because it was given an object by REASSIGN OWNED, it may
// do in the restored database, too: to the object, to what belongs to it, and
// to what refers to it.
func TestCommandsOfTheNewOwner(t *testing.T) {
	reassigned(t, `CREATE SCHEMA s; CREATE TABLE t (id serial PRIMARY KEY, a int); CREATE TABLE "Quoted ""T""" (id int PRIMARY KEY);
	  CREATE TABLE dropped (id int); CREATE TABLE indexed (id int, a int); CREATE INDEX by_a ON indexed (a);
	  CREATE TABLE parent (id int, a int) PARTITION BY LIST (id); CREATE TABLE child PARTITION OF parent FOR VALUES IN (1);
	  CREATE TABLE heir () INHERITS (indexed);
	  CREATE SEQUENCE q; CREATE VIEW v AS SELECT 1 AS x; CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS int; CREATE TYPE r AS RANGE (SUBTYPE = float8);
	  CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	  REVOKE ALL ON FUNCTION tf() FROM PUBLIC; CREATE STATISTICS st ON id, a FROM t; CREATE COLLATION co FROM "C"; CREATE TABLE late (id int)`,
		`SET ROLE TWO; ALTER TABLE t ADD COLUMN b int DEFAULT 7; INSERT INTO t (a) VALUES (1)`,
		`SET ROLE TWO; ALTER TABLE "Quoted ""T""" RENAME TO renamed`,
		`SET ROLE TWO; DROP TABLE dropped`,
		`SET ROLE TWO; DROP INDEX by_a`,
		`SET ROLE TWO; ALTER TABLE parent ADD COLUMN c int`,
		`SET ROLE TWO; ALTER TABLE indexed RENAME COLUMN a TO b`,
		`SET ROLE TWO; ALTER SEQUENCE t_id_seq INCREMENT 5; ALTER SEQUENCE q RESTART 9; COMMENT ON VIEW v IS 'x'; ALTER TYPE e ADD VALUE 'b';
		  ALTER DOMAIN d SET DEFAULT 4; DROP TYPE r`,
		`SET ROLE TWO; ALTER FUNCTION f(int) STABLE; ALTER STATISTICS st SET STATISTICS 77; ALTER COLLATION co RENAME TO co2`,
		`SET ROLE TWO; CREATE TABLE refers (id int REFERENCES renamed); CREATE TABLE mine (id int)`,
		`SET ROLE TWO; CREATE TRIGGER tg BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION tf()`,
		`SET ROLE TWO; SET search_path = s; CREATE TABLE made_by_path (id int); DROP TABLE made_by_path; CREATE TABLE made_by_path (id int)`,
		`SET ROLE TWO; DO $$BEGIN EXECUTE 'ALTER TABLE "late" ADD COLUMN x int'; END$$`,
		`SET ROLE TWO; CREATE INDEX CONCURRENTLY ON late (x)`)
}

// GRANT and REVOKE go by the owner, also when a superuser gives them: a role
// that was the owner is granted nothing, and loses what the owner has.
func TestPrivilegesBehindReassignOwned(t *testing.T) {
	setup := `CREATE SCHEMA s; CREATE TABLE t (id int); CREATE TABLE u (id int); CREATE TABLE s.w (id int);
	  CREATE FUNCTION s.wf() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE own (id int)`
	reassigned(t, setup, `GRANT SELECT ON t TO ONE; REVOKE ALL ON u FROM ONE; GRANT SELECT ON ALL TABLES IN SCHEMA s TO ONE;
	  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA s FROM ONE`)
	t.Run("by the new owner", func(t *testing.T) {
		reassigned(t, setup, `SET ROLE TWO; GRANT UPDATE ON own TO THREE; GRANT USAGE ON SCHEMA s TO THREE`)
	})
	t.Run("to the first superuser", func(t *testing.T) {
		reassigned(t, setup, `REASSIGN OWNED BY TWO TO postgres; REVOKE ALL ON u, t FROM ONE; GRANT SELECT ON t TO TWO, ONE; GRANT USAGE ON SCHEMA s TO ONE`)
	})
}

// The same within one transaction, and one string that is too long to be sent
// with each of its commands; the owner then changes back before the sample.
func TestReassignOwnedWithinATransaction(t *testing.T) {
	tr := begin(t, `CREATE TABLE seed (id int)`)
	one, two := tr.db+"_one", tr.db+"_two"
	roles := strings.NewReplacer("ONE", one, "TWO", two)
	tr.run(roles.Replace(`CREATE ROLE ONE; CREATE ROLE TWO; GRANT ALL ON SCHEMA public TO ONE, TWO; SET ROLE ONE; CREATE TABLE t (id int);
	  CREATE TABLE u (id int); CREATE TABLE again (id int)`))
	tr.capture()
	tr.run(roles.Replace(`BEGIN; SET ROLE ONE; CREATE TABLE fresh (id int); RESET ROLE; REASSIGN OWNED BY ONE TO TWO; SET ROLE TWO;
	  ALTER TABLE fresh ADD COLUMN a int; ALTER TABLE t ADD COLUMN a int;
	  SAVEPOINT s; ALTER TABLE again ADD COLUMN lost int; ROLLBACK TO s; ALTER TABLE again ADD COLUMN a int; COMMIT`))
	tr.once(roles.Replace(`SET ROLE TWO; COMMENT ON TABLE t IS '` + strings.Repeat("long ", 1000) + `'; RESET ROLE; REASSIGN OWNED BY TWO TO ONE; SET ROLE ONE; ` +
		`ALTER TABLE u ADD COLUMN a int; ALTER TABLE t ADD COLUMN b int`))
	tr.capture()
	tr.noGap()
	tr.back()
	tr.owners()
	tr.equal()
}

// A command that changes an owner itself comes between commands of others.
func TestOwnerChangesBackAndForth(t *testing.T) {
	reassigned(t, `CREATE TABLE t (id int)`, `SET ROLE TWO; ALTER TABLE t ADD COLUMN a int; RESET ROLE; ALTER TABLE t OWNER TO THREE;
	  REASSIGN OWNED BY THREE TO TWO; SET ROLE TWO; ALTER TABLE t ADD COLUMN b int;
	  RESET ROLE; REASSIGN OWNED BY TWO TO ONE; SET ROLE ONE; ALTER TABLE t ADD COLUMN c int`)
}

// A foreign-data wrapper stays with an owner who is no superuser any more,
// though he could not be given it again.
func TestWrapperOfAFormerSuperuser(t *testing.T) {
	tr := begin(t, `CREATE FOREIGN DATA WRAPPER "The one"; CREATE FOREIGN DATA WRAPPER other`)
	role := tr.db + "_super"
	tr.run(`CREATE ROLE `+role+` SUPERUSER; ALTER FOREIGN DATA WRAPPER "The one" OWNER TO `+role+`; ALTER FOREIGN DATA WRAPPER other OWNER TO `+role+
		`; ALTER ROLE `+role+` NOSUPERUSER`,
		`GRANT USAGE ON FOREIGN DATA WRAPPER "The one" TO PUBLIC; SET ROLE `+role+`; GRANT USAGE ON FOREIGN DATA WRAPPER other TO PUBLIC;
		  COMMENT ON FOREIGN DATA WRAPPER other IS 'x'`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.owners() // pg_dump's own script cannot be replayed
}

// What an event brought, another command takes back without one: the sample
// finds what the last one found.
func TestSampledStateSetBackWithoutAnEvent(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, a int); CREATE INDEX t_a ON t (a); CLUSTER t USING t_pkey;
	  CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE u (id int PRIMARY KEY)`)
	one, two := tr.db+"_one", tr.db+"_two"
	tr.run(`CREATE ROLE ` + one + `; CREATE ROLE ` + two + `; GRANT ALL ON SCHEMA public TO ` + one + `, ` + two + `; ALTER FUNCTION f() OWNER TO ` + one +
		`; ALTER TABLE u OWNER TO ` + one)
	tr.capture()
	tr.run(`ALTER FUNCTION f() OWNER TO `+two+`; ALTER TABLE u OWNER TO `+two+`; REASSIGN OWNED BY `+two+` TO `+one, `ALTER TABLE t CLUSTER ON t_a`,
		`CLUSTER t USING t_pkey`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.owners()
	tr.equal()
}

// What the owner was granted is his with the table: given to and fro, he has no
// more than the source gave him.
func TestOwnerToBehindReassignOwned(t *testing.T) {
	reassigned(t, `CREATE TABLE t (id int); GRANT SELECT ON t TO TWO; CREATE TABLE u (id int); GRANT SELECT ON u TO TWO`,
		`ALTER TABLE t OWNER TO ONE`, `ALTER TABLE u OWNER TO THREE`)
}

// Nothing in pg_shdepend tells of an owner that every cluster has.
func TestOwnerThatEveryClusterHas(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE u (id int);
	  CREATE TABLE p (id int) PARTITION BY LIST (id)`)
	tr.run(`ALTER TABLE t OWNER TO pg_database_owner; REVOKE DELETE ON t FROM pg_database_owner`, `ALTER FUNCTION f() OWNER TO pg_read_all_stats`)
	tr.capture()
	one := tr.db + "_one"
	// Of a text that is not known, everything that it made is sampled.
	tr.run(`CREATE ROLE `+one+`; GRANT ALL ON SCHEMA public TO `+one+`; ALTER TABLE u OWNER TO `+one+`; REASSIGN OWNED BY `+one+` TO pg_monitor`,
		`REVOKE ALL ON u FROM pg_monitor; GRANT SELECT ON u TO pg_monitor`,
		`CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		  DO $$ BEGIN EXECUTE 'CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION g()'; EXECUTE 'CREATE EXTENSION citext'; EXECUTE 'CREATE TABLE p1 `+
			`PARTITION OF p `+
			`(id PRIMARY KEY) FOR VALUES IN (1)'; END $$`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.owners()
	tr.equal()
}

// A range type's constructors belong to it, and may be given away all the same.
func TestOwnerOfAConstructor(t *testing.T) {
	reassigned(t, `CREATE TYPE span AS RANGE (SUBTYPE = float8)`, `ALTER FUNCTION span(float8, float8) OWNER TO THREE`, `REASSIGN OWNED BY THREE TO TWO`,
		`DROP OWNED BY THREE`, `SET ROLE TWO; ALTER FUNCTION span(float8, float8) COST 7`)
}

// Default privileges count when an object is made, not when that commits.
func TestDefaultPrivilegesChangeMeanwhile(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int)`)
	one := tr.db + "_one"
	tr.run(`CREATE ROLE ` + one)
	ctx := context.Background()
	overlap := func(sql string, meanwhile func()) {
		t.Helper()
		tx, err := tr.source.Conn(t, tr.db).Begin(ctx)
		must(t, err)
		_, err = tx.Exec(ctx, sql)
		must(t, err)
		meanwhile()
		must(t, tx.Commit(ctx))
	}
	overlap(`INSERT INTO t VALUES (1); CREATE INDEX ON t (id);
	  CREATE TEMP TABLE x (a int)`, func() { tr.run(`ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ` + one) })
	tr.run(`CREATE TABLE with_grant (a int)`, `BEGIN; ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM `+one+`; CREATE TABLE without (a int); COMMIT`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	overlap(`CREATE TABLE early (a int); CREATE VIEW v AS SELECT 1 AS x; CREATE SEQUENCE q; CREATE TABLE "Odd; one" (id serial);
	  CREATE FUNCTION f(a int, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
	  CREATE PROCEDURE p() LANGUAGE sql AS ''; CREATE AGGREGATE s (int) (SFUNC = int4pl, STYPE = int); CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS int;
	  CREATE TYPE c AS (a int); CREATE SCHEMA n; GRANT UPDATE ON early TO `+one+` WITH GRANT OPTION`, func() {
		for _, what := range []string{"ALL ON TABLES", "USAGE ON SEQUENCES", "ALL ON SCHEMAS"} {
			tr.run(`ALTER DEFAULT PRIVILEGES GRANT ` + what + ` TO ` + one)
		}
		tr.run(`ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC`)
		tr.capture() // what is known of it outlives the stream
	})
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
