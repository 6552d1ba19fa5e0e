package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ddlKinds are the commands whose cost is measured, in an order in which they
// can run; %d is the number of the round.
var ddlKinds = []struct{ name, sql string }{
	{"CREATE TABLE", "CREATE TABLE ddl_%d (id int PRIMARY KEY, v text)"},
	{"ALTER TABLE ADD COLUMN", "ALTER TABLE ddl_%d ADD COLUMN c int DEFAULT 1"},
	{"CREATE INDEX", "CREATE INDEX ON ddl_%d (v)"},
	{"GRANT", "GRANT SELECT ON ddl_%d TO PUBLIC"},
	{"CREATE FUNCTION", "CREATE OR REPLACE FUNCTION ddl_%d() RETURNS int LANGUAGE sql AS 'SELECT 1'"},
	{"DROP TABLE", "DROP TABLE ddl_%d"},
}

// ddlCost is what one kind of command costs: the least time of all rounds,
// since what other programs add is none of it, and the mean of the WAL.
type ddlCost struct {
	time time.Duration
	wal  int64
}

// rewrites are commands that rewrite a table of a million rows: what the target
// computes again, and what only the source knows.
var rewrites = []struct {
	name, before, sql string
	limit             float64
}{
	{"ALTER TYPE bigint", "", "ALTER TABLE big ALTER a TYPE bigint", 1.1},
	{"ADD generated column", "", "ALTER TABLE big ADD g bigint GENERATED ALWAYS AS (a * 2) STORED", 1.1},
	{"ADD DEFAULT gen_random_uuid()", "", "ALTER TABLE big ADD u uuid DEFAULT gen_random_uuid()", 2},
	{"ALTER TYPE USING", "", "ALTER TABLE big ALTER b TYPE text USING upper(b)", 2},
	{"SET LOGGED", "ALTER TABLE big SET UNLOGGED", "ALTER TABLE big SET LOGGED", 2},
}

