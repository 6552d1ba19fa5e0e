package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/capture"
)

func TestDropIndexConcurrently(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE INDEX t_a ON t (a); CREATE INDEX t_b ON t (b)`,
		`DROP INDEX CONCURRENTLY t_a; CREATE INDEX CONCURRENTLY t_ab ON t (a, b); REINDEX INDEX CONCURRENTLY t_b`)
}

func TestDeferrableKey(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text)`,
		`INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 20) g; UPDATE t SET id = id + 1; UPDATE t SET v = 'x' WHERE id = 5; DELETE FROM t WHERE id = 7`)
}

func TestKeyOnGeneratedColumn(t *testing.T) {
	if source, _ := clusters(t); source.Major >= 18 {
		return // refused there: TestVersions shows it
	}
	roundTrip(t, `CREATE TABLE t (email text, k text GENERATED ALWAYS AS (lower(email)) STORED PRIMARY KEY, v int)`,
		`INSERT INTO t (email, v) VALUES ('A@x', 1), ('B@x', 2), ('C@x', 3); UPDATE t SET v = 9 WHERE k = 'a@x'; DELETE FROM t WHERE k = 'b@x'`,
		`CREATE TABLE u (a int, b int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY); INSERT INTO u SELECT g FROM generate_series(1, 10) g;
		  UPDATE u SET a = a + 100; DELETE FROM u WHERE b = 204`)
}

// Rows of a table that is unlogged now are not told, so that it comes back empty.
func TestSetUnlogged(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, NULL), (2, 'x'); CREATE TABLE "Odd; one" (t int REFERENCES t);
	  INSERT INTO "Odd; one" VALUES (1); CREATE TABLE p (id int)`)
	tr.run(`ALTER TABLE "Odd; one" SET UNLOGGED; ALTER TABLE t SET UNLOGGED; ALTER TABLE p ADD COLUMN note text DEFAULT 'set unlogged'; INSERT INTO p VALUES (1)`,
		`DELETE FROM "Odd; one"; DELETE FROM t WHERE v IS NULL; ALTER TABLE t ALTER v SET NOT NULL; INSERT INTO t VALUES (3, 'y')`)
	tr.capture()
	tr.noGap()
	tr.back()
	if got := tr.target.Query(t, tr.restored, `SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM "Odd; one"), (SELECT count(*) FROM p)`); got != "0|0|1" {
		t.Errorf("rows: %s", got)
	}
	tr.run(`INSERT INTO "Odd; one" VALUES (3); ALTER TABLE t SET LOGGED; ALTER TABLE "Odd; one" SET LOGGED`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

func TestSetLogged(t *testing.T) {
	roundTrip(t, `CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) g`,
		`ALTER TABLE t SET LOGGED; UPDATE t SET v = 'after' WHERE id = 3`)
}

func TestAddColumnDefaults(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)`,
		`ALTER TABLE t ADD COLUMN a timestamptz DEFAULT now()`,
		`UPDATE t SET a = '2000-01-01' WHERE id = 1; ALTER TABLE t ALTER a SET STATISTICS 10`,
		`ALTER TABLE t ADD COLUMN b float8 DEFAULT random(), ADD COLUMN c serial`,
		`ALTER TABLE t ADD COLUMN d int[] DEFAULT ARRAY[1, NULL, 3]; ALTER TABLE t ADD COLUMN e text DEFAULT E'it''s\n' NOT NULL`,
		`ALTER TABLE t ADD COLUMN f date DEFAULT 'now', ADD COLUMN g text[] DEFAULT string_to_array(current_date::text, '-')`,
		`ALTER TABLE t ADD COLUMN h int GENERATED ALWAYS AS IDENTITY`,
		// What a later command only changes keeps the rows' values; what it drops and adds is new.
		`UPDATE t SET a = '2001-01-01' WHERE id = 2; ALTER TABLE t RENAME a TO a2;
		  ALTER TABLE t ALTER a2 SET NOT NULL, ALTER a2 SET DEFAULT clock_timestamp(), ADD COLUMN i timestamptz DEFAULT now()`,
		`UPDATE t SET i = '2002-01-01' WHERE id = 3; ALTER TABLE t DROP COLUMN b, ADD COLUMN b timestamptz DEFAULT now();
		  ALTER TABLE t ALTER i DROP DEFAULT, ALTER i SET STATISTICS 5`,
		`ALTER TABLE t ADD COLUMN j int DEFAULT 7; UPDATE t SET j = 8 WHERE id = 4; ALTER TABLE t ALTER j SET DEFAULT random() * 100, ALTER j SET NOT NULL`,
		`CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1);
		  ALTER TABLE p ADD COLUMN at timestamptz DEFAULT now()`)
}

