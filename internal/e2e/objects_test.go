package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/describe"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/source"
)

// said is what base and segments say of each object up to their end: the
// canonical text by what names the object.
func (tr *trip) said() map[string]string {
	tr.t.Helper()
	out, err := exec.Command("bash", "-c", "cd "+tr.dir+
		" && for f in base-*.zst base-*/objects.sql.zst incremental-*; do test -f $f && zstd -dcq $f; done; true").Output()
	must(tr.t, err)
	all := map[string]string{}
	for line := range bytes.Lines(out) {
		f, ok, err := segment.ReadObject(bytes.TrimSuffix(line, []byte("\n")))
		must(tr.t, err)
		switch key := f.Class + " " + f.Identity; {
		case !ok:
		case f.SHA256 == segment.Gone:
			delete(all, key)
		default:
			all[key] = f.Description
		}
	}
	return all
}

// unsaid lists how what is said of objects differs from the source.
func (tr *trip) unsaid() (list []string) {
	tr.t.Helper()
	said := tr.said()
	ctx := context.Background()
	conn, err := source.Connect(ctx, tr.source.ConnString(tr.db))
	must(tr.t, err)
	defer conn.Close(ctx)
	for key, o := range tr.describedBy(conn.PgConn()) {
		if o.Class == describe.LargeObject {
			continue
		}
		if text := string(o.Append(nil)); said[key] != text {
			list = append(list, fmt.Sprintf("%s: said %.2000s\n  it is %.2000s", key, said[key], text))
		}
		delete(said, key)
	}
	for key := range said {
		list = append(list, key+" is gone, and that is not said")
	}
	slices.Sort(list)
	return list
}

// saidSoon waits until base and segments say what the source's objects are.
func (tr *trip) saidSoon(what string) {
	tr.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		list := tr.unsaid()
		if len(list) == 0 {
			return
		}
		if time.Now().After(deadline) {
			tr.t.Fatalf("%s: %s", what, strings.Join(list, "\n"))
		}
	}
}

// manyKinds makes objects of most kinds, with some that depend on others.
const manyKinds = `CREATE SCHEMA app; CREATE SCHEMA "Ä ö";
  CREATE TYPE app.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN app.posint AS int CONSTRAINT pos CHECK (VALUE > 0); CREATE TYPE app.pair AS (a int, b app.mood);
  CREATE TABLE app.customers (id serial PRIMARY KEY, name text NOT NULL, mood app.mood DEFAULT 'ok', n app.posint, p app.pair);
  CREATE FUNCTION app.double(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * i';
  CREATE TABLE app.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES app.customers,
    amount int CHECK (app.double(amount) > 0));
  CREATE VIEW app.v AS SELECT c.name, o.amount FROM app.customers c JOIN app.orders o ON o.customer = c.id; CREATE VIEW app.w AS SELECT name FROM app.v;
  CREATE MATERIALIZED VIEW app.m AS SELECT count(*) FROM app.orders;
  CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
  CREATE FUNCTION app.of(c app.customers) RETURNS text LANGUAGE sql AS 'SELECT c.name';
  CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch();
  CREATE TABLE app.parts (k int, v text) PARTITION BY RANGE (k); CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (10);
  CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (k);
  CREATE TABLE app.parts_2a PARTITION OF app.parts_2 FOR VALUES FROM (10) TO (20);
  CREATE TABLE "Ä ö"."t ""x"" on y" (a int DEFAULT app.double(1));
  SELECT lo_create(424242); CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
  CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password 'hush');`

