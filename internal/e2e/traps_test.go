package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/source"
)

// A query that makes a table may have parameters, whose values are not in its
// text: variables of a function, and what a driver binds.
func TestCreateTableAsWithParameters(t *testing.T) {
	tr := begin(t, `CREATE TABLE src (id int PRIMARY KEY, v text); INSERT INTO src SELECT g, 'v' || g FROM generate_series(1, 50) g;
	  CREATE FUNCTION mk(upto int, word text) RETURNS void LANGUAGE plpgsql AS $$
	  DECLARE n int := upto * 2;
	  BEGIN
	    CREATE TABLE by_variable AS SELECT id, v || word AS v FROM src WHERE id <= n;
	    EXECUTE 'CREATE TABLE by_using AS SELECT id, $2 AS w FROM src WHERE id > $1' USING n, word;
	    CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM by_variable;
	  END$$`)
	tr.run(`SELECT mk(4, ' it''s')`)
	if _, err := tr.source.Conn(t, tr.db).Exec(context.Background(), "CREATE TABLE by_driver AS SELECT id, $2::text AS w FROM src WHERE id < $1", 7,
		"bound"); err != nil {
		t.Fatal(err)
	}
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	if got := tr.target.Query(t, tr.restored, "SELECT (SELECT count(*) FROM by_variable), (SELECT count(*) FROM by_using), (SELECT count(*) FROM by_driver "+
		"WHERE w = 'bound'), (SELECT n FROM seen)"); got != "8|42|6|8" {
		t.Errorf("restored %s", got)
	}
}

// duringBase takes a base and runs SQL once the snapshot is taken and before
// pg_dump has locked anything, in the first attempt. It returns how often
// pg_dump ran and what was said.
func (tr *trip) duringBase(sql string) (attempts int, notices []string) {
	tr.t.Helper()
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	must(tr.t, err)
	defer r.Close()
	command := func(ctx context.Context, name string, args ...string) *exec.Cmd {
		cmd := tr.command(ctx, name, args...)
		if name != "pg_dump" || slices.Contains(args, "--version") {
			return cmd
		}
		attempts++
		if attempts > 1 {
			return cmd
		}
		first := exec.CommandContext(ctx, "sh", append([]string{"-c", `"$0" -X -q -v ON_ERROR_STOP=1 -d "$1" -c "$2" && shift 2 && exec "$@"`,
			filepath.Join(tr.source.BinDir, "psql"), tr.conn(), sql, filepath.Join(tr.source.BinDir, name)}, args...)...)
		first.Env = cmd.Env
		return first
	}
	_, err = stream.FullBackup(context.Background(), r, stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication,
		Command: command, Notice: func(s string) { notices = append(notices, s) }})
	must(tr.t, err)
	return attempts, notices
}

// Neither command respects the snapshot of a dump that has not locked the
// table yet: the dump would be without rows, and is taken again.
func TestTruncateDuringBase(t *testing.T) {
	again(t, `TRUNCATE a; INSERT INTO a VALUES (1000, 1)`, "TRUNCATE changed")
}

func TestAlterDuringBase(t *testing.T) {
	again(t, `ALTER TABLE a ALTER n TYPE text USING 'n' || n`, "ALTER TABLE changed")
}

// again runs a command during a base that is of no use with it.
func again(t *testing.T, sql, said string) {
	t.Helper()
	tr := begin(t, `CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT g, g FROM generate_series(1, 200) g; CREATE TABLE b (id int PRIMARY KEY);
	  INSERT INTO b VALUES (1)`)
	attempts, notices := tr.duringBase(sql)
	if attempts != 2 || !strings.Contains(strings.Join(notices, "\n"), said) {
		t.Errorf("%d attempts; %q", attempts, notices)
	}
	tr.run(`UPDATE a SET n = '7' WHERE id = (SELECT min(id) FROM a); INSERT INTO b VALUES (2)`)
	tr.capture()
	tr.noGap()
	tr.back() // from the newest base
	tr.equal()
}

// A command beside the base that touches nothing which its snapshot shows
// costs no second attempt.
func TestCommandOnNewTableDuringBase(t *testing.T) {
	tr := begin(t, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)`)
	if attempts, notices := tr.duringBase(`CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1), (2);
	  ALTER TABLE late ADD COLUMN at timestamptz DEFAULT now(); TRUNCATE late; INSERT INTO late VALUES (3)`); attempts != 1 {
		t.Errorf("%d attempts: %q", attempts, notices)
	}
	tr.run(`INSERT INTO late VALUES (4)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// Without the publication, decoding fails at the next change, for good: a
// DROP is refused, and nobody but who means the capture gets past that.
func TestDroppedPublication(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION mine FOR TABLE t`)
	conn := tr.source.Conn(t, tr.db)
	for _, sql := range []string{"DROP PUBLICATION pg_scribe", "DROP PUBLICATION mine, pg_scribe", "DROP PUBLICATION IF EXISTS pg_scribe CASCADE",
		"DO $$BEGIN EXECUTE 'DROP PUBLICATION pg_scribe'; END$$", "BEGIN; INSERT INTO t VALUES (1); DROP PUBLICATION pg_scribe; COMMIT"} {
		if _, err := conn.Exec(context.Background(), sql); err == nil || !strings.Contains(err.Error(), "publication pg_scribe carries the backup") {
			t.Errorf("%s: %v", sql, err)
		}
		if _, err := conn.Exec(context.Background(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	tr.run(`DROP PUBLICATION mine; INSERT INTO t VALUES (2)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}

// A transaction that was prepared before the slot is made, and does not end,
// keeps it from being made: that is said, with its name, and nothing is left.
// Once it ended, the base has its rows.
func TestPreparedTransactionBlocksTheSlot(t *testing.T) {
	tr := begin(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	name := tr.db + " it's"
	tr.run(fmt.Sprintf("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '%s'", strings.ReplaceAll(name, "'", "''")))
	end := fmt.Sprintf("COMMIT PREPARED '%s'", strings.ReplaceAll(name, "'", "''"))
	r, err := repo.Open(context.Background(), tr.dir, time.Now)
	must(t, err)
	defer r.Close()
	options := stream.BaseOptions{ConnString: tr.conn(), Publication: stream.DefaultPublication, Command: tr.command}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	began := time.Now()
	var blocked *source.SlotError
	if _, err := stream.FullBackup(ctx, r, options); !errors.As(err, &blocked) || blocked.Problem != source.SlotBlocked ||
		!strings.Contains(blocked.Detail, "prepared transaction '"+tr.db+" it''s'") {
		t.Errorf("a base beside a prepared transaction: %v", err)
	}
	if d := time.Since(began); d > time.Minute {
		t.Errorf("to give up took %v", d)
	}
	if got := tr.source.Query(t, tr.db, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'pg_scribe_base%' AND database = "+
		"current_database()"); got != "0" {
		t.Error("a slot is left")
	}
	tr.run(end)
	if _, err := stream.FullBackup(context.Background(), r, options); err != nil {
		t.Fatal(err)
	}
	must(t, r.Close())
	tr.run(`INSERT INTO t VALUES (2)`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
}
