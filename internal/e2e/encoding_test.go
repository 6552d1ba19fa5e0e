package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// beginEncoded is begin in a database of another encoding.
func beginEncoded(t *testing.T, encoding string, setup ...string) *trip {
	t.Helper()
	source, target := clusters(t)
	db := source.CreateDB(t, "src")
	source.Exec(t, "postgres", "DROP DATABASE "+db)
	source.Exec(t, "postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING '%s' LOCALE 'C'", db, encoding))
	return beginIn(t, source, target, db, setup...)
}

// everywhere puts words wherever text can stand: names, values, bodies of
// functions, defaults, comments, settings, before the base and after it.
func everywhere(a, b string) (setup, work string) {
	script := strings.NewReplacer("AAA", a, "BBB", b)
	setup = script.Replace(`
	  CREATE SCHEMA "AAA"; CREATE TYPE "AAA"."BBB" AS ENUM ('AAA', 'BBB');
	  CREATE TABLE "AAA"."tBBB" ("kAAA" int PRIMARY KEY, "BBB" text DEFAULT 'AAA', e "AAA"."BBB", CHECK ("BBB" <> 'xBBB'));
	  COMMENT ON TABLE "AAA"."tBBB" IS 'AAA BBB''s';
	  INSERT INTO "AAA"."tBBB" VALUES (1, 'BBB', 'AAA'), (2, DEFAULT, 'BBB'), (3, repeat('AAA', 4000), NULL);
	  CREATE TABLE full_identity (v text, w int); INSERT INTO full_identity VALUES ('AAA', 1), ('BBB', 2)`)
	work = script.Replace(`
	  INSERT INTO "AAA"."tBBB" SELECT g, 'AAA' || g, 'AAA' FROM generate_series(10, 30) g;
	  INSERT INTO "AAA"."tBBB" ("kAAA") VALUES (4);
	  UPDATE "AAA"."tBBB" SET "BBB" = 'BBBAAA\' WHERE "kAAA" < 3;
	  UPDATE full_identity SET w = 5 WHERE v = 'AAA'; DELETE FROM full_identity WHERE v = 'BBB';
	  ALTER TABLE "AAA"."tBBB" ADD COLUMN "nAAA" text DEFAULT 'BBB';
	  ALTER TYPE "AAA"."BBB" ADD VALUE 'AAABBB';
	  CREATE FUNCTION "AAA"."fBBB"("pAAA" text) RETURNS text LANGUAGE plpgsql AS $AAA$ BEGIN RETURN 'AAA' || "pAAA" /* BBB */; END $AAA$;
	  CREATE VIEW "vAAA" AS SELECT "kAAA", "BBB" || 'AAA' AS "cBBB" FROM "AAA"."tBBB";
	  COMMENT ON VIEW "vAAA" IS 'BBB';
	  COMMENT ON COLUMN "vAAA"."cBBB" IS E'AAA\nBBB';
	  DO $$ BEGIN EXECUTE 'CREATE TABLE "dBBB" ("AAA" text)'; INSERT INTO "dBBB" VALUES ('in DO: AAA'); END $$;
	  CREATE TABLE "asBBB" AS SELECT 'AAA'::text AS "AAA"; ALTER TABLE "asBBB" RENAME COLUMN "AAA" TO "rBBB";
	  CREATE TABLE rewritten (v text); INSERT INTO rewritten VALUES ('AAA'), ('BBB'); ALTER TABLE rewritten ALTER v TYPE varchar(20) USING v || 'AAA';
	  CREATE SEQUENCE "sAAA"; SELECT nextval('"sAAA"');
	  SELECT set_config('my.AAA', 'BBB', false) WHERE false;
	  TRUNCATE full_identity; DROP VIEW "vAAA"; CREATE INDEX "iAAA" ON "AAA"."tBBB" ("BBB") WHERE "BBB" <> 'AAA'`)
	return setup, work
}

// Neither rows nor commands are converted on their way: what a database holds
// comes back byte for byte in a database of the same encoding.
func TestEncodings(t *testing.T) {
	for _, c := range []struct{ encoding, client, a, b string }{
		{"LATIN1", "LATIN1", "\xe9\xff\xa0", "\xdf\xc4"},
		{"LATIN1", "UTF8", "éÿ", "ßÄ"},
		{"EUC_JP", "EUC_JP", "\xc6\xfc\xcb\xdc", "\xb8\xec\x8e\xb1"},
		{"EUC_JP", "UTF8", "日本", "語ソ表"},
		{"SQL_ASCII", "SQL_ASCII", "\xff\xfe\x80", "\xc3\x28é"},
		{"UTF8", "UTF8", "日本é", "\U0001f418ß"},
		{"UTF8", "LATIN1", "\xe9\xff", "\xdf\xc4"},
	} {
		t.Run(c.encoding+" from "+c.client, func(t *testing.T) {
			setup, work := everywhere(c.a, c.b)
			client := "SET client_encoding = '" + c.client + "'; SET standard_conforming_strings = on;\n"
			tr := beginEncoded(t, c.encoding, client+setup)
			tr.run(client + work)
			tr.capture()
			tr.noGap()
			tr.back()
			tr.equal()
			if got := tr.target.Query(t, "postgres", "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = '"+tr.restored+"'"); got != c.encoding {
				t.Errorf("restored in %s", got)
			}
			if got := tr.target.Query(t, tr.restored, "SELECT count(*) FROM rewritten"); got != "2" {
				t.Errorf("%s rows", got)
			}
		})
	}
}
