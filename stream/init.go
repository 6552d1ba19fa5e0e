package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/base"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// InitOptions say how a repository is begun.
type InitOptions struct {
	BaseOptions
	Dir      string
	Slot     string
	Mode     string        // capture.ModeGuarded or capture.ModeNoHarm; empty: guarded
	GrantTo  string        // role that is to run everything but init and drop; empty: none
	Failover bool          // the slot is kept in step on standbys; PostgreSQL 17 and later
	Record   bool          // who ran each command: user, application, client address
	Step     func(string)  // told what begins
	Patience time.Duration // with transactions that are older than the capture; 0: half a minute
}

// Init sets up capture, makes the slot, and takes the first base from the
// slot's own snapshot. If it fails or ctx ends, everything that it made is
// undone, and nothing else.
func Init(ctx context.Context, opts InitOptions, create func(catalog.Repository) (*repo.Repository, error)) (base base.Result, err error) {
	opts.Mode = cmp.Or(opts.Mode, capture.ModeGuarded)
	conn, err := source.Connect(ctx, opts.ConnString)
	if err != nil {
		return base, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	b := &beginning{opts: opts, conn: conn}
	if err := b.check(ctx); err != nil {
		return base, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.takeBack(context.WithoutCancel(ctx)))
		}
	}()
	if err := b.createRepository(ctx, create); err != nil {
		return base, err
	}
	defer b.repo.Close()
	older, err := b.installCapture(ctx)
	if err != nil {
		return base, err
	}
	opts.Step("creating replication slot " + opts.Slot)
	slotConn, err := source.ConnectReplication(ctx, opts.ConnString, b.src.Encoding, source.SlotLockTimeout)
	if err != nil {
		return base, err
	}
	defer slotConn.Close(context.WithoutCancel(ctx))
	slot, err := b.createSlot(ctx, slotConn)
	if err != nil {
		return base, err
	}
	if len(older) > 0 {
		if err := markOlder(ctx, conn, older, opts); err != nil {
			return base, err
		}
	}
	if err := sample.BaselineInventory(ctx, conn, b.repo.Catalog(), slot.Snapshot); err != nil {
		return base, err
	}
	d := opts.dumper(b.repo, conn, b.src)
	d.Slot, d.Created, d.Version, d.AtPoint = opts.Slot, slot, b.version, beginStream(b.repo, b.src, slot.Point)
	base, err = firstBase(ctx, b.repo, d, opts.BaseOptions, slotConn, opts.Step)
	if err == nil && opts.GrantTo != "" {
		opts.Step("granting role " + opts.GrantTo + " what start, mark, status and full-backup need")
		_, err = conn.Exec(ctx, "SELECT scribe.grant_to($1)", opts.GrantTo)
	}
	return base, err
}

// A beginning is a repository on its way, and how to take it back.
type beginning struct {
	opts    InitOptions
	conn    *pgx.Conn
	src     source.Server
	version string // of pg_dump
	repo    *repo.Repository
	undo    []func(context.Context) error // last made first
}

// takeBack removes what was made.
func (b *beginning) takeBack(ctx context.Context) (err error) {
	for i := len(b.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, b.undo[i](ctx))
	}
	return err
}

// check makes sure that the source allows what the options say. It removes what
// came along in a copy of a captured database.
func (b *beginning) check(ctx context.Context) (err error) {
	if b.src, err = source.Inspect(ctx, b.conn); err != nil {
		return err
	}
	if b.opts.Failover && b.src.Major() < 17 {
		return &source.FailoverError{Version: b.src.Version}
	}
	if b.version, err = base.CheckTools(ctx, b.opts.Command, b.src); err != nil {
		return err
	}
	if err := checkRole(ctx, b.conn, b.opts.GrantTo); err != nil {
		return err
	}
	if slot, err := source.ReadSlot(ctx, b.conn, b.opts.Slot); err == nil {
		return &source.SlotError{Slot: b.opts.Slot, Problem: source.SlotExists, Database: slot.Database}
	}
	return clearCopy(ctx, b.conn, b.opts)
}

func (b *beginning) createRepository(ctx context.Context, create func(catalog.Repository) (*repo.Repository, error)) (err error) {
	b.opts.Step("creating the repository")
	src := b.src
	b.repo, err = create(catalog.Repository{
		Format: segment.FormatVersion, SystemID: src.SystemID, Timeline: src.Timeline, Database: src.Database,
		DatabaseOID: src.DatabaseOID, Encoding: src.Encoding, Collate: src.Collate, CType: src.CType,
		LocaleProvider: src.Provider, Locale: src.Locale, ServerVersion: src.Version,
		Slot: b.opts.Slot, Publication: b.opts.Publication, Mode: b.opts.Mode,
	})
	if err != nil {
		return err
	}
	b.undo = append(b.undo, func(context.Context) error { return b.repo.Undo() })
	for setting, on := range map[string]bool{failoverSetting: b.opts.Failover, recordUserSetting: b.opts.Record} {
		if !on {
			continue
		}
		if err := b.repo.Catalog().SetSetting(ctx, setting, "on"); err != nil {
			b.repo.Close()
			return err
		}
	}
	return nil
}

