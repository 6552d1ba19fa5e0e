package stream

import (
	"context"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/charset"
	"pg_scribe/stream/render"
	"pg_scribe/stream/replication"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// session streams over one connection. progressed says whether anything new
// was stored.
func (s *streamer) session(ctx context.Context) (progressed bool, err error) {
	side, err := source.Connect(ctx, s.opts.ConnString)
	if err != nil {
		return false, err
	}
	defer side.Close(context.WithoutCancel(ctx))
	if err := capture.RefuseCopy(ctx, side); err != nil {
		return false, err
	}
	src, from, err := s.check(ctx, side)
	if err != nil {
		return false, err
	}
	options, mode, err := s.prepare(ctx, side, src, from)
	if err != nil {
		return false, err
	}
	rec, slot, err := s.replicate(ctx, side, src, mode, from)
	if err != nil {
		return false, err
	}
	defer rec.Close()
	s.recovered(ctx)
	patience, err := source.SenderPatience(ctx, side)
	if err != nil {
		return false, err
	}
	p := &pipeline{streamer: s, rec: rec, patience: patience, joined: from, batches: make(chan render.Batch, 8), free: make(chan []byte, 12)}
	if p.endpos = s.opts.Endpos; s.binaryUntil != 0 {
		if p.endpos == 0 || s.binaryUntil < p.endpos {
			p.endpos = s.binaryUntil
		}
		texts, err := newTextConverter(ctx, s.opts.ConnString, src.Encoding)
		if err != nil {
			return false, err
		}
		defer texts.close()
		options.Texts = texts
	}
	// A commit record may begin where the server stands without having sent it;
	// where its WAL ends there is none.
	if p.proof = p.endpos; slot.CurrentLSN > p.endpos {
		p.proof++
	}
	p.renderer = render.New(options)
	clockCtx, stopClock := context.WithCancel(context.WithoutCancel(ctx))
	s.clock = newSourceClock(side)
	p.clockCtx = clockCtx
	if s.repo != nil && s.opts.StateInterval > 0 {
		s.sampler = sample.Start(clockCtx, sample.Options{
			Sampling: sample.Sampling{ConnString: s.opts.ConnString, Slot: s.opts.Slot, Server: src, Store: s.repo.Catalog(), Stale: s.stale},
			Catalog:  s.repo.Catalog(), Keeper: keeper(s.repo, s.opts.Publication, s.opts.Notice), Inventory: s.inventory, Interval: s.opts.StateInterval,
			Descriptions: s.descriptions})
	}
	if s.opts.Durable == nil {
		s.confirmed = max(s.confirmed, from)
	} else {
		rec.Confirmed.Store(uint64(min(from, s.opts.Durable())))
	}
	before := s.sink.end()
	err = p.run(ctx)
	stopClock()
	s.clock.wait()
	if s.sampler != nil {
		<-s.sampler.Done
		s.sampler = nil
	}
	return s.sink.end() > before, err
}

// prepare makes ready what takes the stream, and what turns it into text.
func (s *streamer) prepare(ctx context.Context, side *pgx.Conn, src source.Server, from catalog.LSN) (o render.Options, mode string, err error) {
	if s.repo != nil {
		if err := keeper(s.repo, s.opts.Publication, s.opts.Notice).Repair(ctx, side); err != nil {
			return o, "", err
		}
	}
	secret, err := capture.Secret(ctx, side)
	if err != nil {
		return o, "", err
	}
	if mode, err = capture.Mode(ctx, side); err != nil {
		return o, "", err
	}
	known, err := readSchema(ctx, side, s.opts.Slot)
	if err != nil {
		return o, "", err
	}
	if !s.told {
		s.told = true
		if err := capture.NoteUnsaved(ctx, side, s.opts.Notice); err != nil {
			return o, "", err
		}
	}
	if s.inventory == nil && s.repo != nil {
		var err error
		if s.inventory, err = sample.OpenInventory(ctx, s.repo.Catalog()); err != nil {
			return o, "", &storeError{err}
		}
	}
	if s.sink == nil {
		if err := s.openSink(ctx, src, from); err != nil {
			return o, "", &storeError{err}
		}
	}
	at, stored, err := s.storedState(ctx)
	var names map[string]string
	var brought map[uint32]bool
	if err == nil && s.repo != nil {
		names, err = sample.KeptRoleNames(ctx, s.repo.Catalog())
		s.inventory.Connected(from)
		brought = s.inventory.Tables()
	}
	if err == nil {
		err = known.Continue(at, stored, from, names)
	}
	if err != nil {
		return o, "", &storeError{err}
	}
	return render.Options{From: from, Secret: secret, Slot: s.opts.Slot, Schema: known, Encoding: charset.New(src.Encoding),
		Describe: describeOn(ctx, s.opts.ConnString), Brought: brought}, mode, nil
}

// storedState are those at the stream's end. Without a repository only this
// process has them.
func (s *streamer) storedState(ctx context.Context) (at catalog.LSN, known map[catalog.StateKey]string, err error) {
	if s.repo != nil {
		return s.repo.Catalog().StreamState(ctx)
	}
	if s.state == nil {
		return 0, nil, nil
	}
	maps.DeleteFunc(s.state.Set, func(_ catalog.StateKey, value string) bool { return value == "" })
	return s.sink.end(), s.state.Set, nil
}

// replicate takes the slot and begins to receive from it.
func (s *streamer) replicate(ctx context.Context, side *pgx.Conn, src source.Server, mode string, from catalog.LSN) (rec *replication.Receiver, slot source.Slot, err error) {
	conn, err := source.ConnectReplication(ctx, s.opts.ConnString, src.Encoding, 0)
	if err != nil {
		return nil, slot, err
	}
	if err := src.CheckConnection(ctx, conn, from); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, slot, err
	}
	var options []string
	if s.binaryUntil != 0 {
		options = []string{"binary 'true'"}
	}
	rec, err = replication.Start(ctx, conn, s.opts.Slot, capture.PublicationNames(s.opts.Publication, mode), from, options...)
	if err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, slot, source.SlotInUse(err, s.opts.Slot)
	}
	// Nobody else can move the slot from here on.
	if slot, err = source.ReadSlot(ctx, side, s.opts.Slot); err == nil {
		err = slot.Covers(from)
	}
	if err != nil {
		rec.Close()
		return nil, slot, err
	}
	return rec, slot, nil
}

