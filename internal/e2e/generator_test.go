package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/pgtest"
)

// generator makes up statements from what the source holds at the moment. The
// same seed makes the same ones.
type generator struct {
	t     *testing.T
	r     *rand.Rand
	conn  *pgconn.PgConn    // of conns, the one that works now
	conns [2]*pgconn.PgConn // whose transactions overlap
	n     int               // for names
	tried int
	done  int
	log   []string
}

func newGenerator(t *testing.T, seed uint64, c *pgtest.Cluster, db string) *generator {
	g := &generator{t: t, r: rand.New(rand.NewPCG(seed, 1))}
	for i := range g.conns {
		conn, err := pgconn.Connect(t.Context(), c.ConnString(db))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		g.conn, g.conns[i] = conn, conn
		g.run("SET statement_timeout = '10s'; SET lock_timeout = '50ms'") // the other one holds still meanwhile
		g.run("SELECT setseed(0.5)")
	}
	return g
}

// run executes one string of the simple protocol.
func (g *generator) run(sql string) bool {
	g.tried++
	if g.chance(8) { // as tools put them there
		sql = g.pick("/* app: web; user's /* nested */ */ ", "-- request 7; it's traced\n", "/*+ hint */ -- two\n") + sql
	}
	_, err := g.conn.Exec(g.t.Context(), sql).ReadAll()
	if err != nil {
		if g.conn.IsClosed() {
			g.t.Fatalf("%s: %v", sql, err)
		}
		return false
	}
	g.done++
	if g.conn == g.conns[1] {
		sql = "/* other */ " + sql
	}
	g.log = append(g.log, sql+";")
	return true
}

func (g *generator) query(sql string) [][]string {
	results, err := g.conn.Exec(g.t.Context(), sql).ReadAll()
	if err != nil {
		return nil // the transaction has failed
	}
	var rows [][]string
	for _, row := range results[len(results)-1].Rows {
		var values []string
		for _, v := range row {
			values = append(values, string(v))
		}
		rows = append(rows, values)
	}
	return rows
}