// installCapture installs what is not there yet, and keeps what the source is
// like now. older are the transactions that may escape it (awaitOlder).
func (b *beginning) installCapture(ctx context.Context) (older []string, err error) {
	opts := b.opts
	names := capture.PublicationNames(opts.Publication, opts.Mode)
	opts.Step("installing the capture of DDL (schema scribe, event triggers, publication " + strings.Join(names, " and ") + ")")
	made, err := capture.Install(ctx, b.conn, opts.Publication, opts.Mode)
	b.undo = append(b.undo, func(clean context.Context) error { return removeMade(clean, opts.ConnString, made) })
	if err != nil {
		return nil, err
	}
	if err := b.recordUser(ctx); err != nil {
		return nil, err
	}
	if err := keeper(b.repo, opts.Publication, opts.Step).Begin(ctx, b.conn, opts.Mode); err != nil {
		return nil, err
	}
	if err := sample.Baseline(ctx, b.conn, b.src, opts.Publication, b.repo.Catalog()); err != nil || !made.Schema {
		return nil, err
	}
	return awaitOlder(ctx, b.conn, opts)
}

// recordUser has the capture send who ran each command, if that is wanted. One that
// does so already, for another repository, goes on.
func (b *beginning) recordUser(ctx context.Context) error {
	if !b.opts.Record {
		return nil
	}
	changed, err := capture.RecordUser(ctx, b.conn, true)
	if changed {
		b.undo = append(b.undo, func(clean context.Context) error {
			conn, err := source.Connect(clean, b.opts.ConnString)
			if err != nil {
				return err
			}
			defer conn.Close(clean)
			_, err = capture.RecordUser(clean, conn, false)
			return err
		})
	}
	return err
}

// removeMade takes back what an installation made, on a connection of its own: a
// cancelled query may have closed the one that made it.
func removeMade(ctx context.Context, connString string, made capture.Made) error {
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return capture.Remove(ctx, conn, made)
}

func (b *beginning) createSlot(ctx context.Context, slotConn *pgconn.PgConn) (slot source.NewSlot, err error) {
	if known, err := source.TimelineHistory(ctx, slotConn, b.src); err == nil { // the server may have lost the file
		if err := b.repo.Catalog().AddSwitches(ctx, known); err != nil {
			return slot, err
		}
	}
	slot, err = source.CreateSlot(ctx, slotConn, b.src, source.SlotOptions{Name: b.opts.Slot, Failover: b.opts.Failover})
	if err != nil {
		return slot, source.WithBlockers(ctx, err, b.opts.ConnString)
	}
	b.undo = append(b.undo, func(clean context.Context) error {
		slotConn.Close(clean)
		return source.DropSlotWhenFree(clean, b.opts.ConnString, b.opts.Slot)
	})
	return slot, nil
}

// clearCopy removes what came along from a captured database that this one is a
// copy of: its secret is known elsewhere, or lost.
func clearCopy(ctx context.Context, conn *pgx.Conn, opts InitOptions) error {
	err := capture.RefuseCopy(ctx, conn)
	var copied *capture.CopyError
	if !errors.As(err, &copied) {
		return err
	}
	opts.Step(copied.Error() + "; removing the capture that came along")
	return capture.RemoveAll(ctx, conn, opts.Publication)
}

// awaitOlder waits for transactions that began before the event triggers were
// there, and returns those that do not end. A session looks for new triggers
// when it begins a transaction or gets a lock, and a command on what it has
// locked or only read before could escape them.
func awaitOlder(ctx context.Context, conn *pgx.Conn, opts InitOptions) (open []string, err error) {
	var installed time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&installed); err != nil {
		return nil, err
	}
	told := false
	for began := time.Now(); ; {
		rows, err := conn.Query(ctx, `SELECT format('process %s (%s, user %s, since %s)', pid, state, usename, date_trunc('second', xact_start))
		  FROM pg_stat_activity WHERE datname = current_database() AND xact_start < $1 AND pid <> pg_backend_pid()
		    AND backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender', 'logical replication worker')
		  ORDER BY xact_start LIMIT 20`, installed)
		if err != nil {
			return nil, err
		}
		if open, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(open) == 0 || time.Since(began) > cmp.Or(opts.Patience, 30*time.Second) {
			return open, err
		}
		if !told && time.Since(began) > time.Second {
			told = true
			opts.Step("waiting for transactions that began before: " + strings.Join(open, "; "))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// markOlder says in the stream, behind the first base, that commands may be
// missing in it.
func markOlder(ctx context.Context, conn *pgx.Conn, open []string, opts InitOptions) error {
	reason := "transactions that are older than the capture were open, and their DDL may not be captured: " + strings.Join(open, "; ")
	if opts.Notice != nil {
		opts.Notice(reason + "; take another base when they have ended")
	}
	return capture.EmitGap(ctx, conn, reason+" (pg_scribe full-backup heals it)")
}

// RoleError says that a role which was named does not exist.
type RoleError struct{ Role string }

func (e *RoleError) Error() string { return fmt.Sprintf("role %q does not exist", e.Role) }

func checkRole(ctx context.Context, conn *pgx.Conn, role string) error {
	if role == "" {
		return nil
	}
	var there bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there)
	if err == nil && !there {
		err = &RoleError{role}
	}
	return err
}

// failoverSetting says in the catalog that the repository's slot is kept in
// step on standbys.
const failoverSetting = "slot.failover"

// firstBase takes the base at the new slot's own point, or, when DDL got in
// the way, at a later one: the slot stands, and any point of its stream will do.
func firstBase(ctx context.Context, r *repo.Repository, d *base.Dumper, opts BaseOptions, slotConn *pgconn.PgConn, step func(string)) (base.Result, error) {
	step("taking the first base at " + d.Created.Point.String())
	made, err := d.Take(ctx, slotConn)
	var fence *base.FenceError
	if errors.As(err, &fence) {
		step(err.Error() + "; taking it again")
		slotConn.Close(context.WithoutCancel(ctx))
		opts.NewSlot = false
		return FullBackup(ctx, r, opts)
	}
	return made, err
}
