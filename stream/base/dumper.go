package base

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/charset"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// Options say how a dump is made.
type Options struct {
	ConnString  string
	Publication string
	Filters     filter.Chain // nil: those of the repository
	Jobs        int          // more than 1: a directory archive, dumped by as many sessions
	Command     source.Commander
	Report      func(Progress)
	Notice      func(string)
}

// A Dumper takes one base at one slot's consistent point.
type Dumper struct {
	Repo    *repo.Repository
	Conn    *pgx.Conn // an ordinary session
	Server  source.Server
	Options Options
	Slot    string
	Created source.NewSlot
	Version string // of pg_dump
	// atPoint is called in a session that sees what the slot's point shows, with
	// the names of roles there; nil: nothing begins there.
	AtPoint  func(ctx context.Context, conn *pgx.Conn, names map[string]string) error
	chain    filter.Chain
	total    int               // tables to dump
	Names    map[string]string // of roles, as the stream up to the point has brought them
	repaired repairedRows
	objects  *descriptions
}

// Take dumps, proves by the stream that the dump is consistent, and enters it in
// the catalog. slotConn made the slot; its snapshot is given up on the way.
func (d *Dumper) Take(ctx context.Context, slotConn *pgconn.PgConn) (base Result, err error) {
	began := time.Now()
	if d.chain = d.Options.Filters; d.chain == nil {
		d.chain, err = d.Repo.Chain(ctx)
	}
	if err != nil {
		return base, err
	}
	keeper, snapshot, at, err := d.keep(ctx)
	if err != nil {
		return base, err
	}
	defer keeper.Close(context.WithoutCancel(ctx))
	names, err := sample.RoleNames(ctx, keeper)
	if err != nil {
		return base, err
	}
	if d.AtPoint != nil {
		if err := d.AtPoint(ctx, keeper, names); err != nil {
			return base, err
		}
	}
	stamp, err := d.Repo.Stamp()
	if err != nil {
		return base, err
	}
	header := d.header(at)
	var globalsFile *repo.DumpWriter
	var globalsErr error
	var beside sync.WaitGroup
	beside.Go(func() { globalsFile, globalsErr = d.globals(ctx, header, stamp) })
	defer func() {
		if beside.Wait(); globalsFile == nil {
			return
		}
		if err != nil {
			globalsFile.Abort()
		}
		globalsFile.Close()
	}()
	reading, stop := context.WithCancel(ctx)
	objects := d.readDescriptions(reading, snapshot)
	defer objects.close()
	defer stop()
	d.objects = objects
	made, err := d.write(ctx, header, stamp, snapshot, func(ctx context.Context) (catalog.LSN, error) {
		if err := d.compareObjects(ctx); err != nil { // what changes while they are read may be in them
			return 0, err
		}
		return d.fence(ctx, slotConn, keeper)
	})
	if err != nil {
		return base, err
	}
	defer func() {
		if err != nil {
			made.file.Abort()
		}
		made.file.Close()
	}()
	for _, c := range made.counts {
		base.Rows += c.Inserted
	}
	base.Tables = len(made.counts)
	artifact := made.artifact
	if beside.Wait(); globalsErr != nil {
		return base, globalsErr
	}
	globals, err := globalsFile.Finish(segment.Trailer{}) // not before: of a base that is broken off, they are of no use
	if err != nil {
		return base, err
	}
	if err = d.checkNames(ctx, names); err == nil {
		err = d.register(ctx, artifact, globals, objects)
	}
	if err != nil {
		return base, err
	}
	base.Base, base.Globals, base.Duration = artifact, globals, time.Since(began)
	return base, d.Repo.WriteMetadata(ctx, d.metadata(ctx))
}

// header begins the base's file. at is the source's clock once nothing that the
// snapshot shows can commit any more.
func (d *Dumper) header(at time.Time) segment.Header {
	return segment.Header{Kind: catalog.KindBase, SystemID: d.Server.SystemID, Timeline: d.Server.Timeline, Database: d.Server.Database,
		Server: d.Server.Version, Encoding: d.Server.Encoding, Collate: d.Server.Collate, CType: d.Server.CType,
		LocaleProvider: d.Server.Provider, Locale: d.Server.Locale, Start: d.Created.Point, At: at, Created: d.Repo.Now(), Dump: d.Version}
}

