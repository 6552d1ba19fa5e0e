package e2e

import (
	"fmt"
	"testing"
)

// The contents of a rewritten table stay ahead of what the same transaction does
// to them, also where other sessions change the catalogs while they are sent:
// decoding then takes up the transaction and its subtransaction anew, and of a
// message and a change at the same position either may come first.
func TestContentsComeBeforeTheChangesOfThem(t *testing.T) {
	tr := begin(t, `CREATE TABLE wide (id int PRIMARY KEY, n int, v text); INSERT INTO wide SELECT g, g, 'v' || g FROM generate_series(1, 12000) g;
	  CREATE TABLE whole (n int, v text); ALTER TABLE whole REPLICA IDENTITY FULL; INSERT INTO whole SELECT g, 'v' || g FROM generate_series(1, 8000) g;
	  CREATE TABLE emptied (n int, v text); ALTER TABLE emptied REPLICA IDENTITY FULL; INSERT INTO emptied SELECT g, 'v' || g FROM generate_series(1, 8000) g;
	  CREATE TABLE beside (a int)`)
	others := tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c",
		"DO $$BEGIN LOOP ALTER TABLE beside SET (fillfactor = 90); COMMIT; PERFORM pg_sleep(0.003); END LOOP; END$$")
	if err := others.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		kind := []string{"bigint", "int"}[i%2]
		tr.once(fmt.Sprintf("ALTER TABLE wide ALTER n TYPE %s; DELETE FROM wide WHERE id = %d", kind, i+1))
		tr.once(fmt.Sprintf("ALTER TABLE whole ALTER n TYPE %s; UPDATE whole SET v = 'new' WHERE n = %d", kind, i+1))
		if i%10 == 0 {
			tr.once(fmt.Sprintf("ALTER TABLE emptied ALTER n TYPE %s; TRUNCATE emptied; INSERT INTO emptied SELECT g, 'w' || g FROM generate_series(1, 8000) g", kind))
		}
	}
	tr.source.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO $$BEGIN LOOP%' AND pid <> pg_backend_pid()")
	others.Wait()
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
