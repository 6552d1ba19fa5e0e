package source

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// QueueLimit is how long a command of ours may wait for a lock on the
// application's tables: whatever comes behind it waits as long.
const QueueLimit = 200 * time.Millisecond

// ReadLimit is how long a session that reads what objects are may wait for a
// lock: much less than the server lets pass before it looks for deadlocks
// (deadlock_timeout), and ends one of the commands in it, which may be a user's.
const ReadLimit = 20 * time.Millisecond

// LimitReads makes a session, or its transaction if local, keep to ReadLimit.
func LimitReads(ctx context.Context, conn *pgx.Conn, local bool) error {
	set := "SET"
	if local {
		set = "SET LOCAL"
	}
	_, err := conn.Exec(ctx, fmt.Sprintf("%s lock_timeout = %d", set, ReadLimit.Milliseconds()))
	return err
}

// How long a lock is tried for: by commands that a person waits for, and by
// the sampler, which comes again.
const (
	LongPatience  = time.Minute
	ShortPatience = 5 * time.Second
)

// LockError says that somebody held a lock on a relation for too long.
type LockError struct {
	Relation string
	Patience time.Duration // for which it was tried
	Undone   string        // what could not be done, as a sentence
	Holders  string        // of locks on it; empty: not known
}

func (e *LockError) Error() string {
	text := fmt.Sprintf("%s could not be locked for %s: %s", e.Relation, e.Patience, e.Undone)
	if e.Holders != "" {
		text += "; locks are held by " + e.Holders
	}
	return text
}

// WithLocks runs do, whose locks on a relation somebody may hold, again and
// again until it gets them. It never waits longer than QueueLimit at a time,
// and rests longer than that in between. When patience ends, the error is a
// LockError.
func WithLocks(ctx context.Context, conn *pgx.Conn, patience time.Duration, relation, what string, do func() error) error {
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", QueueLimit.Milliseconds())); err != nil {
		return err
	}
	defer conn.Exec(context.WithoutCancel(ctx), "RESET lock_timeout")
	deadline := time.Now().Add(patience)
	for rest := 2 * QueueLimit; ; rest = min(2*rest, 5*time.Second) {
		err := do()
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "55P03" {
			return err
		}
		if time.Now().After(deadline) {
			return &LockError{Relation: relation, Patience: patience, Undone: what, Holders: lockHolders(ctx, conn, relation)}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rest):
		}
	}
}

//go:embed lock_holders.sql
var lockHoldersSQL string

// lockHolders names the sessions that hold locks on a relation.
func lockHolders(ctx context.Context, conn *pgx.Conn, relation string) string {
	rows, err := conn.Query(ctx, lockHoldersSQL, relation)
	if err != nil {
		return ""
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return ""
	}
	return strings.Join(list, ", ")
}
