package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo"
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
		if s.stale, err = loadStale(ctx, r.Catalog()); err != nil {
			return err
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
		var standby *StandbyError
		waits := s.sink != nil && errors.As(err, &standby)
		if opts.NoLoop || !retriable(err) && !waits {
			return errors.Join(err, s.finish())
		}
		if progressed {
			delay = time.Second
		}
		s.opts.Notice(fmt.Sprintf("%v; trying again in %s", err, delay))
		select {
		case <-ctx.Done():
			return s.finish()
		case <-time.After(delay):
		}
		delay = min(2*delay, time.Minute)
	}
}

// retriable tells whether another connection may do better.
func retriable(err error) bool {
	var pg *pgconn.PgError
	var connect *ConnectError
	var slot *SlotError
	var mismatch *MismatchError
	var timeline *TimelineError
	var standby *StandbyError
	var capture *CaptureError
	var large *LargeValueError
	switch {
	case errors.As(err, &timeline), errors.As(err, &standby), errors.As(err, &large):
		return false
	case errors.As(err, &slot):
		return slot.Problem == SlotBusy // the walsender of our own broken connection may linger
	case errors.As(err, &mismatch), errors.As(err, &capture):
		return false
	case errors.As(err, &pg) && len(pg.Code) == 5:
		// Class 57: the server starts, shuts down or was told to end the
		// session; class 08: connection; 53: resources; 55006: slot in use.
		return pg.Code[:2] == "57" || pg.Code[:2] == "08" || pg.Code[:2] == "53" || pg.Code == "55006"
	case errors.As(err, &connect):
		return connect.Fault == FaultServer
	}
	var store *storeError
	var render *renderError
	return !errors.As(err, &store) && !errors.As(err, &render)
}

// storeError wraps an error of the sink, which no new connection can mend.
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
	stale        *staleStates // nil without a repository
	latest       time.Time    // commit on the source's clock
	binaryUntil  catalog.LSN  // the commit LSN of a transaction that the server cannot send as text; 0: none
	sampler      *sampler     // of this connection; nil: none
	inventory    *inventory   // nil without a repository
	told         bool         // of what is not backed up
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

// session streams over one connection. progressed tells whether anything new
// was stored.
func (s *streamer) session(ctx context.Context) (progressed bool, err error) {
	side, err := Connect(ctx, s.opts.ConnString)
	if err != nil {
		return false, err
	}
	defer side.Close(context.WithoutCancel(ctx))
	src, from, err := s.check(ctx, side)
	if err != nil {
		return false, err
	}
	if s.repo != nil {
		if err := mendCapture(ctx, side, s.opts.Publication, s.repo); err != nil {
			return false, err
		}
	}
	secret, err := captureSecret(ctx, side)
	if err != nil {
		return false, err
	}
	mode, err := captureMode(ctx, side)
	if err != nil {
		return false, err
	}
	known, err := readFacts(ctx, side, s.opts.Slot)
	if err != nil {
		return false, err
	}
	if !s.told {
		s.told = true
		if err := noteUnsaved(ctx, side, s.opts.Notice); err != nil {
			return false, err
		}
	}
	if s.inventory == nil && s.repo != nil {
		explained, err := openExplanations(ctx, s.repo.Catalog())
		if err != nil {
			return false, &storeError{err}
		}
		s.inventory = &inventory{explained: explained, waiting: map[string]catalog.LSN{}}
	}
	if s.sink == nil {
		if err := s.openSink(ctx, src, from); err != nil {
			return false, &storeError{err}
		}
	}
	if s.repo != nil {
		if err := known.follow(ctx, s.repo.Catalog(), from); err != nil {
			return false, &storeError{err}
		}
	}
	conn, err := connectReplication(ctx, s.opts.ConnString, src.Encoding, 0)
	if err != nil {
		return false, err
	}
	if err := src.same(ctx, conn, from); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return false, err
	}
	var options []string
	if s.binaryUntil != 0 {
		options = []string{"binary 'true'"}
	}
	rec, err := startReplication(ctx, conn, s.opts.Slot, publicationsOf(s.opts.Publication, mode), from, options...)
	if err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return false, slotInUse(err, s.opts.Slot)
	}
	defer rec.close()
	// Nobody else can move the slot from here on.
	slot, err := readSlot(ctx, side, s.opts.Slot)
	if err == nil {
		err = slot.covers(from)
	}
	if err != nil {
		return false, err
	}
	patience, err := serverPatience(ctx, side)
	if err != nil {
		return false, err
	}
	p := &pipeline{streamer: s, rec: rec, patience: patience, renderer: newRenderer(from, secret, known),
		batches: make(chan batch, 8), free: make(chan []byte, 12)}
	p.renderer.stale, p.renderer.slot = s.stale, s.opts.Slot
	if p.endpos = s.opts.Endpos; s.binaryUntil != 0 {
		if p.endpos == 0 || s.binaryUntil < p.endpos {
			p.endpos = s.binaryUntil
		}
		texts, err := newTextConverter(ctx, s.opts.ConnString, src.Encoding)
		if err != nil {
			return false, err
		}
		defer texts.close()
		p.renderer.texts = texts
	}
	// A commit record may begin where the server stands without having sent it;
	// where its WAL ends there is none.
	if p.proof = p.endpos; slot.CurrentLSN > p.endpos {
		p.proof++
	}
	p.renderer.describe = describeOn(ctx, s.opts.ConnString)
	clockCtx, stopClock := context.WithCancel(context.WithoutCancel(ctx))
	s.clock = newSourceClock(side)
	p.clockCtx = clockCtx
	if s.repo != nil && s.opts.StateInterval > 0 {
		s.sampler = startSampler(clockCtx, s, src)
	}
	if s.opts.Durable == nil {
		s.confirmed = max(s.confirmed, from)
	} else {
		rec.confirmed.Store(uint64(min(from, s.opts.Durable())))
	}
	before := s.sink.end()
	err = p.run(ctx)
	stopClock()
	s.clock.wait()
	if s.sampler != nil {
		<-s.sampler.done
		s.sampler = nil
	}
	return s.sink.end() > before, err
}

