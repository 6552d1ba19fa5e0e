package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/render"
	"pg_scribe/stream/replication"
	"pg_scribe/stream/source"
)

// pipeline is one connection's stages.
type pipeline struct {
	*streamer
	rec      *replication.Receiver
	renderer *render.Renderer
	clockCtx context.Context // ends with the session
	patience time.Duration   // how long the server waits for a sign of life
	endpos   catalog.LSN     // 0: none
	proof    catalog.LSN     // the server's WAL read up to here is the end reached
	joined   catalog.LSN     // the newest base's point that a checkpoint has passed
	batches  chan render.Batch
	free     chan []byte
	err      error // of the rendering; read after batches is closed
}

// render turns chunks into batches until the receiver ends.
func (p *pipeline) render() {
	defer close(p.batches)
	defer p.renderer.Close()
	emit := func() {
		var next []byte
		select {
		case next = <-p.free:
		default:
			next = make([]byte, 0, render.BatchBytes+render.BatchBytes/8)
		}
		p.batches <- p.renderer.Take(next)
	}
	deliver := replication.Delivery{Endpos: p.endpos, Proof: p.proof}
	var chunk []byte
	for {
		var ok bool
		if chunk, ok = p.rec.Take(chunk); !ok {
			return
		}
		if p.err != nil {
			continue // until the receiver has ended
		}
		p.err = deliver.Chunk(chunk, p.renderer, func() {
			if p.renderer.Ready() {
				emit()
			}
		})
		if p.err != nil {
			p.rec.Stop()
		}
		// When the stream pauses, what is complete is handed on at once; of a
		// transaction that is still coming in only what fills a batch.
		if p.renderer.Complete() && (p.err != nil || p.rec.Waiting() == 0) || p.renderer.Ready() {
			emit()
		}
	}
}

// run moves data until ctx ends, the end position is reached, or something
// breaks. It leaves the sink at a boundary.
func (p *pipeline) run(ctx context.Context) error {
	go p.rec.Run()
	asking := make(chan struct{})
	defer close(asking)
	go p.rec.Ask(p.patience/4, asking)
	go p.render()
	err := p.store(ctx)
	p.rec.Stop()
	for range p.batches { // let the stages end
	}
	switch {
	case err != nil:
	case errors.Is(p.err, replication.ErrEnd):
	case p.err != nil:
		err = &renderError{p.err}
	case p.rec.Err != nil:
		err = p.tooLarge(p.rec.Err)
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
	if !errors.As(err, &pg) || pg.Code != "54000" && !source.IsTooLarge(pg.Message) { // 54000: a limit of the program is exceeded
		return err
	}
	e := &source.LargeValueError{Reason: pg.Message}
	if xid, commit, ok := p.renderer.Transaction(); ok {
		e.XID, e.Commit = xid, commit
	}
	return e
}

// store writes batches and keeps the intervals. The end of ctx asks for a last
// sample; it breaks off nothing that is being stored.
func (p *pipeline) store(ctx context.Context) error {
	fsync, status := time.Tick(p.opts.FsyncInterval), time.Tick(p.opts.StatusInterval) // 0: never
	asked := time.NewTicker(200 * time.Millisecond)
	defer asked.Stop()
	bases := time.NewTicker(time.Second)
	defer bases.Stop()
	last := time.Now()
	done := ctx.Done()
	ctx = context.WithoutCancel(ctx)
	final := make(chan catalog.LSN, 1)
	var until catalog.LSN
	var deadline time.Time
	again := 3 // samples after the last one, for what the stream changed meanwhile, and what it did not explain
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
			if !p.rec.Asked.Swap(false) {
				waits = 0
			} else if waits++; len(p.batches) == 0 {
				err = p.checkpoint(ctx)
			}
			if p.opts.Durable != nil && waits == 25 {
				err = errors.Join(err, errServerWaits)
			}
			if p.endpos != 0 && len(p.batches) == 0 {
				err = errors.Join(err, p.rec.Status(true)) // it may be passed already
			}
		case <-bases.C:
			err = p.joinBase(ctx)
		case <-status:
			p.clock.ask(p.clockCtx)
			p.report(&last)
			err = p.rec.Status(true)
		case <-p.opts.Rotate:
			p.sink.rotate()
			err = p.checkpoint(ctx)
		case <-done:
			// Take a last sample and let the stream come to it; then what
			// is stored is the source as it stands.
			done = nil
			go p.lastSample(ctx, final)
		case lsn := <-final:
			until = max(lsn, 1)
			asked.Reset(20 * time.Millisecond)
			if deadline.IsZero() {
				deadline = time.Now().Add(10 * time.Second)
			}
			err = p.rec.Status(true)
		}
		if until > 1 && p.sink.end() >= until && again > 0 && p.unsettled() && time.Now().Before(deadline) {
			again--
			until = 0
			go p.lastSample(ctx, final)
		} else if until != 0 && (p.sink.end() >= until || time.Now().After(deadline)) {
			p.rec.Stop() // what is rendered already is still stored
			until, final = 0, nil
		}
		if err != nil {
			return err
		}
	}
}

