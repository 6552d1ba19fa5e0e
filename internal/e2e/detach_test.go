package e2e

import "testing"

// DETACH PARTITION … CONCURRENTLY that was interrupted leaves no event; what
// ends it does.
func TestDetachFinalize(t *testing.T) {
	tr := begin(t, `CREATE TABLE p (a int PRIMARY KEY, b text) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); INSERT INTO p SELECT g, 'x' FROM generate_series(0, 19) g`)
	reader := tr.source.Conn(t, tr.db)
	if _, err := reader.Exec(t.Context(), "BEGIN; SELECT * FROM p"); err != nil {
		t.Fatal(err)
	}
	// It waits for the reader, after its first transaction.
	if err := tr.source.Command("psql", "-X", "-q", "-d", tr.db, "-c", "SET lock_timeout = '300ms'", "-c", "ALTER TABLE p DETACH PARTITION p1 "+
		"CONCURRENTLY").Run(); err == nil {
		t.Log("the detachment was not interrupted")
	}
	if _, err := reader.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if got := tr.source.Query(t, tr.db, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"); got != "1" {
		t.Fatalf("%s partitions are being detached", got)
	}
	tr.run(`INSERT INTO p1 VALUES (5, 'again') ON CONFLICT DO NOTHING; UPDATE p1 SET b = 'alone'`, `ALTER TABLE p DETACH PARTITION p1 FINALIZE;
	  INSERT INTO p1 VALUES (7, 'z') ON CONFLICT DO NOTHING`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