// check makes sure that slot, source and repository belong together, and
// returns where to go on.
func (s *streamer) check(ctx context.Context, side *pgx.Conn) (source.Server, catalog.LSN, error) {
	src, err := source.Inspect(ctx, side)
	if err != nil {
		return src, 0, err
	}
	var info catalog.Repository
	var proven bool
	if s.repo != nil { // before all else: what is wrong with another database does not matter
		if info, proven, err = s.belongs(ctx, side, src); err != nil {
			return src, 0, err
		}
	}
	if src.InRecovery {
		return src, 0, &source.StandbyError{}
	}
	slot, slotErr := source.ReadSlot(ctx, side, s.opts.Slot)
	if slotErr == nil {
		slotErr = slot.Usable(src)
	}
	if s.repo == nil {
		from := slot.ConfirmedFlush
		if s.sink != nil {
			from = max(from, s.sink.end()) // what was written since the server was last told
		}
		return src, from, slotErr
	}
	if info.Slot != s.opts.Slot && slotErr == nil {
		return src, 0, &source.MismatchError{What: "slot", Repository: info.Slot, Source: s.opts.Slot}
	}
	if src.Timeline != info.Timeline {
		slotErr = s.follow(ctx, info, src)
	}
	if slotErr != nil {
		return src, 0, slotErr
	}
	end, err := s.repo.End(ctx)
	if err != nil {
		return src, 0, err
	}
	if s.sink != nil {
		end = s.sink.end()
	}
	if err := slot.Covers(end); err != nil {
		return src, 0, err
	}
	if slot.WALStatus == "unreserved" {
		s.opts.Notice("the server is about to remove WAL that slot " + slot.Name + " needs (max_slot_wal_keep_size)")
	}
	return src, end, adopt(ctx, s.repo, info, src.Identity(), proven, s.opts.Notice)
}

// belongs makes sure that the repository is of the source.
func (s *streamer) belongs(ctx context.Context, side *pgx.Conn, src source.Server) (info catalog.Repository, proven bool, err error) {
	inv, err := s.repo.Catalog().Inventory(ctx)
	if err != nil {
		return info, false, err
	}
	end, _ := inv.End()
	proven, err = source.SameDatabase(ctx, side, inv.Repository, src.Identity(), end)
	return inv.Repository, proven, err
}

func (s *streamer) openSink(ctx context.Context, src source.Server, from catalog.LSN) error {
	if s.opts.Text != nil {
		s.sink = &textSink{w: s.opts.Text, last: from}
		return nil
	}
	w, err := s.repo.CreateSegment(ctx, segment.Header{
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
				s.sampler.SegmentClosed()
			}
		}}
	return nil
}

// adopt records what the database of a repository is called now, and its OID
// where that is proven.
func adopt(ctx context.Context, r *repo.Repository, info catalog.Repository, src source.Identity, proven bool, notice func(string)) error {
	oid := info.DatabaseOID
	if proven {
		oid = src.OID
	}
	if oid == info.DatabaseOID && src.Database == info.Database {
		return nil
	}
	if src.Database != info.Database && notice != nil {
		notice(fmt.Sprintf("database %q is called %q now; the repository goes on with it", info.Database, src.Database))
	}
	return r.Catalog().SetDatabase(ctx, src.Database, oid)
}
