package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
	"pg_scribe/stream"
)

// pg_dump has no rows of a table that belongs to an extension, unless the
// extension marks it. They are in no segment either: a change of a row that
// the base lacks would stop every restore.
func TestTableOfAnExtension(t *testing.T) {
	tr := begin(t, `CREATE EXTENSION citext; CREATE TABLE kept (id int PRIMARY KEY, v text); CREATE TABLE member (id int PRIMARY KEY, v text);
	  INSERT INTO kept VALUES (1, 'a'); INSERT INTO member VALUES (1, 'a'); ALTER EXTENSION citext ADD TABLE member`)
	tr.run(`INSERT INTO member VALUES (2, 'b'); UPDATE member SET v = 'x' WHERE id = 1; DELETE FROM member WHERE id = 2; TRUNCATE member`,
		`INSERT INTO member SELECT generate_series(1, 20); INSERT INTO kept VALUES (2, 'b')`,
		`UPDATE kept SET v = 'c' WHERE id = 1; UPDATE member SET v = 'c'`)
	tr.capture()
	tr.noGap()
	if strings.Contains(tr.text(), "member") {
		t.Errorf("rows of the extension's table are in the segments:\n%s", tr.text())
	}
	tr.back()
	if got := tr.target.Query(t, tr.restored, "SELECT string_agg(id || v, ' ' ORDER BY id) FROM kept"); got != "1c 2b" {
		t.Errorf("restored %q", got)
	}
	if n := strings.Join(tr.notices(), "\n"); strings.Count(n, "extension citext does not mark for pg_dump are not backed up: public.member") != 1 {
		t.Errorf("start says:\n%s", n)
	}
}

// notices are what `start` says.
func (tr *trip) notices() (list []string) {
	tr.t.Helper()
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	must(tr.t, err)
	defer r.Close()
	must(tr.t, stream.Run(context.Background(), r, stream.RunOptions{ConnString: tr.conn(), Slot: tr.slot, Publication: stream.DefaultPublication, NoLoop: true,
		StatusInterval: 100 * time.Millisecond, FsyncInterval: time.Second, Endpos: tr.lsn(), Notice: func(s string) { list = append(list, s) }}))
	return list
}

// A table that joins an extension keeps the rows from before, also those that
// the stream brings only when the table has joined already; one that leaves it
// is marked, since the rows from between are nowhere.
func TestTableJoinsAndLeavesAnExtension(t *testing.T) {
	tr := begin(t, `CREATE EXTENSION citext; CREATE TABLE member (id int PRIMARY KEY, v text); INSERT INTO member VALUES (1, 'a')`)
	tr.run(`INSERT INTO member VALUES (2, 'before')`, `BEGIN; UPDATE member SET v = 'in it' WHERE id = 1; ALTER EXTENSION citext ADD TABLE member;
	  INSERT INTO member VALUES (3, 'in it'); COMMIT`,
		`INSERT INTO member VALUES (4, 'after'); UPDATE member SET v = 'after' WHERE id = 4; ALTER TABLE member ALTER v TYPE varchar(20) USING upper(v)`)
	tr.capture()
	tr.noGap()
	// On a connection that begins behind the command, once the slot is past it.
	tr.run("CHECKPOINT")
	tr.capture()
	tr.run("CHECKPOINT", `INSERT INTO member VALUES (5, 'after')`)
	tr.capture()
	tr.noGap()
	tr.back()
	if got := tr.target.Query(t, tr.restored, "SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM member"); got != "1 IN IT, 2 BEFORE" {
		t.Errorf("restored %q\n%s", got, tr.text())
	}
	if got := tr.target.Query(t, tr.restored, "SELECT count(*) FROM pg_depend WHERE objid = 'member'::regclass AND deptype = 'e'"); got != "1" {
		t.Errorf("the restored table has %s extensions", got)
	}
	// In one string, so that both have the same time and session.
	tr.once(`ALTER EXTENSION citext DROP TABLE member; INSERT INTO member VALUES (6, 'free'); ALTER EXTENSION citext ADD TABLE member;
	  INSERT INTO member VALUES (7, 'left out');
	  ALTER EXTENSION citext DROP TABLE member; UPDATE member SET v = 'free again' WHERE id = 6`)
	tr.capture()
	if list := tr.gaps(); len(list) == 0 || !strings.Contains(list[0], "member") {
		t.Errorf("no mark: %q", list)
	}
	if text := tr.text(); strings.Contains(text, "'left out'") || !strings.Contains(text, "'free'") || !strings.Contains(text, "'free again'") {
		t.Errorf("the segments hold\n%s", text)
	}
	_, err := tr.base(false)
	must(t, err)
	tr.run(`INSERT INTO member VALUES (8, 'last'); DELETE FROM member WHERE id = 4`)
	tr.capture()
	tr.back()
	tr.equal()
}