func TestRewrites(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (id int PRIMARY KEY, a int, b text); INSERT INTO t SELECT g, g, 'b' || g FROM generate_series(1, 2000) g`,
		`ALTER TABLE t ALTER a TYPE bigint`, `ALTER TABLE t ALTER a TYPE text USING (a * 2)::text || random()`,
		`UPDATE t SET b = NULL WHERE id % 7 = 0; ALTER TABLE t ALTER b TYPE varchar(30)`)
}

func TestCreateTableAs(t *testing.T) {
	roundTrip(t, `CREATE TABLE src (id int PRIMARY KEY, v text COLLATE "C"); INSERT INTO src SELECT g, 'v' || g FROM generate_series(1, 50) g`,
		`CREATE TEMP TABLE tt AS SELECT 1 AS one, random() AS r; CREATE TABLE from_temp AS SELECT * FROM tt`,
		`PREPARE q(int) AS SELECT * FROM src WHERE id < $1; CREATE TABLE from_execute AS EXECUTE q(10)`,
		`SELECT *, random() AS r INTO into_table FROM src`,
		`CREATE TABLE IF NOT EXISTS empty_one AS SELECT * FROM src WITH NO DATA; CREATE UNLOGGED TABLE un AS SELECT 1 AS x`,
		`CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM src; REFRESH MATERIALIZED VIEW mv`,
		`CREATE UNIQUE INDEX ON mv (n); REFRESH MATERIALIZED VIEW CONCURRENTLY mv`)
}

func TestSeveralStatementsInOneString(t *testing.T) {
	tr := begin(t, `CREATE TABLE seed (id int)`)
	tr.once(`CREATE TABLE a (x int); INSERT INTO a VALUES (1); CREATE TABLE b (y int); CREATE INDEX ON a (x); ALTER TABLE a ADD COLUMN z int DEFAULT 5;
	  INSERT INTO a VALUES (2, 3)`)
	tr.once(`BEGIN; CREATE TABLE c (x int); SAVEPOINT s; CREATE TABLE d (x int); INSERT INTO d VALUES (1); ROLLBACK TO s; CREATE TABLE e (x int); RELEASE s;
	  CREATE TABLE f (x int); COMMIT`)
	tr.once(`DO $$BEGIN CREATE TABLE g (x int); INSERT INTO g VALUES (1); CREATE TABLE h AS SELECT * FROM g; END$$; CREATE VIEW gv AS SELECT * FROM g`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

func TestNestedDDL(t *testing.T) {
	roundTrip(t, `CREATE TABLE seed (i int);
	  CREATE FUNCTION mk(n text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE format('CREATE TABLE %I (x int DEFAULT 1, "q""; --" text)', n); `+
		`EXECUTE format('COMMENT ON TABLE %I IS %L', n, E'"\nPL/pgSQL function x() line 3'); END$$;
	  CREATE FUNCTION mksql() RETURNS void LANGUAGE sql AS $$ CREATE TABLE made_by_sql (i int); INSERT INTO seed VALUES (7); COMMENT ON TABLE seed IS 'from sql' `+
		`$$;
	  CREATE PROCEDURE pr() LANGUAGE plpgsql AS $$BEGIN CREATE TABLE p_one (); COMMIT; CREATE TABLE p_two (); END$$`,
		`SELECT mk('n1'); SELECT mk('odd "name"'); SELECT mksql(); CALL pr()`)
}

func TestDropTemporaryAndPermanent(t *testing.T) {
	roundTrip(t, `CREATE TABLE perm (id int); CREATE TABLE other (id int); CREATE VIEW pv AS SELECT * FROM perm`,
		`CREATE TEMP TABLE tmp (id int); CREATE INDEX ON tmp (id); DROP TABLE tmp, perm CASCADE`,
		`CREATE TEMP TABLE t2 (id int); ALTER TABLE t2 ADD COLUMN x int; COMMENT ON TABLE t2 IS 'x'; DROP TABLE t2`,
		`BEGIN; CREATE TEMP TABLE t3 (id int) ON COMMIT DROP; INSERT INTO t3 VALUES (1); COMMIT`)
}

func TestFullIdentity(t *testing.T) {
	roundTrip(t, `CREATE TABLE f (n numeric, d float8, j json, x xml, p point, b bpchar(5), t text, i interval, bo bool, inet inet, nothing int)`,
		`INSERT INTO f SELECT 1.0, 0, '{"a": 1}', '<a/>', '(1,2)', 'ab', 'x', '1 day', true, '10.0.0.1', NULL FROM generate_series(1, 3)`,
		`INSERT INTO f VALUES (1.00, '-0', '{"a":1}', '<a></a>', '(1,2)', 'ab', 'X', '24 hours', false, '10.0.0.0/8', NULL), ('NaN', 'NaN', NULL, NULL, NULL, NULL, `+
			`'', NULL, NULL, NULL, 1)`,
		`UPDATE f SET t = 'changed' WHERE n::text = '1.00'; DELETE FROM f WHERE ctid = (SELECT min(ctid) FROM f WHERE t = 'x'); UPDATE f SET n = 2 WHERE n = 'NaN';
		  UPDATE f SET bo = NOT bo`)
}

func TestIdentityColumns(t *testing.T) {
	roundTrip(t, `CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, w int GENERATED ALWAYS AS IDENTITY);
	  CREATE TABLE n (id int GENERATED ALWAYS AS IDENTITY, v text)`,
		`INSERT INTO a (v) SELECT 'v' || g FROM generate_series(1, 20) g; UPDATE a SET id = DEFAULT WHERE id = 3; UPDATE a SET w = DEFAULT, v = 'w' WHERE id = 4;
		  UPDATE a SET v = 'plain'`,
		`INSERT INTO n (v) VALUES ('a'), ('b'); UPDATE n SET id = DEFAULT WHERE v = 'a'; INSERT INTO n (id, v) OVERRIDING SYSTEM VALUE VALUES (100, 'c')`,
		`CREATE TABLE later (id int PRIMARY KEY, z int GENERATED ALWAYS AS IDENTITY); INSERT INTO later (id) VALUES (1), (2);
		  UPDATE later SET z = DEFAULT, id = 5 WHERE id = 2; ALTER TABLE later ALTER z DROP IDENTITY; UPDATE later SET z = 77`)
}

func TestAlwaysTrigger(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE log (id bigserial PRIMARY KEY, what text);
	  CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log (what) VALUES (TG_OP); RETURN NEW; END$$;
	  CREATE TRIGGER tr BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION tf(); ALTER TABLE t ENABLE ALWAYS TRIGGER tr;
	  CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log (what) VALUES ('rule'); ALTER TABLE t ENABLE ALWAYS RULE r`,
		`INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'`,
		`CREATE TABLE t2 (id int PRIMARY KEY); CREATE TRIGGER tr BEFORE INSERT ON t2 FOR EACH ROW EXECUTE FUNCTION tf(); ALTER TABLE t2 ENABLE ALWAYS TRIGGER tr;
		  INSERT INTO t2 VALUES (1); ALTER TABLE t ADD COLUMN x int; INSERT INTO t SELECT g FROM generate_series(10, 30) g`)
}

