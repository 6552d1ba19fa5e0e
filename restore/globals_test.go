package restore

import (
	"slices"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

const globalsText = `--
-- PostgreSQL database cluster dump
--

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;
CREATE ROLE g_old;
ALTER ROLE g_old WITH SUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:secret';
CREATE ROLE "g ""new"";
x";
ALTER ROLE "g ""new"";
x" WITH NOSUPERUSER LOGIN CONNECTION LIMIT 7 PASSWORD 'md5aabb';
COMMENT ON ROLE "g ""new"";
x" IS 'a; comment';
COMMENT ON ROLE g_old IS 'changed';
CREATE ROLE g_group;
ALTER ROLE g_group WITH NOSUPERUSER;

ALTER ROLE g_old SET work_mem TO '1MB';
ALTER ROLE g_group SET work_mem TO '2MB';
ALTER ROLE g_group WITH PASSWORD 'it''s secret' NONSENSE;

GRANT g_group TO "g ""new"";
x" GRANTED BY postgres;
GRANT g_group TO g_old WITH ADMIN OPTION GRANTED BY postgres;
GRANT g_boss TO g_old GRANTED BY postgres;

CREATE TABLESPACE g_space OWNER postgres LOCATION '/no/such/folder';
GRANT ALL ON TABLESPACE g_space TO g_old;
GRANT ALL ON TABLESPACE pg_default TO g_group;
`

func dropGlobals(t *testing.T, o Options) {
	t.Helper()
	c, _ := target(t, "unused")
	for _, role := range []string{"g_old", `"g ""new"";` + "\nx\"", "g_group", "g_boss"} {
		if c.Query(t, "postgres", "SELECT 1 FROM pg_roles WHERE quote_ident(rolname) = "+sqltext.Literal(role)) == "1" {
			c.Exec(t, "postgres", "DROP OWNED BY "+role+"; DROP ROLE "+role)
		}
	}
}

func TestGlobals(t *testing.T) {
	b := build(t)
	b.base(100, 5, smallBase, globalsText)
	p := b.prepare(catalog.Target{})
	c, o := target(t, "globals")
	dropGlobals(t, o)
	t.Cleanup(func() { dropGlobals(t, o) })
	c.Exec(t, "postgres", "CREATE ROLE g_old; CREATE ROLE g_boss; GRANT g_boss TO g_old WITH ADMIN OPTION")
	report := execute(t, p, o)
	const roles = `SELECT string_agg(concat_ws(' ', rolname, rolsuper, rolcanlogin, rolconnlimit, rolconfig, shobj_description(oid, 'pg_authid')), ` +
		`E'\n' ORDER BY rolname)
		FROM pg_roles WHERE rolname ~ '^g.(old|group|"new)'`
	want := "g \"new\";\nx f t 7 a; comment\ng_group f f -1 {work_mem=2MB}\ng_old f f -1"
	if got := c.Query(t, "postgres", roles); got != want {
		t.Errorf("roles are\n%s\nwant\n%s", got, want)
	}
	const members = `SELECT string_agg(concat_ws(' ', roleid::regrole, member::regrole, admin_option), ', ' ORDER BY roleid::regrole::text, member::regrole::text)
		FROM pg_auth_members WHERE roleid::regrole::text ~ '^g_'`
	if got := c.Query(t, "postgres", members); got != "g_boss g_old t, g_group \"g \"\"new\"\";\nx\" f, g_group g_old t" {
		t.Errorf("memberships are %s", got)
	}
	if want := []string{"g \"new\";\nx", "g_group"}; !slices.Equal(report.RolesCreated, want) {
		t.Errorf("created: %q", report.RolesCreated)
	}
	if want := []string{"postgres", "g_old"}; !slices.Equal(report.RolesKept, want) {
		t.Errorf("kept: %q", report.RolesKept)
	}
	notices := strings.Join(report.Notices, "\n")
	if strings.Contains(notices, "secret") || len(report.Notices) != 3 || !strings.Contains(notices, "PASSWORD '…' NONSENSE") ||
		!strings.Contains(notices, "/no/such/folder") {
		t.Errorf("notices are\n%s", notices)
	}

	// All of it: what exists is brought to the state of the file.
	o.Globals = GlobalsAll
	c.Exec(t, "postgres", "DROP DATABASE globals")
	execute(t, p, o)
	if got := c.Query(t, "postgres", "SELECT rolsuper, rolconfig, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = "+
		"'g_old'"); got != "t|{work_mem=1MB}|changed" {
		t.Errorf("g_old is %s", got)
	}

	dropGlobals(t, o)
	o.Globals = GlobalsNone
	c.Exec(t, "postgres", "DROP DATABASE globals")
	report = execute(t, p, o)
	if got := c.Query(t, "postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'g%'"); got != "0" || report.RolesCreated != nil {
		t.Errorf("%s roles, created %q", got, report.RolesCreated)
	}
}

func TestReadGlobal(t *testing.T) {
	for sql, want := range map[string]global{
		`CREATE ROLE a;`:                          {verb: "CREATE", kind: "ROLE", name: "a"},
		`ALTER ROLE "A ""b" WITH LOGIN;`:          {verb: "ALTER", kind: "ROLE", name: `A "b`},
		`COMMENT ON TABLESPACE t IS 'x';`:         {verb: "COMMENT", kind: "TABLESPACE", name: "t"},
		`GRANT a TO "B" WITH ADMIN OPTION;`:       {verb: "GRANT", name: "a", member: "B"},
		`GRANT CREATE ON TABLESPACE t TO a;`:      {verb: "GRANT", kind: "TABLESPACE", name: "t"},
		`REVOKE ALL ON TABLESPACE t FROM PUBLIC;`: {verb: "GRANT", kind: "TABLESPACE", name: "t"},
		`GRANT SET ON PARAMETER work_mem TO a;`:   {},
		`SECURITY LABEL FOR x ON ROLE a IS 'y';`:  {verb: "SECURITY", kind: "ROLE", name: "a"},
		`SET client_encoding = 'UTF8';`:           {},
	} {
		if got := readGlobal(sql); got != want {
			t.Errorf("%s: %+v", sql, got)
		}
	}
}

func TestRedact(t *testing.T) {
	for sql, want := range map[string]string{
		`ALTER ROLE a PASSWORD 'x''y' LOGIN;`:                                            `ALTER ROLE a PASSWORD '…' LOGIN;`,
		"alter role a encrypted password\n 'x' valid":                                    "alter role a encrypted password\n '…' valid",
		`ALTER ROLE a PASSWORD NULL; SELECT 'x'`:                                         `ALTER ROLE a PASSWORD NULL; SELECT 'x'`,
		`DO 'BEGIN ALTER ROLE a PASSWORD ''SCRAM-SHA-256$x''; END';`:                     `DO 'BEGIN ALTER ROLE a PASSWORD '…'; END';`,
		`DO E'BEGIN EXECUTE E''BEGIN ALTER ROLE a PASSWORD ''''md5'''';\\n END''; END';`: `DO E'BEGIN EXECUTE E''BEGIN ALTER ROLE a PASSWORD '…';\\n END''; END';`,
		`CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'p');`:           `CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password '…');`,
		`CREATE SUBSCRIPTION s CONNECTION 'host=h password=geheim dbname=d';`:            `CREATE SUBSCRIPTION s CONNECTION 'host=h password=… dbname=d';`,
		`ALTER ROLE a PASSWORD 'cut o`:                                                   `ALTER ROLE a PASSWORD '…'`,
		`DO 'BEGIN ALTER ROLE a PASSWORD ''cut o`:                                        `DO 'BEGIN ALTER ROLE a PASSWORD '…'`,
	} {
		if got := redact(sql); got != want {
			t.Errorf("%s: %s", sql, got)
		}
	}
}