// serverPatience is how long the server waits for a sign of life from this
// session's role before it ends the connection.
func serverPatience(ctx context.Context, side *pgx.Conn) (time.Duration, error) {
	var ms int64
	err := side.QueryRow(ctx, "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'").Scan(&ms)
	patience := time.Duration(ms) * time.Millisecond
	if patience == 0 || patience > 40*time.Second {
		patience = 40 * time.Second
	}
	return patience, err
}

// slotInUse turns the server's refusal of a busy slot into a SlotError.
func slotInUse(err error, slot string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55006" {
		return &SlotError{Slot: slot, Problem: SlotBusy, Detail: pg.Message}
	}
	return err
}

// check makes sure that slot, source and repository belong together, and
// returns where to go on.
func (s *streamer) check(ctx context.Context, side *pgx.Conn) (server, catalog.LSN, error) {
	src, err := inspect(ctx, side)
	if err != nil {
		return src, 0, err
	}
	if src.InRecovery {
		return src, 0, &StandbyError{}
	}
	slot, slotErr := readSlot(ctx, side, s.opts.Slot)
	if slotErr == nil {
		slotErr = slot.usable(src)
	}
	if s.repo == nil {
		return src, slot.ConfirmedFlush, slotErr
	}
	info, err := s.repo.Catalog().Repository(ctx)
	if err != nil {
		return src, 0, err
	}
	if info.Slot != s.opts.Slot && slotErr == nil {
		return src, 0, &MismatchError{"slot", info.Slot, s.opts.Slot}
	}
	if sameSource(info, src) == nil && src.Timeline != info.Timeline {
		slotErr = s.follow(ctx, info, src)
	}
	if slotErr != nil {
		return src, 0, slotErr
	}
	if err := sameSource(info, src); err != nil {
		return src, 0, err
	}
	end, err := s.repo.End(ctx)
	if err != nil {
		return src, 0, err
	}
	if s.sink != nil {
		end = s.sink.end()
	}
	if err := slot.covers(end); err != nil {
		return src, 0, err
	}
	if slot.WALStatus == "unreserved" {
		s.opts.Notice("the server is about to remove WAL that slot " + slot.Name + " needs (max_slot_wal_keep_size)")
	}
	return src, end, nil
}

// sameSource compares the source with what the repository was made of. The
// timeline may change: see follow.
func sameSource(info catalog.Repository, src server) error {
	switch {
	case info.SystemID != src.SystemID:
		return &MismatchError{"system identifier", info.SystemID, src.SystemID}
	case info.Database != src.Database:
		return &MismatchError{"database", info.Database, src.Database}
	}
	return nil
}

func (s *streamer) openSink(ctx context.Context, src server, from catalog.LSN) error {
	if s.opts.Text != nil {
		s.sink = &textSink{w: s.opts.Text, last: from}
		return nil
	}
	w, err := s.repo.CreateSegment(ctx, repo.Header{
		SystemID: src.SystemID, Timeline: src.Timeline, Database: src.Database, Slot: s.opts.Slot,
		Server: src.Version, Encoding: src.Encoding, Start: from, Created: s.repo.Now(),
	})
	if err != nil {
		return err
	}
	s.sink = &segmentSink{w: w, size: s.opts.SegmentSize, age: s.opts.SegmentAge, now: s.repo.Now,
		onRotate: func(lsn catalog.LSN) {
			s.opts.Notice("new segment at " + lsn.String())
			if s.sampler != nil {
				s.sampler.segmentClosed()
			}
		}}
	return nil
}