func TestTruncateWithForeignKeys(t *testing.T) {
	roundTrip(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE r (id int, a int REFERENCES a, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	  CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10); CREATE TABLE r2 PARTITION OF r FOR VALUES FROM (10) TO (20);
	  INSERT INTO a SELECT generate_series(1, 5); INSERT INTO r SELECT g, 1 + g % 5 FROM generate_series(0, 19) g; CREATE TABLE par (x int);
	  CREATE TABLE chi () INHERITS (par); INSERT INTO par VALUES (1); INSERT INTO chi VALUES (2)`,
		`TRUNCATE a, r; INSERT INTO a VALUES (1); INSERT INTO r VALUES (1, 1), (15, 1)`, `TRUNCATE a CASCADE`, `TRUNCATE ONLY par; TRUNCATE par RESTART IDENTITY`)
}

func TestPartitionBoundThatIsAnExpression(t *testing.T) {
	roundTrip(t, `CREATE TABLE p (at timestamptz) PARTITION BY RANGE (at)`,
		`CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (current_timestamp - interval '1 day') TO (current_timestamp + interval '1 day');
		  INSERT INTO p SELECT now() - interval '23 hours'`,
		`CREATE TABLE q (LIKE p); ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (current_timestamp + interval '2 days') TO (MAXVALUE)`,
		`ALTER TABLE p DETACH PARTITION q CONCURRENTLY`)
}

func TestToast(t *testing.T) {
	roundTrip(t, `CREATE TABLE t (k text PRIMARY KEY, big text, n int); ALTER TABLE t ALTER k SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL;
	  CREATE TABLE f (big text, n int); ALTER TABLE f ALTER big SET STORAGE EXTERNAL`,
		`INSERT INTO t SELECT repeat('k', 2300) || g, repeat('b', 100000), g FROM generate_series(1, 12) g; UPDATE t SET n = n + 1;
		  UPDATE t SET k = 'short' WHERE n = 3; DELETE FROM t WHERE n = 5`,
		`INSERT INTO f SELECT repeat('x', 50000) || g, g FROM generate_series(1, 5) g; UPDATE f SET n = n * 10; DELETE FROM f WHERE n = 30`)
}

func TestOddTables(t *testing.T) {
	wide := "CREATE TABLE wide ("
	for i := range 1600 {
		if i > 0 {
			wide += ", "
		}
		wide += "c" + string(rune('a'+i%26)) + itoa(i) + " int"
	}
	wide += ")"
	roundTrip(t, `CREATE TABLE none (); CREATE TABLE gen (a int GENERATED ALWAYS AS (1) STORED); CREATE SCHEMA "S;""'
x"; CREATE TABLE "S;""'
x"."T  able\" ("c'ol""
" int PRIMARY KEY, "ünï" text)`,
		`INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES; DELETE FROM none WHERE ctid = '(0,1)';
		  INSERT INTO gen DEFAULT VALUES`,
		`INSERT INTO "S;""'
x"."T  able\" VALUES (1, E'\\.'), (2, E'tab\tnl\nbs\\'), (3, ''); UPDATE "S;""'
x"."T  able\" SET "ünï" = 'ß' WHERE "c'ol""
" = 2; CREATE TABLE "S;""'
x"."new;
-- table" (a int); INSERT INTO "S;""'
x"."new;
-- table" VALUES (1)`,
		wide, `INSERT INTO wide (ca0) VALUES (1), (2); UPDATE wide SET cb1 = 5 WHERE ca0 = 1; DELETE FROM wide WHERE ca0 = 2`,
		`CREATE TABLE fake (t text); INSERT INTO fake SELECT x FROM unnest(ARRAY['BEGIN; -- xid 5 commit 0/1', 'COMMIT; -- 0/1', '-- pg_scribe end', '\.', '-- x', `+
			`'', NULL, 'a', 'b', 'c']) x`)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestExtensionsAndPublications(t *testing.T) {
	roundTrip(t, `CREATE SCHEMA ext`,
		`CREATE EXTENSION citext SCHEMA ext; CREATE TABLE c (k ext.citext PRIMARY KEY, v int); INSERT INTO c VALUES ('Abc', 1), ('xyz', 2);
		  UPDATE c SET v = 3 WHERE k = 'abc'; DELETE FROM c WHERE k = 'XYZ'`,
		`CREATE EXTENSION hstore; CREATE TABLE h (id int, v hstore); INSERT INTO h VALUES (1, 'a=>1, b=>NULL'); UPDATE h SET v = v || 'c=>3';
		  DROP EXTENSION hstore CASCADE`,
		`CREATE PUBLICATION mine FOR TABLE c; ALTER PUBLICATION mine SET (publish = 'insert');
		  CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere dbname=x' PUBLICATION mine WITH (connect = false, slot_name = NONE);
		  ALTER SUBSCRIPTION sub RENAME TO sub2; ALTER SUBSCRIPTION sub2 SET PUBLICATION mine, other WITH (refresh = false)`,
		`DROP SUBSCRIPTION sub2`)
}

func TestRolesAndSearchPath(t *testing.T) {
	tr := begin(t, `CREATE SCHEMA app; CREATE SCHEMA "Mixed"`)
	tr.run(`CREATE ROLE `+tr.db+`_app; GRANT ALL ON SCHEMA app TO `+tr.db+`_app; SET ROLE `+tr.db+`_app; SET search_path = app, public;
	  CREATE TABLE mine (id int PRIMARY KEY); CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE m2 (m mood PRIMARY KEY); INSERT INTO m2 VALUES ('ok');
	  GRANT SELECT ON mine TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; CREATE TABLE third (x int);
	  CREATE FUNCTION who() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = app AS 'SELECT current_user::text'`,
		`SET search_path = "Mixed"; SET DateStyle = 'German'; SET standard_conforming_strings = off;
		  CREATE TABLE dated (d date DEFAULT '01.02.2003', b text DEFAULT 'a\\b', CHECK (d <> '03.04.2005')); INSERT INTO dated DEFAULT VALUES`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// states compares what no row and no event tells.
func (tr *trip) states() {
	tr.t.Helper()
	for what, sql := range map[string]string{
		"sequences": `SELECT n.nspname, c.relname, pg_sequence_last_value(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		   WHERE c.relkind = 'S' AND n.nspname <> 'scribe' ORDER BY 1, 2`,
		"event triggers": `SELECT evtname, evtevent, evtenabled, evttags, evtfoid::regproc FROM pg_event_trigger WHERE evtname !~ '^!?scribe_.$' ORDER BY 1`,
		"owners": `SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		   WHERE c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'pg_toast') AND n.nspname !~ '^pg_' ORDER BY 1, 2`,
		"clustered": `SELECT indexrelid::regclass FROM pg_index WHERE indisclustered ORDER BY 1`,
		"database":  `SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1`,
		"acl": `SELECT (SELECT array_agg(a ORDER BY a) FROM (SELECT format('%s %s %s', grantee::regrole, privilege_type, is_grantable) AS a FROM ` +
			`aclexplode(coalesce(datacl, acldefault('d', datdba)))) x),
		   shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()`,
	} {
		want, got := tr.source.Query(tr.t, tr.db, sql), tr.target.Query(tr.t, tr.restored, sql)
		if want != got {
			tr.t.Errorf("%s differ: source\n%s\nrestored\n%s", what, want, got)
		}
	}
}

func TestWhatHasNoEvent(t *testing.T) {
	tr := begin(t, `CREATE SEQUENCE free; CREATE TABLE t (id serial PRIMARY KEY, a int GENERATED ALWAYS AS IDENTITY); CREATE INDEX t_a ON t (a);
	  CREATE SEQUENCE cached CACHE 20 INCREMENT -5;
	  CREATE FUNCTION et() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER gone_later ON ddl_command_end EXECUTE FUNCTION et()`)
	one, two := tr.db+"_One", tr.db+"_two"
	tr.run(`SELECT nextval('free') FROM generate_series(1, 7); SELECT setval('cached', -500, false); INSERT INTO t DEFAULT VALUES; SELECT nextval('t_id_seq')`,
		`CREATE ROLE "`+one+`" LOGIN PASSWORD 'secret' CONNECTION LIMIT 3;
		  CREATE ROLE `+two+` CREATEDB; GRANT "`+one+`" TO `+two+`; ALTER ROLE `+two+` SET search_path = a, "B c"; COMMENT ON ROLE `+two+` IS 'it''s'`,
		`CREATE TABLE owned (x int); ALTER TABLE owned OWNER TO `+two+`; CREATE FUNCTION owned_f(a int, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
		  ALTER FUNCTION owned_f OWNER TO `+two,
		`REASSIGN OWNED BY `+two+` TO "`+one+`"`, `CLUSTER t USING t_a`,
		`CREATE EVENT TRIGGER mine ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION et(); ALTER EVENT TRIGGER mine ENABLE ALWAYS;
		  DROP EVENT TRIGGER gone_later; COMMENT ON EVENT TRIGGER mine IS 'x'`,
		`ALTER DATABASE `+tr.db+` SET work_mem = '7MB'; ALTER DATABASE `+tr.db+` SET search_path = "$user", public, 'odd one';
		  ALTER ROLE `+two+` IN DATABASE `+tr.db+` SET datestyle = 'German'; COMMENT ON DATABASE `+tr.db+` IS 'the "database"';
		  REVOKE CONNECT ON DATABASE `+tr.db+` FROM PUBLIC; GRANT CREATE ON DATABASE `+tr.db+` TO "`+one+`" WITH GRANT OPTION`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	tr.states()
	roles := `SELECT rolname, rolsuper, rolcreatedb, rolcanlogin, rolconnlimit, rolpassword, shobj_description(oid, 'pg_authid'), ` +
		`(SELECT array_agg(m.roleid::regrole::text) FROM pg_auth_members m WHERE m.member = r.oid)
	  FROM pg_authid r WHERE rolname LIKE '` + tr.db + `\_%' ORDER BY 1`
	if want, got := tr.source.Query(t, tr.db, roles), tr.target.Query(t, tr.restored, roles); want != got {
		t.Errorf("roles differ: source\n%s\nrestored\n%s", want, got)
	}
}

// A base that several sessions dump is a directory; what it restores to is
// the same.
func TestDirectoryBase(t *testing.T) {
	tr := begin(t, `CREATE TABLE bare (a int, b text); INSERT INTO bare SELECT g, 'x' || g FROM generate_series(1, 5000) g;
	  CREATE TABLE k (id serial PRIMARY KEY, v text);
	  INSERT INTO k (v) SELECT 'v' || g FROM generate_series(1, 5000) g`)
	tr.run(`UPDATE bare SET b = 'before' WHERE a < 10; ALTER DATABASE ` + tr.db + ` SET work_mem = '9MB'`)
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	base, err := stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Jobs: 2, Command: tr.command})
	if err != nil {
		t.Fatal(err)
	}
	if base.Base.Format != "directory" || base.Tables != 2 {
		t.Errorf("the base is %+v", base)
	}
	if err := r.Check(base.Base); err != nil {
		t.Error(err)
	}
	tr.run(`UPDATE k SET v = 'after' WHERE id % 2 = 0; DELETE FROM bare WHERE a > 4000; CREATE TABLE later (x int)`)
	tr.capture()
	tr.back()
	tr.equal()
	tr.states()

	// By hand, as the metadata file says.
	tr.target.Exec(t, "postgres", "DROP DATABASE IF EXISTS by_hand_dir")
	dir := filepath.Join(tr.dir, base.Base.Name)
	for _, cmd := range []*exec.Cmd{
		tr.target.Command("createdb", "-T", "template0", "by_hand_dir"),
		tr.target.Command("pg_restore", "-e", "-j", "2", "-L", filepath.Join(dir, repo.DirListName), "-d", "by_hand_dir", dir),
		tr.target.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "by_hand_dir", "-f", filepath.Join(dir, repo.DirSettingsIn)),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	if got := tr.target.Query(t, "by_hand_dir", "SELECT (SELECT count(*) FROM bare), (SELECT count(*) FROM k WHERE v = 'after'), (SELECT count(*) FROM "+
		"pg_event_trigger)"); got != "5000|0|0" {
		t.Errorf("by hand: %s", got)
	}

	// One byte of it changed is noticed before anything is touched.
	names, err := filepath.Glob(filepath.Join(tr.dir, base.Base.Name, "*.dat*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no data files: %v", err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(names[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Check(base.Base); err == nil {
		t.Error("a flipped bit was not noticed")
	}
	r.Close()
}

// Roles belong to the target's cluster: those that were there before a restore
// are left as they were, by the globals and by the stream.
func TestExistingRolesAreLeftAlone(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	kept, dropped, fresh := tr.db+"_kept", tr.db+"_dropped", tr.db+"_fresh"
	tr.run(`CREATE ROLE ` + kept + `; CREATE ROLE ` + dropped)
	tr.capture()
	tr.target.Exec(t, "postgres", `CREATE ROLE `+kept+` LOGIN CREATEDB; CREATE ROLE `+dropped+` LOGIN`)
	tr.run(`ALTER ROLE ` + kept + ` SUPERUSER NOCREATEDB; DROP ROLE ` + dropped + `; CREATE ROLE ` + fresh + ` CREATEROLE`)
	tr.capture()
	tr.back()
	got := tr.target.Query(t, "postgres", `SELECT rolname, rolsuper, rolcreatedb, rolcanlogin, rolcreaterole FROM pg_roles WHERE rolname LIKE '`+tr.db+
		`\_%' ORDER BY 1`)
	want := dropped + "|f|f|t|f\n" + fresh + "|f|f|f|t\n" + kept + "|f|t|t|f"
	if got != want {
		t.Errorf("roles of the target:\n%s\nwant\n%s", got, want)
	}
}

func TestOwnObjectsAreGuardedAndLeftOut(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	out, err := tr.source.Command("psql", "-X", "-d", tr.db, "-v", "ON_ERROR_STOP=1", "-c", "DROP PUBLICATION pg_scribe").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "pg_scribe drop") {
		t.Errorf("dropping the publication: %v, %s", err, out)
	}
	tr.run(`GRANT USAGE ON SCHEMA scribe TO PUBLIC; ALTER PUBLICATION pg_scribe OWNER TO CURRENT_USER; COMMENT ON PUBLICATION pg_scribe IS 'x';
	  INSERT INTO t VALUES (1)`)
	tr.capture()
	tr.back()
	tr.equal()
	if err := capture.Uninstall(context.Background(), tr.conn(), stream.DefaultPublication); err != nil {
		t.Error(err)
	}
	if left := tr.source.Query(t, tr.db, "SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_event_trigger), to_regnamespace('scribe') IS "+
		"NULL"); left != "0|0|t" {
		t.Errorf("Uninstall leaves publications, event triggers, no schema: %s", left)
	}
}

// A message of a burst does not wait for the next one: what was committed is
// stored at the next checkpoint though the source falls silent.
func TestStopEndsSoonAndStoresTheLastTransaction(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for round := range 5 {
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- stream.Run(ctx, r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication,
				StatusInterval: 20 * time.Millisecond, FsyncInterval: 50 * time.Millisecond, StateInterval: time.Minute})
		}()
		tr.run(fmt.Sprintf("INSERT INTO t SELECT g + %d FROM generate_series(1, 1000) g", round*1000))
		time.Sleep(300 * time.Millisecond)
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(5 * time.Minute):
			t.Fatal("a stop does not end the stream")
		}
	}
	tr.back()
	tr.equal()
}

// A command may rest on a role and a membership that are newer than any
// sample, and that its text does not name.
func TestCommandOfNewRole(t *testing.T) {
	tr := begin(t, `CREATE SCHEMA app`)
	group, member := tr.db+"_group", tr.db+"_member"
	tr.run(`CREATE ROLE `+group+`; CREATE ROLE `+member+` IN ROLE `+group+`; GRANT ALL ON SCHEMA app TO `+group,
		`SET ROLE `+member+`; CREATE TABLE app.t (id int PRIMARY KEY); INSERT INTO app.t VALUES (1);
		  ALTER TABLE app.t OWNER TO `+group+`; ALTER TABLE app.t ADD COLUMN v text; UPDATE app.t SET v = 'x'`)
	tr.captureUntil(false)
	tr.noGap()
	tr.back()
	tr.equal()
}
