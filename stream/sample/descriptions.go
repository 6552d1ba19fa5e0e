package sample

import (
	"context"
	"strings"
	"sync"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/event"
	"pg_scribe/stream/render"
)

// Descriptions are what the stream says of objects, and which of them have to be
// read again. The stream and the sampler share them.
type Descriptions struct {
	store *catalog.Catalog
	wake  chan struct{} // something has to be read

	// Of the sampler of the present connection.
	whole time.Duration // that the last comparison of everything took
	last  time.Time     // when it ended

	// A message may come out of the stream before it is noted what it said, and
	// be left out: whoever sends one holds noting until it is noted.
	noting sync.Mutex

	mu      sync.Mutex
	pending pending
}

// pending is what has to be read.
type pending struct {
	changed map[event.Object]bool // class and OID; true: with what depends on it
	tables  map[string]bool       // names of relations that lost a part
	types   map[string]bool
	indexes map[string]bool // that were dropped
	lists   map[string]bool // publications
	others  uint32          // transaction since which objects of any name were changed; 0: none
	again   map[describeKey]describe.Address
	all     bool // so many that everything is compared
}

// pendingAtMost bounds what waits to be read.
const pendingAtMost = 10 * describeAtMost

type describeKey = catalog.DescribedKey

func newPending() pending {
	return pending{changed: map[event.Object]bool{}, tables: map[string]bool{}, types: map[string]bool{},
		indexes: map[string]bool{}, lists: map[string]bool{}, again: map[describeKey]describe.Address{}}
}

func (p pending) empty() bool {
	return len(p.changed)+len(p.tables)+len(p.types)+len(p.again) == 0 && p.others == 0 && !p.all
}

// NewDescriptions are those that a catalog keeps.
func NewDescriptions(store *catalog.Catalog) *Descriptions {
	return &Descriptions{store: store, wake: make(chan struct{}, 1), pending: newPending()}
}

// Touch takes what commands say that they touched. It may be called on nil.
func (d *Descriptions) Touch(t render.Touched) {
	if d == nil || len(t.Changed)+len(t.Dropped) == 0 && t.Others == 0 && !t.All {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range t.Changed {
		d.pending.change(o, !alone(o.Tag))
	}
	for _, o := range t.Dropped {
		d.pending.drop(o)
	}
	if t.Others != 0 && (d.pending.others == 0 || int32(t.Others-d.pending.others) < 0) {
		d.pending.others = t.Others
	}
	if t.All || len(d.pending.changed) > pendingAtMost {
		d.pending = newPending()
		d.pending.all = true
	}
	d.ask()
}

// alone says of a command that nothing that depends on its object reads otherwise
// for it.
func alone(tag string) bool {
	return tag == "GRANT" || tag == "REVOKE" || tag == "COMMENT" || tag == "SECURITY LABEL" || tag == "REFRESH MATERIALIZED VIEW"
}

func (p *pending) change(o event.Object, dependents bool) {
	key := event.Object{Class: o.Class, OID: o.OID}
	p.changed[key] = p.changed[key] || dependents
}

// drop takes a dropped object, which may have been a part of another one.
func (p *pending) drop(o event.Object) {
	p.change(o, false)
	whole, of := partOf(o.Identity, " on ")
	list, listed := partOf(o.Identity, " in publication ")
	switch {
	case listed && (o.Type == "publication relation" || o.Type == "publication namespace"):
		p.lists[list] = true
	case o.Type == "index":
		p.indexes[o.Identity] = true
	case o.Type == "domain constraint" && of:
		p.types[whole] = true
	case o.Type == "default value":
		p.tables[withoutLast(strings.TrimPrefix(o.Identity, "for "))] = true
	case of && (o.Type == "table constraint" || o.Type == "trigger" || o.Type == "rule" || o.Type == "policy"):
		p.tables[whole] = true
	}
}

// partOf is what stands behind a word that is not within quotes.
func partOf(identity, word string) (whole string, found bool) {
	quoted := false
	for i := range len(identity) {
		if quoted = quoted != (identity[i] == '"'); !quoted && strings.HasPrefix(identity[i:], word) {
			return identity[i+len(word):], true
		}
	}
	return "", false
}

// withoutLast is a qualified name without its last part, which may be quoted.
func withoutLast(name string) string {
	quoted, last := false, len(name)
	for i := range len(name) {
		if quoted = quoted != (name[i] == '"'); !quoted && name[i] == '.' {
			last = i
		}
	}
	return name[:last]
}

// Undescribed takes descriptions that the stream has left out: what was noted of
// these objects does not count, and they are read again. It may be called on nil.
func (d *Descriptions) Undescribed(ctx context.Context, list []segment.Fingerprint) error {
	if d == nil || len(list) == 0 {
		return nil
	}
	keys := make([]describeKey, len(list))
	again := map[describeKey]describe.Address{}
	for i, f := range list {
		keys[i] = describeKey{Class: f.Class, Identity: f.Identity}
		again[keys[i]] = describe.Address{}
		if o, err := describe.ParseObject([]byte(f.Description)); err == nil {
			again[keys[i]] = o.Address()
		}
	}
	d.noting.Lock()
	err := d.store.Undescribe(ctx, keys)
	d.noting.Unlock()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, address := range again {
		d.pending.again[key] = address
	}
	d.ask()
	return nil
}

// ask wakes whoever reads. The caller has the lock.
func (d *Descriptions) ask() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take hands over what has to be read.
func (d *Descriptions) take() pending {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pending
	d.pending = newPending()
	return p
}

// giveBack takes what could not be read.
func (d *Descriptions) giveBack(p pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for o, dependents := range p.changed {
		d.pending.change(o, dependents)
	}
	for name := range p.tables {
		d.pending.tables[name] = true
	}
	for name := range p.types {
		d.pending.types[name] = true
	}
	for name := range p.lists {
		d.pending.lists[name] = true
	}
	for name := range p.indexes {
		d.pending.indexes[name] = true
	}
	for key, address := range p.again {
		if _, there := d.pending.again[key]; !there {
			d.pending.again[key] = address
		}
	}
	d.pending.all = d.pending.all || p.all
	if p.others != 0 {
		d.pending.others = p.others // it is older
	}
}

// Pending says, of nil ones too, whether something has to be read.
func (d *Descriptions) Pending() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.pending.empty()
}
