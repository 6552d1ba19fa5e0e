package source

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

// A Slot is a replication slot as pg_replication_slots shows it.
type Slot struct {
	Name           string
	Plugin         string
	Database       string
	Active         bool
	ActivePID      int32
	RestartLSN     catalog.LSN
	ConfirmedFlush catalog.LSN
	WALStatus      string // reserved, extended, unreserved or lost
	SafeWALSize    *int64 // bytes that may be written before WAL is removed; nil: no limit
	CurrentLSN     catalog.LSN
	LagBytes       int64 // current LSN behind the confirmed position
	RetainedBytes  int64 // WAL kept for the slot
	CatalogXminAge int64
	Invalidation   string // why the server gave the slot up; PostgreSQL 17 and later tell
	Timeline       uint32 // of the server; 0: it is a standby
	ServerVersion  string // e.g. 15.18
	Failover       bool   // kept in step on standbys; PostgreSQL 17 and later
}

// FindSlot reads one slot; a missing one is a SlotError.
func FindSlot(ctx context.Context, connString, name string) (Slot, error) {
	conn, err := Connect(ctx, connString)
	if err != nil {
		return Slot{}, err
	}
	defer conn.Close(ctx)
	return ReadSlot(ctx, conn, name)
}

//go:embed slot.sql
var slotSQL string

// ReadSlot reads one slot; a missing one is a SlotError.
func ReadSlot(ctx context.Context, conn *pgx.Conn, name string) (Slot, error) {
	s := Slot{Name: name}
	var plugin, database, restart, confirmed, status, current, invalidation *string
	var pid *int32
	var age *int64
	err := conn.QueryRow(ctx, slotSQL, name).Scan(&plugin, &database, &s.Active, &pid, &restart, &confirmed, &status, &s.SafeWALSize,
		&current, &age, &invalidation, &s.Failover, &s.Timeline, &s.ServerVersion)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, &SlotError{Slot: name, Problem: SlotMissing}
	}
	if err != nil {
		return s, err
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	lsn := func(p *string) catalog.LSN {
		l, _ := catalog.ParseLSN(text(p)) // NULL reads as 0
		return l
	}
	s.Plugin, s.Database, s.WALStatus, s.Invalidation = text(plugin), text(database), text(status), text(invalidation)
	s.RestartLSN, s.ConfirmedFlush, s.CurrentLSN = lsn(restart), lsn(confirmed), lsn(current)
	if pid != nil {
		s.ActivePID = *pid
	}
	if age != nil {
		s.CatalogXminAge = *age
	}
	if s.CurrentLSN > s.ConfirmedFlush && s.ConfirmedFlush != 0 {
		s.LagBytes = int64(s.CurrentLSN - s.ConfirmedFlush)
	}
	if s.CurrentLSN > s.RestartLSN && s.RestartLSN != 0 {
		s.RetainedBytes = int64(s.CurrentLSN - s.RestartLSN)
	}
	return s, nil
}

// problem is what is wrong with the slot.
func (s Slot) problem(p SlotProblem, format string, args ...any) error {
	return &SlotError{Slot: s.Name, Problem: p, Detail: fmt.Sprintf(format, args...), PID: s.ActivePID}
}

// Belongs says whether the slot is one of ours for the source's database.
func (s Slot) Belongs(src Server) error {
	switch {
	case s.Plugin == "":
		return s.problem(SlotForeign, "it is a physical slot")
	case s.Plugin != "pgoutput":
		return s.problem(SlotForeign, "its output plugin is %q, not pgoutput", s.Plugin)
	case s.Database != src.Database:
		return &SlotError{Slot: s.Name, Problem: SlotForeign, Database: s.Database}
	}
	return nil
}

// Usable says whether streaming from the slot can go on.
func (s Slot) Usable(src Server) error {
	problem := s.problem
	if err := s.Belongs(src); err != nil {
		return err
	}
	switch {
	case s.Active:
		return problem(SlotBusy, "")
	case s.Invalidation != "":
		return problem(SlotLost, "the server has given it up: %s", s.Invalidation)
	case s.WALStatus == "lost" || s.RestartLSN == 0:
		return problem(SlotLost, "the server has removed WAL that it needs")
	}
	return nil
}

// Covers says whether the slot still has everything from the repository's end
// on. The server would begin at the confirmed position without a word.
func (s Slot) Covers(end catalog.LSN) error {
	if s.ConfirmedFlush <= end {
		return nil
	}
	return &SlotError{Slot: s.Name, Problem: SlotAhead,
		Detail: fmt.Sprintf("it was confirmed up to %s, the repository ends at %s: changes in between are lost", s.ConfirmedFlush, end)}
}

