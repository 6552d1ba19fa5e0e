package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// OutcomeWarnings: a rehearsal ran to its end, and something is not as on the source. The other outcomes of a rehearsal are
// OutcomeOK and OutcomeFailed.
const OutcomeWarnings = "warnings"

// Rehearsal is what the last one has shown.
type Rehearsal struct {
	StartedAt  time.Time
	FinishedAt time.Time // or, where nothing had come since, of the last look
	Base       string    // name of the base whose commands were run
	Server     string    // version of the server that ran them
	Outcome    string
	Proven     LSN // all that commits below runs again; 0: not even the base does

	// What failed, if the outcome says so.
	FailedLSN LSN       // of the transaction's commit record; 0: it is of the base
	FailedAt  time.Time // of that commit
	Tag       string    // of the command
	Object    string    // that the command names; empty: not known
	Message   string
	Statement string // shortened
	File      string
	Line      int64

	Warnings []string // one line each
}

// SetRehearsal records the last rehearsal.
func (c *Catalog) SetRehearsal(ctx context.Context, r Rehearsal) error {
	var warnings strings.Builder
	for _, w := range r.Warnings {
		warnings.WriteString(strings.Join(strings.Fields(w), " ") + "\n")
	}
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO rehearsal (id, started_at, finished_at, base, server, outcome, proven_lsn,
			failed_lsn, failed_at, tag, object, message, statement, file, line, warnings) VALUES (1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			micros(r.StartedAt), micros(r.FinishedAt), r.Base, r.Server, r.Outcome, int64(r.Proven), int64(r.FailedLSN), micros(r.FailedAt), r.Tag, r.Object,
			r.Message, r.Statement, r.File, r.Line, warnings.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("record rehearsal: %w", err)
	}
	return nil
}

// LastRehearsal returns it. It fails with ErrNotFound when there was none.
func (c *Catalog) LastRehearsal(ctx context.Context) (Rehearsal, error) {
	runs, err := list(ctx, c.db, func(rows *sql.Rows) (r Rehearsal, err error) {
		var warnings string
		err = rows.Scan(stamp{&r.StartedAt}, stamp{&r.FinishedAt}, &r.Base, &r.Server, &r.Outcome, &r.Proven, &r.FailedLSN, stamp{&r.FailedAt}, &r.Tag,
			&r.Object, &r.Message, &r.Statement, &r.File, &r.Line, &warnings)
		for w := range strings.Lines(warnings) {
			r.Warnings = append(r.Warnings, strings.TrimSuffix(w, "\n"))
		}
		return r, err
	}, `SELECT started_at, finished_at, base, server, outcome, proven_lsn, failed_lsn, failed_at, tag, object, message, statement, file, line, warnings
		FROM rehearsal`)
	if err == nil && len(runs) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Rehearsal{}, err
	}
	return runs[0], nil
}