// An extension's script makes tables of every kind; those that it marks are
// captured, and what it makes in the stream is known there.
func TestTablesOfAnExtensionsScript(t *testing.T) {
	source, target := clusters(t)
	if source.Major < 18 || target.Major < 18 {
		return // no extension can be put anywhere but where the server is installed
	}
	dir, err := os.MkdirTemp("", "pg_scribe_extension")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "extension"), 0o755))
	for name, text := range map[string]string{
		"crate.control": "default_version = '1'\nrelocatable = false\nschema = public\n",
		"crate--1.sql": `CREATE TABLE plain (id int PRIMARY KEY, v text); CREATE TABLE leaving (id int); CREATE TABLE config (id int PRIMARY KEY, v text);
		  INSERT INTO plain VALUES (1, 'script'); INSERT INTO config VALUES (1, 'script'); SELECT pg_extension_config_dump('config', 'WHERE id >= 100')`,
		"crate--1--2.sql": `CREATE TABLE more (id int); ALTER EXTENSION crate DROP TABLE leaving; DROP TABLE leaving; SELECT pg_extension_config_dump('plain', '')`,
		"box.control":     "default_version = '1'\nrelocatable = false\nschema = public\n",
		"box--1.sql": `CREATE TABLE marked (id int PRIMARY KEY, v text); CREATE FUNCTION helper() RETURNS int LANGUAGE sql AS 'SELECT 1';
		  INSERT INTO marked VALUES (1, 'script'); ALTER EXTENSION box DROP FUNCTION helper(); DROP FUNCTION helper();
		  SELECT pg_extension_config_dump('marked', 'WHERE id >= 100')`,
	} {
		must(t, os.WriteFile(filepath.Join(dir, "extension", name), []byte(text), 0o644))
	}
	for _, c := range []*pgtest.Cluster{source, target} {
		c.Exec(t, "postgres", "ALTER ROLE postgres SET extension_control_path = '"+dir+":$system'")
		defer c.Exec(t, "postgres", "ALTER ROLE postgres RESET extension_control_path")
	}
	tr := begin(t, `CREATE TABLE seed (id int)`)
	work := `INSERT INTO config VALUES (%[1]d, 'mine'); UPDATE config SET v = v || '!' WHERE id >= 100; INSERT INTO plain VALUES (%[1]d, 'mine');
	  UPDATE plain SET v = v || '!'; INSERT INTO leaving VALUES (1)`
	tr.run(`CREATE EXTENSION crate VERSION '1'`, fmt.Sprintf(work, 100))
	restored := func(want string) {
		t.Helper()
		tr.capture()
		tr.noGap()
		tr.back()
		if got := tr.target.Query(t, tr.restored, `SELECT (SELECT string_agg(id || v, ' ' ORDER BY id) FROM config), (SELECT string_agg(id || v, ' ' ORDER BY id) `+
			`FROM plain), (SELECT count(*) FROM leaving)`); got != want {
			t.Errorf("restored %s\n%s", got, tr.text())
		}
	}
	restored("1script 100mine!|1script|0")
	// A script that alters its own extension before it marks a table leaves nothing out.
	tr.run("CREATE EXTENSION box; INSERT INTO marked VALUES (200, 'mine')")
	tr.capture()
	tr.noGap()
	tr.back()
	if got := tr.target.Query(t, tr.restored, "SELECT string_agg(id || v, ' ' ORDER BY id) FROM marked"); got != "1script 200mine" {
		t.Errorf("restored %s\n%s", got, tr.text())
	}
	tr.run("CHECKPOINT")
	tr.capture() // the slot is past the command
	_, err = tr.base(false)
	must(t, err)
	tr.run("CHECKPOINT", fmt.Sprintf(work, 101)) // plain has a row that the base lacks
	restored("1script 100mine!! 101mine!|1script|0")
	tr.run(`ALTER EXTENSION crate UPDATE TO '2'`, `INSERT INTO plain VALUES (102, 'saved'); INSERT INTO more VALUES (1)`)
	tr.capture()
	if list := tr.gaps(); len(list) != 1 || !strings.Contains(list[0], "plain") {
		t.Errorf("marks: %q", list)
	}
	if text := tr.text(); !strings.Contains(text, "'saved'") || strings.Contains(text, `"more"`) {
		t.Errorf("the segments hold\n%s", text)
	}
}
