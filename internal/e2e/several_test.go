package e2e

import "testing"

// Each command of a string takes its own text, whether it is written as it
// was given, otherwise, or not at all.
func TestSeveralCommandsOfOneTag(t *testing.T) {
	tr := begin(t, `CREATE TABLE old (a int PRIMARY KEY); INSERT INTO old VALUES (1); CREATE ROLE several_role`)
	defer tr.source.Exec(t, "postgres", "DROP ROLE IF EXISTS several_role")
	for _, sql := range []string{
		`CREATE TABLE one (a int); CREATE TABLE two AS SELECT * FROM old; CREATE TABLE three (b text PRIMARY KEY); INSERT INTO three VALUES ('x')`,
		`CREATE TEMP TABLE four (a int); CREATE TABLE five (c int); CREATE TEMP TABLE six (a int); CREATE INDEX ON six (a); CREATE INDEX ON five (c)`,
		`GRANT several_role TO CURRENT_USER; GRANT SELECT ON one TO several_role; COMMENT ON ROLE several_role IS 'x'; COMMENT ON TABLE one IS 'y'`,
		`CREATE TEMP TABLE seven (a int); DROP TABLE seven, two; DROP TABLE three; SELECT 1 AS x INTO eight; CREATE TABLE nine (LIKE old INCLUDING ALL)`,
		`REVOKE several_role FROM CURRENT_USER; REVOKE ALL ON one FROM several_role; DROP OWNED BY several_role; DROP ROLE several_role; DROP TABLE nine`,
	} {
		tr.once(sql)
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
