package e2e

import (
	"strings"
	"testing"
)

// What is known of a table outlives the loss of a column: which of its columns
// cannot be SET, however the column went.
func TestKnownOfATableAfterADroppedColumn(t *testing.T) {
	for _, ddl := range []string{"ALTER TABLE c DROP COLUMN w", "DROP TYPE mood CASCADE",
		"ALTER TABLE c ADD x int DEFAULT 7; ALTER TABLE c DROP COLUMN x, DROP COLUMN w CASCADE"} {
		tr := begin(t, `CREATE TYPE mood AS ENUM ('so'); CREATE TABLE c (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, w int, m mood);
			INSERT INTO c (v) VALUES ('a'), ('b')`)
		tr.run(ddl, "UPDATE c SET id = DEFAULT WHERE v = 'a'", "INSERT INTO c (v) VALUES ('c')", "UPDATE c SET id = DEFAULT, v = 'd' WHERE v = 'b'")
		tr.capture()
		tr.noGap()
		if text := tr.text(); strings.Count(text, "WITH d AS") != 2 || strings.Contains(text, `SET "id"`) {
			t.Errorf("%s:\n%s", ddl, text)
			continue
		}
		tr.back()
		tr.equal()
	}
}
