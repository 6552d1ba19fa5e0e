package sample

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/event"
	"pg_scribe/stream/source"
)

// A describer reads what objects are and sends what differs from what the stream
// said of them last. It keeps its connection for a while: commands come in
// bursts, and a new session plans its queries anew.
type describer struct {
	Sampling
	*Descriptions
	publication string // of the capture

	conn   *pgx.Conn
	reader *describe.Reader
	few    time.Duration // that the last reading of some objects took

	overtaken int // readings in a row that others made fail
}

// errOvertaken says that objects were dropped, or locked, while they were read.
// What is there then is read soon.
var errOvertaken = errors.New("objects were dropped or locked while they were read")

// errNewRoles says that the source has roles, or names of roles, that the stream
// has not brought: what is said of their objects would come before them.
var errNewRoles = errors.New("roles are new, or have new names")

// overtakenAtMost is how many readings may fail by that before it is said.
const overtakenAtMost = 10

// judge tells such an error from others. The server looks for parts of an object
// in the newest catalogs, whatever the snapshot.
func (d *describer) judge(err error) error {
	var from *pgconn.PgError
	if !errors.As(err, &from) || from.Code != "XX000" && from.Code != "55P03" && !strings.HasPrefix(from.Code, "42") {
		d.overtaken = 0
		return err
	}
	if d.overtaken++; d.overtaken > overtakenAtMost {
		return err
	}
	return fmt.Errorf("%w: %w", errOvertaken, err)
}

// describeAtMost is how many objects are read by their OIDs. Of more everything
// is compared.
const describeAtMost = 2000

// relatedSQL finds what has to be read.
var relatedSQL = query("related.sql", "owner", query("owner_of.sql"))

// connect makes ready to read.
func (d *describer) connect(ctx context.Context) (err error) {
	if d.conn != nil && !d.conn.IsClosed() {
		return nil
	}
	if d.conn, err = source.Connect(ctx, d.ConnString); err != nil {
		return err
	}
	if _, err = d.conn.Exec(ctx, "SET jit = off"); err == nil { // which would take seconds for queries of milliseconds
		err = source.LimitReads(ctx, d.conn, false)
	}
	if err == nil && d.reader == nil {
		d.reader, err = describe.NewReader(ctx, d.conn.PgConn())
	}
	return err
}

// close ends the connection.
func (d *describer) close(ctx context.Context) {
	if d.conn != nil {
		d.conn.Close(context.WithoutCancel(ctx))
		d.conn = nil
	}
}

// touched reads what commands touched, if there is anything.
func (d *describer) touched(ctx context.Context) error {
	p := d.Descriptions.take()
	if p.empty() {
		return nil
	}
	all, err := p.all, error(nil)
	if !all {
		began := time.Now()
		all, err = d.locked(ctx, func() (bool, error) { return d.readFew(ctx, p) })
		d.few = time.Since(began)
	}
	if err == nil && all {
		err = d.everything(ctx)
	}
	if err = d.judge(err); err != nil {
		d.giveBack(p)
		d.close(ctx)
	}
	return err
}

// locked does something while nobody else samples: else an older description
// could come into the stream behind a newer one.
func (d *describer) locked(ctx context.Context, do func() (bool, error)) (bool, error) {
	if err := d.connect(ctx); err != nil {
		return false, err
	}
	if err := lock(ctx, d.conn, 5*time.Second); err != nil {
		return false, err
	}
	defer Unlock(ctx, d.conn)
	return do()
}

