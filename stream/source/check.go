package source

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Finding is something about the source that keeps a backup from being
// made, or from being complete.
type Finding struct {
	Critical bool   `json:"critical"`
	Problem  string `json:"problem"`
	Fix      string `json:"fix"` // the command or setting that fixes it

	Tool    string   `json:"-"` // a program that is missing or too old
	Major   int      `json:"-"` // for it: the server's major version
	Command []string `json:"-"` // of pg_scribe, behind Fix; without connection and repository, which the caller knows
}

// Commander makes the command of an external tool, as exec.CommandContext.
type Commander func(ctx context.Context, name string, args ...string) *exec.Cmd

// Check looks at everything that a capture relies on and returns all it found,
// critical findings first. With leaveKeyless, tables without a usable replica
// identity are to be left alone, which is a warning.
func Check(ctx context.Context, connString string, leaveKeyless bool, command Commander) ([]Finding, error) {
	conn, err := Connect(ctx, connString)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	src, err := Inspect(ctx, conn)
	if err != nil {
		return nil, err
	}
	c := &checker{ctx: ctx, conn: conn, src: src}
	c.settings()
	c.privileges()
	c.identities(leaveKeyless)
	c.tools(command)
	c.coverage()
	return append(c.critical, c.warnings...), c.err
}

type checker struct {
	ctx                context.Context
	conn               *pgx.Conn
	src                Server
	critical, warnings []Finding
	err                error
}

func (c *checker) fail(problem, fix string) {
	c.critical = append(c.critical, Finding{Critical: true, Problem: problem, Fix: fix})
}

func (c *checker) warn(problem, fix string) {
	c.warnings = append(c.warnings, Finding{Problem: problem, Fix: fix})
}

// list runs a query that returns one text column.
func (c *checker) list(sql string) []string {
	if c.err != nil {
		return nil
	}
	rows, err := c.conn.Query(c.ctx, sql)
	if err == nil {
		var list []string
		if list, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return list
		}
	}
	c.err = err
	return nil
}

func (c *checker) number(sql string) int {
	n := 0
	for _, s := range c.list(sql) {
		n, _ = strconv.Atoi(s)
	}
	return n
}

