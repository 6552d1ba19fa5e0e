package ddl

import (
	"testing"

	"pg_scribe/stream/event"
)

func TestQuotePath(t *testing.T) {
	for in, want := range map[string]string{
		`"$user", public`:  `"$user", "public"`,
		`""`:               `''`,
		``:                 `''`,
		`A,b;drop`:         `"a", "b;drop"`,
		`"we""ird", "x,y"`: `"we""ird", "x,y"`,
	} {
		if got := quotePath(in); got != want {
			t.Errorf("quotePath(%q) = %s; want %s", in, got, want)
		}
	}
}

func TestStatementText(t *testing.T) {
	conforming := map[string]string{"standard_conforming_strings": "on"}
	for _, c := range []struct{ tag, sql, context, want string }{
		{"CREATE TABLE", "create table a ()", "PL/pgSQL function scribe.on_start() line 9 at GET DIAGNOSTICS", "create table a ()"},
		{"CREATE TABLE", "select 1; create table a (); select 2", "x", "create table a ()"},
		{"CREATE INDEX", "create table a (i int); create index on a (i); -- done", "x", "create index on a (i)"},
		{"CREATE VIEW", "select f()", "x\nSQL statement \"CREATE VIEW v AS SELECT 1\"\nPL/pgSQL function f() line 1 at EXECUTE", "CREATE VIEW v AS SELECT 1"},
		{"COMMENT", "select f()", "x\nSQL statement \"COMMENT ON TABLE a IS '\"'\"\nPL/pgSQL function f() line 1", "COMMENT ON TABLE a IS '\"'"},
		{"CREATE TABLE", "begin; create table a (); rollback; create table b ()", "x", "create table b ()"},
		{"CREATE TABLE", "begin; savepoint s; create table a (); rollback to savepoint s; create table b (); commit", "x", "create table b ()"},
		{"GRANT", "grant r to s; grant connect on database d to s; grant select on t to s", "x", "grant select on t to s"},
		{"COMMENT", "comment on role r is 'on table t'; comment on table t is 'x'", "x", "comment on table t is 'x'"},
		{"CREATE TABLE", "begin; create table a (); begin; rollback and chain; create table b ()", "x", "create table b ()"},
		{"CREATE TABLE", "create table a (); begin; create table b (); rollback; create table c ()", "x", "create table c ()"},
		{"CREATE TABLE", "begin; savepoint work; create table a (); rollback to work; create table b ()", "x", "create table b ()"},
		{"CREATE TABLE", `begin; savepoint "S 1"; create table a (); rollback work to savepoint /* s */ "S 1"; create table b ()`, "x", "create table b ()"},
		{"CREATE TABLE", "begin; savepoint s; create table a (); savepoint S; create table b (); rollback to s; release s; rollback to s; create table c ()", "x",
			"create table c ()"},
		{"CREATE TABLE", "create role r; create table a as select 1; create/**/table b (i int generated always as identity)", "x",
			"create/**/table b (i int generated always as identity)"},
		{"CREATE TABLE AS", "create role r; create table b (i int generated always as identity); create temp table a as select 1", "x",
			"create temp table a as select 1"},
		{"CREATE TABLE", "create view v as table a; create foreign table f () server s; create table b ()", "x", "create table b ()"},
		{"CREATE VIEW", "create table v (); create or replace temp recursive view v (n) as select 1", "x", "create or replace temp recursive view v (n) as select 1"},
		{"CREATE TABLE", "select g()", "x\nSQL function \"g\" statement 1", ""},
	} {
		f := NewFinder(NewStrings())
		got, err := f.Statement(&event.Command{Tag: c.tag, SQL: c.sql, Context: c.context, Set: conforming}, nil)
		if (err != nil) != (c.want == "") || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.sql, got, err, c.want)
		}
	}
	// The events of one string find their statements in turn.
	f := NewFinder(NewStrings())
	sql := "create table a (); commit; create table b (); drop table a"
	for _, want := range []string{"create table a ()", "create table b ()"} {
		got, err := f.Statement(&event.Command{PID: 2, Tag: "CREATE TABLE", SQL: sql, At: "1", Set: conforming}, nil)
		if got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		// Those of another session may come between two transactions of the string.
		if got, err := f.Statement(&event.Command{PID: 1, Tag: "CREATE TABLE", SQL: "select 1; create table c ()", At: want, Set: conforming}, nil); err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	// The string ended at its error, so that its last statements never ran.
	_, err := f.Statement(&event.Command{Tag: "CREATE TABLE", SQL: "begin; savepoint s; create table a (); savepoint z; select 1 / 0; rollback to s; create " +
		"table b ()",
		At: "3", Set: conforming}, []event.Object{{Type: "table", Schema: "public", Identity: "public.a"}})
	if err == nil {
		t.Error("a statement that did not run was taken for one that did")
	}
}
