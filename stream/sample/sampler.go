package sample

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"

	"github.com/jackc/pgx/v5"
)

// A Sampler samples beside the stream, on a connection of its own. A sample
// that fails is reported, noted for status, and tried again; it never ends the
// stream.
type Sampler struct {
	opts    Options
	asked   chan chan bool
	rotated chan struct{} // a segment was closed
	objects *describer    // nil: nobody asks for descriptions
	said    string        // why the last sample was not complete
	Done    chan struct{}
}

// sampleLimit bounds one sample, but for the large objects.
const sampleLimit = time.Minute

// rotationPause keeps segments that fill within moments from costing a sample
// each.
const rotationPause = 10 * time.Second

// FaultSetting is the setting in which the catalog keeps why the last sample
// was not complete; empty if it was.
const FaultSetting = "state fault"

// Options say what a Sampler samples, and when.
type Options struct {
	Sampling
	Catalog   *catalog.Catalog
	Keeper    capture.Keeper
	Inventory *Inventory
	Interval  time.Duration

	Descriptions *Descriptions // nil: objects are not described
}

// Start samples at once, at every interval, when a segment is closed
// and when asked, until ctx ends.
func Start(ctx context.Context, opts Options) *Sampler {
	m := &Sampler{opts: opts, asked: make(chan chan bool), rotated: make(chan struct{}, 1), Done: make(chan struct{})}
	go m.run(ctx)
	return m
}

func (m *Sampler) run(ctx context.Context) {
	defer close(m.Done)
	ticker := time.NewTicker(m.opts.Interval)
	defer ticker.Stop()
	var touched <-chan struct{} // by commands; nil: nobody reads it
	if m.opts.Descriptions != nil {
		m.objects = &describer{Sampling: m.opts.Sampling, Descriptions: m.opts.Descriptions, publication: m.opts.Keeper.Publication}
		defer func() { m.objects.close(ctx) }()
		touched = m.opts.Descriptions.wake
	}
	var soon <-chan time.Time
	last := time.Now()
	sample := func(thorough bool) (complete bool) {
		last = time.Now()
		return m.sample(ctx, thorough)
	}
	sample(true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			sample(false)
		case <-touched:
			if soon == nil {
				soon = time.After(m.objects.pause())
			}
		case <-soon:
			soon = nil
			if !m.describe(ctx) {
				soon = time.After(describeAgain)
			}
		case <-m.rotated:
			if time.Since(last) >= rotationPause {
				sample(true)
			}
		case answer := <-m.asked:
			answer <- sample(true)
		}
	}
}

// sample takes one sample, and keeps for status why it was not complete.
func (m *Sampler) sample(ctx context.Context, thorough bool) (complete bool) {
	notice := m.opts.Keeper.Notice
	var err error
	for attempt := range sampleAtMost {
		err = m.once(ctx, thorough)
		if errors.Is(err, errBusy) {
			break
		}
		described := m.objects.sample(ctx, thorough)
		if errors.Is(described, errNewRoles) && attempt < sampleAtMost-1 {
			continue // they came meanwhile
		}
		err = errors.Join(err, described)
		break
	}
	if ctx.Err() != nil {
		return false
	}
	if !errors.Is(err, errBusy) {
		m.say("not everything was sampled: ", err)
	}
	if err := noteFault(ctx, m.opts.Catalog, err); err != nil {
		notice(err.Error())
	}
	return err == nil
}

// sampleAtMost is how often a sample is taken in a row while roles go on coming
// and changing their names.
const sampleAtMost = 3

// say hands on why something failed, once as long as it stays the same.
func (m *Sampler) say(what string, err error) {
	text := ""
	if err != nil {
		text = what + err.Error()
	}
	if text != m.said && text != "" {
		m.opts.Keeper.Notice(text)
	}
	m.said = text
}

// describeAgain is the pause before another attempt to read what commands touched.
const describeAgain = 5 * time.Second

// describe reads what commands touched. Where there are new roles, or names of
// roles, a sample brings these first.
func (m *Sampler) describe(ctx context.Context) (done bool) {
	err := m.objects.touched(ctx)
	if errors.Is(err, errNewRoles) {
		m.sample(ctx, false)
		return true
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errBusy) && !errors.Is(err, errOvertaken) {
		m.say("objects were not described: ", err)
	}
	return err == nil
}

// noteFault keeps for status why a sample failed.
func noteFault(ctx context.Context, store Store, fault error) error {
	text := ""
	if fault != nil {
		text = strings.ReplaceAll(fault.Error(), "\n", "; ")
	}
	if before, _, err := store.Setting(ctx, FaultSetting); err != nil || before == text {
		return err
	}
	return store.SetSetting(ctx, FaultSetting, text)
}