// readFew reads some objects and what depends on them. all says that they are too many.
func (d *describer) readFew(ctx context.Context, p pending) (all bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	tx, s, err := d.begin(ctx)
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	tables, err := d.store.TablesOf(ctx, slices.Collect(maps.Keys(p.indexes)))
	if err != nil {
		return false, err
	}
	for _, oid := range tables {
		p.change(event.Object{Class: event.ClassRelation, OID: oid}, false)
	}
	read := map[uint32]bool{} // OIDs that were asked for
	for p := p; !p.empty(); {
		oids, err := related(ctx, tx, p)
		if err != nil {
			return false, err
		}
		for o := range p.changed { // also what is gone
			oids = append(oids, o.OID)
		}
		oids = slices.DeleteFunc(oids, func(oid uint32) bool { was := read[oid]; read[oid] = true; return was })
		if len(read) > describeAtMost {
			return true, nil
		}
		again := p.again
		p = newPending()
		if err := s.read(ctx, oids, again, &p); err != nil {
			return false, err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	return false, s.send(ctx, d.conn)
}

// related lists the OIDs of what has to be read.
func related(ctx context.Context, tx pgx.Tx, p pending) ([]uint32, error) {
	if len(p.changed) == 0 && p.others == 0 { // a dropped part is among what changed
		return nil, nil
	}
	var classes, oids, roots []uint32
	for o, dependents := range p.changed {
		classes, oids = append(classes, o.Class), append(oids, o.OID)
		if dependents {
			roots = append(roots, o.OID)
		}
	}
	names := func(set map[string]bool) []string { return slices.AppendSeq([]string{}, maps.Keys(set)) }
	rows, err := tx.Query(ctx, relatedSQL, classes, oids, fmt.Sprint(p.others), roots, names(p.tables), names(p.types), names(p.lists))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uint32])
}

// A sending is what one snapshot showed and the stream has not said, on its way
// into the stream.
type sending struct {
	*describer
	snapshot  string
	described map[describeKey]catalog.Described // to be noted
	gone      []describeKey
	messages  [][]byte // complete ones
	open      []byte   // the next one, as far as it has come
}

// begin takes the snapshot in which objects are read. Every role that it shows has
// the name there that the stream has brought.
func (d *describer) begin(ctx context.Context) (pgx.Tx, *sending, error) {
	tx, err := d.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, nil, err
	}
	s := &sending{describer: d, described: map[describeKey]catalog.Described{}}
	err = tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&s.snapshot)
	if err == nil {
		err = d.rolesBrought(ctx, tx)
	}
	if err != nil {
		tx.Rollback(context.WithoutCancel(ctx))
		return nil, nil, err
	}
	return tx, s, nil
}

// rolesBrought returns errNewRoles unless the stream has brought all roles with the
// names that a snapshot shows.
func (d *describer) rolesBrought(ctx context.Context, tx pgx.Tx) error {
	brought, err := KeptRoleNames(ctx, d.Store)
	if err != nil || brought == nil {
		return err
	}
	now, err := RoleNames(ctx, tx)
	for oid, name := range now {
		if brought[oid] != name {
			return errNewRoles
		}
	}
	return err
}

// read reads objects by OIDs and by addresses. Into related it puts those that
// have another name than before: what depends on them may read otherwise.
func (s *sending) read(ctx context.Context, oids []uint32, again map[describeKey]describe.Address, related *pending) error {
	known, err := s.store.Described(ctx, append(oids, 0)...) // of OID 0 are those that are known by name only
	if err != nil {
		return err
	}
	named := map[event.Object]describeKey{}
	for key, was := range known {
		named[event.Object{Class: was.Catalog, OID: was.OID}] = key
	}
	there := map[describeKey]bool{}
	take := func(o describe.Object) error {
		key := describeKey{Class: o.Class, Identity: o.Identity}
		there[key] = true
		at := event.Object{Class: o.Catalog, OID: o.OID}
		if was, before := named[at]; before && was != key {
			related.change(at, true)
		}
		return s.compare(o, known[key])
	}
	if err := s.reader.Of(ctx, s.conn.PgConn(), oids, take); err != nil {
		return err
	}
	addresses := slices.DeleteFunc(slices.Collect(maps.Values(again)), func(a describe.Address) bool { return a.Class == "" })
	if err := s.reader.At(ctx, s.conn.PgConn(), addresses, take); err != nil {
		return err
	}
	for key, was := range known {
		_, asked := again[key]
		if !there[key] && (was.OID != 0 || asked) {
			if _, now := s.described[key]; !now {
				s.goes(key)
			}
		}
	}
	return nil
}

// compare takes an object as it is.
func (s *sending) compare(o describe.Object, was catalog.Described) error {
	if o.Class == describe.LargeObject || capture.Ours(s.publication, o) {
		return nil
	}
	text := o.Append(nil)
	sum := sha256.Sum256(text)
	now := Described(o, sum)
	if now.Sum == was.Sum {
		return nil
	}
	s.described[describeKey{Class: o.Class, Identity: o.Identity}] = now
	s.add(o.Class, o.Identity, text)
	return nil
}

