package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A restore must not ask the foreign server again: by then it has other tables.
func TestImportForeignSchema(t *testing.T) {
	tr := begin(t, `CREATE EXTENSION postgres_fdw; CREATE SCHEMA here; CREATE SCHEMA "There"; CREATE TYPE public.mood AS ENUM ('sad', 'ok');
	  CREATE TABLE "There"."Odd, one" ("a b" int NOT NULL DEFAULT 5, c text COLLATE "C" DEFAULT 'x', n numeric(8, 3)[], m mood DEFAULT 'ok', d date NOT NULL `+
		`DEFAULT '2020-02-01', PRIMARY KEY ("a b"));
	  CREATE TABLE "There".gen (a int, b int GENERATED ALWAYS AS (a * 2) STORED); CREATE VIEW "There".v AS SELECT 1 AS one; CREATE TABLE "There".no_columns ();
		  CREATE TABLE "There".left_out (a int)`)
	tr.run(`CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '`+tr.source.SocketDir+`', port '`+fmt.Sprint(tr.source.Port)+`', dbname '`+tr.db+
		`'); CREATE USER MAPPING FOR CURRENT_USER SERVER loop;
	  IMPORT FOREIGN SCHEMA "There" EXCEPT (left_out) FROM SERVER loop INTO here OPTIONS (import_default 'true', import_generated 'true')`,
		`DO $$BEGIN IMPORT FOREIGN SCHEMA "There" LIMIT TO (left_out) FROM SERVER loop INTO public; END$$; COMMENT ON FOREIGN TABLE left_out IS 'nested'`,
		`CREATE FOREIGN TABLE by_hand (z int OPTIONS (column_name 'a')) SERVER loop OPTIONS (schema_name 'There', table_name 'gen')`)
	tr.capture()
	tr.noGap()
	if strings.Contains(tr.text(), "IMPORT FOREIGN SCHEMA \"") {
		t.Error("the command itself is in a segment")
	}
	tr.back()
	tr.equal()
}