// rewriteCosts measures how long each of them holds its lock, the least of
// several rounds.
func (b *bench) rewriteCosts(db string) ([]time.Duration, error) {
	least := make([]time.Duration, len(rewrites))
	conn, err := pgx.Connect(b.ctx, b.conn(db))
	if err != nil {
		return nil, err
	}
	defer conn.Close(b.ctx)
	for round := range 3 {
		for i, r := range rewrites {
			for _, sql := range []string{"DROP TABLE IF EXISTS big", "CREATE TABLE big (id int PRIMARY KEY, a int, b text, c timestamptz, d numeric)",
				"INSERT INTO big SELECT g, g, 'row number ' || g, now(), g * 1.5 FROM generate_series(1, 1000000) g", r.before, "CHECKPOINT"} {
				if _, err := conn.Exec(b.ctx, sql); err != nil {
					return nil, err
				}
			}
			began := time.Now()
			if _, err := conn.Exec(b.ctx, r.sql); err != nil {
				return nil, err
			}
			if took := time.Since(began); round == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	return least, nil
}

// rewriting measures how much longer such commands take with the capture.
func (b *bench) rewriting() error {
	const db = "rewriting"
	if err := b.tool(nil, "createdb", db); err != nil {
		return err
	}
	before, err := b.rewriteCosts(db)
	if err != nil {
		return err
	}
	if err := b.scribe(nil, "init", "-d", b.conn(db), "-f", filepath.Join(b.work, db), "-S", db); err != nil {
		return err
	}
	after, err := b.rewriteCosts(db)
	if err != nil {
		return err
	}
	for i, r := range rewrites {
		b.rows = append(b.rows, row{"R9", r.name + ", a million rows, with the capture ÷ without", after[i].String(), before[i].String(),
			float64(after[i]) / float64(before[i]), r.limit, r.limit})
	}
	if err := b.scribe(nil, "drop", "-d", b.conn(db), "-S", db, "--yes"); err != nil {
		return err
	}
	return b.tool(nil, "dropdb", db)
}

// ddl measures what the capture adds to DDL commands, in a small database and
// in one of many tables (R9). The first command of a session is apart: there
// the server has yet to read and plan the capture's functions.
func (b *bench) ddl() error {
	fmt.Printf("\n%-8s %-26s %12s %12s %8s %11s %11s\n", "tables", "command", "without, µs", "with, µs", "ratio", "WAL without", "WAL with")
	for _, tables := range []int{100, 5000} {
		db := fmt.Sprintf("ddl%d", tables)
		if err := b.tool(nil, "createdb", db); err != nil {
			return err
		}
		if err := b.manyTables(db, tables); err != nil {
			return err
		}
		if _, err := b.ddlCosts(db, 2000); err != nil { // to warm up
			return err
		}
		before, err := b.ddlCosts(db, 0)
		if err != nil {
			return err
		}
		if err := b.scribe(nil, "init", "-d", b.conn(db), "-f", filepath.Join(b.work, db), "-S", db); err != nil {
			return err
		}
		after, err := b.ddlCosts(db, 1000)
		if err != nil {
			return err
		}
		var added time.Duration
		for i, k := range slices.Concat(ddlKinds, []struct{ name, sql string }{{"first CREATE TABLE", ""}}) {
			fmt.Printf("%-8d %-26s %12d %12d %8.2f %11d %11d\n", tables, k.name, before[i].time.Microseconds(), after[i].time.Microseconds(),
				float64(after[i].time)/float64(before[i].time), before[i].wal, after[i].wal)
			if k.sql != "" {
				added = max(added, after[i].time-before[i].time)
			}
		}
		b.rows = append(b.rows, row{"R9", fmt.Sprintf("most that the capture adds to a DDL command, %d tables, ms", tables),
			added.String(), "-", added.Seconds() * 1000, 1, 2})
		if err := b.scribe(nil, "drop", "-d", b.conn(db), "-S", db, "--yes"); err != nil {
			return err
		}
		if err := b.tool(nil, "dropdb", db); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) manyTables(db string, n int) error {
	for from := 0; from < n; from += 500 { // a lock for each is held until the end
		if err := b.tool(nil, "psql", "-X", "-q", "-d", db, "-c", fmt.Sprintf(`DO $$BEGIN FOR i IN %d..%d LOOP
		  EXECUTE format('CREATE TABLE many_%%s (id int PRIMARY KEY, a int, b text, c timestamptz, d numeric)', i); END LOOP; END$$`,
			from, min(n, from+500)-1)); err != nil {
			return err
		}
	}
	return b.tool(nil, "psql", "-X", "-q", "-d", db, "-c", "VACUUM ANALYZE")
}

// ddlCosts runs every kind of command several times in one session.
func (b *bench) ddlCosts(db string, from int) ([]ddlCost, error) {
	const rounds = 40
	times := make([][]time.Duration, len(ddlKinds)+1)
	wal := make([]int64, len(ddlKinds)+1)
	one := func(conn *pgx.Conn, kind int, sql string) error {
		var at, end string
		if err := conn.QueryRow(b.ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&at); err != nil {
			return err
		}
		began := time.Now()
		if _, err := conn.PgConn().Exec(b.ctx, sql).ReadAll(); err != nil {
			return err
		}
		times[kind] = append(times[kind], time.Since(began))
		var n int64
		err := conn.QueryRow(b.ctx, "SELECT pg_current_wal_insert_lsn()::text, (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::int8", at).Scan(&end, &n)
		wal[kind] += n
		return err
	}
	session := func(run func(*pgx.Conn) error) error {
		conn, err := pgx.Connect(b.ctx, b.conn(db))
		if err != nil {
			return err
		}
		defer conn.Close(b.ctx)
		return run(conn)
	}
	err := session(func(conn *pgx.Conn) error {
		for i := range rounds {
			for kind, k := range ddlKinds {
				if err := one(conn, kind, fmt.Sprintf(k.sql, from+i)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range rounds / 4 {
		err := session(func(conn *pgx.Conn) error {
			return one(conn, len(ddlKinds), strings.Replace(ddlKinds[0].sql, "%d", fmt.Sprint("first_", from+i), 1))
		})
		if err != nil {
			return nil, err
		}
	}
	costs := make([]ddlCost, len(times))
	for i, t := range times {
		costs[i] = ddlCost{slices.Min(t), wal[i] / int64(len(t))}
	}
	return costs, nil
}