// Described is what is noted of an object, given the sum of its description.
func Described(o describe.Object, sum [sha256.Size]byte) catalog.Described {
	noted := catalog.Described{Catalog: o.Catalog, OID: o.OID, Sum: string(sum[:])}
	for _, r := range o.Rows {
		if r.Catalog == "pg_index" {
			noted.Indexes = append(noted.Indexes, r.Identity)
		}
	}
	return noted
}

// goes takes an object that is gone.
func (s *sending) goes(key describeKey) {
	s.gone = append(s.gone, key)
	s.add(key.Class, key.Identity, nil)
}

// messageBytes is about how large a message gets.
const messageBytes = 1 << 20

// add puts an object into a message.
func (s *sending) add(class, identity string, description []byte) {
	if s.open == nil {
		s.open = append(s.open, `{"ev": "objects", "slot": `...)
		s.open = describe.AppendString(s.open, s.Slot)
		s.open = append(s.open, `, "snapshot": "`+s.snapshot+`", "objects": [`...)
	} else {
		s.open = append(s.open, ", "...)
	}
	s.open = describe.AppendString(append(s.open, `{"class": `...), class)
	s.open = describe.AppendString(append(s.open, `, "identity": `...), identity)
	if description != nil {
		s.open = append(append(s.open, `, "description": `...), description...)
	}
	s.open = append(s.open, '}')
	if len(s.open) >= messageBytes {
		s.end()
	}
}

func (s *sending) end() {
	if s.open != nil {
		s.messages, s.open = append(s.messages, append(s.open, "]}"...)), nil
	}
}

// send sends what there is, and then notes it: sent twice, it does no harm.
func (s *sending) send(ctx context.Context, conn *pgx.Conn) error {
	s.end()
	if len(s.messages) == 0 {
		return nil
	}
	s.noting.Lock()
	defer s.noting.Unlock()
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		for _, m := range s.messages {
			if _, err := tx.Exec(ctx, "SELECT scribe.emit($1)", string(m)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.messages = nil
	err = s.store.Describe(ctx, false, s.described, s.gone)
	s.described, s.gone = map[describeKey]catalog.Described{}, nil
	return err
}

// everything compares all objects with what the stream said of them last.
func (d *describer) everything(ctx context.Context) error {
	began := time.Now()
	_, err := d.locked(ctx, func() (bool, error) { return false, d.compareAll(ctx) })
	if err != nil {
		d.close(ctx)
		return err
	}
	d.whole, d.last = time.Since(began), time.Now()
	return nil
}

func (d *describer) compareAll(ctx context.Context) error {
	known, err := d.store.Described(ctx)
	if err != nil {
		return err
	}
	tx, s, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var beside *pgx.Conn // to send while objects are read
	defer func() {
		if beside != nil {
			beside.Close(context.WithoutCancel(ctx))
		}
	}()
	sendSome := func() error {
		if beside == nil {
			if beside, err = source.Connect(ctx, d.ConnString); err != nil {
				return err
			}
		}
		return s.send(ctx, beside)
	}
	err = d.reader.All(ctx, d.conn.PgConn(), func(o describe.Object) error {
		key := describeKey{Class: o.Class, Identity: o.Identity}
		was := known[key]
		delete(known, key)
		if err := s.compare(o, was); err != nil || len(s.messages) < 4 {
			return err
		}
		return sendSome()
	})
	if err != nil {
		return err
	}
	for key := range known {
		s.goes(key)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return s.send(ctx, d.conn)
}

// sample reads what commands touched, and from time to time everything: so seldom
// that it takes a small part of the time. It may be called on nil.
func (d *describer) sample(ctx context.Context, thorough bool) error {
	if d == nil {
		return nil
	}
	share := time.Duration(100)
	if thorough {
		share = 20
	}
	err := d.touched(ctx)
	if err == nil && (d.last.IsZero() || time.Since(d.last) >= share*d.whole) {
		err = d.judge(d.everything(ctx))
	}
	switch {
	case errors.Is(err, errOvertaken):
		return nil
	case err != nil:
		return fmt.Errorf("sample of descriptions: %w", err)
	}
	if d.whole > time.Second { // the next sample is far
		d.close(ctx)
	}
	return nil
}

// pause is how long commands gather before their objects are read: reading takes a
// part of the time only, however many there are.
func (d *describer) pause() time.Duration {
	return min(max(touchedPause, 4*d.few), time.Minute)
}

// touchedPause is the shortest pause.
const touchedPause = 300 * time.Millisecond