func (g *generator) pick(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func (g *generator) name(prefix string) string {
	g.n++
	if g.chance(10) {
		return fmt.Sprintf(`"%s %d's ""x"" ä"`, prefix, g.n)
	}
	return fmt.Sprintf("%s%d", prefix, g.n)
}

func (g *generator) schema() string { return g.pick("s1", "s2", "public") }

// relation is an existing one of these kinds, or a name that is none.
func (g *generator) relation(kinds string) string {
	rows := g.query(`SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE position(c.relkind::text IN '` + kinds + `') > 0 AND n.nspname IN ('s1', 's2', 'public') ORDER BY c.oid`)
	if len(rows) == 0 {
		return "s1.nothing"
	}
	return rows[g.r.IntN(len(rows))][0]
}

// column is one of a table, with its type.
func (g *generator) column(table string) (name, typ string) {
	rows := g.query(`SELECT quote_ident(attname), format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = to_regclass('` + strings.ReplaceAll(table, "'", "''") + `') AND attnum > 0 AND NOT attisdropped ORDER BY attnum`)
	if len(rows) == 0 {
		return "nothing", "int"
	}
	row := rows[g.r.IntN(len(rows))]
	return row[0], row[1]
}

func (g *generator) object(sql string) string {
	if rows := g.query(sql); len(rows) > 0 {
		return rows[g.r.IntN(len(rows))][0]
	}
	return "nothing"
}

func (g *generator) role() string {
	return g.object("SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384 ORDER BY oid")
}

func (g *generator) function() string {
	return g.object(`SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace::regnamespace::text IN ('s1', 's2', 'public')
		AND p.oid >= 16384 AND prokind = 'f' ORDER BY p.oid`)
}

func (g *generator) typ() string {
	return g.pick("int", "bigint", "text", "numeric(12,3)", "timestamptz", "jsonb", "boolean", "uuid", "text[]", "s1.mood", "s1.small", "int4range",
		"varchar(40)", "char(5)", "float8", "bytea", "date", "interval", "inet", "point", "bit(3)", "xml", "tsvector")
}

// value is one of a type, as SQL.
func (g *generator) value(typ string) string {
	if g.chance(8) {
		return "NULL"
	}
	n := g.r.IntN(900)
	switch {
	case strings.HasSuffix(typ, "[]"):
		return fmt.Sprintf(`'{a,NULL,"b ""%d"}'`, n)
	case strings.Contains(typ, "mood"):
		return g.pick("'sad'", "'ok'")
	case strings.HasPrefix(typ, "json"):
		return fmt.Sprintf(`'{"a": [%d, 1.50, null], "b": "x\ny"}'`, n)
	case typ == "timestamp with time zone" || typ == "timestamptz":
		return g.pick("now()", "'infinity'", "clock_timestamp()", "'2000-01-01 BC'")
	case typ == "date":
		return g.pick("current_date", "'-infinity'", "'0044-03-15 BC'")
	case typ == "interval":
		return g.pick("'1 mon -3 days 04:05:06.789'", "'-1 year'")
	case typ == "uuid":
		return "gen_random_uuid()"
	case typ == "boolean":
		return g.pick("true", "false")
	case strings.HasSuffix(typ, "range"):
		return fmt.Sprintf("'[%d,%d)'", n, n+5)
	case typ == "double precision":
		return g.pick("random()", "'NaN'", "'-0'", "1e-300")
	case typ == "bytea":
		return fmt.Sprintf(`'\x00ff%04x'`, n)
	case typ == "inet":
		return "'10.0.0.1/8'"
	case typ == "point":
		return fmt.Sprintf("'(%d,-1.5)'", n)
	case strings.HasPrefix(typ, "bit"):
		return "B'101'"
	case typ == "xml":
		return "'<a>&lt;</a>'"
	case typ == "tsvector":
		return "'a b:2'"
	case strings.HasPrefix(typ, "numeric"):
		return g.pick("random() * 1000", "'NaN'", "12.50")
	case strings.HasPrefix(typ, "char") || strings.HasPrefix(typ, "varchar"):
		return fmt.Sprintf("'%d'", n)
	case typ == "text":
		return g.pick(fmt.Sprintf("'it''s %d \\ ä'", n), fmt.Sprintf("repeat('long %d ', 2000)", n), "''", fmt.Sprintf("E'tab\\t%d\\n'", n),
			fmt.Sprintf("(SELECT string_agg(md5((%d + g)::text), '') FROM generate_series(1, 200) g)", n))
	}
	return fmt.Sprint(n)
}

// step makes up one thing to do.
func (g *generator) step() {
	if g.chance(20) {
		g.conn = g.conns[g.r.IntN(len(g.conns))]
	}
	if g.conn.TxStatus() == 'E' {
		g.run("ROLLBACK")
	}
	kinds := []struct {
		weight int
		do     func()
	}{
		{24, g.dml}, {14, g.createTable}, {20, g.alterTable}, {8, g.index}, {5, g.view}, {6, g.routine}, {5, g.typeWork}, {5, g.sequence},
		{6, g.roleWork}, {5, g.grant}, {3, g.comment}, {4, g.trigger}, {6, g.transaction}, {4, g.drop}, {5, g.several}, {4, g.temporary}, {3, g.largeObject},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	at := g.r.IntN(total)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			k.do()
			return
		}
	}
}

// rest ends transactions that are open, whose locks a dump would wait for.
func (g *generator) rest() {
	for _, g.conn = range g.conns {
		if g.conn.TxStatus() != 'I' {
			g.run("COMMIT")
		}
	}
}