// madeBase is a base's finished file or directory.
type madeBase struct {
	file interface {
		Abort()
		Close() error
	}
	artifact catalog.Artifact
	counts   []catalog.TableCount
}

// plain dumps into one file of SQL.
func (d *Dumper) plain(ctx context.Context, h segment.Header, stamp, snapshot string, fence func(context.Context) (catalog.LSN, error)) (made madeBase, err error) {
	file, err := d.Repo.CreateDump(h, stamp, d.chain)
	if err != nil {
		return made, err
	}
	counts, until, err := d.dumpFenced(ctx, file, snapshot, fence)
	if err == nil {
		made = madeBase{file: file, counts: counts}
		made.artifact, err = file.Finish(segment.Trailer{Fence: until, Tables: counts})
	}
	if err != nil {
		file.Abort()
	}
	return made, err
}

// keep takes the slot's snapshot over into a session of its own, which holds
// it while the slot's connection goes on to stream. at is the source's clock
// once nothing that the snapshot shows can commit any more.
func (d *Dumper) keep(ctx context.Context) (keeper *pgx.Conn, snapshot string, at time.Time, err error) {
	keeper, err = source.Connect(ctx, d.Options.ConnString)
	if err != nil {
		return nil, "", at, err
	}
	defer func() {
		if err != nil {
			keeper.Close(context.WithoutCancel(ctx))
		}
	}()
	if _, err = source.BeginAt(ctx, keeper, d.Created.Snapshot, pgx.ReadOnly); err != nil {
		return nil, "", at, err
	}
	var xmax string
	if err = keeper.QueryRow(ctx, "SELECT pg_export_snapshot(), pg_snapshot_xmax(pg_current_snapshot())::text").Scan(&snapshot, &xmax); err != nil {
		return nil, "", at, err
	}
	if err = d.settle(ctx, keeper); err != nil {
		return nil, "", at, err
	}
	if err = d.Conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
		return nil, "", at, err
	}
	err = keeper.QueryRow(ctx, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname <> 'scribe'`).Scan(&d.total)
	return keeper, snapshot, at, err
}

//go:embed unsettled.sql
var unsettledSQL string

// settle waits until every transaction that the snapshot counts as ended is
// seen as ended by everybody. A commit is decoded when its record is flushed,
// an instant before other sessions see it; a reader in that instant would take
// its rows for aborted, and mark them so.
func (d *Dumper) settle(ctx context.Context, keeper *pgx.Conn) error {
	for range 600 {
		var unsettled bool
		err := keeper.QueryRow(ctx, unsettledSQL).Scan(&unsettled)
		if err != nil || !unsettled {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil // a session that long in the act of committing is another's subtransaction id
}

// dumpFenced runs pg_dump and, as soon as it has read every definition, the
// fence beside it. pg_dump writes nothing before that; afterwards it reads
// only tables, which the locks protect. A dump that the fence condemns is
// given up at once.
func (d *Dumper) dumpFenced(ctx context.Context, file *repo.DumpWriter, snapshot string, fence func(context.Context) (catalog.LSN, error)) ([]catalog.TableCount, catalog.LSN, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var until catalog.LSN
	done := make(chan error, 1)
	var once sync.Once
	run := func() {
		once.Do(func() {
			go func() {
				lsn, err := fence(ctx)
				until = lsn
				if err != nil {
					cancel(err)
				}
				done <- err
			}()
		})
	}
	counts, err := d.dump(ctx, file, snapshot, run)
	if err != nil && ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	run() // a dump that failed may have failed because of what the fence finds
	if ferr := <-done; ferr != nil {
		return nil, 0, ferr
	}
	if err == nil {
		err = errors.Join(d.writeSettings(ctx, file), d.objects.writeTo(file))
	}
	return counts, until, err
}

// firstRead reports when the first output of a tool arrives.
type firstRead struct {
	io.Reader
	told bool
	tell func()
}

func (r *firstRead) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 && !r.told {
		r.told = true
		r.tell()
	}
	return n, err
}

// dump runs pg_dump at the snapshot; begun is called when its output begins.
func (d *Dumper) dump(ctx context.Context, file *repo.DumpWriter, snapshot string, begun func()) ([]catalog.TableCount, error) {
	edit, err := d.editor(ctx)
	if err != nil {
		return nil, err
	}
	// A dump that queues behind DDL would only find out at its end that it
	// cannot be used.
	args := []string{"--snapshot=" + snapshot, "--lock-wait-timeout=60s", "--encoding=" + d.Server.Encoding, "--exclude-schema=" + capture.Schema,
		"--no-unlogged-table-data"}
	if args, err = d.throughRoots(ctx, args); err != nil {
		return nil, err
	}
	progress := &dumpProgress{d: d, file: file, last: time.Now()}
	d.repaired = repairedRows{Writer: progress, file: file, encoding: charset.New(d.Server.Encoding), table: &progress.now.Table}
	var counts []catalog.TableCount
	err = d.tool(ctx, "pg_dump", args, func(out io.Reader) error {
		counts, err = dump.Filter(&d.repaired, &firstRead{Reader: out, tell: begun}, edit)
		return err
	})
	return counts, err
}

// throughRoots makes pg_dump write the rows of partitions through the
// partitioned table, where they may belong to another partition after a
// restore. From version 16 on it sees to that itself.
func (d *Dumper) throughRoots(ctx context.Context, args []string) ([]string, error) {
	var needed bool
	err := d.Conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ("+capture.HashLeaves+") x WHERE root IS NOT NULL)").Scan(&needed)
	if needed {
		args = append(args, "--load-via-partition-root")
	}
	return args, err
}

// writeSettings writes what belongs to the database itself, which pg_dump
// leaves to the command that creates one.
func (d *Dumper) writeSettings(ctx context.Context, file io.Writer) error {
	tx, err := d.Conn.Begin(ctx)
	if err != nil {
		return err
	}
	settings, err := sample.DatabaseSettings(ctx, tx, d.Server)
	if err := errors.Join(err, tx.Rollback(ctx)); err != nil {
		return err
	}
	text := "\n-- Settings, comment and privileges of the database\n\n"
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		text += settings[key] + ";\n"
	}
	_, err = file.Write([]byte(text))
	return err
}

// serverOption is what the newest minor versions keep among a column's options
// for themselves. An older pg_dump takes it for one of the application's.
var serverOption = regexp.MustCompile(`\bpg_attver=\d+(, )?`)

// withoutServerOption is a statement without such options, or nil if it does
// nothing but set one.
func withoutServerOption(statement []byte) []byte {
	at := bytes.LastIndex(statement, []byte(" SET ("))
	if at < 0 || !bytes.HasPrefix(statement, []byte("ALTER ")) || !bytes.Contains(statement[at:], []byte("pg_attver=")) {
		return statement
	}
	options := bytes.Replace(serverOption.ReplaceAll(statement[at:], nil), []byte(", )"), []byte(")"), 1)
	if bytes.HasPrefix(options, []byte(" SET ()")) {
		return nil
	}
	return slices.Concat(statement[:at], options)
}

//go:embed own_identities.sql
var ownIdentitiesSQL string

// editor leaves out the statements of a dump that are pg_scribe's own doing on
// the source, and so not the application's.
func (d *Dumper) editor(ctx context.Context) (func([]byte) []byte, error) {
	rows, err := d.Conn.Query(ctx, ownIdentitiesSQL)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	mode, err := capture.Mode(ctx, d.Conn)
	if err != nil {
		return nil, err
	}
	guarded := make(map[string]bool, len(list))
	for _, s := range list {
		guarded[s] = true
	}
	own := [][]byte{}
	if d.Server.Major() < 17 {
		// A later pg_dump sets it for servers that do not know it.
		own = append(own, []byte("SET transaction_timeout = "))
	}
	for _, name := range capture.TriggerNames() {
		for _, prefix := range []string{"CREATE EVENT TRIGGER ", "ALTER EVENT TRIGGER ", "COMMENT ON EVENT TRIGGER "} {
			own = append(own, []byte(prefix+sqltext.Bare(name)+" "))
		}
	}
	for _, prefix := range []string{"CREATE PUBLICATION ", "ALTER PUBLICATION ", "COMMENT ON PUBLICATION "} {
		for _, p := range capture.Publications(d.Options.Publication, mode) {
			own = append(own, []byte(prefix+sqltext.Bare(p.Name)+" "))
		}
	}
	return func(statement []byte) []byte {
		for _, prefix := range own {
			if bytes.HasPrefix(statement, prefix) {
				return nil
			}
		}
		if guarded[string(statement)] {
			return nil
		}
		return withoutServerOption(statement)
	}, nil
}

// dumpProgress reports while the dump passes through.
type dumpProgress struct {
	d    *Dumper
	file *repo.DumpWriter
	now  Progress
	last time.Time
}

func (p *dumpProgress) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	if rest, ok := bytes.CutPrefix(b, []byte("COPY ")); ok && len(b) < 64<<10 {
		name, _, _ := bytes.Cut(rest, []byte(" ("))
		p.now.Table = string(name)
	} else if string(b) == "\\.\n" {
		p.now.Tables++
	}
	if p.d.Options.Report != nil && time.Since(p.last) >= time.Second {
		p.last = time.Now()
		p.now.TextBytes, p.now.StoredBytes, p.now.TotalTables = p.file.TextBytes(), p.file.StoredBytes(), p.d.total
		p.d.Options.Report(p.now)
	}
	return n, err
}

// globals dumps roles and tablespaces, into a file that is still to be finished. They
// are not tied to the snapshot: no snapshot covers them.
func (d *Dumper) globals(ctx context.Context, h segment.Header, stamp string) (*repo.DumpWriter, error) {
	h.Kind = catalog.KindGlobals
	file, err := d.Repo.CreateDump(h, stamp, repo.GlobalsChain(d.chain))
	if err != nil {
		return nil, err
	}
	args := []string{"--globals-only"}
	if !d.Server.ReadsRoles {
		args = append(args, "--no-role-passwords")
	}
	err = d.tool(ctx, "pg_dumpall", args, func(out io.Reader) error {
		_, err := io.Copy(file, out)
		return err
	})
	if err != nil {
		file.Abort()
		return nil, err
	}
	return file, nil
}

// metadata is what the text file for a person says of the source.
func (d *Dumper) metadata(ctx context.Context) repo.Metadata {
	m := repo.Metadata{Server: d.Server.Version, Encoding: d.Server.Encoding, Collate: d.Server.Collate, CType: d.Server.CType,
		LocaleProvider: d.Server.Provider, Locale: d.Server.Locale}
	rows, err := d.Conn.Query(ctx, "SELECT extname || ' ' || extversion FROM pg_extension ORDER BY extname")
	if err == nil {
		m.Extensions, _ = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	return m
}

// checkNames makes sure that a dump can be relied on for the names of roles,
// given those of its snapshot.
func (d *Dumper) checkNames(ctx context.Context, names map[string]string) error {
	now, err := sample.RoleNames(ctx, d.Conn)
	if err == nil {
		err = sameNames(names, now)
	}
	if err != nil {
		return err
	}
	return sameNames(d.Names, names)
}

// sameNames makes sure that no role of before has another name now: a dump
// names roles both as of its snapshot and as of when it comes to them, and the
// stream goes on from the names that it has brought.
func sameNames(before, now map[string]string) error {
	for oid, was := range before {
		if name := now[oid]; name != "" && name != was {
			return &FenceError{"role " + was + " was renamed to " + name}
		}
	}
	return nil
}
