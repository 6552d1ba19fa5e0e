package ddl

import (
	"strings"

	"pg_scribe/internal/sqltext"
)

// Rows that are there already may violate a constraint that is NOT VALID. The
// source checks it for new rows, and so does the target: only where rows come
// that the source did not check is it hidden from the server until they are
// written. These are the contents of a rewritten table, values of an added
// column, and values of domains, which a row keeps through an UPDATE and gives
// to another one unchecked.
//
// It is hidden by its kind in the catalogs, so that all else stays: definition,
// comment, what inherits it and from whom. Nobody else is in the target. The
// transaction shows it again before it does anything but write rows.

// HideUnvalidated hides constraints of domains that are not valid, and those of a
// table if one is named.
func HideUnvalidated(rel string) Command {
	return Command{Tag: "ALTER TABLE", SQL: switchConstraints(rel, "cn", "CN", "false")}
}

// ShowUnvalidated undoes it.
func ShowUnvalidated(rel string) Command {
	return Command{Tag: "ALTER TABLE", SQL: switchConstraints(rel, "CN", "cn", "true")}
}

// switchConstraints turns the kinds of constraints that are not valid, CHECK
// and NOT NULL, into others, and brings what the catalogs derive from them
// into line. It needs a superuser only where there is such a constraint.
func switchConstraints(rel, from, to, notNull string) string {
	which := "NOT convalidated AND (conrelid = 0 AND contype = '" + from[:1] + "'"
	if rel != "" {
		which += " OR conrelid = " + sqltext.Literal(rel) + "::pg_catalog.regclass AND contype IN ('" + from[:1] + "', '" + from[1:] + "')"
	}
	which += ")"
	sql := "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE " + which + ") THEN " +
		"UPDATE pg_catalog.pg_constraint SET contype = pg_catalog.translate(contype::pg_catalog.text, '" + from + "', '" + to + "')::pg_catalog.\"char\" WHERE " +
		which + "; "
	if rel != "" {
		sql += strings.NewReplacer("REL", sqltext.Literal(rel)+"::pg_catalog.regclass", "KIND", to[1:], "VALUE", notNull).Replace(
			"UPDATE pg_catalog.pg_class SET relchecks = (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint WHERE conrelid = REL AND contype = 'c') WHERE oid " +
				"= REL; " +
				"UPDATE pg_catalog.pg_attribute SET attnotnull = VALUE WHERE attrelid = REL AND attnum IN " +
				"(SELECT conkey[1] FROM pg_catalog.pg_constraint WHERE conrelid = REL AND contype = 'KIND' AND NOT convalidated); ")
	}
	return "DO " + sqltext.Literal(sql+"END IF; END")
}
