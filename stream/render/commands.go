package render

import (
	"encoding/binary"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/schema"
)

// commands writes what the capture says.
type commands struct {
	out    *writer
	rows   *rows
	schema *schema.State
	slot   string
	finder *ddl.Finder
	has    belongings

	foreign bool // what follows in the transaction is another slot's sample
	bracket
}

// bracket follows the brackets of commands within one transaction. What comes
// between the start and the end of the outermost command waits, because what it did is
// known only at the end while its text belongs at the start.
type bracket struct {
	depth    int
	start    *event.Command
	lsn      catalog.LSN // of the message that start came in
	dropped  []event.Object
	inside   []event.Object // dropped by commands that the script of an extension runs
	held     heldMessages
	texts    map[string]string // that commands of this transaction refer to
	refill   *refill
	defaults bool             // the transaction has changed default privileges
	ran      bool             // it has commands
	by       segment.Identity // of a command, written last
}

func newCommands(out *writer, r *rows, o Options) commands {
	return commands{out: out, rows: r, schema: o.Schema, slot: o.Slot, finder: ddl.NewFinder(o.Schema.Strings()), has: newBelongings()}
}

// reset ends a transaction.
func (c *commands) reset() {
	c.held.drop()
	c.finder.Reset()
	c.bracket = bracket{}
}

// take takes an event that came in a message of that position; raw is the whole
// message. Messages that it held back go to again, in their order.
func (c *commands) take(e event.Event, lsn catalog.LSN, raw []byte, again func([]byte) error) error {
	if _, rows := e.(*event.Rows); !rows {
		c.rows.hidden.show(c.out)
	}
	switch e.(type) {
	case *event.Start, *event.Drop, *event.End, *event.Gap:
		c.ran = true
	}
	if text, ok := e.(*event.Text); ok {
		if c.texts == nil {
			c.texts = map[string]string{}
		}
		c.texts[text.ID] = text.Text
		return nil
	}
	if c.depth > 0 {
		return c.within(e, raw, again)
	}
	switch e := e.(type) {
	case *event.Start:
		e.Resolve(c.texts)
		c.depth, c.start, c.lsn, c.dropped, c.inside = 1, &e.Command, lsn, nil, nil
	case *event.Drop:
		c.dropped = e.Objects
	case *event.End:
		if e.Late {
			e.Command.Resolve(c.texts)
			c.lsn = lsn
			return c.end(e.Command, e, again)
		}
		c.out.gap("the end of " + e.Tag + " came without its start")
	case *event.Gap:
		c.out.gap(e.Reason)
	case *event.Mark:
		c.out.mark(e.Name)
	case *event.Sample:
		c.sample(e)
	case *event.Objects:
		c.objects(e)
	case *event.LargeObject:
		if !c.foreign {
			c.rows.largeObject(e)
		}
	case *event.Refill:
		c.beginRefill(e)
	case *event.Rows:
		c.refillRows(e)
	}
	return nil
}

// within takes an event between the start and the end of a command. What the
// command itself brought about is held until its end.
func (c *commands) within(e event.Event, raw []byte, again func([]byte) error) error {
	switch e := e.(type) {
	case *event.Start:
		c.depth++
	case *event.End:
		if e.Late {
			break
		}
		c.depth--
		if c.depth == 0 {
			return c.end(c.start, e, again)
		}
	case *event.Drop:
		if c.depth == 1 {
			c.dropped = append(c.dropped, e.Objects...)
			return nil
		}
		if ddl.IsScript(c.start.Tag) {
			c.inside = append(c.inside, e.Objects...)
		}
	case *event.Gap:
		c.out.gap(e.Reason)
		return nil
	}
	return c.held.hold(raw)
}

// abandon ends a command whose end never came.
func (c *commands) abandon(again func([]byte) error) error {
	c.depth = 0
	c.out.gap(c.start.Tag + " began and its end was not captured")
	return c.held.release(again)
}

// author notes whose command it is, if that is to be recorded, once as long as it
// stays the same.
func (c *commands) author(of *event.Command) {
	if of.By == nil {
		return
	}
	by := segment.Identity{User: of.Session, Application: of.By.Application, Client: of.By.Client}
	if by != c.by {
		c.by = by
		c.out.author(by)
	}
}

// end writes a command now that its end is known, and what it held back.
func (c *commands) end(start *event.Command, end *event.End, again func([]byte) error) error {
	dropped := c.dropped
	c.dropped = nil
	c.author(start)
	for _, f := range start.Roles { // which get the names that they had
		c.nameRole(f.OID, f.Name)
	}
	it := ddl.NewCase(c.finder, start, end, dropped)
	for _, reason := range it.Gaps() {
		c.out.gap(reason)
	}
	c.learn(it)
	c.tell(it)
	c.out.resample(it.Overtaken()...)
	if it.ChangesOwners() {
		defer c.has.forgetOwners()
	}
	c.write(it)
	c.defaults = c.defaults || it.ChangesDefaults()
	if c.lsn < c.schema.DefaultPrivileges() {
		// It made objects before other defaults came about, which the target has by
		// now: default privileges count when an object is made, and the stream has
		// transactions in the order in which they committed.
		c.out.resample(it.Privileges()...)
	}
	keep := keeps(it, c.inside)
	err := c.held.release(func(raw []byte) error {
		if !keep(raw) {
			return nil
		}
		return again(raw)
	})
	if err != nil {
		return err
	}
	c.forget(dropped) // rows of them may have been held
	return c.rows.endRun()
}

