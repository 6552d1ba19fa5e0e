package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// A chapter is a part of the workload of TestVersions that servers from a
// version on understand.
type chapter struct {
	from  int    // major version
	setup string // before the first base
	work  [3]string
}

// chapters stand in the order in which they run. ROLE is a prefix for the
// names of roles.
var chapters = []chapter{
	{0, `
CREATE ROLE ROLE_owner; CREATE ROLE ROLE_reader; GRANT ROLE_reader TO ROLE_owner;
CREATE SCHEMA app AUTHORIZATION ROLE_owner; CREATE SCHEMA "Odd; name";
CREATE TYPE app.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN app.price AS numeric(10,2) CHECK (VALUE >= 0);
CREATE TYPE app.pair AS (a int, b text); CREATE TYPE app.span AS RANGE (subtype = float8);
CREATE TABLE app.item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL COLLATE "C", mood app.mood DEFAULT 'ok',
  price app.price, total numeric GENERATED ALWAYS AS (price * 2) STORED, p app.pair, s app.span, tags text[], doc jsonb, x xml,
  raw bytea, at timestamptz DEFAULT now(), during tstzrange, ip inet, CONSTRAINT named CHECK (name <> ''), EXCLUDE USING gist (during WITH &&));
CREATE UNIQUE INDEX item_name ON app.item (lower(name)) INCLUDE (price) WHERE price > 1;
INSERT INTO app.item (name, price, p, s, tags, doc, x, raw, during, ip)
  SELECT 'item ' || g, g * 1.5, ROW(g, 'b"' || g)::app.pair, app.span(g, g + 0.5), ARRAY['a', NULL, g::text], jsonb_build_object('k', g, 'n', 1.50),
    ('<a>' || g || '</a>')::xml, decode(md5(g::text), 'hex'), tstzrange('2026-01-01'::timestamptz + g * '1 day'::interval, '2026-01-01'::timestamptz ` +
		`+ (g + 1) ` +
		`* '1 day'::interval), '10.0.0.1'
  FROM generate_series(1, 300) g;
CREATE TABLE app.line (item bigint REFERENCES app.item ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, n smallserial, qty int DEFAULT 1, PRIMARY KEY (item, ` +
		`n));
INSERT INTO app.line (item) SELECT g % 300 + 1 FROM generate_series(1, 900) g;
CREATE TABLE app.log (at timestamp NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.log_1 PARTITION OF app.log FOR VALUES FROM (MINVALUE) TO ('2026-02-01'); CREATE TABLE app.log_rest PARTITION OF app.log DEFAULT;
CREATE TABLE app.hashed (k int PRIMARY KEY, v text) PARTITION BY HASH (k);
CREATE TABLE app.hashed_0 PARTITION OF app.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		  CREATE TABLE app.hashed_1 PARTITION OF app.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO app.log SELECT '2026-01-20'::timestamp + g * '1 hour'::interval, 'w' || g FROM generate_series(1, 500) g;
		  INSERT INTO app.hashed SELECT g, 'h' || g FROM generate_series(1, 100) g;
CREATE TABLE bare (a int, b text); INSERT INTO bare SELECT g % 7, 'x' FROM generate_series(1, 50) g;
		  CREATE TABLE "Odd; name"."T""1" ("c 1" int PRIMARY KEY, "ünï" text);
CREATE SEQUENCE free INCREMENT 5 CACHE 3; SELECT nextval('free');
CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.b := NEW.b || '!'; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON bare FOR EACH ROW EXECUTE FUNCTION app.stamp();
CREATE VIEW app.cheap AS SELECT i.id, i.name, (i.p).b FROM app.item i WHERE i.price < 10 WITH CHECK OPTION;
		  CREATE MATERIALIZED VIEW app.stats AS SELECT mood, count(*) FROM app.item GROUP BY mood;
ALTER TABLE app.item ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.item TO ROLE_reader USING (price < 100);
GRANT SELECT (id, name) ON app.item TO ROLE_reader; GRANT ALL ON app.line TO ROLE_reader WITH GRANT OPTION;
		  ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO ROLE_reader;
ALTER TABLE app.line OWNER TO ROLE_owner; CREATE STATISTICS app.st (dependencies, ndistinct) ON id, price FROM app.item; COMMENT ON TABLE app.item IS 'it''s';
CREATE EXTENSION citext; CREATE TABLE ci (k citext PRIMARY KEY, v int); INSERT INTO ci VALUES ('Abc', 1), ('xyz', 2)`,
		[3]string{`
UPDATE app.item SET price = price + 1, doc = doc || '{"u": [1, null]}' WHERE id % 3 = 0; DELETE FROM app.item WHERE id % 10 = 0;
		  INSERT INTO app.item (name, price) VALUES ('new', NULL);
UPDATE app.item SET id = DEFAULT WHERE name = 'new'; UPDATE bare SET b = 'z' WHERE a = 3;
		  DELETE FROM bare WHERE ctid IN (SELECT ctid FROM bare WHERE a = 1 LIMIT 2);
ALTER TYPE app.mood ADD VALUE 'great' BEFORE 'ok'; CREATE TABLE app.made AS SELECT id, price FROM app.item;
		  ALTER TABLE app.made ADD COLUMN born timestamptz DEFAULT clock_timestamp(), ADD COLUMN n serial;
INSERT INTO app.log SELECT '2026-01-31'::timestamp + g * '1 hour'::interval, 'later' FROM generate_series(1, 40) g;
		  UPDATE app.log SET at = at + '30 days'::interval WHERE what = 'w1';
UPDATE ci SET v = 5 WHERE k = 'ABC'; SELECT nextval('free'), setval('app.line_n_seq', 2000); INSERT INTO "Odd; name"."T""1" VALUES (1, E'tab\t\\.\n'), (2, 'ß');
BEGIN; SAVEPOINT s; CREATE TABLE never (a int); ROLLBACK TO s; CREATE TABLE ever (a int PRIMARY KEY, b text); ALTER TABLE ever ALTER b SET STORAGE EXTERNAL;
		  INSERT INTO ever SELECT g, repeat('long ', 1000) FROM generate_series(1, 20) g; UPDATE ever SET a = a + 100; COMMIT`,
			`
ALTER TABLE app.item ALTER COLUMN tags TYPE varchar(20)[], DROP COLUMN x, ADD COLUMN late int DEFAULT 7, ALTER COLUMN name SET DEFAULT 'x', ` +
				`ALTER COLUMN mood ` +
				`SET NOT NULL, ALTER COLUMN raw SET STORAGE EXTERNAL; CREATE INDEX CONCURRENTLY item_doc ON app.item USING gin (doc);
CREATE TABLE app.log_2 (LIKE app.log INCLUDING ALL); ALTER TABLE app.log DETACH PARTITION app.log_rest;
				  ALTER TABLE app.log ATTACH PARTITION app.log_2 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
ALTER TABLE bare ADD COLUMN id bigint GENERATED BY DEFAULT AS IDENTITY (START 100), ADD PRIMARY KEY (id); UPDATE bare SET a = a + 1; TRUNCATE app.hashed;
				  INSERT INTO app.hashed SELECT g, 'again' FROM generate_series(50, 90) g;
SET ROLE ROLE_owner; CREATE FUNCTION app.total(since timestamptz DEFAULT now()) RETURNS numeric LANGUAGE sql STABLE RETURN (SELECT sum(qty) FROM app.line ` +
				`WHERE n > 0); CREATE PROCEDURE app.work(INOUT a int) LANGUAGE plpgsql AS 'BEGIN a := a + 1; END'; RESET ROLE;
CREATE AGGREGATE app.product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = 1);
				  CREATE OPERATOR app.@@@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int);
CREATE RULE nothing AS ON DELETE TO ci DO INSTEAD NOTHING; CREATE COLLATION app.german FROM "C"; CREATE TEXT SEARCH CONFIGURATION app.ts (COPY = simple);
				  REFRESH MATERIALIZED VIEW app.stats`,
			`
ALTER TABLE app.item RENAME COLUMN late TO later; ALTER TABLE app.item RENAME TO article; ALTER VIEW app.cheap RENAME COLUMN b TO bee;
			  ALTER TYPE app.mood RENAME VALUE 'sad' TO 'blue'; ALTER TYPE app.pair ADD ATTRIBUTE c date;
DROP TABLE app.log_rest, app.made; DROP INDEX CONCURRENTLY app.item_doc; DELETE FROM app.line WHERE n % 4 = 0; UPDATE app.line SET qty = n;
			  ALTER TABLE app.line DROP CONSTRAINT line_pkey; UPDATE app.line SET qty = qty + 1 WHERE n < 20;
REASSIGN OWNED BY ROLE_owner TO ROLE_reader; ALTER ROLE ROLE_owner CREATEDB CONNECTION LIMIT 3; CREATE ROLE ROLE_late IN ROLE ROLE_reader;
			  GRANT INSERT ON ci TO ROLE_late; REVOKE ALL ON app.line FROM ROLE_late;
ALTER SEQUENCE free RESTART 1000; SELECT nextval('free') FROM generate_series(1, 4);
			  INSERT INTO app.article (name, ip, mood) SELECT 'last ' || g, '::1', 'great' FROM generate_series(1, 30) g; REFRESH MATERIALIZED VIEW app.stats;
CREATE UNLOGGED TABLE u (a int); INSERT INTO u VALUES (1); ALTER TABLE u SET LOGGED; INSERT INTO u VALUES (2); ALTER TABLE bare DISABLE TRIGGER stamp;
			  COMMENT ON COLUMN app.article.later IS NULL; ALTER SCHEMA "Odd; name" RENAME TO plain`}},
	{15, `
CREATE TABLE nulls (a int, b int, UNIQUE NULLS NOT DISTINCT (a, b)); CREATE VIEW invoking WITH (security_invoker) AS SELECT * FROM nulls;
	  CREATE PUBLICATION mine FOR TABLE nulls (a) WHERE (a > 1) WITH (publish = 'insert')`,
		[3]string{`
MERGE INTO bare USING (VALUES (3), (99)) v (a) ON bare.a = v.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.a, 'merged');
		  INSERT INTO nulls VALUES (NULL, NULL), (1, NULL)`,
			`INSERT INTO nulls VALUES (NULL, 2); ALTER PUBLICATION mine SET TABLE nulls WHERE (a > 2)`,
			`GRANT SET ON PARAMETER work_mem TO ROLE_reader; DELETE FROM nulls WHERE b IS NULL; ALTER TABLE nulls ADD PRIMARY KEY (b)`}},
	{16, `
GRANT ROLE_reader TO ROLE_owner WITH INHERIT FALSE, SET TRUE; CREATE TABLE js (j jsonb CHECK (j IS JSON OBJECT), s text STORAGE main COMPRESSION pglz)`,
		[3]string{`INSERT INTO js SELECT JSON_OBJECT('k': g), 's' FROM generate_series(1, 20) g`, `
SET createrole_self_grant = 'set, inherit'; CREATE TABLE numbers AS SELECT 0xFF AS a, 1_000 AS b; CREATE VIEW any_one AS SELECT any_value(s) FROM js`,
			`GRANT ROLE_owner TO ROLE_late WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`}},
	{17, `
CREATE TABLE idp (id int GENERATED ALWAYS AS IDENTITY, a int) PARTITION BY LIST (a); CREATE TABLE idp_1 PARTITION OF idp FOR VALUES IN (1);
	  CREATE TABLE c_utf8 (t text COLLATE pg_c_utf8 PRIMARY KEY, i interval);
CREATE TABLE excl (a int, r int4range, EXCLUDE USING gist (r WITH =)) PARTITION BY RANGE (r); CREATE TABLE re (a int PRIMARY KEY, b int);
	  CREATE INDEX re_b ON re (b); INSERT INTO re SELECT g, g FROM generate_series(1, 50) g;
CREATE TABLE logins (who text PRIMARY KEY);
	  CREATE FUNCTION login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logins SELECT clock_timestamp() || ' ' || pg_backend_pid() ` +
		`WHERE current_setting('application_name') = 'pg_scribe restore'; END $$;
CREATE EVENT TRIGGER audit ON login EXECUTE FUNCTION login(); ALTER EVENT TRIGGER audit ENABLE ALWAYS`,
		[3]string{`
INSERT INTO idp (a) SELECT 1 FROM generate_series(1, 5); CREATE TABLE idp_2 PARTITION OF idp FOR VALUES IN (2); INSERT INTO idp (a) VALUES (2), (2);
		  UPDATE idp SET id = DEFAULT WHERE id = 2; UPDATE idp SET a = 2 WHERE id = 1;
INSERT INTO c_utf8 VALUES ('ä', 'infinity'), ('z', '-infinity'); REINDEX TABLE re; REINDEX INDEX CONCURRENTLY re_b; REINDEX TABLE CONCURRENTLY re;
		  REINDEX SCHEMA public; REINDEX SCHEMA CONCURRENTLY app; REINDEX (VERBOSE) TABLE app.log; UPDATE re SET b = -b`, `
CREATE VIEW jt AS SELECT * FROM JSON_TABLE('[{"a": 1}]'::jsonb, '$[*]' COLUMNS (a int PATH '$.a')); GRANT MAINTAIN ON re TO ROLE_reader;
		  MERGE INTO re USING (VALUES (1)) v (a) ON re.a = v.a WHEN MATCHED THEN UPDATE SET b = 0 WHEN NOT MATCHED BY SOURCE AND re.a > 40 THEN DELETE;
BEGIN; REINDEX TABLE re; UPDATE re SET b = 5 WHERE a = 5; REINDEX INDEX re_b; COMMIT; REINDEX DATABASE`, `
ALTER TABLE re ADD COLUMN g int GENERATED ALWAYS AS (a * 2) STORED; ALTER TABLE re ALTER g SET EXPRESSION AS (a * 3); UPDATE re SET a = -a`}},
	{18, `
CREATE TABLE virt (id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a * 2), w text GENERATED ALWAYS AS ('w' || a) VIRTUAL, s int GENERATED ` +
		`ALWAYS AS (a + ` +
		`1) STORED); INSERT INTO virt SELECT g, g FROM generate_series(1, 20) g;
CREATE TABLE keyless_virt (n int NOT NULL UNIQUE, v int GENERATED ALWAYS AS (n * 2)); INSERT INTO keyless_virt SELECT generate_series(1, 5);
CREATE EXTENSION btree_gist; CREATE TABLE room (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
		  CREATE TABLE stay (room int, during daterange, FOREIGN KEY (room, PERIOD during) REFERENCES room (id, PERIOD during));
CREATE TABLE nn (a int CONSTRAINT must NOT NULL, b int, c int CHECK (c > 0) NOT ENFORCED); INSERT INTO nn VALUES (1, NULL, -1);
		  INSERT INTO room VALUES (1, '[2026-01-01,2026-02-01)'), (1, '[2026-03-01,2026-04-01)')`,
		[3]string{`
UPDATE virt SET a = a + 100 WHERE id < 5; DELETE FROM virt WHERE id = 6; INSERT INTO virt (id, a) VALUES (50, NULL);
		  UPDATE keyless_virt SET n = n + 100 WHERE n = 3; DELETE FROM keyless_virt WHERE n = 4;
		  UPDATE room SET during = '[2026-03-05,2026-04-01)' WHERE lower(during) = '2026-03-01';
INSERT INTO stay VALUES (1, '[2026-01-05,2026-01-06)'); UPDATE stay SET during = '[2026-01-07,2026-01-08)';
		  ALTER TABLE nn ADD CONSTRAINT later NOT NULL b NOT VALID; CREATE TABLE ids (a int); INSERT INTO ids VALUES (1), (2);
		  ALTER TABLE ids ADD COLUMN id uuid DEFAULT uuidv7() NOT NULL`, `
ALTER TABLE virt ADD COLUMN z int GENERATED ALWAYS AS (a * 3), ALTER COLUMN v SET EXPRESSION AS (a * 5); UPDATE nn SET b = 1;
		  ALTER TABLE nn VALIDATE CONSTRAINT later; ALTER TABLE nn RENAME CONSTRAINT must TO shall; UPDATE virt SET a = 1 WHERE id = 50; UPDATE ids SET a = a + 1`, `
ALTER TABLE virt DROP COLUMN v; ALTER TABLE nn ALTER COLUMN a DROP NOT NULL, ALTER CONSTRAINT later NO INHERIT;
		  DELETE FROM room WHERE id = 1 AND lower(during) = '2026-03-05'; CREATE TABLE keyed (k int GENERATED ALWAYS AS (a) STORED, a int PRIMARY KEY);
		  INSERT INTO keyed (a) VALUES (1); UPDATE keyed SET a = 2`}},
}

