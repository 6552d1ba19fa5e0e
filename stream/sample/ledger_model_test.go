package sample

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pg_scribe/catalog"
	"pg_scribe/stream/event"
	"pg_scribe/stream/render"
)

// The model goes over all orders in which the transactions of a small world begin,
// commit (their record is in the WAL) and are seen by others, the stream brings them
// and stores what it brought, the sampler reads, marks and keeps, and the streamer is
// killed and begins anew from what is durable.

// act is what a transaction of a world does.
type act struct {
	op   string // make, drop, alter, rows, or script: makes what no event names one by one
	obj  int
	told bool // by an event
}

func (a act) String() string {
	if a.told || a.op == "rows" {
		return fmt.Sprintf("%s %c", a.op, 'A'+a.obj)
	}
	return fmt.Sprintf("secretly %s %c", a.op, 'A'+a.obj)
}

// Objects of a world: A is new, B is there from the beginning, C is made by a script.
const (
	objA = iota
	objB
	objC
	objects
)

// explains is what the event of an act tells, as the renderer takes it.
func (a act) explains() []string {
	o := event.Object{Class: event.ClassRelation, OID: uint32(100 + a.obj), Type: "table"}
	switch {
	case !a.told || a.op == "rows":
		return nil
	case a.op == "script":
		return []string{everything}
	case a.op == "drop":
		return []string{went(modelKey(a.obj))}
	case a.op == "make":
		o.Tag = "CREATE TABLE"
	default:
		o.Tag = "ALTER TABLE"
	}
	var t render.Told
	t.Explain(o)
	return explained(t)
}

// world is some transactions, by their numbers. They may commit in any order
// that their acts allow.
type world []act

// needs is the transaction that must be seen before the act of another is possible.
func (w world) needs(i int) int {
	if w[i].op == "make" || w[i].op == "script" {
		return -1
	}
	return slices.IndexFunc(w, func(a act) bool { return a.obj == w[i].obj && (a.op == "make" || a.op == "script") })
}

// blocked is for what cannot be done any more once the object is gone.
func (w world) blocked(i int, s *modelState) bool {
	if n := w.needs(i); n >= 0 && s.phase[n] < visible {
		return true
	}
	for j, a := range w {
		if j != i && a.op == "drop" && a.obj == w[i].obj && s.phase[j] >= committed {
			return true
		}
	}
	return false
}

const firstXID = 4294967294 // the numbers wrap around within a world

func xidOf(i int) uint64 { return firstXID + uint64(i) }

// Phases of a transaction.
const (
	unborn = iota
	running
	committed // in the WAL
	visible
)

// Steps of a sample.
const (
	idle = iota
	read
	marked
)

type modelState struct {
	phase   [3]uint8
	commits []uint8 // in the order of the WAL

	ledger  *ledger
	durable *ledger // as it was saved last

	brought int   // commits that the stream has brought
	noted   bool  // of the next one what it explains is saved
	stored  int   // commits that are stored for good
	from    int   // commit from which this connection began
	tables  uint8 // known to this connection

	sampler uint8
	sample  reading
	samples uint8 // left
	kills   uint8 // left

	marks  [2]uint8 // objects that were marked as come, and gone
	shown  uint8    // objects that a sample which was kept has shown
	missed uint8    // objects that no sample need tell from what a script made
}

func lsnOf(commits int) catalog.LSN { return catalog.LSN(10 * (commits + 1)) }

// step copies the state, for one step from it.
func (s *modelState) step() *modelState {
	c := *s
	c.ledger = cloneLedger(s.ledger)
	c.commits = slices.Clone(s.commits)
	return &c
}

func (s *modelState) save() { s.durable = cloneLedger(s.ledger) }

// modelRun goes over one world.
type modelRun struct {
	world world
	seen  map[[2]uint64]float64 // orders from a state on
	seeds [2]maphash.Seed
	fault string

	buffer []byte
}