// SegmentClosed asks for a sample, without waiting for it.
func (m *Sampler) SegmentClosed() {
	select {
	case m.rotated <- struct{}{}:
	default:
	}
}

// errBusy says that another process samples, or makes a base, for longer
// than a sample waits.
var errBusy = errors.New("another process of pg_scribe samples this database")

// lock keeps all others from sampling: two samples at a time could
// leave the older one in the stream behind the newer one, and one that begins
// before a base's point and ends behind it would take the base back.
func lock(ctx context.Context, conn *pgx.Conn, wait time.Duration) error {
	for deadline := time.Now().Add(wait); ; {
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", samplingLock[0], samplingLock[1]).Scan(&got); err != nil || got {
			return err
		}
		if time.Now().After(deadline) {
			return errBusy
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func Unlock(ctx context.Context, conn *pgx.Conn) {
	conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1, $2)", samplingLock[0], samplingLock[1])
}

// samplingLock is the key of the advisory lock: the letters "pgscribe".
var samplingLock = [2]int32{0x70677363, 0x72696265}

// once repairs the capture, guards or lists tables whose replica identity
// changed, and samples.
func (m *Sampler) once(ctx context.Context, thorough bool) error {
	whole, stop := context.WithCancel(ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(whole, sampleLimit)
	defer cancel()
	conn, err := source.Connect(ctx, m.opts.ConnString)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := m.opts.Keeper.Repair(ctx, conn); err != nil {
		return err
	}
	mode, err := capture.Mode(ctx, conn)
	if err != nil {
		return err
	}
	if mode == capture.ModeNoHarm {
		err = capture.ListTables(ctx, conn, source.ShortPatience, false)
	} else {
		_, err = capture.GuardTables(ctx, conn, source.ShortPatience)
	}
	if err != nil {
		err = fmt.Errorf("replica identities: %w", err)
	}
	if lerr := lock(ctx, conn, 5*time.Second); lerr != nil {
		return errors.Join(err, lerr)
	}
	if _, uerr := watchUnpublished(ctx, conn, m.opts.Keeper.Publication, m.opts.Catalog); uerr != nil {
		err = errors.Join(err, fmt.Errorf("sample of tables without replica identity: %w", uerr))
	}
	if ierr := m.opts.Inventory.Check(ctx, conn, m.opts.Slot, m.opts.Server.Timeline); ierr != nil {
		err = errors.Join(err, fmt.Errorf("sample of the inventory: %w", ierr))
	}
	return errors.Join(err, m.opts.take(ctx, whole, conn, thorough))
}

// Sampling is how the state of a source goes into the stream of one slot.
type Sampling struct {
	ConnString string
	Slot       string // whose samples these are
	Server     source.Server
	Store      Store // of the samples before
	Stale      *Stale
}

// Before takes a sample for the stream that leads up to a base, and leaves the
// sampling locked until the base has its point (Unlock). changes are
// those of unpublished tables up to then; nil: unknown.
func (s Sampling) Before(ctx context.Context, conn *pgx.Conn, publication string, store *catalog.Catalog) (changes *Unpublished, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	if err := lock(ctx, conn, sampleLimit/2); err != nil {
		return nil, err
	}
	changes, err = watchUnpublished(ctx, conn, publication, store)
	return changes, errors.Join(err, s.take(ctx, ctx, conn, true))
}

// take samples everything, under the lock. Large objects may take until whole
// ends, everything else until ctx does.
func (s Sampling) take(ctx, whole context.Context, conn *pgx.Conn, thorough bool) error {
	r, err := s.reconcile(ctx, conn)
	if err != nil {
		return err
	}
	if _, err := s.reconcileLargeObjects(whole, conn, thorough); err != nil {
		r.errs = append(r.errs, fmt.Errorf("sample of large objects: %w", err))
	}
	ctx, cancel := context.WithTimeout(whole, sampleLimit)
	defer cancel()
	return r.finish(ctx, conn)
}

// Last takes a last sample, or gives up after a while. It reports whether the
// sample is complete.
func (m *Sampler) Last(ctx context.Context) (complete bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer := make(chan bool, 1)
	select {
	case m.asked <- answer:
	case <-m.Done:
		return false
	case <-ctx.Done():
		return false
	}
	select {
	case complete = <-answer:
	case <-m.Done:
	case <-ctx.Done():
	}
	return complete
}