// pipeline is one connection's stages.
type pipeline struct {
	*streamer
	rec      *receiver
	renderer *renderer
	clockCtx context.Context // ends with the session
	patience time.Duration   // how long the server waits for a sign of life
	endpos   catalog.LSN     // 0: none
	proof    catalog.LSN     // the server's WAL read up to here is the end reached
	batches  chan batch
	free     chan []byte
	err      error // of the rendering; read after batches is closed
}

// render turns chunks into batches until the receiver ends.
func (p *pipeline) render() {
	defer close(p.batches)
	defer p.renderer.close()
	emit := func() {
		var next []byte
		select {
		case next = <-p.free:
		default:
			next = make([]byte, 0, batchBytes+batchBytes/8)
		}
		p.batches <- p.renderer.take(next)
	}
	var chunk []byte
	for {
		var ok bool
		if chunk, ok = p.rec.take(chunk); !ok {
			return
		}
		if p.err != nil {
			continue // until the receiver has ended
		}
		p.err = renderChunk(p.renderer, chunk, p.endpos, p.proof, emit)
		if p.err != nil {
			p.rec.stop()
		}
		// When the stream pauses, what is complete is handed on at once; of a
		// transaction that is still coming in only what fills a batch.
		if p.renderer.complete() && (p.err != nil || p.rec.waiting() == 0) || p.renderer.ready() {
			emit()
		}
	}
}

// run moves data until ctx ends, the end position is reached, or something
// breaks. It leaves the sink at a boundary.
func (p *pipeline) run(ctx context.Context) error {
	go p.rec.run()
	asking := make(chan struct{})
	defer close(asking)
	go p.rec.ask(p.patience/4, asking)
	go p.render()
	err := p.store(ctx)
	p.rec.stop()
	for range p.batches { // let the stages end
	}
	switch {
	case err != nil:
	case errors.Is(p.err, errEndpos):
	case p.err != nil:
		err = &renderError{p.err}
	case p.rec.err != nil:
		err = p.tooLarge(p.rec.err)
	}
	if err == nil {
		err = p.checkpoint(context.WithoutCancel(ctx))
	} else if rerr := p.sink.rollback(); rerr != nil {
		err = &storeError{errors.Join(err, rerr)}
	}
	return err
}

// errServerWaits: a server that shuts down asks again and again, and what it
// waits for may be hours away on a target that is down.
var errServerWaits = errors.New("the server shuts down")

// tooLarge tells the server's refusal to send a value from other errors. The
// renderer has ended.
func (p *pipeline) tooLarge(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "54000" && !isTooLarge(pg.Message) { // 54000: a limit of the program is exceeded
		return err
	}
	e := &LargeValueError{Reason: pg.Message}
	if p.renderer.inTx {
		e.XID, e.Commit = p.renderer.tx.XID, p.renderer.tx.Commit
	}
	return e
}

// store writes batches and keeps the intervals.
func (p *pipeline) store(ctx context.Context) error {
	var fsync, status <-chan time.Time
	if p.opts.FsyncInterval > 0 {
		t := time.NewTicker(p.opts.FsyncInterval)
		defer t.Stop()
		fsync = t.C
	}
	if p.opts.StatusInterval > 0 {
		t := time.NewTicker(p.opts.StatusInterval)
		defer t.Stop()
		status = t.C
	}
	asked := time.NewTicker(200 * time.Millisecond)
	defer asked.Stop()
	last := time.Now()
	done := ctx.Done()
	final := make(chan catalog.LSN, 1)
	var until catalog.LSN
	var deadline time.Time
	again := 3 // samples after the last one, for what the stream changed meanwhile
	waits := 0
	for {
		var err error
		select {
		case b, ok := <-p.batches:
			if !ok {
				return nil
			}
			err = p.write(ctx, b)
		case <-fsync:
			err = p.checkpoint(ctx)
		case <-asked.C:
			// A server that shuts down waits for what it sent to be confirmed.
			if !p.rec.asked.Swap(false) {
				waits = 0
			} else if waits++; len(p.batches) == 0 {
				err = p.checkpoint(ctx)
			}
			if p.opts.Durable != nil && waits == 25 {
				err = errors.Join(err, errServerWaits)
			}
			if p.endpos != 0 && len(p.batches) == 0 {
				err = errors.Join(err, p.rec.status(true)) // it may be passed already
			}
		case <-status:
			p.clock.ask(p.clockCtx)
			p.report(&last)
			err = p.rec.status(true)
		case <-p.opts.Rotate:
			p.sink.rotate()
			err = p.checkpoint(ctx)
		case <-done:
			// Take a last sample and let the stream come to it; then what
			// is stored is the source as it stands.
			done = nil
			ctx = context.WithoutCancel(ctx)
			go p.lastSample(ctx, final)
		case lsn := <-final:
			until = max(lsn, 1)
			asked.Reset(20 * time.Millisecond)
			if deadline.IsZero() {
				deadline = time.Now().Add(10 * time.Second)
			}
			err = p.rec.status(true)
		}
		if until > 1 && p.sink.end() >= until && again > 0 && p.stale.pending() && time.Now().Before(deadline) {
			again--
			until = 0
			go p.lastSample(ctx, final)
		} else if until != 0 && (p.sink.end() >= until || time.Now().After(deadline)) {
			p.rec.stop() // what is rendered already is still stored
			until, final = 0, nil
		}
		if err != nil {
			return err
		}
	}
}

