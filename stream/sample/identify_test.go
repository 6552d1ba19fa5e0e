package sample

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/pgtest"
)

// What a sample sees has a name though it is dropped before that is looked up:
// an index without one would be taken for something that went without an event.
func TestIdentifyWhatIsDroppedSince(t *testing.T) {
	c := pgtest.New(t)
	db := c.CreateDB(t, "names")
	c.Exec(t, db, "CREATE TABLE t (a int); CREATE INDEX i ON t (a); CREATE TABLE stays (a int)")
	key := func(name string) string {
		return c.Query(t, db, "SELECT 'pg_class'::regclass::oid || ' ' || '"+name+"'::regclass::oid")
	}
	keys := []string{key("i"), key("t"), key("stays"), "1255 1"}
	tx, err := c.Conn(t, db).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := readKeys(t.Context(), tx, "SELECT oid::text FROM pg_class"); err != nil {
		t.Fatal(err)
	}
	c.Exec(t, db, "DROP TABLE t")
	names, err := identify(t.Context(), tx, keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 3 || !strings.HasPrefix(names[keys[0]], "index ") || names[keys[1]] == "" || names[keys[2]] != "table public.stays" {
		t.Errorf("%q", names)
	}
}