func newModel(w world, samples, kills uint8) (*modelRun, *modelState) {
	r := &modelRun{world: w, seen: map[[2]uint64]float64{}, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	s := &modelState{samples: samples, kills: kills}
	l := newLedger(reading{seen: event.Snapshot{Min: firstXID, Max: firstXID}, at: lsnOf(0), there: map[string]string{modelKey(objB): "table B"}})
	s.ledger = l
	s.save()
	r.connect(s)
	return r, s
}

func (r *modelRun) connect(s *modelState) {
	s.ledger = cloneLedger(s.durable)
	s.brought, s.from, s.noted, s.sampler = s.stored, s.stored, false, idle
	s.ledger.connected(lsnOf(s.from))
	s.tables = 0
	for oid := range s.ledger.tables() {
		s.tables |= 1 << (oid - 100)
	}
}

// snapshot is what a session sees now.
func (r *modelRun) snapshot(s *modelState) event.Snapshot {
	p := event.Snapshot{Max: firstXID}
	for i := range r.world {
		if s.phase[i] == visible {
			p.Max = max(p.Max, xidOf(i)+1)
		}
	}
	p.Min = p.Max
	for i := range r.world {
		if xid := xidOf(i); xid < p.Max && (s.phase[i] == running || s.phase[i] == committed) {
			p.Running = append(p.Running, xid)
			p.Min = min(p.Min, xid)
		}
	}
	return p
}

func (r *modelRun) read(s *modelState) reading {
	there := map[string]string{modelKey(objB): "table B"}
	for _, op := range []string{"make", "script", "drop"} {
		for i, a := range r.world {
			switch {
			case s.phase[i] != visible || a.op != op:
			case op == "drop":
				delete(there, modelKey(a.obj))
			default:
				there[modelKey(a.obj)] = "table " + string(rune('A'+a.obj))
			}
		}
	}
	return reading{seen: r.snapshot(s), at: lsnOf(len(s.commits)), there: there}
}

// next lists the states that may follow.
func (r *modelRun) next(s *modelState) (all []*modelState) {
	add := func(do func(c *modelState)) {
		c := s.step()
		do(c)
		all = append(all, c)
	}
	for i := range r.world {
		switch s.phase[i] {
		case unborn:
			if i == 0 || s.phase[i-1] > unborn {
				add(func(c *modelState) { c.phase[i] = running })
			}
		case running:
			if !r.world.blocked(i, s) {
				add(func(c *modelState) { c.phase[i] = committed; c.commits = append(c.commits, uint8(i)) })
			}
		case committed:
			add(func(c *modelState) { c.phase[i] = visible })
		}
	}
	if s.brought < len(s.commits) {
		add(r.bring)
	}
	if s.stored < s.brought {
		add(func(c *modelState) { c.stored = c.brought; c.ledger.stored(lsnOf(c.stored)) })
	}
	if s.sampler != idle || s.samples > 0 && !s.ledger.waiting() {
		add(r.sampling)
	}
	if s.kills > 0 {
		add(func(c *modelState) { c.kills--; r.connect(c) })
	}
	return all
}

// bring is the stream's next step: what a transaction explains is saved, and only
// then is it written.
func (r *modelRun) bring(s *modelState) {
	i := int(s.commits[s.brought])
	a := r.world[i]
	if !s.noted {
		s.noted = true
		r.checkRows(s, i, a)
		if keys := a.explains(); len(keys) > 0 {
			s.ledger.tell(uint32(xidOf(i)), lsnOf(s.brought)+1, keys)
			s.save()
		}
		return
	}
	s.noted = false
	s.brought++
	s.ledger.reached(lsnOf(s.brought))
}

// checkRows checks what the renderer takes the table of some rows for.
func (r *modelRun) checkRows(s *modelState, i int, a act) {
	if a.op != "rows" {
		return
	}
	known := s.tables&(1<<a.obj) != 0
	maker := r.world.needs(i)
	switch {
	case maker < 0, r.world[maker].told && slices.Index(s.commits, uint8(maker)) < s.from:
		if !known {
			r.fail("rows of %c are taken for those of an unknown table", 'A'+a.obj)
		}
	case !r.world[maker].told && known && s.marks[0]&(1<<a.obj) == 0:
		r.fail("rows of %c are taken for those of a known table", 'A'+a.obj)
	}
}

// sampling is the sampler's next step.
func (r *modelRun) sampling(s *modelState) {
	switch s.sampler {
	case idle:
		s.sampler, s.sample = read, r.read(s)
		s.samples--
	case read:
		s.sampler = marked
		came, went := s.ledger.due()
		r.mark(s, 0, came, "make")
		r.mark(s, 1, went, "drop")
	case marked:
		s.sampler = idle
		r.note(s)
		s.ledger.sampled(s.sample)
		s.save()
	}
}

// mark checks what is marked, and notes it.
func (r *modelRun) mark(s *modelState, which int, keys []string, op string) {
	for _, key := range keys {
		for obj := range objects {
			if key != modelKey(obj) {
				continue
			}
			s.marks[which] |= 1 << obj
			if !slices.Contains(r.world, act{op, obj, false}) {
				r.fail("%c is marked though a command told: %s", 'A'+obj, op)
			}
		}
	}
}

// note keeps which objects a sample has to tell of.
func (r *modelRun) note(s *modelState) {
	shows := func(i int) bool {
		return s.sample.seen.Shows(uint32(xidOf(i))) && !s.ledger.Seen.Shows(uint32(xidOf(i)))
	}
	script := false
	for i, a := range r.world {
		script = script || a.op == "script" && shows(i)
	}
	for i, a := range r.world {
		if _, there := s.sample.there[modelKey(a.obj)]; there {
			s.shown |= 1 << a.obj
		}
		if script && shows(i) {
			s.missed |= 1 << a.obj
		}
	}
}

// finish lets the stream and the samples go on, and checks that all is marked.
func (r *modelRun) finish(s *modelState) {
	s = s.step()
	for range 3 {
		for s.brought < len(s.commits) {
			r.bring(s)
		}
		for again := true; again; again = s.sampler != idle {
			if s.sampler == idle {
				s.samples++
			}
			r.sampling(s)
		}
	}
	for _, a := range r.world {
		which := slices.Index([]string{"make", "drop"}, a.op)
		if a.told || which < 0 || s.missed&(1<<a.obj) != 0 || s.shown&(1<<a.obj) == 0 {
			continue
		}
		if s.marks[which]&(1<<a.obj) == 0 {
			r.fail("%c is not marked though no command told: %s", 'A'+a.obj, a.op)
		}
	}
	if s.ledger.open() {
		r.fail("something stays unexplained: %v %v", s.ledger.Came, s.ledger.Went)
	}
}

func (r *modelRun) fail(format string, args ...any) {
	if r.fault == "" {
		r.fault = fmt.Sprintf(format, args...)
	}
}

// orders goes over all orders from a state on and counts them. trail is how
// it was reached.
func (r *modelRun) orders(s *modelState, trail []string) float64 {
	if r.fault != "" {
		r.fault += "\n  after " + strings.Join(trail, "; ")
		return 0
	}
	key := r.key(s)
	if n, known := r.seen[key]; known {
		return n
	}
	all := r.next(s)
	n := 0.0
	if len(all) == 0 {
		r.finish(s)
		n = 1
	}
	for _, c := range all {
		if strings.Contains(r.fault, "\n") {
			break
		}
		n += r.orders(c, append(trail, s.change(c)))
	}
	if r.fault != "" && !strings.Contains(r.fault, "\n") {
		r.fault += "\n  at the end of " + strings.Join(trail, "; ")
	}
	r.seen[key] = n
	return n
}

// change says in words what happened.
func (s *modelState) change(c *modelState) string {
	for i := range s.phase {
		if s.phase[i] != c.phase[i] {
			return fmt.Sprintf("%d %s", i+1, []string{"", "begins", "commits", "is seen"}[c.phase[i]])
		}
	}
	switch {
	case s.kills != c.kills:
		return "kill"
	case s.sampler != c.sampler:
		return []string{"sample kept", "sample read", "sample marked"}[c.sampler]
	case s.stored != c.stored:
		return "stream stored"
	}
	return "stream goes on"
}

// modelWorlds are all worlds of so many transactions.
func modelWorlds(size int) (all []world) {
	acts := []act{{"make", objA, true}, {"make", objA, false}, {"alter", objA, true}, {"rows", objA, false}, {"drop", objA, true}, {"drop", objA, false},
		{"alter", objB, true}, {"rows", objB, false}, {"drop", objB, true}, {"drop", objB, false}, {"script", objC, true}}
	var extend func(w world)
	extend = func(w world) {
		if len(w) == size {
			if w.possible() {
				all = append(all, slices.Clone(w))
			}
			return
		}
		for _, a := range acts {
			extend(append(w, a))
		}
	}
	extend(nil)
	return all
}

// possible reports that a world makes and drops each object once, and that something
// is to be told of it.
func (w world) possible() bool {
	done, matters := map[string]bool{}, false
	for i, a := range w {
		if a.op != "alter" && a.op != "rows" {
			matters = true
			k := fmt.Sprint(a.op, a.obj)
			if done[k] {
				return false
			}
			done[k] = true
		}
		if a.obj == objA && a.op != "make" && w.needs(i) < 0 {
			return false
		}
	}
	return matters
}

func TestLedgerOverAllOrders(t *testing.T) {
	type job struct {
		w              world
		samples, kills uint8
	}
	jobs := make(chan job)
	var mu sync.Mutex
	var workers sync.WaitGroup
	worlds, states, orders := 0, 0, 0.0
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range jobs {
				r, s := newModel(j.w, j.samples, j.kills)
				n := r.orders(s, nil)
				mu.Lock()
				worlds, states, orders = worlds+1, states+len(r.seen), orders+n
				if r.fault != "" {
					t.Errorf("%v, %d samples, %d kills: %s", j.w, j.samples, j.kills, r.fault)
				}
				mu.Unlock()
			}
		})
	}
	for _, w := range modelWorlds(1) {
		jobs <- job{w, 4, 3}
	}
	for _, w := range modelWorlds(2) {
		jobs <- job{w, 2, 1}
	}
	for _, w := range []world{
		{{"make", objA, true}, {"alter", objA, true}, {"drop", objA, true}},
		{{"drop", objA, true}, {"rows", objA, false}, {"make", objA, true}},
		{{"make", objA, false}, {"alter", objA, true}, {"rows", objA, false}},
		{{"make", objA, false}, {"rows", objA, false}, {"drop", objA, true}},
		{{"script", objC, true}, {"make", objA, false}, {"drop", objB, true}},
		{{"drop", objB, false}, {"make", objA, true}, {"script", objC, true}},
		{{"rows", objB, false}, {"drop", objB, true}, {"make", objA, false}},
		{{"alter", objB, true}, {"drop", objB, false}, {"make", objA, true}},
	} {
		jobs <- job{w, 1, 1}
	}
	close(jobs)
	workers.Wait()
	t.Logf("%d worlds, %d states, %.3g orders", worlds, states, orders)
}