// SlotLockTimeout bounds how long making a slot waits for running
// transactions; statement_timeout has no effect on it.
const SlotLockTimeout = 30 * time.Second

// NewSlot is a new slot and the snapshot that shows what precedes it.
type NewSlot struct {
	Point    catalog.LSN
	Snapshot string
}

// SlotOptions say what slot to make.
type SlotOptions struct {
	Name      string
	Temporary bool
	Failover  bool // kept in step on standbys
}

// command is the replication command that makes the slot and exports its
// snapshot, in the words of the server's version.
func (o SlotOptions) command(major int) string {
	sql := "CREATE_REPLICATION_SLOT " + sqltext.Quoted(o.Name)
	if o.Temporary {
		sql += " TEMPORARY"
	}
	sql += " LOGICAL pgoutput"
	switch {
	case o.Failover && !o.Temporary:
		return sql + " (SNAPSHOT 'export', FAILOVER true)"
	case major >= 15:
		return sql + " (SNAPSHOT 'export')"
	}
	return sql + " EXPORT_SNAPSHOT"
}

// CreateSlot makes a logical slot and exports its snapshot, which lives until
// the connection's next command.
func CreateSlot(ctx context.Context, conn *pgconn.PgConn, src Server, opts SlotOptions) (NewSlot, error) {
	// lock_timeout is per lock, and the wait takes one after the other.
	ctx, cancel := context.WithTimeout(ctx, 3*SlotLockTimeout)
	defer cancel()
	result, err := pglogrepl.ParseCreateReplicationSlot(conn.Exec(ctx, opts.command(src.Major())))
	if err != nil {
		return NewSlot{}, slotCreation(err, opts.Name)
	}
	point, err := catalog.ParseLSN(result.ConsistentPoint)
	return NewSlot{point, result.SnapshotName}, err
}

// slotCreation says what kept a slot from being made.
func slotCreation(err error, name string) error {
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &SlotError{Slot: name, Problem: SlotBlocked, Detail: "it could not be made: a running transaction does not end"}
	case !errors.As(err, &pg):
		return err
	case pg.Code == "42710":
		return &SlotError{Slot: name, Problem: SlotExists}
	case pg.Code == "55P03":
		return &SlotError{Slot: name, Problem: SlotBlocked, Detail: "it could not be made: a running transaction does not end"}
	case pg.Code == "53400":
		return &SlotError{Slot: name, Problem: SlotNoneFree, Detail: "all replication slots are in use"}
	case pg.Code == "42602":
		return &SlotError{Slot: name, Problem: SlotForeign, Detail: pg.Message}
	}
	return err
}

//go:embed blockers.sql
var blockersSQL string

// blockers lists the transactions that a new slot waits for.
func blockers(ctx context.Context, connString string) string {
	conn, err := Connect(ctx, connString)
	if err != nil {
		return ""
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, blockersSQL)
	if err != nil {
		return ""
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return ""
	}
	return strings.Join(list, "; ")
}

// DropSlot removes a slot. A missing one is a SlotError, as is a busy one.
func DropSlot(ctx context.Context, connString, name string) error {
	conn, err := Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	slot, err := ReadSlot(ctx, conn, name)
	if err != nil {
		return err
	}
	if slot.Active {
		return &SlotError{Slot: name, Problem: SlotBusy, PID: slot.ActivePID}
	}
	_, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
	return err
}

// DropSlotWhenFree drops a slot whose connection was just closed: the server
// may need a moment to notice.
func DropSlotWhenFree(ctx context.Context, connString, name string) error {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := DropSlot(ctx, connString, name)
		var s *SlotError
		if !errors.As(err, &s) || s.Problem != SlotBusy || wait > 10*time.Second {
			return err
		}
		time.Sleep(wait)
	}
}

// AwaitSlotEnd returns when a temporary slot whose connection was closed is
// gone: the server needs a moment for it, or, if it is out of reach, a while.
func AwaitSlotEnd(ctx context.Context, connString, name string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := Connect(ctx, connString)
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		var there bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", name).Scan(&there)
		if err != nil || !there {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// WithBlockers names the transactions that a slot waited for.
func WithBlockers(ctx context.Context, err error, connString string) error {
	var s *SlotError
	if errors.As(err, &s) && s.Problem == SlotBlocked {
		if list := blockers(context.WithoutCancel(ctx), connString); list != "" {
			s.Detail += ": " + list
		}
	}
	return err
}

// SlotInUse turns the server's refusal of a busy slot into a SlotError.
func SlotInUse(err error, slot string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55006" {
		return &SlotError{Slot: slot, Problem: SlotBusy, Detail: pg.Message}
	}
	return err
}