// keeps says which messages that a command held back are to be done again. Not
// those of what its replay does itself, nor the server's own commands on the way to
// the contents of a view, nor changes of rows whose table's contents follow. What
// the event triggers of others write beside an extension's script goes into tables
// that are not its own. inside are objects that the script dropped.
func keeps(it *ddl.Case, inside []event.Object) func(raw []byte) bool {
	script, end := it.Script(), it.End
	left := map[uint32]bool{} // tables whose changes are left out
	for _, t := range end.Emptied {
		left[t.OID] = true
	}
	if script {
		for _, t := range end.Tables {
			left[t.OID] = true
		}
		for _, o := range slices.Concat(it.Dropped, inside) {
			left[o.OID] = true
		}
	}
	return func(raw []byte) bool {
		switch raw[0] {
		case 'R': // says what the relation is from here on
			return true
		case 'I', 'U', 'D': // of the relation whose OID follows
			return len(raw) > 4 && !left[binary.BigEndian.Uint32(raw[1:])] && (!script || it.Unsaid())
		case 'M':
			return !script && !end.Filled
		}
		return !script
	}
}

// learn takes what a command's end tells of tables and types.
func (c *commands) learn(it *ddl.Case) {
	end, xid := it.End, c.out.tx.XID
	for _, t := range end.Tables {
		c.schema.Add(t, xid)
		c.rows.tables.renew([]uint32{t.OID}, false)
		if it.Script() { // which names none of the tables that it made
			c.schema.Announce(t.OID)
		}
	}
	c.schema.AddTypes(end.Types, xid)
	c.rows.tables.renew(nil, c.schema.Loosen(end.Loose) || len(end.Types) > 0)
	for _, o := range slices.Concat(end.Objects, it.Dropped) {
		if o.Class == event.ClassRelation {
			c.schema.Settled(o.OID)
			c.schema.Announce(o.OID)
		}
	}
	c.rows.tables.moved(end.Moved, it.SchemaRenamed())
}

// forget takes tables out that a command dropped. A column is told with its
// table's OID.
func (c *commands) forget(dropped []event.Object) {
	for _, o := range dropped {
		if o.Class == event.ClassRelation && !strings.HasSuffix(o.Type, " column") {
			c.schema.Forget(o.OID, c.out.tx.XID)
		}
	}
}

// tell hands on which objects a command tells of.
func (c *commands) tell(it *ddl.Case) {
	c.out.touch(it)
	told := Told{Unknown: it.Unsaid()}
	for _, o := range it.End.Objects {
		if !o.Invalid {
			told.Explain(o)
		}
		if it.End.View != "" { // REFRESH brings the view where nothing else told of it
			told.Came = append(told.Came, o.Key())
		}
	}
	for _, o := range it.Dropped {
		told.Went = append(told.Went, o.Key())
	}
	c.out.tell(told)
}

// Explain takes what a command tells by naming an object. One that only changes
// it does not say where it came from, but indexes and sequences may enter and
// leave the inventory by that.
func (t *Told) Explain(o event.Object) {
	key := o.Key()
	changes := strings.HasPrefix(o.Tag, "ALTER ") || o.Tag == "COMMENT" || o.Tag == "SECURITY LABEL" || o.Tag == "REFRESH MATERIALIZED VIEW"
	switch {
	case o.Type == "index" || o.Type == "sequence":
		t.Came, t.Went = append(t.Came, key), append(t.Went, key)
	case !changes:
		t.Came = append(t.Came, key)
	}
}

// write writes the command as it is to be run again, or a mark.
func (c *commands) write(it *ddl.Case) {
	w, err := ddl.Rewrite(it)
	if err != nil {
		c.out.gap(err.Error())
		return
	}
	c.out.append(w.Before...)
	if w.Session != nil {
		for _, need := range w.Session.Needs {
			if !c.has.bring(need) {
				c.out.resample(need.Sample)
				c.out.append(need.Commands...)
			}
		}
		c.out.append(w.Session.Set...)
		c.out.append(c.has.first(w.Commands)...)
		c.out.append(w.Session.Reset...)
	}
	c.out.append(w.After...)
}

// sample writes what a sample of this slot found.
func (c *commands) sample(e *event.Sample) {
	if e.Slot != "" {
		c.foreign = e.Slot != c.slot
	}
	if c.foreign || len(e.States) == 0 {
		return
	}
	c.out.open()
	for _, s := range e.States {
		if s.Role != nil {
			c.nameRole(s.Role.OID, s.Role.Name)
			continue
		}
		c.has.sampled(s.Tag)
		c.out.text = segment.AppendDDL(c.out.text, s.Tag, s.SQL)
	}
}
