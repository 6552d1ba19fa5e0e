package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// LastError is the last thing that went wrong with the streamer of a
// repository. It stays there when the streamer goes on or starts again.
type LastError struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"`
	Over    time.Time `json:"over"` // when it streamed again; zero: not yet
}

// lastErrorSetting is where the catalog keeps it.
const lastErrorSetting = "streamer error"

// ReadLastError returns it; the zero value: there never was one.
func ReadLastError(ctx context.Context, r *repo.Repository) (e LastError, err error) {
	text, known, err := r.Catalog().Setting(ctx, lastErrorSetting)
	if err == nil && known {
		err = json.Unmarshal([]byte(text), &e)
	}
	return e, err
}

// KeepLastError records that the streamer ended, or lost its connection.
func KeepLastError(ctx context.Context, r *repo.Repository, message string) error {
	return saveLastError(ctx, r, LastError{At: r.Now().UTC(), Message: message})
}

func saveLastError(ctx context.Context, r *repo.Repository, e LastError) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return r.Catalog().SetSetting(ctx, lastErrorSetting, string(text))
}

// trouble reports that a session ended, and when the next one is tried. The
// record is for a person: that it cannot be kept must not end the stream.
func (s *streamer) trouble(ctx context.Context, cause error, delay time.Duration) {
	var connect *source.ConnectError
	var slot *source.SlotError
	var standby *source.StandbyError
	message := cause.Error()
	var pg *pgconn.PgError
	if errors.As(cause, &pg) {
		message = pg.Message
	}
	again := "trying again"
	if !errors.As(cause, &connect) && !errors.As(cause, &slot) && !errors.As(cause, &standby) {
		message, again = "connection lost ("+message+")", "reconnecting"
	} else if connect != nil {
		message = cause.Error()
	}
	s.opts.Notice(fmt.Sprintf("%s; %s in %s", message, again, delay))
	s.down = true
	if s.repo == nil {
		return
	}
	if err := KeepLastError(ctx, s.repo, message); err != nil {
		s.opts.Notice("the error could not be recorded in the catalog: " + err.Error())
	}
}

// recovered reports that the stream goes on after trouble, of this run or an
// earlier one.
func (s *streamer) recovered(ctx context.Context) {
	if s.down {
		s.down = false
		s.opts.Notice("reconnected")
	}
	if s.repo == nil {
		return
	}
	last, err := ReadLastError(ctx, s.repo)
	if err == nil && last.Over.IsZero() && !last.At.IsZero() {
		last.Over = s.repo.Now().UTC()
		err = saveLastError(ctx, s.repo, last)
	}
	if err != nil {
		s.opts.Notice("the catalog could not be told that the error is over: " + err.Error())
	}
}
