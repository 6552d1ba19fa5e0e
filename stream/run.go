package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/repo"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// RunOptions say how Run streams. Zero durations and sizes mean: never.
type RunOptions struct {
	ConnString     string
	Slot           string
	Publication    string
	StatusInterval time.Duration // between status updates to the server
	FsyncInterval  time.Duration // between checkpoints; 0: only when a segment is sealed
	SegmentSize    int64         // bytes of SQL text after which a segment is sealed
	SegmentAge     time.Duration // after which it is
	StateInterval  time.Duration // between samples of sequences, roles and the like; 0: never
	Endpos         catalog.LSN   // 0: stream on
	NoLoop         bool          // end at the first broken connection
	Rotate         <-chan struct{}
	Text           io.Writer // write SQL here instead of into the repository
	Report         func(Progress)
	Notice         func(string)
	// Durable, if set, is up to where the server may be told that everything
	// is stored for good, at most what the repository's directory holds.
	Durable func() catalog.LSN
	// Stored, if set, is called after each checkpoint; its error ends Run.
	Stored func(ctx context.Context) error
}

// Progress is what Run says of itself at every status interval.
type Progress struct {
	Position     catalog.LSN   // stored or about to be
	Confirmed    catalog.LSN   // stored for good
	Server       catalog.LSN   // end of the source's WAL
	LagBytes     int64         // Server behind Position
	Transactions int64         // since Run began
	TextBytes    int64         // since Run began
	Elapsed      time.Duration // since the last report
}

// Run streams into the repository, or as text to opts.Text, until ctx is
// cancelled or Endpos is reached; both are success. It reconnects when the
// connection breaks. The caller holds the repository's streamer lock and has
// called Recover. r is nil when opts.Text is set.
func Run(ctx context.Context, r *repo.Repository, opts RunOptions) error {
	s := &streamer{repo: r, opts: opts, began: time.Now()}
	if s.opts.Report == nil {
		s.opts.Report = func(Progress) {}
	}
	if s.opts.Notice == nil {
		s.opts.Notice = func(string) {}
	}
	if r != nil {
		var err error
		if s.stale, err = sample.LoadStale(ctx, r.Catalog()); err != nil {
			return err
		}
		if opts.StateInterval > 0 {
			s.descriptions = sample.NewDescriptions(r.Catalog())
		}
	}
	defer s.releaseSink()
	for delay := time.Second; ; {
		progressed, err := s.session(ctx)
		if s.changeForm(ctx, err) {
			s.awaitSlot(ctx)
			continue
		}
		if err == nil || ctx.Err() != nil {
			return s.finish()
		}
		// A standby that the stream is led to may be about to be promoted.
		var standby *source.StandbyError
		waits := s.sink != nil && errors.As(err, &standby)
		if opts.NoLoop || !retriable(err) && !waits {
			return errors.Join(err, s.finish())
		}
		if progressed {
			delay = time.Second
		}
		s.trouble(context.WithoutCancel(ctx), err, delay)
		select {
		case <-ctx.Done():
			return s.finish()
		case <-time.After(delay):
		}
		delay = min(2*delay, time.Minute)
	}
}

// retriable says whether another connection may do better.
func retriable(err error) bool {
	var pg *pgconn.PgError
	var connect *source.ConnectError
	var slot *source.SlotError
	var mismatch *source.MismatchError
	var identity *source.IdentityError
	var timeline *source.TimelineError
	var standby *source.StandbyError
	var unusable *capture.Error
	var large *source.LargeValueError
	switch {
	case errors.As(err, &timeline), errors.As(err, &standby), errors.As(err, &large):
		return false
	case errors.As(err, &connect) && connect.Fault == source.FaultPooler, errors.As(err, new(*conninfo.Error)):
		return false
	case errors.As(err, &slot):
		return slot.Problem == source.SlotBusy // the walsender of our own broken connection may linger
	case errors.As(err, &mismatch), errors.As(err, &identity), errors.As(err, &unusable), errors.As(err, new(*capture.CopyError)):
		return false
	case errors.As(err, &pg) && len(pg.Code) == 5:
		// Class 57: the server starts, shuts down or was told to end the
		// session; class 08: connection; 53: resources; 55006: slot in use.
		return pg.Code[:2] == "57" || pg.Code[:2] == "08" || pg.Code[:2] == "53" || pg.Code == "55006"
	case errors.As(err, &connect):
		return connect.Fault == source.FaultServer
	}
	var store *storeError
	var render *renderError
	return !errors.As(err, &store) && !errors.As(err, &render)
}

// storeError wraps an error of the sink, which no new connection can fix.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// renderError wraps what the renderer cannot do with the stream, which comes
// again in the same form.
type renderError struct{ err error }

func (e *renderError) Error() string { return e.err.Error() }
func (e *renderError) Unwrap() error { return e.err }

// streamer is the state of Run across connections.
type streamer struct {
	repo  *repo.Repository
	opts  RunOptions
	sink  sink
	began time.Time

	transactions int64
	textBytes    int64
	confirmed    catalog.LSN
	clock        *sourceClock
	stale        *sample.Stale        // nil without a repository
	latest       time.Time            // commit on the source's clock
	binaryUntil  catalog.LSN          // the commit LSN of a transaction that the server cannot send as text; 0: none
	sampler      *sample.Sampler      // of this connection; nil: none
	inventory    *sample.Inventory    // nil without a repository
	descriptions *sample.Descriptions // nil: objects are not described
	told         bool                 // of what is not backed up
	down         bool                 // the last session ended with an error

	state *catalog.StateChanges // those at the sink's end; nil with a repository, which keeps them
}

// finish seals what is there. It runs to its end even when Run was cancelled.
func (s *streamer) finish() error {
	if s.sink == nil {
		return nil
	}
	sk := s.sink
	s.sink = nil
	if err := sk.close(context.Background()); err != nil {
		return &storeError{err}
	}
	return nil
}

func (s *streamer) releaseSink() {
	if seg, ok := s.sink.(*segmentSink); ok && seg.w != nil {
		seg.w.Close()
	}
}
