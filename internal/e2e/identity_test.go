package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
)

// onDisk is all that the repository's directory holds.
func (tr *trip) onDisk() string {
	tr.t.Helper()
	var list strings.Builder
	entries, err := os.ReadDir(tr.dir)
	must(tr.t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "catalog.db-") || strings.HasSuffix(e.Name(), ".lock") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(tr.dir, e.Name()))
		must(tr.t, err)
		fmt.Fprintf(&list, "%s %x\n", e.Name(), sha256.Sum256(content))
	}
	return list.String()
}

// refusesAll runs each command that takes a database and a repository, and
// makes sure that it says in one line whose the repository is, that its hint
// names what is right, and that nothing was written, here or there.
func (tr *trip) refusesAll(cluster *pgtest.Cluster, db, problem, hint string) {
	tr.t.Helper()
	before, slots := tr.onDisk(), tr.slots()
	for _, command := range []string{"start --no-loop", "full-backup", "full-backup --new-slot", "full-backup --new-slot --force",
		"status", "status --output json", "drop --yes", "drop --yes --keep-capture"} {
		args := append(strings.Fields(command), "-d", db, "-h", cluster.Host, "-p", fmt.Sprint(cluster.Port), "-U", "postgres")
		out := tr.scribe(5, args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		want := hint
		if strings.HasPrefix(command, "drop") {
			want = "hint: leave out -f" // no command that removes another database's backup
		}
		switch {
		case len(lines) != 2 || !strings.HasPrefix(lines[0], "pg_scribe: error: the repository is of database ") || !strings.Contains(lines[0], problem):
			tr.t.Errorf("%s: not one line that says %q:\n%s", command, problem, out)
		case !strings.HasPrefix(lines[1], want):
			tr.t.Errorf("%s: the hint is not %q:\n%s", command, want, out)
		}
	}
	if after := tr.onDisk(); after != before {
		tr.t.Errorf("the repository was written to:\n%s\nbefore:\n%s", after, before)
	}
	if after := tr.slots(); after != slots {
		tr.t.Errorf("slots: %s, before: %s", after, slots)
	}
}

func (tr *trip) slots() string {
	tr.t.Helper()
	return tr.source.Query(tr.t, "postgres", "SELECT slot_name, database, confirmed_flush_lsn FROM pg_replication_slots ORDER BY 1")
}

// labels are what the files of the repository call their database.
func (tr *trip) labels() (names []string) {
	for _, a := range tr.artifacts() {
		names = append(names, string(a.Kind)+" "+a.Database)
	}
	return names
}

// The name of a database is a label. A renamed one goes on; one that got its
// name is another, and nothing of it comes into the repository.
func TestDatabaseIsRenamedAndReplaced(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
	tr.run("INSERT INTO t VALUES (2)")
	tr.capture()
	name, renamed := tr.db, tr.db+"_old"
	tr.source.Exec(t, "postgres", "ALTER DATABASE "+name+" RENAME TO "+renamed)
	tr.source.Exec(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() { // what there is to be dropped has the first name
		tr.source.Exec(t, "postgres", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '"+name+"'")
		tr.source.Exec(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
		tr.source.Exec(t, "postgres", "ALTER DATABASE "+renamed+" RENAME TO "+name)
	})
	tr.run("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (100)")
	problem := fmt.Sprintf("%q (OID %s, now %q)", name, tr.oid(renamed), renamed)
	right := "hint: name its database with -d: pg_scribe "
	tr.refusesAll(tr.source, name, problem, right)
	// Also when the new one has a backup of its own.
	tr.mustScribe("init", "-d", tr.conn(), "-f", filepath.Join(t.TempDir(), "new"), "-S", tr.slot+"_new")
	tr.refusesAll(tr.source, name, problem, right)

	tr.db = renamed
	tr.run("INSERT INTO t VALUES (3)")
	tr.scribe(10, "status", "-d", tr.conn()) // nothing streams; the base is whole
	tr.capture()
	tr.run("INSERT INTO t VALUES (4); ALTER TABLE t ADD COLUMN v text DEFAULT 'x'")
	base, err := tr.base(false)
	must(t, err)
	tr.run("INSERT INTO t VALUES (5)")
	tr.capture()
	tr.noGap()
	if got := strings.Join(tr.labels(), ", "); !strings.Contains(got, "base "+name+",") || !strings.Contains(got, "base "+renamed) ||
		!strings.Contains(got, "segment "+renamed) {
		t.Errorf("labels: %s", got)
	}
	if info := tr.inventory().Repository; info.Database != renamed || fmt.Sprint(info.DatabaseOID) != tr.oid(renamed) {
		t.Errorf("the catalog has %+v", info)
	}
	tr.scribe(0, "verify")
	for _, from := range []string{tr.bases()[0], base.Base.Name} { // across the renaming, and behind it
		tr.backFrom(from)
		tr.equal()
	}
	tr.scribe(0, "catalog", "rebuild", "--force")
	if info := tr.inventory().Repository; info.Database != renamed || fmt.Sprint(info.DatabaseOID) != tr.oid(renamed) {
		t.Errorf("the rebuilt catalog has %+v", info)
	}
	tr.scribe(0, "verify")
	tr.backFrom(tr.bases()[0])
	tr.equal()
	tr.mustScribe("drop", "-d", tr.conn(), "-f", tr.dir, "--yes")
}

func (tr *trip) oid(db string) string {
	tr.t.Helper()
	return tr.source.Query(tr.t, "postgres", "SELECT oid FROM pg_database WHERE datname = '"+db+"'")
}

// The database is gone, and another one has its name and a slot of that name.
func TestDatabaseIsDroppedAndMadeAnew(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY)")
	tr.mustScribe("drop", "-d", tr.conn(), "-f", tr.dir, "--yes")
	oid := tr.oid(tr.db)
	tr.source.Exec(t, "postgres", "DROP DATABASE "+tr.db)
	tr.source.Exec(t, "postgres", "CREATE DATABASE "+tr.db)
	tr.refusesAll(tr.source, tr.db, fmt.Sprintf("%q (OID %s)", tr.db, oid), "hint: that database is gone")
	tr.mustScribe("init", "-d", tr.conn(), "-f", filepath.Join(t.TempDir(), "new"), "-S", tr.slot)
	tr.refusesAll(tr.source, tr.db, fmt.Sprintf("%q (OID %s)", tr.db, oid), "hint: that database is gone")
}

// A database of the same name in another cluster, as after pg_upgrade or a
// dump and restore, and of another name in the same.
func TestOtherDatabasesAreRefused(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY)")
	tr.target.Exec(t, "postgres", "CREATE DATABASE "+tr.db)
	defer tr.target.Exec(t, "postgres", "DROP DATABASE "+tr.db)
	system := func(c *pgtest.Cluster) string {
		return c.Query(t, "postgres", "SELECT system_identifier FROM pg_control_system()")
	}
	tr.refusesAll(tr.target, tr.db, fmt.Sprintf("of system %s, not of %q", system(tr.source), tr.db), "hint: choose its server with -h and -p")
	tr.refusesAll(tr.target, tr.db, "of system "+system(tr.target), "hint: choose its server with -h and -p")
	other := tr.source.CreateDB(t, "other")
	tr.refusesAll(tr.source, other, fmt.Sprintf("%q (OID %s)", tr.db, tr.oid(tr.db)), "hint: name its database with -d: pg_scribe ")
}

// Without a repository too, a slot of another database is nothing that this
// one lacks, and is never removed or ended by advice.
func TestSlotOfAnotherDatabase(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY)")
	other := tr.source.CreateDB(t, "other")
	before := tr.slots()
	for command, hint := range map[string]string{
		"status":                    "-d " + tr.db + " ",
		"drop --yes":                "pg_replication_slots",
		"drop --yes --keep-capture": "pg_replication_slots",
	} {
		args := append(strings.Fields(command), "-S", tr.slot, "-d", other, "-h", tr.source.Host, "-p", fmt.Sprint(tr.source.Port), "-U", "postgres")
		out, code := tr.program(args...)
		says := strings.Contains(out, fmt.Sprintf("it is of database %q", tr.db)) && strings.Contains(out, hint)
		if code != 3 || !says || strings.Contains(out, "pg_scribe drop") {
			t.Errorf("%s: %d\n%s", command, code, out)
		}
	}
	// The repository's own slot is gone, and another database has its name.
	tr.source.Exec(t, tr.db, "SELECT pg_drop_replication_slot('"+tr.slot+"')")
	tr.source.Exec(t, other, "SELECT pg_create_logical_replication_slot('"+tr.slot+"', 'pgoutput')")
	for _, command := range []string{"full-backup", "full-backup --new-slot", "status", "start --no-loop"} {
		out := tr.scribe(3, append(strings.Fields(command), "-d", tr.conn())...)
		if !strings.Contains(out, fmt.Sprintf("it is of database %q", other)) {
			t.Errorf("%s:\n%s", command, out)
		}
	}
	if n := len(tr.bases()); n != 1 {
		t.Errorf("%d bases", n)
	}
	tr.source.Exec(t, other, "SELECT pg_drop_replication_slot('"+tr.slot+"')")
	if after := tr.slots(); strings.Contains(after, tr.slot) || !strings.Contains(before, tr.slot) {
		t.Errorf("slots: %s, before: %s", after, before)
	}
}