// commandKinds are commands after which what is said of some object is not true
// any more: of the one that they name, of what depends on it, or of many.
var commandKinds = []string{
	"ALTER TABLE app.customers ADD born date DEFAULT '2000-01-01', ALTER name SET STATISTICS 10",
	"ALTER TABLE app.customers RENAME name TO full_name",
	"ALTER TABLE app.customers RENAME TO people",
	"CREATE INDEX ON app.orders (amount) WHERE amount > 5",
	"CREATE INDEX ON app.parts (v)",
	"COMMENT ON COLUMN app.orders.amount IS 'it''s much ä'; COMMENT ON INDEX app.orders_amount_idx IS 'small'",
	"DROP INDEX app.orders_amount_idx",
	"GRANT SELECT ON app.orders TO PUBLIC; GRANT UPDATE (amount) ON app.orders TO PUBLIC",
	"GRANT SELECT ON ALL TABLES IN SCHEMA app TO PUBLIC; GRANT USAGE ON SCHEMA app TO PUBLIC",
	"REVOKE EXECUTE ON FUNCTION app.double(int) FROM PUBLIC",
	"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC",
	"CREATE OR REPLACE FUNCTION app.double(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i + i'; ALTER FUNCTION app.double(int) COST 7",
	"ALTER FUNCTION app.double(int) RENAME TO twice",
	"ALTER TYPE app.mood ADD VALUE 'fine' BEFORE 'ok'",
	"ALTER TYPE app.mood RENAME TO temper",
	"ALTER TYPE app.pair ADD ATTRIBUTE c int CASCADE",
	"ALTER DOMAIN app.posint SET DEFAULT 4; ALTER DOMAIN app.posint ADD CONSTRAINT small CHECK (VALUE < 1000)",
	"ALTER DOMAIN app.posint DROP CONSTRAINT small",
	"CREATE POLICY mine ON app.orders USING (amount > 1); ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY",
	"ALTER POLICY mine ON app.orders RENAME TO yours; ALTER TABLE app.orders DISABLE TRIGGER touch",
	"DROP POLICY yours ON app.orders",
	"CREATE RULE r AS ON INSERT TO app.w DO INSTEAD NOTHING; ALTER VIEW app.w SET (security_barrier = true)",
	"ALTER TABLE app.parts ADD CONSTRAINT c CHECK (k >= 0); ALTER TABLE app.parts ALTER v SET DEFAULT 'x'",
	"ALTER TABLE app.parts DETACH PARTITION app.parts_1",
	"ALTER TABLE app.parts ATTACH PARTITION app.parts_1 FOR VALUES FROM (0) TO (10)",
	"REFRESH MATERIALIZED VIEW app.m WITH NO DATA",
	"ALTER SEQUENCE app.customers_id_seq INCREMENT 5; ALTER TABLE app.orders ALTER id SET GENERATED BY DEFAULT",
	"ALTER USER MAPPING FOR PUBLIC SERVER s OPTIONS (SET password 'other'); ALTER SERVER s OPTIONS (host 'x')",
	"CREATE STATISTICS app.st ON amount, customer FROM app.orders; ALTER STATISTICS app.st SET STATISTICS 7",
	"CREATE PUBLICATION p FOR TABLE app.orders; ALTER PUBLICATION p ADD TABLE app.people",
	"CREATE EXTENSION citext SCHEMA app; CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int); CREATE CAST (app.pair AS text) WITH INOUT",
	"ALTER EXTENSION citext SET SCHEMA public",
	"DROP EXTENSION citext",
	"CREATE TABLE app.copied AS SELECT * FROM app.orders; CREATE TEMP TABLE none (a int); CREATE TABLE app.again (a int); DROP TABLE app.again",
	"BEGIN; DROP TABLE app.copied; CREATE TABLE app.copied (other int); COMMIT",
	"BEGIN; ALTER TABLE app.copied RENAME TO c1; CREATE TABLE app.copied (third int); ALTER TABLE app.c1 RENAME TO c2; COMMIT",
	"ALTER SCHEMA app RENAME TO app2; ALTER SCHEMA \"Ä ö\" RENAME TO \"ß.\"",
	"DROP FUNCTION app2.twice(int) CASCADE",
	"DROP TYPE app2.temper CASCADE",
	"DROP SCHEMA app2 CASCADE; DROP SERVER s CASCADE",
}

// After each command the repository says what the source's objects are.
func TestObjectsAreDescribed(t *testing.T) {
	tr := begin(t, manyKinds)
	if list := tr.unsaid(); len(list) > 0 {
		t.Fatalf("the base: %s", strings.Join(list, "\n"))
	}
	if len(tr.said()) < 25 {
		t.Errorf("only %d objects", len(tr.said()))
	}
	_, stop := tr.streaming(time.Hour)
	defer stop()
	for _, command := range commandKinds {
		for sql := range strings.SplitSeq(command, "; ") {
			if strings.HasPrefix(command, "BEGIN") {
				sql = command
			}
			tr.run(sql)
			if sql == command {
				break
			}
		}
		tr.saidSoon(command)
	}
	if strings.Contains(strings.Join(objectLines(tr.text()), "\n"), "hush") {
		t.Error("a secret is described")
	}
}