// lastSample samples once more and tells where the source's WAL then ends; 0
// when that cannot be found out.
func (p *pipeline) lastSample(ctx context.Context, end chan<- catalog.LSN) {
	if p.sampler == nil {
		end <- 0
		return
	}
	p.sampler.last(ctx)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := Connect(ctx, p.opts.ConnString)
	if err != nil {
		end <- 0
		return
	}
	defer conn.Close(ctx)
	lsn, err := flushed(ctx, conn)
	if err != nil {
		lsn = 0
	}
	end <- lsn
}

func (p *pipeline) write(ctx context.Context, b batch) error {
	if p.inventory != nil {
		if err := p.inventory.explained.note(ctx, b); err != nil {
			return &storeError{err}
		}
	}
	p.textBytes += int64(len(b.text))
	p.transactions += b.stats.Transactions
	if err := p.sink.write(ctx, b); err != nil {
		return &storeError{err}
	}
	p.watchClock(b.stats)
	if b.boundary {
		if p.inventory != nil {
			p.inventory.explained.reached(p.sink.end())
		}
		if at := p.clock.passed(p.sink.end()); !at.IsZero() {
			p.sink.reached(at)
		}
	}
	if cap(b.text) <= 4*batchBytes {
		select {
		case p.free <- b.text:
		default:
		}
	}
	return nil
}

// stepBack is how much earlier than one before it a commit may be without
// being worth a word: commits that run at once are not in the order of times.
const stepBack = 10 * time.Second

// watchClock tells when the source's clock was set back: for a while its times
// come twice, and a restore to one of them ends at the first.
func (s *streamer) watchClock(stats repo.Stats) {
	if first := stats.FirstCommit; !first.IsZero() && first.Before(s.latest.Add(-stepBack)) {
		s.opts.Notice(fmt.Sprintf("the source's clock went back from %s to %s: --target-time cannot tell moments in between apart, --target-lsn can",
			s.latest.UTC().Format(time.RFC3339), first.UTC().Format(time.RFC3339)))
		s.latest = stats.LastCommit
		return
	}
	if stats.LastCommit.After(s.latest) {
		s.latest = stats.LastCommit
	}
}

// checkpoint stores what is complete, then tells the server.
func (p *pipeline) checkpoint(ctx context.Context) error {
	if at := p.clock.passed(p.sink.end()); !at.IsZero() {
		p.sink.reached(at)
	}
	if p.repo != nil {
		if err := p.stale.keep(ctx, p.repo.Catalog()); err != nil {
			return &storeError{err}
		}
	}
	lsn, err := p.sink.checkpoint(ctx)
	if err == nil && p.opts.Stored != nil {
		err = p.opts.Stored(ctx)
	}
	if err != nil {
		return &storeError{err}
	}
	if p.opts.Durable != nil {
		lsn = min(lsn, p.opts.Durable())
	}
	if lsn == 0 || lsn <= p.confirmed {
		return nil
	}
	p.confirmed = lsn
	if err := p.rec.confirm(lsn); err != nil && ctx.Err() == nil && !p.rec.stopping.Load() {
		return err
	}
	return nil
}

func (p *pipeline) report(last *time.Time) {
	now := time.Now()
	progress := Progress{Position: max(p.sink.end(), catalog.LSN(p.rec.position.Load())), Confirmed: p.confirmed,
		Server: p.clock.server(), Transactions: p.transactions, TextBytes: p.textBytes, Elapsed: now.Sub(*last)}
	if progress.Server > progress.Position {
		progress.LagBytes = int64(progress.Server - progress.Position)
	}
	*last = now
	p.opts.Report(progress)
}
