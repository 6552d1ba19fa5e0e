package ddl

import "pg_scribe/internal/sqltext"

// The contents of a materialized view are rows of the source, as those of a
// table: its query may give others by now, or write. The server lets nobody
// write them, so the view is a table in the catalogs meanwhile, without the
// rule that makes a query of it. That needs a superuser, and nobody else is in
// the target.

// OpenView makes a materialized view, by its quoted name, one that rows can be
// written to.
func OpenView(name string) Command {
	return view(sqltext.Literal(name), "SET relkind = 'r', relhasrules = false", "m")
}

// CloseView undoes it. The view counts as filled.
func CloseView(name string) Command {
	return view(sqltext.Literal(name), "SET relkind = 'm', relhasrules = true, relispopulated = true", "r")
}

// EmptyView removes the contents of a view that is open.
func EmptyView(name string) Command {
	return Command{Tag: "REFRESH MATERIALIZED VIEW", SQL: "TRUNCATE ONLY " + name}
}

func view(name, set, kind string) Command {
	return Command{Tag: "REFRESH MATERIALIZED VIEW", SQL: "DO " + sqltext.Literal("BEGIN UPDATE pg_catalog.pg_class "+set+
		" WHERE oid = "+name+"::pg_catalog.regclass AND relkind = '"+kind+"'; END")}
}