func objectLines(text string) (list []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "-- pg_scribe object ") {
			list = append(list, line)
		}
	}
	return list
}

// What no event told is known by the next sample that is thorough, and a base in
// a directory says what the objects are, too.
func TestObjectsWithoutEvents(t *testing.T) {
	tr := begin(t, manyKinds)
	tr.run(`ALTER EVENT TRIGGER "!scribe_y" DISABLE; ALTER EVENT TRIGGER scribe_b DISABLE; ALTER EVENT TRIGGER scribe_d DISABLE`,
		"ALTER TABLE app.orders ADD hidden int DEFAULT 7; DROP TRIGGER touch ON app.orders; DROP VIEW app.w; CREATE TABLE app.secretly (a int)",
		"UPDATE pg_proc SET provolatile = 's' WHERE proname = 'double'")
	if len(tr.unsaid()) < 4 {
		t.Fatal(tr.unsaid())
	}
	_, stop := tr.streaming(time.Hour)
	tr.saidSoon("commands without events")
	stop()
	before := len(objectLines(tr.text()))
	_, stop = tr.streaming(time.Hour)
	tr.run("SELECT 1")
	stop()
	if n := len(objectLines(tr.text())); n != before {
		t.Errorf("%d descriptions were sent again", n-before)
	}
	dir := begin(t, manyKinds)
	dir.further(2)
	must(t, exec.Command("bash", "-c", "rm "+dir.dir+"/base-*.sql.zst").Run())
	if list := dir.unsaid(); len(list) > 0 {
		t.Errorf("a directory: %s", strings.Join(list, "\n"))
	}
}

// Each description is true where it stands: beside transactions that overlap, a
// database that runs the commands before it has the object as it says.
func TestDescriptionsBesideTransactions(t *testing.T) {
	tr := begin(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY)")
	_, stop := tr.streaming(time.Hour)
	one, two := tr.source.Conn(t, tr.db), tr.source.Conn(t, tr.db)
	ctx := context.Background()
	run := func(conn *pgx.Conn, sql string) {
		t.Helper()
		_, err := conn.Exec(ctx, sql)
		must(t, err)
	}
	for i := range 15 {
		run(one, fmt.Sprintf("BEGIN; ALTER TABLE a ADD c%d int DEFAULT %d; CREATE VIEW v%d AS SELECT * FROM a", i, i, i))
		run(two, fmt.Sprintf("BEGIN; ALTER TABLE b ADD c%d text; COMMENT ON TABLE b IS 'no. %d'; COMMIT", i, i))
		time.Sleep(time.Duration(i*40) * time.Millisecond)
		run(two, fmt.Sprintf("ALTER TABLE c ADD c%d text", i))
		time.Sleep(time.Duration((15-i)*40) * time.Millisecond)
		run(one, "COMMIT")
		run(two, fmt.Sprintf("ALTER TABLE c ALTER c%d SET NOT NULL", i))
	}
	tr.saidSoon("all")
	stop()
	db := tr.target.CreateDB(t, "replayed")
	target := tr.target.Conn(t, db)
	run(target, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY)")
	reader, err := describe.NewReader(ctx, target.PgConn())
	must(t, err)
	compared, text := 0, strings.Split(tr.text(), "\n")
	for i := 0; i < len(text); i++ {
		if rest, ok := strings.CutPrefix(text[i], "-- pg_scribe ddl "); ok {
			count, tag, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(count)
			must(t, err)
			if tag == "ALTER TABLE" || tag == "CREATE VIEW" || tag == "COMMENT" {
				run(target, strings.Join(text[i+1:i+1+n], "\n"))
			}
			i += n
			continue
		}
		f, ok, err := segment.ReadObject([]byte(text[i]))
		must(t, err)
		if !ok || f.SHA256 == segment.Gone {
			continue
		}
		want, err := describe.ParseObject([]byte(f.Description))
		must(t, err)
		var got describe.Object
		must(t, reader.At(ctx, target.PgConn(), []describe.Address{want.Address()}, func(o describe.Object) error { got = o; return nil }))
		for _, d := range first(describe.Compare(want, got)) {
			if !strings.Contains(d.Attribute, "owner") && !strings.Contains(d.Attribute, "acl") {
				t.Errorf("line %d: %+v", i+1, d)
			}
		}
		compared++
	}
	if compared < 15 {
		t.Errorf("only %d descriptions were compared", compared)
	}
}