func (g *generator) dml() {
	t := g.relation("rp")
	switch g.r.IntN(8) {
	case 0, 1, 2:
		g.insert(t)
	case 3, 4:
		c, typ := g.column(t)
		d, dtyp := g.column(t)
		g.run(fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s IS DISTINCT FROM %s", t, c, g.value(typ), d, g.value(dtyp)))
	case 5:
		g.run(fmt.Sprintf("DELETE FROM %s WHERE ctid IN (SELECT ctid FROM %[1]s LIMIT 3)", t))
	case 6:
		g.run(fmt.Sprintf("TRUNCATE %s%s%s", g.pick("", "ONLY "), t, g.pick("", " CASCADE", " RESTART IDENTITY CASCADE")))
	case 7:
		g.run(fmt.Sprintf("INSERT INTO %s SELECT * FROM %[1]s LIMIT 4 ON CONFLICT DO NOTHING", t))
	}
}

func (g *generator) insert(t string) {
	rows := g.query(`SELECT quote_ident(attname), format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = to_regclass('` +
		strings.ReplaceAll(t, "'", "''") + `') AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = '' ORDER BY attnum`)
	var columns, lists []string
	for _, row := range rows {
		columns = append(columns, row[0])
	}
	for range 1 + g.r.IntN(12) {
		var values []string
		for _, row := range rows {
			values = append(values, g.value(row[1]))
		}
		lists = append(lists, "("+strings.Join(values, ", ")+")")
	}
	if len(columns) == 0 {
		g.run("INSERT INTO " + t + " DEFAULT VALUES")
		return
	}
	g.run(fmt.Sprintf("INSERT INTO %s (%s) VALUES %s ON CONFLICT DO NOTHING", t, strings.Join(columns, ", "), strings.Join(lists, ", ")))
}

func (g *generator) createTable() {
	name := g.schema() + "." + g.name("t")
	switch g.r.IntN(11) {
	case 10:
		g.run(fmt.Sprintf("CREATE TABLE %s (tenant text DEFAULT s1.tenant(), id int DEFAULT s1.counted())", name))
		g.run(fmt.Sprintf("INSERT INTO %s SELECT FROM generate_series(1, 3)", name))
		return
	case 0:
		g.run(fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL)", name, g.relation("r")))
		return
	case 1:
		g.run(fmt.Sprintf("CREATE TABLE %s (extra int) INHERITS (%s)", name, g.relation("r")))
		return
	case 2:
		g.run(fmt.Sprintf("CREATE TABLE %s AS SELECT *, random() AS luck, clock_timestamp() AS made FROM %s LIMIT 20", name, g.relation("rpvm")))
		return
	case 3:
		g.run(fmt.Sprintf("SELECT * INTO %s FROM %s LIMIT 5", name, g.relation("rpv")))
		return
	case 4:
		by := g.pick("RANGE (k)", "LIST (k)", "HASH (k)")
		if !g.run(fmt.Sprintf("CREATE TABLE %s (k int NOT NULL, v text, at timestamptz DEFAULT now()%s) PARTITION BY %s", name,
			g.pick("", ", PRIMARY KEY (k)"), by)) {
			return
		}
		part := func(bounds string) {
			g.run(fmt.Sprintf("CREATE TABLE %s PARTITION OF %s %s", g.schema()+"."+g.name("p"), name, bounds))
		}
		switch by[0] {
		case 'R':
			part("FOR VALUES FROM (MINVALUE) TO (300)")
			part("FOR VALUES FROM (300) TO (600 + 1)")
		case 'L':
			part("FOR VALUES IN (1, 2, 3)")
		case 'H':
			part("FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
			part("FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
			return
		}
		part("DEFAULT")
		return
	}
	columns := []string{g.pick("id int PRIMARY KEY", "id bigint GENERATED ALWAYS AS IDENTITY", "id int GENERATED BY DEFAULT AS IDENTITY UNIQUE", "id serial",
		"id int", "id int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED", "id text COLLATE \"C\" PRIMARY KEY", "id uuid DEFAULT gen_random_uuid() PRIMARY KEY")}
	for i := range g.r.IntN(5) {
		typ := g.typ()
		c := fmt.Sprintf("c%d %s", i, typ)
		switch g.r.IntN(6) {
		case 0:
			c += " DEFAULT " + g.value(typ)
		case 1:
			c = fmt.Sprintf("c%d text GENERATED ALWAYS AS ('g' || '%d') STORED", i, i)
		case 2:
			c += fmt.Sprintf(" CHECK (c%d IS NOT NULL OR true)", i)
		}
		columns = append(columns, c)
	}
	g.run(fmt.Sprintf("CREATE %sTABLE %s (%s)", g.pick("", "", "", "UNLOGGED "), name, strings.Join(columns, ", ")))
	g.insert(name)
}

func (g *generator) alterTable() {
	t := g.relation("rp")
	c, _ := g.column(t)
	typ := g.typ()
	actions := []string{
		fmt.Sprintf("ADD COLUMN %s %s", g.name("c"), typ),
		fmt.Sprintf("ADD COLUMN %s %s DEFAULT %s", g.name("c"), typ, g.value(typ)),
		fmt.Sprintf("ADD COLUMN %s float8 DEFAULT random()", g.name("c")),
		fmt.Sprintf("ADD COLUMN %s timestamptz DEFAULT now(), ADD COLUMN %s text DEFAULT 'x'", g.name("c"), g.name("c")),
		fmt.Sprintf("ADD COLUMN %s serial", g.name("c")),
		fmt.Sprintf("ADD COLUMN %s int GENERATED ALWAYS AS IDENTITY", g.name("c")),
		fmt.Sprintf("DROP COLUMN %s%s", c, g.pick("", " CASCADE")),
		fmt.Sprintf("ALTER COLUMN %s TYPE text USING %[1]s::text", c),
		fmt.Sprintf("ALTER COLUMN %s TYPE text USING %[1]s::text || random()", c),
		fmt.Sprintf("ALTER COLUMN %s TYPE bigint", c),
		fmt.Sprintf("ALTER COLUMN %s TYPE %s", c, g.pick("numeric", "numeric(14,4)", "text", "varchar(90)", "float8", "timestamp")),
		fmt.Sprintf("ALTER COLUMN %s TYPE text USING s1.logged(%[1]s::text)", c),
		fmt.Sprintf("ADD COLUMN %s int DEFAULT s1.counted()", g.name("c")),
		fmt.Sprintf("ADD COLUMN %s text DEFAULT s1.tenant()", g.name("c")),
		fmt.Sprintf("ALTER COLUMN %s SET DEFAULT %s", c, g.value("text")),
		fmt.Sprintf("ALTER COLUMN %s DROP DEFAULT", c),
		fmt.Sprintf("ALTER COLUMN %s SET NOT NULL", c),
		fmt.Sprintf("ALTER COLUMN %s DROP NOT NULL", c),
		fmt.Sprintf("ALTER COLUMN %s SET STATISTICS %d", c, g.r.IntN(200)),
		fmt.Sprintf("ALTER COLUMN %s SET STORAGE EXTERNAL", c),
		fmt.Sprintf("RENAME COLUMN %s TO %s", c, g.name("c")),
		"RENAME TO " + g.name("t"),
		"SET SCHEMA " + g.schema(),
		"ADD CONSTRAINT " + g.name("k") + fmt.Sprintf(" CHECK (%s IS NOT NULL) NOT VALID", c),
		"ADD CONSTRAINT " + g.name("k") + fmt.Sprintf(" NOT NULL %s NOT VALID", c), // since 18
		"ADD CONSTRAINT " + g.name("k") + fmt.Sprintf(" UNIQUE (%s)", c),
		fmt.Sprintf("ADD PRIMARY KEY (%s)", c),
		fmt.Sprintf("ADD FOREIGN KEY (%s) REFERENCES %s NOT VALID", c, g.relation("rp")),
		"DROP CONSTRAINT " + g.object(`SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = to_regclass('`+strings.ReplaceAll(t, "'", "''")+
			`') ORDER BY oid`) + g.pick("", " CASCADE"),
		"SET LOGGED", "SET UNLOGGED", "SET (fillfactor = 70)", "RESET (fillfactor)",
		"OWNER TO " + g.role(), "REPLICA IDENTITY " + g.pick("FULL", "DEFAULT", "NOTHING"),
		"INHERIT " + g.relation("r"), "NO INHERIT " + g.relation("r"),
		"ATTACH PARTITION " + g.relation("r") + g.pick(" DEFAULT", " FOR VALUES IN (4)", " FOR VALUES FROM (700) TO (800)"),
		"DETACH PARTITION " + g.relation("r"),
		"ENABLE ROW LEVEL SECURITY", "DISABLE TRIGGER ALL", "ENABLE ALWAYS TRIGGER " + g.object(`SELECT quote_ident(tgname) FROM pg_trigger WHERE NOT tgisinternal `+
			`AND tgrelid = to_regclass('`+strings.ReplaceAll(t, "'", "''")+`') ORDER BY oid`),
	}
	g.run("ALTER TABLE " + t + " " + actions[g.r.IntN(len(actions))])
}

func (g *generator) index() {
	t := g.relation("rp")
	c, _ := g.column(t)
	concurrently := g.pick("", "", "CONCURRENTLY ")
	switch g.r.IntN(6) {
	case 0, 1, 2:
		g.run(fmt.Sprintf("CREATE %sINDEX %s%s ON %s (%s)%s", g.pick("", "", "UNIQUE "), concurrently, g.pick("", g.name("i")), t, c,
			g.pick("", fmt.Sprintf(" WHERE %s IS NOT NULL", c))))
	case 3:
		g.run(fmt.Sprintf("CREATE INDEX %s ON %s ((%s::text), (1))", g.pick("", g.name("i")), t, c))
	case 4:
		g.run("DROP INDEX " + concurrently + g.relation("iI"))
	case 5:
		g.run(g.pick("REINDEX INDEX ", "REINDEX INDEX CONCURRENTLY ", "ALTER INDEX ") + g.relation("i") + g.pick("", " RENAME TO "+g.name("i")))
	}
}

func (g *generator) view() {
	t := g.relation("rpv")
	switch g.r.IntN(8) {
	case 6:
		g.run(fmt.Sprintf("CREATE MATERIALIZED VIEW %s AS SELECT *, random() AS luck, s1.logged('seen') AS seen FROM %s LIMIT 7", g.schema()+"."+g.name("m"), t))
	case 7: // whose snapshot is older than its commit
		if g.run("BEGIN; REFRESH MATERIALIZED VIEW " + g.relation("m")) {
			at := g.conn
			if g.conn = g.conns[0]; at == g.conn {
				g.conn = g.conns[1]
			}
			if g.conn.TxStatus() == 'I' {
				g.insert(g.relation("r"))
				g.dml()
			}
			g.conn = at
			g.run("COMMIT")
		}
	case 0, 1:
		g.run(fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT * FROM %s", g.schema()+"."+g.name("v"), t))
	case 2:
		g.run(fmt.Sprintf("CREATE MATERIALIZED VIEW %s AS SELECT count(*) AS n FROM %s%s", g.schema()+"."+g.name("m"), t, g.pick("", " WITH NO DATA")))
	case 3:
		g.run("REFRESH MATERIALIZED VIEW " + g.relation("m"))
	case 4:
		g.run(fmt.Sprintf("ALTER VIEW %s RENAME TO %s", g.relation("v"), g.name("v")))
	case 5:
		g.run(fmt.Sprintf("CREATE STATISTICS %s ON %s FROM %s", g.schema()+"."+g.name("st"), "id, v", g.relation("r")))
	}
}

func (g *generator) routine() {
	name := g.schema() + "." + g.name("f")
	inner := g.schema() + "." + g.name("n")
	switch g.r.IntN(8) {
	case 0:
		g.run(fmt.Sprintf("CREATE FUNCTION %s(a int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1; -- ; '", name))
	case 1:
		if g.run(fmt.Sprintf(`CREATE FUNCTION %s() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN CREATE TABLE %s (a int PRIMARY KEY, b text); INSERT INTO %[2]s `+
			`VALUES (1, 'x');
EXECUTE 'ALTER TABLE %[2]s ADD c timestamptz DEFAULT clock_timestamp()'; END $f$`, name, inner)) {
			g.run("SELECT " + name + "()")
		}
	case 2:
		if g.run(fmt.Sprintf("CREATE FUNCTION %s() RETURNS void LANGUAGE sql AS 'CREATE TABLE %s (a int); ALTER TABLE %[2]s ADD b text; COMMENT ON TABLE %[2]s IS "+
			"''from sql'''", name, inner)) {
			g.run("SELECT " + name + "()")
		}
	case 3:
		g.run(fmt.Sprintf(`DO $d$ BEGIN CREATE TABLE %s (a int); BEGIN INSERT INTO %[1]s VALUES (1); CREATE INDEX ON %[1]s (a); RAISE EXCEPTION 'back'; `+
			`EXCEPTION WHEN OTHERS THEN
CREATE INDEX ON %[1]s ((a + 1)); END; INSERT INTO %[1]s SELECT generate_series(2, 15); END $d$`, inner))
	case 4:
		if g.run(fmt.Sprintf("CREATE PROCEDURE %s() LANGUAGE plpgsql AS $p$ BEGIN CREATE TABLE %s (a int); COMMIT; INSERT INTO %[2]s VALUES (7); ALTER TABLE %[2]s "+
			"ADD b int; ROLLBACK; INSERT INTO %[2]s VALUES (8); END $p$", name, inner)) {
			g.run("CALL " + name + "()")
		}
	case 5:
		g.run("ALTER FUNCTION " + g.function() + " " + g.pick("OWNER TO "+g.role(), "RENAME TO "+g.name("f"), "SET SCHEMA "+g.schema(), "STABLE",
			"SET work_mem = '5MB'"))
	case 6:
		g.run("DROP FUNCTION " + g.function() + g.pick("", " CASCADE"))
	case 7:
		g.run(fmt.Sprintf("CREATE AGGREGATE %s (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')", name))
	}
}

func (g *generator) typeWork() {
	name := g.schema() + "." + g.name("y")
	switch g.r.IntN(7) {
	case 0:
		if g.run(fmt.Sprintf("CREATE TYPE %s AS ENUM ('a', 'b')", name)) {
			g.run(fmt.Sprintf("CREATE TABLE %s (e %s, f %[2]s[])", g.schema()+"."+g.name("t"), name))
			g.run(fmt.Sprintf("ALTER TYPE %s ADD VALUE 'c' BEFORE 'b'", name))
		}
	case 1:
		if g.run(fmt.Sprintf("CREATE TYPE %s AS (x int, y text)", name)) {
			t := g.schema() + "." + g.name("t")
			g.run(fmt.Sprintf("CREATE TABLE %s (e %s)", t, name))
			g.run(fmt.Sprintf("INSERT INTO %s VALUES ((1, 'a')), ((NULL, NULL)), (NULL)", t))
			g.run(fmt.Sprintf("ALTER TYPE %s ADD ATTRIBUTE z int CASCADE", name))
			g.run(fmt.Sprintf("UPDATE %s SET e = (2, 'b', 3) WHERE e IS NOT NULL", t))
		}
	case 2:
		g.run(fmt.Sprintf("CREATE DOMAIN %s AS text DEFAULT 'd' CHECK (value <> 'bad')", name))
	case 3:
		g.run("ALTER DOMAIN s1.small " + g.pick("ADD CONSTRAINT "+g.name("d")+fmt.Sprintf(" CHECK (value > %d) NOT VALID", g.r.IntN(300)),
			g.pick("DROP", "VALIDATE")+" CONSTRAINT "+g.object("SELECT quote_ident(conname) FROM pg_constraint WHERE contypid = 's1.small'::regtype ORDER BY oid")))
	case 4:
		g.run("ALTER TYPE s1.mood ADD VALUE '" + fmt.Sprint("v", g.n, g.r.IntN(1000)) + "'")
	case 5:
		g.run(fmt.Sprintf("CREATE TYPE %s AS RANGE (SUBTYPE = float8)", name))
	case 6:
		g.run(fmt.Sprintf("CREATE COLLATION %s (LOCALE = 'C')", name))
	}
}

func (g *generator) sequence() {
	s := g.relation("S")
	quoted := strings.ReplaceAll(s, "'", "''")
	switch g.r.IntN(6) {
	case 0:
		g.run("CREATE SEQUENCE " + g.schema() + "." + g.name("q") + g.pick("", " INCREMENT 5 MINVALUE -10", " CYCLE MAXVALUE 20"))
	case 1:
		g.run("SELECT nextval('" + quoted + "') FROM generate_series(1, 7)")
	case 2:
		g.run("SELECT setval('" + quoted + "', 11, " + g.pick("true", "false") + ")")
	case 3:
		g.run("ALTER SEQUENCE " + s + g.pick(" RESTART", " RESTART WITH 5", " INCREMENT 2", " OWNED BY NONE", " OWNER TO "+g.role(), " RENAME TO "+g.name("q")))
	case 4:
		g.run("DROP SEQUENCE " + s + g.pick("", " CASCADE"))
	case 5:
		g.run("ALTER SEQUENCE " + s + " AS int")
	}
}

func (g *generator) roleWork() {
	role := g.role()
	switch g.r.IntN(13) {
	case 12:
		g.run(g.pick("SET app.tenant = 'red'", "SET app.tenant = 'it''s \\ blue'", "RESET app.tenant", "SET LOCAL app.tenant = 'local'"))
	case 0:
		g.run("CREATE ROLE " + g.name("r") + g.pick("", " LOGIN PASSWORD 'x'", " CREATEDB", " SUPERUSER NOLOGIN"))
	case 1:
		g.run("ALTER ROLE " + role + g.pick(" SUPERUSER", " NOSUPERUSER", " LOGIN", " SET work_mem = '7MB'", " CREATEROLE"))
	case 2:
		g.run("GRANT " + g.role() + " TO " + role)
	case 3:
		g.run("REVOKE " + g.role() + " FROM " + role)
	case 4, 5:
		g.run("SET ROLE " + role)
	case 6, 7:
		g.run("RESET ROLE")
	case 8:
		g.run("RESET ROLE")
		g.run("REASSIGN OWNED BY " + role + " TO " + g.role())
	case 9:
		g.run("RESET ROLE")
		g.run("DROP OWNED BY " + role)
		g.run("DROP ROLE " + role)
	case 10:
		g.run("SET search_path = " + g.pick("s1, public", "public", "s2, s1", "''", `"$user", public`))
	case 11:
		g.run("RESET ROLE")
		fresh := g.name("r")
		if g.run("ALTER ROLE " + role + " RENAME TO " + fresh) {
			switch other := g.role(); g.r.IntN(4) {
			case 0:
				g.run("CREATE ROLE " + role)
			case 1:
				g.run("ALTER ROLE " + other + " RENAME TO " + role)
				g.run("ALTER ROLE " + fresh + " RENAME TO " + other)
			}
		}
	}
}

func (g *generator) grant() {
	role := g.role()
	verb := g.pick("GRANT %s ON %s TO %s", "GRANT %s ON %s TO %s WITH GRANT OPTION", "REVOKE %s ON %s FROM %s", "REVOKE %s ON %s FROM %s CASCADE")
	switch g.r.IntN(8) {
	case 6, 7: // beside what the other transaction makes
		g.run(fmt.Sprintf(verb, g.pick("SELECT", "ALL"), "ALL "+g.pick("TABLES", "SEQUENCES")+" IN SCHEMA "+g.schema(), role))
	case 0, 1:
		g.run(fmt.Sprintf(verb, g.pick("SELECT", "ALL", "INSERT, UPDATE"), g.relation("rpvm"), role))
	case 2:
		g.run(fmt.Sprintf(verb, "USAGE", "SCHEMA "+g.schema(), role))
	case 3:
		g.run(fmt.Sprintf(verb, "EXECUTE", "FUNCTION "+g.function(), role))
	case 4:
		g.run("ALTER DEFAULT PRIVILEGES IN SCHEMA " + g.schema() + " GRANT SELECT ON TABLES TO " + role)
	case 5:
		t := g.relation("r")
		c, _ := g.column(t)
		g.run(fmt.Sprintf(verb, "SELECT ("+c+")", t, role))
	}
}

func (g *generator) comment() {
	t := g.relation("r")
	c, _ := g.column(t)
	g.run("COMMENT ON " + g.pick("TABLE "+t, "COLUMN "+t+"."+c, "SCHEMA "+g.schema(), "FUNCTION "+g.function(), "INDEX "+g.relation("i")) +
		" IS " + g.pick("NULL", "'it''s; a \\ comment'", "E'two\\nlines\\n\\\\.'", "'\"\nPL/pgSQL function x() line 3'"))
}

func (g *generator) trigger() {
	t := g.relation("r")
	switch g.r.IntN(5) {
	case 0, 1:
		f := g.schema() + "." + g.name("tf")
		if g.run(fmt.Sprintf("CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'", f)) {
			name := g.name("tr")
			g.run(fmt.Sprintf("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s()", name, t, f))
			g.run(fmt.Sprintf("ALTER TABLE %s ENABLE %s TRIGGER %s", t, g.pick("ALWAYS", "REPLICA", ""), name))
		}
	case 2:
		g.run(fmt.Sprintf("CREATE RULE %s AS ON DELETE TO %s WHERE false DO INSTEAD NOTHING", g.name("ru"), t))
	case 3:
		g.run(fmt.Sprintf("CREATE POLICY %s ON %s USING (true)", g.name("po"), t))
	case 4:
		g.run("CREATE PUBLICATION " + g.name("pu") + g.pick(" FOR TABLE "+t, " FOR ALL TABLES", ""))
	}
}

func (g *generator) transaction() {
	if g.conn.TxStatus() == 'I' {
		g.run("BEGIN")
		return
	}
	switch g.r.IntN(6) {
	case 0:
		g.run("SAVEPOINT a")
	case 1:
		g.run("SAVEPOINT a")
		g.alterTable()
		g.run("ROLLBACK TO a")
	case 2:
		g.run("ROLLBACK")
	case 3:
		if g.run("PREPARE TRANSACTION 'x'") {
			g.run(g.pick("COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'"))
		}
	default:
		g.run("COMMIT")
	}
}

func (g *generator) drop() {
	switch g.r.IntN(4) {
	case 0, 1:
		g.run("DROP TABLE " + g.relation("rp") + g.pick("", "", " CASCADE"))
	case 2:
		g.run("DROP VIEW " + g.relation("v") + g.pick("", " CASCADE"))
	case 3:
		g.run("DROP TABLE IF EXISTS " + g.relation("rp") + ", " + g.relation("rp") + " CASCADE")
	}
}

// several sends a string of several statements, with savepoints among them.
func (g *generator) several() {
	a, b := g.schema()+"."+g.name("t"), g.schema()+"."+g.name("t")
	if g.conn.TxStatus() == 'I' && g.chance(50) {
		g.run(fmt.Sprintf("BEGIN; CREATE TABLE %s (a int, b text); SAVEPOINT z; CREATE TABLE %s (c int); INSERT INTO %[2]s VALUES (1); ROLLBACK TO z; "+
			"CREATE TABLE %[2]s (d text PRIMARY KEY); INSERT INTO %[2]s VALUES ('kept'); INSERT INTO %[1]s VALUES (1, 'a;b'), (2, '$$'); COMMIT", a, b))
		return
	}
	g.run(fmt.Sprintf("CREATE TABLE %s (a int /* ; */, b text DEFAULT ';' -- ;\n); CREATE INDEX ON %[1]s (a); CREATE TABLE %s AS SELECT * FROM %[1]s; "+
		"INSERT INTO %[1]s SELECT g, 'x' FROM generate_series(1, 20) g; ALTER TABLE %[1]s ADD c int DEFAULT 5; UPDATE %[1]s SET c = a", a, b))
}

func (g *generator) temporary() {
	t := g.name("tmp")
	g.run("CREATE TEMP TABLE " + t + " (a int, b s1.mood)")
	switch g.r.IntN(5) {
	case 0:
		g.run("CREATE TABLE " + g.schema() + "." + g.name("t") + " AS SELECT * FROM " + t)
	case 1:
		g.run("CREATE TABLE " + g.schema() + "." + g.name("t") + " (LIKE " + t + " INCLUDING ALL, extra int)")
	case 2:
		g.run("CREATE INDEX ON " + t + " (a)")
		g.run("GRANT SELECT ON " + t + " TO " + g.role())
		g.run("COMMENT ON TABLE " + t + " IS 'temporary'")
	case 3:
		g.run("DROP TABLE " + t + ", " + g.relation("r"))
	case 4:
		g.run("CREATE VIEW " + g.name("tv") + " AS SELECT * FROM " + t)
	}
}

func (g *generator) largeObject() {
	lo := g.object("SELECT oid FROM pg_largeobject_metadata ORDER BY oid")
	switch g.r.IntN(4) {
	case 0, 1:
		g.run(fmt.Sprintf("SELECT lo_from_bytea(0, decode(repeat('%02x', %d), 'hex'))", g.r.IntN(256), g.r.IntN(5000)))
	case 2:
		g.run("SELECT lo_put(" + lo + ", 10, 'abc')")
	case 3:
		g.run(g.pick("SELECT lo_unlink("+lo+")", "COMMENT ON LARGE OBJECT "+lo+" IS 'x'", "GRANT SELECT ON LARGE OBJECT "+lo+" TO "+g.role()))
	}
}
