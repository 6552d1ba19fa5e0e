package describe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pg_scribe/internal/pgtest"
)

// An object that is read by its OID is described as among all, whatever its kind.
func TestReadByOID(t *testing.T) {
	c := pgtest.Shared(t)
	source := c.CreateDB(t, "by_oid")
	c.Exec(t, source, script(t, "objects.sql"))
	conn := c.Conn(t, source)
	r := reader(t, conn)
	objects, _ := all(t, conn, r)
	classes := map[string]bool{}
	var oids []uint32
	for _, o := range objects {
		oids = append(oids, o.OID)
		classes[o.Class] = true
	}
	slices.Sort(oids)
	for part := range slices.Chunk(oids, 7) {
		found := 0
		err := r.Of(context.Background(), conn.PgConn(), part, func(o Object) error {
			found++
			if want := objects[o.Key()]; string(o.Append(nil)) != string(want.Append(nil)) || o.OID != want.OID || o.Catalog != want.Catalog {
				t.Errorf("%d of %d: %s\nwant %s", o.OID, o.Catalog, o.Append(nil), want.Append(nil))
			}
			return nil
		})
		if err != nil || found < len(part) {
			t.Errorf("%d of %v: %v", found, part, err)
		}
	}
	if len(classes) < 25 {
		t.Errorf("only %d classes", len(classes))
	}
}

// Nobody reads in a description how users log in elsewhere, but another secret
// is another description. A role that may not read it describes the rest.
func TestSecrets(t *testing.T) {
	c := pgtest.Shared(t)
	db := c.CreateDB(t, "secret")
	role := strings.ReplaceAll(db, "secret", "plain")
	c.Exec(t, db, `CREATE FOREIGN DATA WRAPPER w OPTIONS (api_token 'hush-1', shown 'yes');
		CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'here', passwd 'hush-2');
		CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'hush-3', password 'hush-4');
		CREATE FOREIGN TABLE f (a int OPTIONS (key_secret 'hush-5')) SERVER s OPTIONS (auth 'hush-6', name 'f');
		CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere password=hush-7' PUBLICATION p WITH (connect = false, slot_name = NONE);
		CREATE ROLE `+role+` LOGIN`)
	t.Cleanup(func() {
		c.Exec(t, db, "DROP SUBSCRIPTION sub")
		c.Exec(t, "postgres", "DROP ROLE "+role)
	})
	texts := func() (list []string, joined string) {
		objects, _ := all(t, c.Conn(t, db), reader(t, c.Conn(t, db)))
		for _, o := range objects {
			list = append(list, string(o.Append(nil)))
		}
		slices.Sort(list)
		return list, strings.Join(list, "\n")
	}
	before, text := texts()
	if strings.Contains(text, "hush") || !strings.Contains(text, "shown=yes") || !strings.Contains(text, "host=here") ||
		!strings.Contains(text, "password="+Secret) || !strings.Contains(text, "subscription") {
		t.Error(text)
	}
	for i, change := range []string{"FOREIGN DATA WRAPPER w OPTIONS (SET api_token 'x')", "SERVER s OPTIONS (SET passwd 'x')",
		"USER MAPPING FOR PUBLIC SERVER s OPTIONS (SET user 'x')", "FOREIGN TABLE f ALTER a OPTIONS (SET key_secret 'x')",
		"FOREIGN TABLE f OPTIONS (SET auth 'x')"} {
		c.Exec(t, db, "ALTER "+change)
		after, _ := texts()
		if slices.Equal(after, before) {
			t.Errorf("change %d is not seen", i)
		}
		before = after
	}
	plain := c.Conn(t, db)
	if _, err := plain.Exec(context.Background(), "SET SESSION AUTHORIZATION "+role); err != nil {
		t.Fatal(err)
	}
	objects, _ := all(t, plain, reader(t, plain))
	if len(objects) != len(before)-1 || len(objects["foreign table public.f"].Rows) == 0 {
		t.Errorf("a plain role describes %d objects, another %d", len(objects), len(before))
	}
}

// Objects of a database with many are read by indexes.
func TestReadByIndexes(t *testing.T) {
	c := pgtest.Shared(t)
	db := c.CreateDB(t, "indexed")
	c.Exec(t, db, script(t, "objects.sql"))
	c.Exec(t, db, "DO $$ BEGIN FOR i IN 1..1500 LOOP "+
		"EXECUTE format('CREATE TABLE many_%s (a int PRIMARY KEY, b text DEFAULT %L, CHECK (a > 0))', i, i); END LOOP; END $$; ANALYZE")
	conn := c.Conn(t, db)
	r := reader(t, conn)
	ctx := context.Background()
	var oid uint32
	if err := conn.QueryRow(ctx, "SELECT 'public.many_77'::regclass::oid").Scan(&oid); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "SET search_path = ''"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(ctx, "EXPLAIN "+r.Metadata.query(fmt.Sprintf("'{%d}'::oid[]", oid)))
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		for _, large := range []string{"pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_type", "pg_depend", "pg_description", "pg_proc"} {
			if strings.Contains(line, "Seq Scan on "+large+" ") {
				t.Error(line)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