func first(list []describe.Difference, _ int) []describe.Difference { return list }

// The publication of the capture is no object of the application, whatever its name.
func TestOwnPublicationIsNotDescribed(t *testing.T) {
	source, target := clusters(t)
	tr := &trip{t: t, source: source, target: target, db: source.CreateDB(t, "src"), dir: t.TempDir() + "/repo"}
	tr.slot = tr.db
	tr.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION theirs FOR TABLE t")
	tr.mustScribe("init", "-d", tr.conn(), "-S", tr.slot, "--publication", "Own one", "--mode", "no-harm", "-f", tr.dir)
	streamer := tr.launch("start", "-d", tr.conn(), "-f", tr.dir, "-F", "200ms", "-s", "100ms")
	tr.run("CREATE TABLE u (id int PRIMARY KEY); ALTER PUBLICATION theirs ADD TABLE u")
	tr.acknowledged()
	streamer.stop(t)
	said := tr.said()
	if said["publication theirs"] == "" || !strings.Contains(said["publication theirs"], "public.u") || len(said["table public.u"]) == 0 {
		t.Errorf("%v", said)
	}
	for key := range said {
		if strings.Contains(key, "Own one") {
			t.Error(key)
		}
	}
}

// Whoever locks one table after the other is never in a deadlock with the
// reading of descriptions, and waits for it no longer than a moment.
func TestDescriptionsHoldNobodyUp(t *testing.T) {
	tr := begin(t, `CREATE TABLE one (a int); CREATE TABLE two (b int); CREATE TABLE three (c int);
	  CREATE VIEW over AS SELECT a, b, c FROM one, two, three; CREATE VIEW back AS SELECT c, b, a FROM three, two, one;
	  CREATE FUNCTION f() RETURNS SETOF int BEGIN ATOMIC SELECT a FROM one, two, three; END`)
	_, stop := tr.streaming(20 * time.Millisecond)
	defer stop()
	user := tr.source.Conn(t, tr.db)
	exec := func(sql string) {
		t.Helper()
		if _, err := user.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec("SET deadlock_timeout = '100ms'")
	order := []string{"one", "two", "three"}
	for i := range 12 {
		exec("BEGIN")
		for j := range order {
			began := time.Now()
			exec("LOCK TABLE " + order[(i+j)%3] + " IN ACCESS EXCLUSIVE MODE")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the lock took %s", took)
			}
			tr.run(fmt.Sprintf("COMMENT ON SCHEMA public IS 'round %d %d'", i, j)) // which makes the reader read
			time.Sleep(150 * time.Millisecond)
		}
		exec("COMMENT ON VIEW over IS 'touched'; COMMENT ON VIEW back IS 'touched'; ROLLBACK")
		tr.run("COMMENT ON VIEW over IS '" + fmt.Sprint(i) + "'; COMMENT ON VIEW back IS 'x'")
	}
}

// A base describes what the stream has not described yet, and does not describe
// what went before: what commands behind it do without naming it must be said to
// both chains.
func TestChangesBehindABaseThatTheStreamHasNotDescribed(t *testing.T) {
	for name, script := range map[string][2]string{
		"view":       {`CREATE VIEW s.extra AS SELECT id, v FROM s.t`, `DROP TABLE s.t CASCADE; CREATE TABLE s.t (id int PRIMARY KEY, v text)`},
		"privileges": {`GRANT SELECT ON ALL TABLES IN SCHEMA s TO PUBLIC`, `REVOKE ALL ON ALL TABLES IN SCHEMA s FROM PUBLIC`},
		"schema":     {`CREATE TABLE w.y (a int)`, `DROP SCHEMA w CASCADE; CREATE SCHEMA w`},
	} {
		t.Run(name, func(t *testing.T) {
			tr := begin(t, `CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, v text); CREATE SCHEMA w`)
			tr.run(script[0])
			tr.fullBackup()
			tr.run(script[1], `CREATE TABLE s.late (id int)`)
			tr.capture()
			tr.noGap()
			for _, base := range tr.bases() {
				tr.backFrom(base)
				tr.equal()
			}
		})
	}
}
