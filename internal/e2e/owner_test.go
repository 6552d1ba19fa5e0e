package e2e

import "testing"

// listOwners is the owner of everything that has one.
const listOwners = `SELECT i.type, i.identity, s.refobjid::regrole FROM pg_shdepend s, pg_identify_object(s.classid, s.objid, 0) i
	WHERE s.deptype = 'o' AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND i.schema IS DISTINCT FROM 'pg_toast' ORDER BY 1, 2`

func (tr *trip) owners() {
	tr.t.Helper()
	want, got := tr.source.Query(tr.t, tr.db, listOwners), tr.target.Query(tr.t, tr.restored, listOwners)
	if want != got {
		tr.t.Errorf("owners differ: source\n%s\nrestored\n%s", want, got)
	}
}

// REASSIGN OWNED tells no event whatever it gives away. Each kind goes from a
// role to another one and to the first superuser.
func TestReassignOwnedOfEveryKind(t *testing.T) {
	objects := func(p string) string {
		return `CREATE SCHEMA ` + p + `s; CREATE TABLE ` + p + `t (id serial, a int, b int); CREATE TABLE ` + p + `p (x int) PARTITION BY LIST (x);
		  CREATE TABLE ` + p + `p1 PARTITION OF ` + p + `p DEFAULT; CREATE STATISTICS ` + p + `st ON a, b FROM ` + p + `t; CREATE VIEW ` + p + `v AS SELECT 1 AS x;
		  CREATE MATERIALIZED VIEW ` + p + `mv AS SELECT 1 AS x; CREATE SEQUENCE ` + p + `q;
	  CREATE FUNCTION ` + p + `f(a int, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE ` + p + `p() LANGUAGE sql AS 'SELECT 1';
	  CREATE AGGREGATE ` + p + `agg (int4) (SFUNC = int4pl, STYPE = int4);
	  CREATE AGGREGATE ` + p + `os (int4 ORDER BY int4) (SFUNC = int4pl, STYPE = int4);
	  CREATE OPERATOR ` + p + `s.### (LEFTARG = int4, RIGHTARG = int4, FUNCTION = int4pl); CREATE OPERATOR FAMILY ` + p + `of USING btree;
	  CREATE OPERATOR CLASS ` + p + `oc FOR TYPE int4 USING btree FAMILY ` + p + `of AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4);
	  CREATE COLLATION ` + p + `co FROM "C"; CREATE CONVERSION ` + p + `cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
	  CREATE TEXT SEARCH DICTIONARY ` + p + `td (TEMPLATE = simple); CREATE TEXT SEARCH CONFIGURATION ` + p + `tc (PARSER = default);
	  CREATE FOREIGN DATA WRAPPER ` + p + `fdw; CREATE SERVER ` + p + `sv FOREIGN DATA WRAPPER ` + p + `fdw; CREATE FOREIGN TABLE ` + p + `ft (x int) SERVER ` +
			p + `sv; CREATE USER MAPPING FOR CURRENT_USER SERVER ` + p + `sv;
	  CREATE TYPE ` + p + `e AS ENUM ('x'); CREATE TYPE ` + p + `r AS RANGE (SUBTYPE = float8); CREATE TYPE ` + p + `c AS (x int);
	  CREATE DOMAIN ` + p + `d AS int; CREATE PUBLICATION ` + p + `pub FOR TABLE ` + p + `t;
	  CREATE SUBSCRIPTION ` + p + `sub CONNECTION 'host=nowhere' PUBLICATION x WITH (connect = false, slot_name = NONE);`
	}
	tr := begin(t, `CREATE TABLE seed (id int)`)
	one := tr.db + "_one"
	quoted := `"` + tr.db + `_""Two"""`
	tr.run(`CREATE ROLE `+one+` SUPERUSER; CREATE ROLE `+quoted+` SUPERUSER; CREATE ROLE `+one+`_b SUPERUSER`,
		`SET ROLE `+one+`; `+objects("a_"), `SET ROLE `+one+`_b; `+objects("b_"))
	tr.capture()
	neither := "DROP SUBSCRIPTION IF EXISTS a_sub; DROP SUBSCRIPTION IF EXISTS b_sub" // or the database could not be dropped
	defer tr.source.Exec(t, tr.db, neither)
	tr.run(`REASSIGN OWNED BY ` + one + ` TO ` + quoted + `; REASSIGN OWNED BY ` + one + `_b TO postgres`)
	tr.capture()
	tr.noGap()
	tr.back()
	defer tr.target.Exec(t, tr.restored, neither)
	tr.owners()
	tr.equal()
}

// What was given away by REASSIGN OWNED outlives a DROP OWNED that follows
// before a sample.
func TestDropOwnedBehindReassignOwned(t *testing.T) {
	tr := begin(t, `CREATE TABLE shared (id int PRIMARY KEY)`)
	one, two := tr.db+"_one", tr.db+"_two"
	tr.run(`CREATE ROLE `+one+`; CREATE ROLE `+two+`; GRANT ALL ON SCHEMA public TO `+one+`; GRANT SELECT ON shared TO `+one,
		`SET ROLE `+one+`; CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1), (2);
		  CREATE FUNCTION kept_f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE kept_e AS ENUM ('a')`,
		`SELECT lo_from_bytea(77, 'kept'); ALTER LARGE OBJECT 77 OWNER TO `+one)
	tr.capture()
	tr.run(`REASSIGN OWNED BY ` + one + ` TO ` + two + `; SET ROLE ` + one + `; CREATE TABLE lost (id int); RESET ROLE;
	  DROP OWNED BY ` + one + ` CASCADE; DROP ROLE ` + one)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.owners()
	tr.largeObjects()
	tr.equal()
	if got := tr.target.Query(t, tr.restored, "SELECT count(*) FROM kept"); got != "2" {
		t.Errorf("%s rows are left", got)
	}
}