func (c *checker) settings() {
	if m := c.src.Major(); m < minServer || m > maxServer {
		c.fail(fmt.Sprintf("the server is PostgreSQL %s; supported are %d to %d", c.src.Version, minServer, maxServer),
			"upgrade the server, or use a version of pg_scribe that knows it")
	}
	if f, ok := ServerVersionFinding(c.src.Version); !ok && f.Critical {
		c.critical = append(c.critical, f)
	} else if !ok {
		c.warnings = append(c.warnings, f)
	}
	if c.src.InRecovery {
		c.fail("the server is a standby; DDL capture needs the primary", "connect to the primary with -h")
	}
	if c.src.WALLevel != "logical" {
		c.fail(fmt.Sprintf("wal_level is %q, it must be \"logical\"", c.src.WALLevel),
			"ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL")
	}
	if used := c.number("SELECT count(*)::text FROM pg_replication_slots"); used >= c.src.MaxSlots {
		c.fail(fmt.Sprintf("no replication slot is free: %d of max_replication_slots = %d are in use", used, c.src.MaxSlots),
			fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart PostgreSQL", used+5))
	} else if used+1 >= c.src.MaxSlots {
		c.warn(fmt.Sprintf("only one replication slot is free; full-backup needs a second one while start runs (max_replication_slots = %d)", c.src.MaxSlots),
			fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart PostgreSQL", used+5))
	}
	senders := c.number("SELECT current_setting('max_wal_senders')")
	if used := c.number("SELECT count(*)::text FROM pg_stat_replication"); used >= senders {
		c.fail(fmt.Sprintf("no WAL sender is free: %d of max_wal_senders = %d are in use", used, senders),
			fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart PostgreSQL", used+5))
	}
	for _, v := range c.list("SELECT current_setting('max_slot_wal_keep_size')") {
		if v == "-1" {
			c.warn("max_slot_wal_keep_size is unlimited: while start does not run, WAL can fill the server's disk",
				"ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();")
		}
	}
}

func (c *checker) privileges() {
	if !c.src.CanReplicate && !c.src.IsSuperuser {
		c.fail(fmt.Sprintf("role %q may not use replication", c.src.CurrentUser),
			fmt.Sprintf("ALTER ROLE %s REPLICATION;", pgx.Identifier{c.src.CurrentUser}.Sanitize()))
	}
	// A trial in a transaction that is rolled back says more than any
	// catalog: managed services grant such rights in their own ways.
	try := func(sql, problem string) {
		if c.err != nil {
			return
		}
		tx, err := c.conn.Begin(c.ctx)
		if err != nil {
			c.err = err
			return
		}
		defer tx.Rollback(context.WithoutCancel(c.ctx))
		if _, err := tx.Conn().PgConn().Exec(c.ctx, sql).ReadAll(); err != nil {
			c.fail(problem+": "+strings.ReplaceAll(err.Error(), "\n", " "),
				fmt.Sprintf("connect with -U as a superuser, or ALTER ROLE %s SUPERUSER;", pgx.Identifier{c.src.CurrentUser}.Sanitize()))
		}
	}
	if c.src.InRecovery {
		return
	}
	try(`CREATE SCHEMA scribe_trial; CREATE FUNCTION scribe_trial.f() RETURNS event_trigger LANGUAGE plpgsql
	      SECURITY DEFINER SET lc_messages = 'C' AS 'BEGIN END';
	    CREATE EVENT TRIGGER scribe_trial ON ddl_command_end EXECUTE FUNCTION scribe_trial.f();`,
		"event triggers, which capture DDL, cannot be created")
	try("CREATE PUBLICATION scribe_trial FOR ALL TABLES", "a publication of all tables cannot be created")
}

// identities looks for tables whose UPDATEs and DELETEs would fail once they
// are published; where they are left alone, for what is not captured of them.
func (c *checker) identities(leave bool) {
	if c.err != nil {
		return
	}
	tables, err := Keyless(c.ctx, c.conn)
	if err != nil {
		c.err = err
		return
	}
	if leave {
		if len(tables) > 0 {
			names := make([]string, len(tables))
			for i, t := range tables {
				names[i] = t.Name
			}
			c.warn("UPDATE and DELETE of tables without a usable replica identity are not captured: "+firstNames(names), "add primary keys")
		}
		return
	}
	for _, t := range tables {
		if t.Full {
			c.fail(fmt.Sprintf("table %s has no usable replica identity: its UPDATEs and DELETEs could not be captured", t.Name),
				fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL; -- or add a primary key, or let init do this for all with --force", t.Name))
		}
	}
	for _, t := range tables {
		if !t.Full {
			c.fail(fmt.Sprintf("table %s has generated columns and no usable replica identity: its UPDATEs and DELETEs would fail", t.Name),
				AddKey+" (--force lets init use such an index, and goes on if there is none)")
		}
	}
}

var versionNumber = regexp.MustCompile(`\) (\d+)`)

func (c *checker) tools(command Commander) {
	for _, tool := range []string{"pg_dump", "pg_dumpall"} {
		_, major, err := ToolVersion(c.ctx, command, tool)
		switch {
		case err != nil:
			c.critical = append(c.critical, Finding{Critical: true, Problem: fmt.Sprintf("%s cannot be run: %v", tool, err), Tool: tool, Major: c.src.Major(),
				Fix: fmt.Sprintf("install the PostgreSQL client programs, version %d or newer, and put them in PATH", c.src.Major())})
		case major < c.src.Major():
			c.critical = append(c.critical, Finding{Critical: true, Tool: tool, Major: c.src.Major(),
				Problem: fmt.Sprintf("%s is of version %d, older than the server's %d", tool, major, c.src.Major()),
				Fix:     fmt.Sprintf("install the PostgreSQL client programs, version %d or newer, and put them first in PATH", c.src.Major())})
		}
	}
}

// ToolVersion is what a PostgreSQL client program says of its version.
func ToolVersion(ctx context.Context, command Commander, tool string) (version string, major int, err error) {
	out, err := command(ctx, tool, "--version").Output()
	if err != nil {
		return "", 0, err
	}
	version = strings.TrimSpace(string(out))
	m := versionNumber.FindStringSubmatch(version)
	if m == nil {
		return "", 0, fmt.Errorf("%s --version printed %q", tool, version)
	}
	major, err = strconv.Atoi(m[1])
	return version, major, err
}

// firstNames names up to ten.
func firstNames(list []string) string {
	if len(list) > 10 {
		return strings.Join(list[:10], ", ") + fmt.Sprintf(" and %d more", len(list)-10)
	}
	return strings.Join(list, ", ")
}

// coverage warns of what logical decoding does not carry.
func (c *checker) coverage() {
	tables := func(condition string) []string {
		return c.list(`SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		  WHERE c.oid >= 16384 AND n.nspname <> 'scribe' AND ` + condition + ` ORDER BY 1`)
	}
	if l := tables("c.relkind = 'r' AND c.relpersistence = 'u'"); len(l) > 0 {
		c.warn("unlogged tables are restored empty: "+firstNames(l), "ALTER TABLE … SET LOGGED;")
	}
	if l := tables("c.relkind = 'f'"); len(l) > 0 {
		c.warn("foreign tables are restored as definitions, without their data: "+firstNames(l), "back up their servers too")
	}
	if l := c.list(`SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid >= 16384
	  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype IN ('e', 'i')) ORDER BY 1`); len(l) > 0 {
		c.warn("pg_dump leaves out functions that were made in schema pg_catalog, and a restore what uses them, as casts, views and indexes: "+firstNames(l),
			"make them in a schema of your own, and let what uses them use those")
	}
	if n := c.number("SELECT count(*)::text FROM pg_prepared_xacts WHERE database = current_database()"); n > 0 {
		c.warn(fmt.Sprintf("%d prepared transactions are pending: the slot waits for them, and they are captured only when committed", n),
			"SELECT * FROM pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED each")
	}
	if c.src.Encoding == "SQL_ASCII" {
		c.warn("the database's encoding is SQL_ASCII: bytes are kept as they are, whatever they mean", "create the database anew with ENCODING 'UTF8'")
	}
	n := c.number("SELECT count(*)::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()")
	if c.src.IsSuperuser && n > 0 {
		c.warn(fmt.Sprintf("%d subscriptions replicate into this database: commit times of their transactions are the publisher's", n),
			"prefer --target-lsn to --target-time for moments among them")
	}
}
