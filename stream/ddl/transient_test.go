package ddl

import (
	"testing"

	"pg_scribe/stream/event"
)

func TestWithoutTransient(t *testing.T) {
	gone := []event.Transient{{Kind: "relation", Schema: "pg_temp_3", Name: "tmp", Bare: true, Alone: true},
		{Kind: "relation", Schema: "pg_temp_3", Name: "hidden", Alone: true}, {Kind: "relation", Schema: "pg_temp_3", Name: "Odd, one", Bare: true, Alone: true},
		{Kind: "routine", Schema: "public", Name: "f", Bare: true, Alone: true}, {Kind: "routine", Schema: "public", Name: "two", Bare: true}}
	for sql, want := range map[string]string{
		`GRANT SELECT ON tmp TO x`:                                                      ``,
		`GRANT SELECT ON TMP, perm TO x WITH GRANT OPTION`:                              `GRANT SELECT ON perm TO x WITH GRANT OPTION`,
		`grant select (on_it, b), update on table perm, "Odd, one" to x`:                `grant select (on_it, b), update on table perm to x`,
		`REVOKE GRANT OPTION FOR ALL ON pg_temp.a, s.tmp, "pg_temp"."b" FROM x CASCADE`: `REVOKE GRANT OPTION FOR ALL ON s.tmp FROM x CASCADE`,
		`GRANT SELECT ON hidden TO x`:                                                   `GRANT SELECT ON hidden TO x`,
		`GRANT a TO b`:                                                                  `GRANT a TO b`,
		`GRANT ALL ON ALL TABLES IN SCHEMA pg_temp, s TO x`:                             `GRANT ALL ON ALL TABLES IN SCHEMA s TO x`,
		`GRANT EXECUTE ON FUNCTION f(int, tmp), g(numeric(3, 2)) TO x`:                  `GRANT EXECUTE ON FUNCTION g(numeric(3, 2)) TO x`,
		`GRANT EXECUTE ON FUNCTION public.f, s.f TO x`:                                  `GRANT EXECUTE ON FUNCTION s.f TO x`,
		`GRANT USAGE ON FOREIGN DATA WRAPPER tmp TO x`:                                  `GRANT USAGE ON FOREIGN DATA WRAPPER tmp TO x`,
		`GRANT SELECT ON sequence, tmp TO x`:                                            `GRANT SELECT ON sequence TO x`,
		`GRANT USAGE ON SEQUENCE tmp TO x`:                                              ``,
		"GRANT SELECT ON /* a, b */ tmp, -- c\n perm TO x":                              "GRANT SELECT ON /* a, b */ perm TO x",
		`GRANT SELECT ON LARGE OBJECT 5 TO x`:                                           `GRANT SELECT ON LARGE OBJECT 5 TO x`,
	} {
		got, err := withoutTransient(sql, true, gone)
		if err != nil || got != want {
			t.Errorf("%s:\n got %q, %v\nwant %q", sql, got, err, want)
		}
	}
	for _, sql := range []string{`GRANT EXECUTE ON FUNCTION two(int) TO x`, `GRANT SELECT ON U&"\0061" TO x`} {
		if got, err := withoutTransient(sql, true, gone); err == nil {
			t.Errorf("%s: %q and no error", sql, got)
		}
	}
}
