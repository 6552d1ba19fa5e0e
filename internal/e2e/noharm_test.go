package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// gaps are the reasons of the marks in the stream.
func (tr *trip) gaps() []string {
	var list []string
	for line := range strings.Lines(tr.text()) {
		if strings.HasPrefix(line, "-- pg_scribe gap") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// as connects as another role, which it makes.
func (tr *trip) as(role, options string) *pgx.Conn {
	tr.t.Helper()
	tr.run("CREATE ROLE " + role + " LOGIN " + options)
	conn, err := pgx.Connect(context.Background(), strings.Replace(tr.conn(), "user=postgres", "user="+role, 1))
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, sql ...string) {
	t.Helper()
	for _, s := range sql {
		if _, err := conn.PgConn().Exec(context.Background(), s).ReadAll(); err != nil {
			t.Errorf("%v\n%.500s", err, s)
		}
	}
}

// walBytes is how much WAL a function makes the source write.
func (tr *trip) walBytes(f func()) int64 {
	tr.t.Helper()
	before, err := catalog.ParseLSN(tr.source.Query(tr.t, tr.db, "SELECT pg_current_wal_insert_lsn()"))
	if err != nil {
		tr.t.Fatal(err)
	}
	f()
	after, err := catalog.ParseLSN(tr.source.Query(tr.t, tr.db, "SELECT pg_current_wal_insert_lsn()"))
	if err != nil {
		tr.t.Fatal(err)
	}
	return int64(after - before)
}

// A long string of many commands comes into the WAL once, not once for each
// of them; savepoints that are taken back take the text with them.
func TestLongTextIsSentOnce(t *testing.T) {
	const commands, padding = 100, 5000
	script := func(prefix string) string {
		var b strings.Builder
		for i := range commands {
			fmt.Fprintf(&b, "CREATE TABLE %s_%d (id int PRIMARY KEY, note text DEFAULT '%s');\n", prefix, i, strings.Repeat("x", padding))
		}
		return b.String()
	}
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	conn := tr.source.Conn(t, tr.db)
	for name, run := range map[string]string{
		"plain":                                script("a"),
		"in a DO block, by EXECUTE":            "DO $outer$BEGIN EXECUTE $inner$" + script("b") + "$inner$; END$outer$",
		"after a savepoint that is taken back": "BEGIN; SAVEPOINT s; CREATE TABLE gone (); ROLLBACK TO s; " + script("c") + "COMMIT",
		"in two transactions": "BEGIN; " + script("d") + "COMMIT; BEGIN; " + strings.ReplaceAll(script("e"), "CREATE TABLE",
			"CREATE UNLOGGED TABLE") + "COMMIT",
	} {
		began := time.Now()
		wal := tr.walBytes(func() { mustExec(t, conn, run) })
		t.Logf("%s: %d bytes of text, %d of WAL, %v", name, len(run), wal, time.Since(began))
		if limit := int64(4*len(run) + commands*2*50000); wal > limit {
			t.Errorf("%s: %d bytes of WAL for %d of text, more than %d", name, wal, len(run), limit)
		}
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// The settings that pass notes between the triggers are anyone's to change.
func TestForgedSettings(t *testing.T) {
	tr := begin(t, `CREATE TABLE victim (id int PRIMARY KEY, v text); INSERT INTO victim SELECT g, 'v' || g FROM generate_series(1, 100) g;
	  GRANT CREATE ON SCHEMA public TO PUBLIC`)
	conn := tr.as(tr.db+"_low", "")
	for _, name := range []string{"role", "path", "late", "text", "context", "rewritten", "quiet"} {
		for _, value := range []string{"'garbage'", "'99999999999:x 7 '", "''", "(SELECT 'victim'::regclass::oid::text)",
			"repeat('x', 1000000)", "E'\\n\\''", "'9999 ' || md5('x')", "current_setting('scribe.text', true)"} {
			mustExec(t, conn,
				fmt.Sprintf(`SELECT set_config('scribe.%s', %s, false); CREATE TABLE forged (id int PRIMARY KEY, c text); INSERT INTO forged VALUES (1, 'x');
				  ALTER TABLE forged ADD COLUMN d timestamptz DEFAULT now(); CREATE INDEX i ON forged (c); DROP INDEX i`, name, value),
				fmt.Sprintf(`SELECT set_config('scribe.%s', %s, false)`, name, value),
				`ALTER TABLE forged ALTER id TYPE bigint`, `CREATE INDEX CONCURRENTLY i ON forged (c)`, `DROP INDEX CONCURRENTLY i`, `DROP TABLE forged`)
		}
		mustExec(t, conn, "RESET scribe."+name)
	}
	// In the middle of a command, which is when it would be believed.
	mustExec(t, conn, `CREATE TABLE work (id int PRIMARY KEY); INSERT INTO work SELECT generate_series(1, 3)`,
		`CREATE FUNCTION forge(name text, value text) RETURNS int LANGUAGE plpgsql VOLATILE AS $$BEGIN PERFORM set_config(name, value, false); RETURN 1; END$$`,
		`ALTER TABLE work ADD COLUMN a int DEFAULT forge('scribe.rewritten', 'victim'::regclass::oid::text || ' garbage ' || 'work'::regclass::oid)`,
		`ALTER TABLE work ADD COLUMN b int DEFAULT forge('scribe.rewritten', 'nonsense')`,
		`CREATE FUNCTION forge_index(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM set_config('scribe.role', 'postgres', false); RETURN i; END$$`,
		`CREATE INDEX CONCURRENTLY forged_index ON work (forge_index(id))`)
	tr.capture()
	text := tr.text()
	if strings.Contains(text, `DELETE FROM ONLY "public"."victim"`) {
		t.Error("a forged setting made the capture send another table's contents")
	}
	tr.noGap()
	at := strings.Index(text, "forged_index")
	if role := strings.LastIndex(text[:max(at, 0)], "SET LOCAL ROLE"); at >= 0 && !strings.HasPrefix(text[role:], `SET LOCAL ROLE "`+tr.db+`_low"`) {
		t.Error("a command of the role was captured as another's")
	}
	tr.back()
	tr.equal()
	if got := tr.source.Query(t, tr.db, "SELECT count(*) FROM work WHERE a = 1 AND b = 1"); got != "3" {
		t.Errorf("the user's own commands had another effect: %s", got)
	}
}

// answers runs statements, each in a session of the given preamble, and
// returns what the server says to each: command tags, or the error.
func answers(t *testing.T, connString string, extended bool, preamble string, statements []string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, preamble).ReadAll(); err != nil {
		t.Fatalf("%v\n%s", err, preamble)
	}
	var list []string
	for _, s := range statements {
		var answer string
		if extended {
			result := conn.PgConn().ExecParams(ctx, s, nil, nil, nil, nil).Read()
			answer = result.CommandTag.String()
			err = result.Err
		} else {
			var results []*pgconn.Result
			results, err = conn.PgConn().Exec(ctx, s).ReadAll()
			for _, r := range results {
				answer += r.CommandTag.String() + ";"
			}
		}
		if err != nil {
			answer += " " + err.Error()
		}
		list = append(list, answer)
	}
	return list
}

// Whatever the session is like, the server answers as it would without the
// capture, and the restored database is the same.
func TestAnswersAreThoseOfAServerWithoutCapture(t *testing.T) {
	tr := begin(t, `SELECT 1`)
	plain := tr.source.CreateDB(t, "plain")
	low := tr.db + "_low"
	tr.run("CREATE ROLE " + low + " LOGIN; CREATE ROLE " + low + "_group; GRANT " + low + "_group TO " + low)
	each := func(extended bool, user, preamble string, statements ...string) {
		t.Helper()
		as := func(conn string) string { return strings.Replace(conn, "user=postgres", "user="+user, 1) }
		want := answers(t, as(tr.source.ConnString(plain)), extended, preamble, statements)
		got := answers(t, as(tr.conn()), extended, preamble, statements)
		for i := range want {
			if want[i] != got[i] {
				t.Errorf("%.300s\nwithout capture: %s\nwith capture:    %s", statements[i], want[i], got[i])
			}
		}
	}
	shadow := `CREATE SCHEMA evil;
	  CREATE FUNCTION evil.boom() RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''boom''; END';
	  CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT evil.boom()';
	  CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT evil.boom()';
	  CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT evil.boom()';
	  CREATE FUNCTION evil.current_query() RETURNS text LANGUAGE sql AS 'SELECT evil.boom()';
	  CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT evil.boom()';
	  CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.boom() IS NULL';
	  CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = text, RIGHTARG = text);
	  CREATE OPERATOR evil.|| (FUNCTION = evil.eq, LEFTARG = text, RIGHTARG = text);
	  CREATE OPERATOR evil.~* (FUNCTION = evil.eq, LEFTARG = text, RIGHTARG = text);
	  CREATE TABLE evil.config (key int); CREATE VIEW evil.pg_class AS SELECT 1 AS oid; CREATE TYPE evil.text AS (a int);
	  CREATE DOMAIN evil.oid AS int CHECK (VALUE > 5)`
	each(false, "postgres", "SET client_min_messages = error", shadow, "GRANT ALL ON SCHEMA public, evil TO PUBLIC")
	each(false, "postgres", `SET search_path = evil, pg_temp, pg_catalog, public;
	  CREATE FUNCTION pg_temp.current_setting(pg_catalog.text, boolean) RETURNS pg_catalog.text LANGUAGE sql AS 'SELECT evil.boom()'`,
		"CREATE TABLE public.shadowed (id int PRIMARY KEY, v varchar)", "ALTER TABLE public.shadowed ADD COLUMN at timestamptz DEFAULT now()",
		"INSERT INTO public.shadowed VALUES (1, 'x')", "ALTER TABLE public.shadowed ALTER v TYPE bpchar", "CREATE TABLE public.bare (a int)",
		"UPDATE public.bare SET a = 2",
		"ALTER TABLE public.shadowed DROP CONSTRAINT shadowed_pkey", "UPDATE public.shadowed SET v = 'y'",
		"CREATE INDEX CONCURRENTLY shadowed_i ON public.shadowed (id)",
		"DROP INDEX CONCURRENTLY public.shadowed_i", "DROP TABLE public.bare")
	common := []string{
		"CREATE TABLE public.own (id int PRIMARY KEY, v text)", "INSERT INTO public.own SELECT g, 'v' FROM generate_series(1, 50) g",
		"CREATE TABLE public.own2 AS SELECT * FROM public.own", "UPDATE public.own2 SET v = 'w'", "CREATE INDEX own_i ON public.own (v)",
		"CREATE UNIQUE INDEX CONCURRENTLY own_u ON public.own2 (id)", "REINDEX INDEX CONCURRENTLY public.own_i", "DROP INDEX CONCURRENTLY public.own_i",
		"CLUSTER public.own USING own_pkey", "VACUUM FULL public.own", "VACUUM public.own", "ANALYZE public.own",
		"ALTER TABLE public.own2 ALTER id SET NOT NULL", "ALTER TABLE public.own2 REPLICA IDENTITY USING INDEX own_u", "UPDATE public.own2 SET v = 'x' WHERE id = 1",
		"DROP INDEX CONCURRENTLY public.own_u", "UPDATE public.own2 SET v = 'y' WHERE id = 2", "ALTER TABLE public.own2 REPLICA IDENTITY NOTHING",
		"DELETE FROM public.own2 WHERE id = 3",
		"ALTER TABLE public.own DROP COLUMN id", "UPDATE public.own SET v = 'z'", "DELETE FROM public.own",
		"CREATE TABLE public.parent (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE public.part PARTITION OF public.parent FOR VALUES FROM (0) TO (10)",
		"INSERT INTO public.parent VALUES (1), (2)", "ALTER TABLE public.parent DROP CONSTRAINT parent_pkey", "UPDATE public.parent SET id = 3 WHERE id = 1",
		"DELETE FROM public.parent WHERE id = 2",
		"DO $$BEGIN CREATE TABLE public.nested (a int); BEGIN CREATE TABLE public.lost (a int); PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END; " +
			"INSERT INTO public.nested VALUES (1); UPDATE public.nested SET a = 2; END$$",
		"CREATE PROCEDURE public.commits() LANGUAGE plpgsql AS $$BEGIN CREATE TABLE public.c1 (a int); COMMIT; CREATE TABLE public.c2 (a int); INSERT INTO " +
			"public.c2 VALUES (1); ROLLBACK; CREATE TABLE public.c3 (a int); INSERT INTO public.c3 VALUES (1); UPDATE public.c3 SET a = 5; END$$",
		"CALL public.commits()", "CREATE TYPE public.kind AS ENUM ('a', 'b')", "CREATE TABLE public.keyed (k public.kind PRIMARY KEY, v int)",
		"INSERT INTO public.keyed VALUES ('a', 1), ('b', 2)",
		"DROP TYPE public.kind CASCADE", "UPDATE public.keyed SET v = 3", "CREATE TABLE public.rls (a int)", "ALTER TABLE public.rls ENABLE ROW LEVEL SECURITY",
		"ALTER TABLE public.rls FORCE ROW LEVEL SECURITY",
		"INSERT INTO public.rls VALUES (1)", "ALTER TABLE public.rls ALTER a TYPE bigint", "SELECT count(*) FROM public.nosuch", "CREATE TABLE public.own (a int)",
		"DROP TABLE public.nosuch", "ALTER TABLE public.own ADD COLUMN v int",
		"CREATE TEMP TABLE t1 (a int)", "ALTER TABLE t1 ADD COLUMN b int DEFAULT 4", "UPDATE t1 SET a = 1", "DROP TABLE t1",
		"DROP TABLE public.own, public.own2, public.parent, public.nested, public.c1, public.c3, public.keyed, public.rls; DROP PROCEDURE public.commits",
	}
	for _, session := range []struct{ user, preamble string }{
		{"postgres", "SET client_min_messages = error"},
		{low, "SET search_path = ''"},
		{low, "SET ROLE " + low + "_group; SET row_security = off"},
		{"postgres", "SET session_replication_role = replica; SET standard_conforming_strings = off; SET default_transaction_isolation = 'serializable'"},
		{low, "SET default_transaction_read_only = on"},
		{low, "SET plpgsql.extra_errors = 'all'; SET array_nulls = off; SET transform_null_equals = on; SET quote_all_identifiers = on; SET bytea_output = escape; " +
			"SET DateStyle = German; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = sql_standard; SET client_encoding = LATIN1"},
		{low, "SET scribe.rewritten = '1 2 x'; SET scribe.text = 'a b c d'; SET scribe.missing = 'x'; SET scribe.late = 'y'"},
	} {
		t.Log(session)
		each(false, session.user, session.preamble, common...)
		each(true, session.user, session.preamble, common[:len(common)-1]...)
		each(false, session.user, session.preamble, common[len(common)-1])
	}
	each(false, low, "SET search_path = public", "CREATE TABLE s1 (a int); SAVEPOINT x", "BEGIN; CREATE TABLE s2 (a int); SAVEPOINT x; DROP TABLE s2; ROLLBACK "+
		"TO x; INSERT INTO s2 VALUES (1); COMMIT",
		"CREATE TABLE s3 (a int); SELECT 1/0", "BEGIN; CREATE TABLE s4 (id int PRIMARY KEY); INSERT INTO s4 VALUES (1); ALTER TABLE s4 ADD COLUMN b timestamptz "+
			"DEFAULT now(); PREPARE TRANSACTION 'noharm'", "ROLLBACK PREPARED 'noharm'",
		"BEGIN; DECLARE c CURSOR FOR SELECT * FROM s2; FETCH c; ALTER TABLE s2 ADD COLUMN b int; COMMIT", "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) "+
			"FROM s2; ALTER TABLE s2 ADD COLUMN c int; UPDATE s2 SET c = 1; COMMIT",
		"BEGIN READ ONLY; CREATE TABLE s5 (a int); COMMIT", "ROLLBACK")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// A command that is cancelled at any moment leaves nothing behind, neither on
// the source nor in the stream.
func TestCancelledCommands(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 2000) g`)
	conn := tr.source.Conn(t, tr.db)
	cancelled := 0
	for i := range 60 {
		set := fmt.Sprintf("SET statement_timeout = '%dus'", 1000+i*300)
		for _, err := conn.Exec(context.Background(), set); err != nil; _, err = conn.Exec(context.Background(), set) {
			if !strings.Contains(err.Error(), "57014") { // the last one struck
				t.Fatal(err)
			}
		}
		for _, sql := range []string{fmt.Sprintf("CREATE TABLE c%d (a int)", i), fmt.Sprintf("ALTER TABLE t ADD COLUMN c%d timestamptz DEFAULT clock_timestamp()",
			i), "CREATE INDEX ON t (v)"} {
			if _, err := conn.Exec(context.Background(), sql); err != nil {
				cancelled++
				if !strings.Contains(err.Error(), "57014") {
					t.Error(err)
				}
			}
		}
	}
	t.Log(cancelled, "of 180 were cancelled")
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// Another event trigger that runs commands of its own within every command,
// also within those that run in several transactions.
func TestOtherEventTriggersThatRunCommands(t *testing.T) {
	tr := begin(t, `CREATE TABLE audit (what text); CREATE TABLE t (id int PRIMARY KEY, v text);
	  CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
	    IF current_setting('audit.on', true) = 'off' THEN RETURN; END IF;
	    PERFORM set_config('audit.on', 'off', true); INSERT INTO audit VALUES (tg_event || ' ' || tg_tag);
	    EXECUTE 'COMMENT ON TABLE audit IS ''' || tg_tag || ''''; EXECUTE 'DROP INDEX IF EXISTS nothing';
	    PERFORM set_config('audit.on', 'on', true); END$$;
	  CREATE EVENT TRIGGER audit_end ON ddl_command_end EXECUTE FUNCTION audit(); CREATE EVENT TRIGGER z_audit_drop ON sql_drop EXECUTE FUNCTION audit()`)
	conn := tr.as(tr.db+"_low", "")
	tr.run(`GRANT ALL ON SCHEMA public TO PUBLIC; GRANT ALL ON audit TO PUBLIC; ALTER TABLE audit OWNER TO ` + tr.db + `_low`)
	mustExec(t, conn, `CREATE TABLE mine (a int, b int)`, `CREATE INDEX CONCURRENTLY mine_a ON mine (a)`, `REINDEX INDEX CONCURRENTLY mine_a`,
		`DROP INDEX CONCURRENTLY mine_a`, `CREATE UNIQUE INDEX mine_b ON mine (b)`, `DROP TABLE mine`)
	// Of these the replay does again what they did inside.
	tr.run("CREATE SCHEMA extra; CREATE MATERIALIZED VIEW mv AS SELECT what FROM audit; CREATE EXTENSION citext; ALTER EXTENSION citext SET SCHEMA extra",
		"REFRESH MATERIALIZED VIEW mv; DROP EXTENSION citext")
	if n := tr.source.Query(t, tr.db, "SELECT count(*) FROM audit WHERE what ~ 'EXTENSION|REFRESH'"); n != "5" {
		t.Fatalf("the trigger ran %s times of 5", n)
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// What people do to the capture is refused, or noticed, mended and marked from
// the last moment at which it was whole.
func TestCaptureThatIsTamperedWith(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	owner := tr.db + "_owner"
	tr.run("CREATE ROLE " + owner + " SUPERUSER; ALTER PUBLICATION pg_scribe OWNER TO " + owner)
	for _, sql := range []string{"DROP PUBLICATION pg_scribe", "ALTER PUBLICATION pg_scribe RENAME TO other", "ALTER PUBLICATION pg_scribe SET (publish = " +
		"'insert')",
		"ALTER PUBLICATION pg_scribe SET (publish_via_partition_root = true)", "DROP OWNED BY " + owner} {
		if _, err := tr.source.Conn(t, tr.db).Exec(context.Background(), sql); err == nil || !strings.Contains(err.Error(), "carries the backup") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	tr.run(`ALTER TABLE t REPLICA IDENTITY NOTHING; INSERT INTO t VALUES (1), (2); UPDATE t SET id = 3 WHERE id = 1`)
	tr.capture()
	tr.noGap()
	marks := 0
	for i, c := range []struct{ does, problem string }{
		{"ALTER EVENT TRIGGER scribe_b DISABLE", "scribe_b"},
		{`ALTER EVENT TRIGGER "!scribe_y" ENABLE REPLICA`, "!scribe_y"},
		{`DROP EVENT TRIGGER "!scribe_y"; DROP EVENT TRIGGER scribe_b`, "scribe_b, !scribe_y"},
		{"ALTER EVENT TRIGGER scribe_b RENAME TO mine", "mine"},
		{`ALTER EVENT TRIGGER "!scribe_y" DISABLE; ALTER PUBLICATION pg_scribe SET (publish = 'insert');
		  ALTER EVENT TRIGGER "!scribe_y" ENABLE ALWAYS`, "was altered"},
	} {
		before := tr.lsn()
		tr.run(c.does, fmt.Sprintf("CREATE TABLE unseen_%d (a int)", i))
		findings, err := capture.Check(context.Background(), tr.conn(), stream.DefaultPublication, capture.ModeGuarded)
		if err != nil || len(findings) == 0 || !strings.Contains(findings[0].Problem, c.problem) || !slices.Equal(findings[0].Command, []string{"start"}) {
			t.Errorf("%s: found %+v, %v", c.does, findings, err)
		}
		tr.capture()
		if left, err := capture.Check(context.Background(), tr.conn(), stream.DefaultPublication, capture.ModeGuarded); err != nil || len(left) > 0 {
			t.Errorf("%s: not mended: %+v, %v", c.does, left, err)
		}
		if n := len(tr.gaps()); n <= marks {
			t.Errorf("%s: no mark in the stream", c.does)
		} else {
			marks = n
		}
		r, err := repo.OpenReadOnly(context.Background(), tr.dir)
		if err != nil {
			t.Fatal(err)
		}
		gaps, err := r.Catalog().Gaps(context.Background())
		r.Close()
		if err != nil || !slices.ContainsFunc(gaps, func(g catalog.Gap) bool { return g.From <= before && strings.Contains(g.Reason, c.problem) }) {
			t.Errorf("%s: the catalog does not know since when: %+v, %v", c.does, gaps, err)
		}
		tr.run(fmt.Sprintf("CREATE TABLE seen_%d (a int); INSERT INTO seen_%d VALUES (1)", i, i))
	}
	// Put back by hand before anybody looks.
	tr.run(`ALTER EVENT TRIGGER scribe_b DISABLE; ALTER EVENT TRIGGER "!scribe_y" DISABLE; CREATE TABLE unseen (a int);
	  ALTER EVENT TRIGGER scribe_b ENABLE ALWAYS; ALTER EVENT TRIGGER "!scribe_y" ENABLE ALWAYS`)
	tr.capture()
	if list := tr.gaps(); !strings.Contains(list[len(list)-1], "put back") {
		t.Errorf("no mark for triggers that were put back: %v", list)
	}
	n := len(tr.gaps())
	tr.capture()
	if len(tr.gaps()) != n {
		t.Error("the same fault is marked twice")
	}
	// A new base heals all of it, if nothing happened since.
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Command: tr.command})
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	tr.run("CREATE TABLE last (a int)")
	tr.capture()
	tr.back()
	tr.equal()

	// Other publications are none of ours, even when ours is lost.
	tr.run(`ALTER EVENT TRIGGER scribe_d DISABLE; DROP PUBLICATION pg_scribe; ALTER EVENT TRIGGER scribe_d ENABLE ALWAYS;
	  CREATE PUBLICATION mine FOR TABLE t; ALTER PUBLICATION mine SET (publish = 'insert'); ALTER PUBLICATION mine RENAME TO mine2; DROP PUBLICATION mine2`)
	if findings, err := capture.Check(context.Background(), tr.conn(), stream.DefaultPublication, capture.ModeGuarded); err != nil || len(findings) != 1 ||
		!strings.Contains(findings[0].Problem, "is gone") {
		t.Errorf("without the publication: %+v, %v", findings, err)
	}
	tr.run("DROP SCHEMA scribe CASCADE")
	findings, err := capture.Check(context.Background(), tr.conn(), stream.DefaultPublication, capture.ModeGuarded)
	if err != nil || len(findings) != 1 || !slices.Equal(findings[0].Command, []string{"full-backup", "--new-slot"}) {
		t.Errorf("without the schema: %+v, %v", findings, err)
	}
	if r, err = repo.Open(context.Background(), tr.dir, time.Now); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var gone *capture.Error
	if err := stream.Run(context.Background(), r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot,
		Publication: stream.DefaultPublication}); !errors.As(err, &gone) {
		t.Errorf("a stream without capture: %v", err)
	}
}

// Tables that are in use when capture comes or goes: nobody waits behind our
// locks for longer than their limit, and who is in the way is named.
func TestLocksDoNotQueueTheApplication(t *testing.T) {
	tr := begin(t, `CREATE TABLE keyed (id int PRIMARY KEY)`)
	ctx := context.Background()
	if err := source.DropSlot(ctx, tr.conn(), tr.slot); err != nil {
		t.Fatal(err)
	}
	uninstall := func() error { return capture.Uninstall(ctx, tr.conn(), stream.DefaultPublication) }
	if err := uninstall(); err != nil {
		t.Fatal(err)
	}
	tr.run(`CREATE TABLE busy (a int); INSERT INTO busy VALUES (1); CREATE TABLE free (a int)`)
	install := func() error {
		_, err := stream.Init(ctx, stream.InitOptions{
			BaseOptions: stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication, Command: tr.command},
			Slot:        tr.slot, Step: func(string) {},
		}, func(info catalog.Repository) (*repo.Repository, error) {
			info.CreatedAt = time.Now()
			return repo.Create(ctx, filepath.Join(t.TempDir(), "again"), info, time.Now)
		})
		return err
	}
	// during holds a lock for a while, and measures how long others wait.
	during := func(do func() error) (longest time.Duration) {
		t.Helper()
		holder, worker := tr.source.Conn(t, tr.db), tr.source.Conn(t, tr.db)
		mustExec(t, holder, "BEGIN; SELECT * FROM busy")
		done := make(chan error, 1)
		go func() { done <- do() }()
		release := time.After(8 * time.Second)
		for {
			began := time.Now()
			mustExec(t, worker, "UPDATE busy SET a = a + 1")
			longest = max(longest, time.Since(began))
			select {
			case <-release:
				mustExec(t, holder, "COMMIT")
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				return longest
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	const limit = 4 * time.Second // the lock timeout, and a busy machine
	if d := during(install); d > limit {
		t.Errorf("while capture was installed, an UPDATE took %v", d)
	}
	if got := tr.source.Query(t, tr.db, "SELECT count(*) FROM pg_class WHERE relname IN ('busy', 'free') AND relreplident = 'f'"); got != "2" {
		t.Errorf("%s tables were guarded", got)
	}
	if err := source.DropSlot(ctx, tr.conn(), tr.slot); err != nil {
		t.Fatal(err)
	}
	ddl := tr.source.Conn(t, tr.db) // a command that has not committed holds the capture's own tables
	mustExec(t, ddl, "BEGIN; CREATE TABLE long_one (a int)")
	go func() {
		time.Sleep(2 * time.Second)
		ddl.Exec(ctx, "COMMIT")
	}()
	if d := during(uninstall); d > limit {
		t.Errorf("while capture was removed, an UPDATE took %v", d)
	}
	if left := tr.source.Query(t, tr.db, `SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_event_trigger), to_regnamespace('scribe') IS NULL,
	    (SELECT count(*) FROM pg_class WHERE relname IN ('busy', 'free') AND relreplident = 'f')`); left != "0|0|t|0" {
		t.Errorf("publications, event triggers, no schema, guarded tables: %s", left)
	}
}