// TestVersions takes a database through the program: init, start, load and
// DDL, a full backup, and restores to three moments, into servers of the same
// and of newer versions. PG_SCRIBE_TEST_MATRIX lists SOURCE:TARGET pairs of
// major versions; one that is not to be had fails the test.
func TestVersions(t *testing.T) {
	list := strings.Fields(os.Getenv("PG_SCRIBE_TEST_MATRIX"))
	if len(list) == 0 {
		t.Skip("needs servers of several versions, which make matrix gets")
	}
	targets := map[string][]string{}
	for _, item := range list {
		source, target, ok := strings.Cut(item, ":")
		if !ok {
			t.Fatalf("PG_SCRIBE_TEST_MATRIX: %q is not SOURCE:TARGET", item)
		}
		targets[source] = append(targets[source], target)
	}
	for source, list := range targets {
		t.Run("from_"+source, func(t *testing.T) { fromVersion(t, source, list) })
	}
}

func fromVersion(t *testing.T, version string, targets []string) {
	w := &world{t: t, cluster: pgtest.New(t, pgtest.Options{Version: version}), repo: filepath.Join(t.TempDir(), "repo"), log: &bytes.Buffer{}}
	w.db = w.cluster.CreateDB(t, "versions")
	if provider := providers[w.cluster.Major]; provider != "" {
		w.cluster.Exec(t, "postgres", "DROP DATABASE "+w.db)
		w.cluster.Exec(t, "postgres", "CREATE DATABASE "+w.db+" TEMPLATE template0 LOCALE_PROVIDER "+provider)
	}
	if got := strconv.Itoa(w.cluster.Major); got != version {
		t.Fatalf("the server of version %s says that it is %s", version, got)
	}
	clusters := map[string]*pgtest.Cluster{}
	for _, target := range targets {
		clusters[target] = pgtest.New(t, pgtest.Options{Version: target})
	}
	j := &journey{world: w, clusters: clusters}
	j.run(func(c chapter) string { return c.setup })
	w.must("init", "-d", w.conn(), "-f", w.repo, "--force")
	w.start()
	j.run(func(c chapter) string { return c.work[0] })
	j.moment("LSN", "--target-lsn", w.cluster.Query(t, w.db, "SELECT pg_current_wal_insert_lsn()"))
	j.run(func(c chapter) string { return c.work[1] })
	w.must("full-backup", "-d", w.conn(), "-f", w.repo, "--jobs", "2")
	j.moment("time", "--target-time", w.cluster.Query(t, w.db, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")+"+00")
	time.Sleep(10 * time.Millisecond)
	j.run(func(c chapter) string { return c.work[2] })
	j.moment("latest")
	end, err := catalog.ParseLSN(w.cluster.Query(t, w.db, "SELECT pg_current_wal_insert_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	w.caughtUp(end)
	w.halt(syscall.SIGTERM)
	for _, gap := range j.inventory().Gaps {
		t.Errorf("a gap: %s", gap.Reason)
	}
	if w.cluster.Major >= 18 {
		j.keyless()
	}
	for _, target := range targets {
		t.Run("into_"+target, func(t *testing.T) { j.into(t, clusters[target]) })
	}
	if w.cluster.Major >= 17 {
		t.Run("failover", func(t *testing.T) { followsFailoverSlot(t, version) })
	}
}

// providers are of the collations of the source's database.
var providers = map[int]string{15: "icu ICU_LOCALE 'de'", 16: "icu ICU_LOCALE 'de'", 17: "builtin BUILTIN_LOCALE 'C.UTF-8'",
	18: "builtin BUILTIN_LOCALE 'PG_UNICODE_FAST'"}

// A journey is a source, what was true of it, and the servers to restore into.
type journey struct {
	*world
	clusters map[string]*pgtest.Cluster
	moments  []milestone
}

// milestone is the source at one point, with its schema as each target's pg_dump
// prints it.
type milestone struct {
	name    string
	flags   []string
	state   pgtest.State
	schemas map[*pgtest.Cluster]string
	values  string
}

// run executes a part of every chapter that the source understands.
func (j *journey) run(part func(chapter) string) {
	j.t.Helper()
	for _, c := range chapters {
		if c.from > j.cluster.Major {
			continue
		}
		cmd := j.cluster.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", j.db, "-f", "-")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(part(c), "ROLE_", j.db+"_"))
		if out, err := cmd.CombinedOutput(); err != nil {
			j.t.Fatalf("chapter of version %d: %s", c.from, out)
		}
	}
}

func (j *journey) moment(name string, flags ...string) {
	j.t.Helper()
	ctx := context.Background()
	m := milestone{name: name, flags: flags, schemas: map[*pgtest.Cluster]string{}, values: otherValues(j.t, j.cluster, j.db)}
	var err error
	if m.state, err = pgtest.Snapshot(ctx, j.conn(), ""); err != nil {
		j.t.Fatal(err)
	}
	for _, c := range j.clusters {
		if m.schemas[c], err = c.SchemaDumpOf(ctx, j.cluster, j.db, ""); err != nil {
			j.t.Fatal(err)
		}
	}
	j.moments = append(j.moments, m)
}

// keyless: since version 18 a publication makes UPDATE and DELETE fail on
// tables with generated columns and no usable key, so that init refuses unless
// it is forced, and a table that comes later is warned of when it is made.
func (j *journey) keyless() {
	j.t.Helper()
	db, dir := j.cluster.CreateDB(j.t, "keyless"), filepath.Join(j.t.TempDir(), "repo")
	const table = "CREATE TABLE %s (a int, g int GENERATED ALWAYS AS (a * 2) %s)"
	j.cluster.Exec(j.t, db, fmt.Sprintf(table, "v", "VIRTUAL")+";"+fmt.Sprintf(table, "s", "STORED PRIMARY KEY")+
		"; ALTER TABLE v REPLICA IDENTITY FULL; INSERT INTO v VALUES (1)")
	out, err := j.scribe("init", "-d", j.cluster.ConnString(db), "-f", dir, "-S", "keyless")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 || strings.Count(out, "its UPDATEs and DELETEs would fail") != 2 {
		j.t.Errorf("init with tables that cannot be published: %v\n%s", err, out)
	}
	j.cluster.Exec(j.t, db, "UPDATE v SET a = 2; UPDATE s SET a = 3")
	if left := j.cluster.Query(j.t, db, "SELECT (SELECT count(*) FROM pg_publication), to_regnamespace('scribe')"); left != "0|" {
		j.t.Errorf("init left %s behind", left)
	}

	said, err := j.cluster.Command("psql", "-X", "-d", j.db, "-c", fmt.Sprintf(table, "late", "VIRTUAL")).CombinedOutput()
	if err != nil || !bytes.Contains(said, []byte("WARNING:  pg_scribe: UPDATE and DELETE of table public.late will fail")) {
		j.t.Errorf("a table that cannot be published: %v\n%s", err, said)
	}
	if out, err := j.scribe("status", "-d", j.conn(), "-f", j.repo); err == nil || !strings.Contains(out, "UPDATE and DELETE of table public.late fail") {
		j.t.Errorf("status: %v\n%s", err, out)
	}
}

// otherValues is what a snapshot leaves out: sequences, materialized views,
// what a database and its roles are.
func otherValues(t *testing.T, c *pgtest.Cluster, db string) string {
	t.Helper()
	values := c.Query(t, db, `SELECT format('%s %s', c.oid::regclass, pg_sequence_last_value(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE c.relkind = 'S' AND n.nspname <> 'scribe' ORDER BY 1`)
	sql := "SELECT * FROM app.stats ORDER BY 1; SELECT encoding, datcollate, datctype FROM pg_database WHERE datname = current_database();" +
		`SELECT rolname, rolsuper, rolinherit, rolcreatedb, rolconnlimit FROM pg_roles WHERE rolname LIKE 'versions\_%' ORDER BY 1;
		SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE roleid >= 16384 ORDER BY 1, 2`
	return values + "\n" + c.Query(t, db, sql)
}

func (j *journey) inventory() catalog.Inventory {
	j.t.Helper()
	c, err := catalog.OpenReadOnly(filepath.Join(j.repo, "catalog.db"))
	if err != nil {
		j.t.Fatal(err)
	}
	defer c.Close()
	inv, err := c.Inventory(context.Background())
	if err != nil {
		j.t.Fatal(err)
	}
	return inv
}

// into restores each moment, and the last one from every base.
func (j *journey) into(t *testing.T, target *pgtest.Cluster) {
	var bases []string
	for _, a := range j.inventory().Artifacts {
		if a.Kind == catalog.KindBase {
			bases = append(bases, a.Name)
		}
	}
	if len(bases) != 2 {
		t.Fatalf("bases: %v", bases)
	}
	n := 0
	check := func(m milestone, extra ...string) {
		n++
		db := fmt.Sprintf("restored_%d", n)
		args := slices.Concat([]string{"restore", "-f", j.repo, "-d", target.ConnString(db), "-C", "--globals", "all"}, m.flags, extra)
		cmd := exec.Command(binary, args...)
		cmd.Env = target.Env()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: pg_scribe %s: %v\n%s", m.name, strings.Join(args, " "), err, out)
			return
		}
		j.compare(t, target, db, m)
	}
	for _, m := range j.moments {
		check(m)
	}
	latest := j.moments[len(j.moments)-1]
	check(latest, "--base-backup", bases[0])
	check(latest, "--base-backup", bases[1])

	// The first base is for psql too.
	dump, err := exec.Command("zstd", "-dcq", filepath.Join(j.repo, bases[0])).Output()
	if err != nil {
		t.Fatal(err)
	}
	target.Exec(t, "postgres", "CREATE DATABASE by_hand TEMPLATE template0")
	cmd := target.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "by_hand", "-f", "-")
	cmd.Stdin = bytes.NewReader(dump)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("a base by hand: %v\n%s", err, out)
	}
}

func (j *journey) compare(t *testing.T, target *pgtest.Cluster, db string, m milestone) {
	ctx := context.Background()
	got, err := pgtest.Snapshot(ctx, target.ConnString(db), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := pgtest.Diff(m.state, got); diff != "" {
		t.Errorf("%s: the data differ:\n%s", m.name, diff)
	}
	want, err := target.Normalize(ctx, m.schemas[target], db)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := target.NormalSchema(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	for major, rename := range newWords {
		if j.cluster.Major < major && target.Major >= major {
			want, schema = rename(want), rename(schema)
		}
	}
	if diff := lineDiff(want, schema); diff != "" {
		t.Errorf("%s: the schemas differ:\n%s", m.name, diff)
	}
	if m.name == "latest" {
		if values := otherValues(t, target, db); values != m.values {
			t.Errorf("%s: sequences and materialized views are\n%s\nwant\n%s", m.name, values, m.values)
		}
	}
}

// newWords take out of a schema, by the version that brought it, what depends
// on whether an older server's pg_dump or a newer one read the source.
var newWords = map[int]func(string) string{
	// All privileges on a table were seven and are eight now. ALL in a command
	// or in a dump means eight; seven in a dump mean seven.
	17: func(schema string) string {
		return maintain.ReplaceAllString(strings.ReplaceAll(schema, "GRANT SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON ", "GRANT ALL ON "), "")
	},
	// A NOT NULL has a name, which remembers what its column was called. A dump
	// of an older server names it after what it is called now.
	18: func(schema string) string { return notNullName.ReplaceAllString(schema, " NOT NULL") },
}

var (
	maintain    = regexp.MustCompile(`(?m)^GRANT MAINTAIN ON .*\n`)
	notNullName = regexp.MustCompile(` CONSTRAINT ("(?:[^"]|"")+"|\S+) NOT NULL`)
)