// A repository of an earlier version may not know the OID. Its slot tells, and
// is remembered.
func TestOIDIsAdopted(t *testing.T) {
	tr := begin(t, "CREATE TABLE t (id int PRIMARY KEY)")
	forget := func() {
		t.Helper()
		c, err := catalog.Open(filepath.Join(tr.dir, "catalog.db"))
		must(t, err)
		must(t, c.SetDatabase(context.Background(), tr.inventory().Repository.Database, 0))
		must(t, c.Close())
	}
	known := func() string { return fmt.Sprint(tr.inventory().Repository.DatabaseOID) }
	forget()
	other := tr.source.CreateDB(t, "other")
	tr.refusesAll(tr.source, other, fmt.Sprintf("is of database %q of system", tr.db), "hint: name its database with -d: pg_scribe ")
	if known() != "0" {
		t.Error("the OID of another database was adopted")
	}
	tr.capture()
	if known() != tr.oid(tr.db) {
		t.Errorf("start did not adopt the OID: %s", known())
	}
	forget()
	_, err := tr.base(false)
	must(t, err)
	if known() != tr.oid(tr.db) {
		t.Errorf("full-backup did not adopt the OID: %s", known())
	}

	// Renamed before it was adopted, with another one of its name.
	forget()
	name, renamed := tr.db, tr.db+"_old"
	tr.source.Exec(t, "postgres", "ALTER DATABASE "+name+" RENAME TO "+renamed)
	tr.source.Exec(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() {
		tr.source.Exec(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
		tr.source.Exec(t, "postgres", "ALTER DATABASE "+renamed+" RENAME TO "+name)
	})
	tr.refusesAll(tr.source, name, fmt.Sprintf("%q (now %q)", name, renamed), "hint: name its database with -d: pg_scribe ")
	tr.db = renamed
	tr.run("INSERT INTO t VALUES (1)")
	tr.capture()
	if known() != tr.oid(renamed) || tr.inventory().Repository.Database != renamed {
		t.Errorf("%+v", tr.inventory().Repository)
	}
	tr.back()
	tr.equal()
}
