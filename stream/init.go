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
	"pg_scribe/stream/capture"
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
	Step     func(string)  // told what begins
	Patience time.Duration // with transactions that are older than the capture; 0: half a minute
}

// Init sets up capture, makes the slot, and takes the first base from the
// slot's own snapshot. If it fails or ctx ends, everything that it made is
// undone, and nothing else.
func Init(ctx context.Context, opts InitOptions, create func(catalog.Repository) (*repo.Repository, error)) (base Base, err error) {
	opts.Mode = cmp.Or(opts.Mode, capture.ModeGuarded)
	conn, err := source.Connect(ctx, opts.ConnString)
	if err != nil {
		return base, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	src, err := source.Inspect(ctx, conn)
	if err != nil {
		return base, err
	}
	if opts.Failover && src.Major() < 17 {
		return base, &source.FailoverError{Version: src.Version}
	}
	version, err := checkTools(ctx, opts.Command, src)
	if err != nil {
		return base, err
	}
	if err := checkRole(ctx, conn, opts.GrantTo); err != nil {
		return base, err
	}
	if slot, err := source.ReadSlot(ctx, conn, opts.Slot); err == nil {
		return base, &source.SlotError{Slot: opts.Slot, Problem: source.SlotExists, Database: slot.Database}
	}
	if err := clearCopy(ctx, conn, opts); err != nil {
		return base, err
	}
	var undo []func(context.Context) error
	defer func() {
		if err == nil {
			return
		}
		clean := context.WithoutCancel(ctx)
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i](clean))
		}
	}()

	opts.Step("creating the repository")
	r, err := create(catalog.Repository{
		Format: segment.FormatVersion, SystemID: src.SystemID, Timeline: src.Timeline, Database: src.Database,
		DatabaseOID: src.DatabaseOID, Encoding: src.Encoding, Collate: src.Collate, CType: src.CType,
		LocaleProvider: src.Provider, Locale: src.Locale, ServerVersion: src.Version,
		Slot: opts.Slot, Publication: opts.Publication, Mode: opts.Mode,
	})
	if err != nil {
		return base, err
	}
	defer r.Close()
	undo = append(undo, func(context.Context) error { return r.Undo() })

	if opts.Failover {
		if err := r.Catalog().SetSetting(ctx, failoverSetting, "on"); err != nil {
			return base, err
		}
	}

	publications := capture.Publications(opts.Publication, opts.Mode)
	what := "publication "
	for i, p := range publications {
		if i > 0 {
			what += " and "
		}
		what += p.Name
	}
	opts.Step("installing the capture of DDL (schema scribe, event triggers, " + what + ")")
	made, err := capture.Install(ctx, conn, opts.Publication, opts.Mode)
	undo = append(undo, func(clean context.Context) error {
		again, cerr := source.Connect(clean, opts.ConnString) // a cancelled query may have closed conn
		if cerr != nil {
			return cerr
		}
		defer again.Close(clean)
		return capture.Remove(clean, again, made)
	})
	if err != nil {
		return base, err
	}

	if err := keeper(r, opts.Publication, opts.Step).Begin(ctx, conn, opts.Mode); err != nil {
		return base, err
	}
	if err := baseline(ctx, conn, src, r.Catalog()); err != nil {
		return base, err
	}
	if err := baselineUnlisted(ctx, conn, opts.Publication, r.Catalog()); err != nil {
		return base, err
	}
	var older []string
	if made.Schema {
		if older, err = awaitOlder(ctx, conn, opts); err != nil {
			return base, err
		}
	}
	opts.Step("creating replication slot " + opts.Slot)
	slotConn, err := source.ConnectReplication(ctx, opts.ConnString, src.Encoding, source.SlotLockTimeout)
	if err != nil {
		return base, err
	}
	defer slotConn.Close(context.WithoutCancel(ctx))
	if known, err := source.TimelineHistory(ctx, slotConn, src); err == nil { // the server may have lost the file
		if err := r.Catalog().AddSwitches(ctx, known); err != nil {
			return base, err
		}
	}
	slot, err := source.CreateSlot(ctx, slotConn, src, source.SlotOptions{Name: opts.Slot, Failover: opts.Failover})
	if err != nil {
		return base, source.WithBlockers(ctx, err, opts.ConnString)
	}
	undo = append(undo, func(clean context.Context) error {
		slotConn.Close(clean)
		return source.DropSlotWhenFree(clean, opts.ConnString, opts.Slot)
	})

	if len(older) > 0 {
		if err := markOlder(ctx, conn, older, opts); err != nil {
			return base, err
		}
	}
	if err := baselineInventory(ctx, conn, r.Catalog(), slot.Snapshot); err != nil {
		return base, err
	}
	base, err = firstBase(ctx, r, &dumper{repo: r, conn: conn, src: src, opts: opts.BaseOptions, slot: opts.Slot, created: slot, version: version, begins: true},
		slotConn, opts.Step)
	if err == nil && opts.GrantTo != "" {
		opts.Step("granting role " + opts.GrantTo + " what start, mark, status and full-backup need")
		_, err = conn.Exec(ctx, "SELECT scribe.grant_to($1)", opts.GrantTo)
	}
	return base, err
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
func firstBase(ctx context.Context, r *repo.Repository, d *dumper, slotConn *pgconn.PgConn, step func(string)) (Base, error) {
	step("taking the first base at " + d.created.Point.String())
	base, err := d.take(ctx, slotConn)
	var fence *FenceError
	if errors.As(err, &fence) {
		step(err.Error() + "; taking it again")
		slotConn.Close(context.WithoutCancel(ctx))
		d.opts.NewSlot = false
		return FullBackup(ctx, r, d.opts)
	}
	return base, err
}