// unsettled says whether another sample has something to send: what the stream
// changed since the last one, or did not explain.
func (p *pipeline) unsettled() bool {
	came, went := p.inventory.Unexplained()
	return p.stale.Pending() || p.descriptions.Pending() || came+went > 0
}

// lastSample samples once more and tells where the source's WAL then ends; 0
// when that cannot be found out. What passes, as an object that is dropped while
// it is read, does not keep the sample from the stream.
func (p *pipeline) lastSample(ctx context.Context, end chan<- catalog.LSN) {
	var lsn catalog.LSN
	if p.sampler == nil {
		end <- lsn
		return
	}
	for attempt := range 3 {
		if attempt > 0 {
			time.Sleep(200 * time.Millisecond)
		}
		complete := p.sampler.Last(ctx)
		var err error
		if lsn, err = p.flushed(ctx); complete && err == nil {
			break
		}
	}
	end <- lsn
}

// flushed is where the source's WAL ends, seen by a connection of its own.
func (p *pipeline) flushed(ctx context.Context) (catalog.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := source.Connect(ctx, p.opts.ConnString)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	return source.Flushed(ctx, conn)
}

func (p *pipeline) write(ctx context.Context, b render.Batch) error {
	for _, s := range b.Stale {
		p.stale.Add(s.Kind, s.Key)
	}
	if err := p.inventory.Note(ctx, b.Told); err != nil {
		return &storeError{err}
	}
	p.descriptions.Touch(b.Touched)
	if err := p.descriptions.Undescribed(ctx, b.Undescribed); err != nil {
		return &storeError{err}
	}
	p.textBytes += int64(len(b.Text))
	p.transactions += b.Stats.Transactions
	if err := p.sink.write(ctx, b); err != nil {
		return &storeError{err}
	}
	p.watchClock(b.Stats)
	if b.Boundary {
		if p.repo == nil {
			p.state = p.state.Add(b.Stats.State)
		}
		p.inventory.Reached(p.sink.end())
		if at := p.clock.passed(p.sink.end()); !at.IsZero() {
			p.sink.reached(at)
		}
	}
	if cap(b.Text) <= 4*render.BatchBytes {
		select {
		case p.free <- b.Text:
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
func (s *streamer) watchClock(stats segment.Stats) {
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

// joinBase makes a checkpoint as soon as the stream has passed the point of a
// base that was taken beside it: until then what is stored does not lead to it.
func (p *pipeline) joinBase(ctx context.Context) error {
	if p.repo == nil {
		return nil
	}
	point, err := p.repo.Catalog().NewestBase(ctx)
	if err != nil {
		return &storeError{err}
	}
	switch {
	case point <= p.joined:
		return nil
	case p.sink.end() < point:
		return p.rec.Status(true) // an idle server says how far it is only when it is asked
	}
	p.joined = point
	return p.checkpoint(ctx)
}

// checkpoint stores what is complete, then tells the server.
func (p *pipeline) checkpoint(ctx context.Context) error {
	if at := p.clock.passed(p.sink.end()); !at.IsZero() {
		p.sink.reached(at)
	}
	if p.repo != nil {
		if err := p.stale.Keep(ctx, p.repo.Catalog()); err != nil {
			return &storeError{err}
		}
	}
	lsn, err := p.sink.checkpoint(ctx)
	if err == nil {
		p.inventory.Stored(lsn)
	}
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
	if err := p.rec.Confirm(lsn); err != nil && ctx.Err() == nil && !p.rec.Stopping.Load() {
		return err
	}
	return nil
}

func (p *pipeline) report(last *time.Time) {
	now := time.Now()
	progress := Progress{Position: max(p.sink.end(), catalog.LSN(p.rec.Position.Load())), Confirmed: p.confirmed,
		Server: p.clock.server(), Transactions: p.transactions, TextBytes: p.textBytes, Elapsed: now.Sub(*last)}
	if progress.Server > progress.Position {
		progress.LagBytes = int64(progress.Server - progress.Position)
	}
	*last = now
	p.opts.Report(progress)
}
