package e2e

import "testing"

// A restored database must not reach for the slots of production: neither those
// that a base names nor those that commands in the stream name.
func TestSubscriptionsOfABase(t *testing.T) {
	tr := begin(t, `CREATE TABLE seed (i int)`)
	publisher := tr.source.CreateDB(t, "publisher")
	tr.source.Exec(t, publisher, `CREATE PUBLICATION p FOR ALL TABLES`)
	slots := []string{tr.db + "_dropped", tr.db + "_altered", tr.db + "_nested", tr.db + "_kept"}
	connect := `CONNECTION 'host=` + tr.source.SocketDir + ` port=1 user=nobody' PUBLICATION p WITH (connect = false, slot_name = `
	tr = begin(t, `CREATE SUBSCRIPTION dropped `+connect+slots[0]+`); CREATE SUBSCRIPTION "Alt, ered" `+connect+slots[1]+`); CREATE SUBSCRIPTION nested `+connect+
		slots[2]+`); CREATE SUBSCRIPTION kept `+connect+slots[3]+`)`)
	for _, slot := range slots {
		tr.source.Exec(t, publisher, `SELECT pg_create_logical_replication_slot('`+slot+`', 'pgoutput')`)
	}
	tr.run(`ALTER SUBSCRIPTION dropped DISABLE; ALTER SUBSCRIPTION dropped SET (slot_name = NONE); DROP SUBSCRIPTION dropped`,
		`ALTER SUBSCRIPTION "Alt, ered" CONNECTION 'host=/nowhere port=2';
		  ALTER SUBSCRIPTION "Alt, ered" SET (binary = true, streaming = on, synchronous_commit = local);
		  ALTER SUBSCRIPTION "Alt, ered" ADD PUBLICATION q WITH (refresh = false); ALTER SUBSCRIPTION "Alt, ered" ENABLE; ALTER SUBSCRIPTION "Alt, ered" DISABLE;
		  ALTER SUBSCRIPTION "Alt, ered" RENAME TO "owner"; COMMENT ON SUBSCRIPTION "owner" IS 'c'`,
		`ALTER SUBSCRIPTION nested SET (slot_name = NONE); DO $$BEGIN DROP SUBSCRIPTION IF EXISTS not_there; DROP SUBSCRIPTION nested; END$$;
		  CREATE SUBSCRIPTION nested CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, binary = true); DROP SUBSCRIPTION nested`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	want := "kept|" + slots[3] + "|f|f|d|off\nowner||f|t|t|local"
	if got := tr.target.Query(t, tr.restored, `SELECT concat_ws('|', subname, coalesce(subslotname, ''), subenabled, subbinary, CASE WHEN substream::text IN `+
		`('t', 'true') THEN 't' ELSE 'd' END, subsynccommit) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database() `+
		`ORDER BY 1`); got != want {
		t.Errorf("restored subscriptions\n%s\nwant\n%s", got, want)
	}
	for _, slot := range slots {
		if got := tr.source.Query(t, publisher, `SELECT count(*) FROM pg_replication_slots WHERE slot_name = '`+slot+`'`); got != "1" {
			t.Errorf("slot %s is gone", slot)
		}
		tr.source.Exec(t, publisher, `SELECT pg_drop_replication_slot('`+slot+`')`)
	}
	tr.source.Exec(t, tr.db, `ALTER SUBSCRIPTION kept SET (slot_name = NONE); ALTER SUBSCRIPTION owner SET (slot_name = NONE)`)
	tr.source.Exec(t, tr.db, `DROP SUBSCRIPTION kept`)
	tr.source.Exec(t, tr.db, `DROP SUBSCRIPTION owner`)
	tr.target.Exec(t, tr.restored, `ALTER SUBSCRIPTION kept SET (slot_name = NONE)`)
	tr.target.Exec(t, tr.restored, `DROP SUBSCRIPTION kept`)
	tr.target.Exec(t, tr.restored, `DROP SUBSCRIPTION owner`)
}
