package stream

import (
	"slices"
	"strings"

	"pg_scribe/repo/segment"

	"pg_scribe/catalog"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
)

// ddlState follows the brackets of DDL commands within one transaction. What
// comes between the start and the end of the outermost command waits, because
// its facts are known only at the end while its text belongs at the start.
type ddlState struct {
	depth   int
	start   *event.Command
	lsn     catalog.LSN // of the message that start came in
	dropped []event.Object
	held    heldMessages

	// Texts that commands of this transaction refer to.
	texts map[string]string

	finder ddl.Finder

	refill *refillState

	defaults bool // the transaction has changed default privileges

	by segment.Identity // written last in this transaction
}

func (d *ddlState) reset() {
	d.held.drop()
	d.finder.Reset()
	*d = ddlState{finder: d.finder}
}

// logical takes a logical decoding message; raw is the whole of it.
func (r *renderer) logical(m pgoutput.Message, raw []byte) error {
	if string(m.Prefix) != event.Prefix {
		return nil
	}
	payload, ok := event.Verify(r.secret, m.Content)
	if !ok {
		return nil
	}
	e, err := event.Parse(payload)
	if e == nil || err != nil {
		return err
	}
	if _, rows := e.(*event.Rows); !rows {
		r.show()
	}
	d := &r.ddl
	if text, ok := e.(*event.Text); ok {
		if d.texts == nil {
			d.texts = map[string]string{}
		}
		d.texts[text.ID] = text.Text
		return nil
	}
	if d.depth > 0 {
		return r.withinDDL(e, raw)
	}
	switch e := e.(type) {
	case *event.Start:
		e.Resolve(d.texts)
		d.depth, d.start, d.lsn, d.dropped = 1, &e.Command, m.LSN, nil
	case *event.Drop:
		d.dropped = e.Objects
	case *event.End:
		if e.Late {
			e.Command.Resolve(d.texts)
			d.lsn = m.LSN
			return r.endDDL(e.Command, e)
		}
		return r.gap("the end of " + e.Tag + " came without its start")
	case *event.Gap:
		return r.gap(e.Reason)
	case *event.Mark:
		r.open()
		r.out = segment.AppendRestorePoint(r.out, e.Name)
		r.found.Points = append(r.found.Points, catalog.RestorePoint{Name: e.Name, LSN: r.tx.Commit, XID: r.tx.XID, At: r.tx.At})
	case *event.Sample:
		r.writeStates(e)
	case *event.LargeObject:
		if !r.foreign {
			r.largeObject(e)
		}
	case *event.Refill:
		return r.beginRefill(e)
	case *event.Rows:
		return r.refillRows(e)
	}
	return nil
}

// withinDDL takes an event between the start and the end of a command. What
// the command itself brought about is held until its end.
func (r *renderer) withinDDL(e event.Event, raw []byte) error {
	d := &r.ddl
	switch e := e.(type) {
	case *event.Start:
		d.depth++
	case *event.End:
		if e.Late {
			break
		}
		d.depth--
		if d.depth == 0 {
			return r.endDDL(d.start, e)
		}
	case *event.Drop:
		if d.depth == 1 {
			d.dropped = append(d.dropped, e.Objects...)
			return nil
		}
	case *event.Gap:
		return r.gap(e.Reason)
	}
	return d.held.hold(raw)
}

// writeStates writes what a sample of this slot found.
func (r *renderer) writeStates(c *event.Sample) {
	if c.Slot != "" {
		r.foreign = c.Slot != r.slot
	}
	if r.foreign || len(c.States) == 0 {
		return
	}
	r.open()
	for _, s := range c.States {
		if s.Role != nil {
			r.nameRole(s.Role.OID, s.Role.Name)
			continue
		}
		r.has.sampled(s.Tag)
		r.out = segment.AppendDDL(r.out, s.Tag, s.SQL)
	}
}

// abandonDDL ends a command whose end never came.
func (r *renderer) abandonDDL() error {
	tag := r.ddl.start.Tag
	r.ddl.depth = 0
	if err := r.gap(tag + " began and its end was not captured"); err != nil {
		return err
	}
	return r.ddl.held.release(r.message)
}

// endDDL writes a command now that its end is known, and what it held back.
func (r *renderer) endDDL(start *event.Command, end *event.End) error {
	dropped := r.ddl.dropped
	r.ddl.dropped = nil
	r.nameRoles(start.Roles)
	r.writeAuthor(start)
	c := ddl.NewCase(&r.ddl.finder, start, end, dropped)
	for _, reason := range c.Gaps() {
		if err := r.gap(reason); err != nil {
			return err
		}
	}
	r.learn(c)
	r.explainCase(c)
	r.resample(c.Overtaken()...)
	if c.ChangesOwners() {
		defer clear(r.has.needs[ddl.NeedOwner])
	}
	if err := r.writeDDL(c); err != nil {
		return err
	}
	if c.ChangesDefaults() {
		r.ddl.defaults = true
	}
	if r.ddl.lsn < r.facts.defaults {
		r.resample(c.Privileges()...)
	}
	if c.Script() {
		r.ddl.held.drop()
		r.forget(dropped)
		return nil
	}
	if err := r.ddl.held.release(r.message); err != nil {
		return err
	}
	r.forget(dropped) // rows of them may have been held
	return r.endRun()
}

// writeAuthor notes whose command it is, if that is to be recorded, once as long as
// it stays the same.
func (r *renderer) writeAuthor(c *event.Command) {
	if c.By == nil {
		return
	}
	by := segment.Identity{User: c.Session, Application: c.By.Application, Client: c.By.Client}
	if by != r.ddl.by {
		r.open()
		r.out = segment.AppendAuthor(r.out, by)
		r.ddl.by = by
	}
}

// learn takes what a command's end tells of tables and types.
func (r *renderer) learn(c *ddl.Case) {
	end := c.End
	for _, t := range end.Tables {
		r.facts.add(t, r.tx.XID)
		r.prepare([]uint32{t.OID}, false)
		if c.Script() { // which names none of the tables that it made
			r.facts.announced[t.OID] = true
		}
	}
	r.facts.addTypes(end.Types, r.tx.XID)
	r.prepare(nil, r.facts.loosen(end.Loose) || len(end.Types) > 0)
	for _, o := range slices.Concat(end.Objects, c.Dropped) {
		if o.Class == event.ClassRelation {
			r.facts.settled(o.OID)
			r.facts.announced[o.OID] = true
		}
		if !o.Invalid {
			r.touch(touch{c.Start.Tag, o.Class, o.OID, o.Type + " " + o.Identity})
		}
	}
	r.moveTables(end.Moved, c.SchemaRenamed())
}

// explainCase notes which objects a command explains.
func (r *renderer) explainCase(c *ddl.Case) {
	for _, o := range c.End.Objects {
		if !o.Invalid {
			r.explain(explains(o)...)
		}
		if c.End.View != "" { // REFRESH brings the view where nothing else told of it
			r.explain(came(o.Key()))
		}
	}
	for _, o := range c.Dropped {
		r.explain(went(o.Key()))
	}
	if c.Unsaid() {
		r.explain(everything)
	}
}

// explains is what a command tells a ledger by naming an object. One that
// only changes it does not say where it came from, but indexes and sequences
// may enter and leave the inventory by that.
func explains(o event.Object) []string {
	key := o.Key()
	changes := strings.HasPrefix(o.Tag, "ALTER ") || o.Tag == "COMMENT" || o.Tag == "SECURITY LABEL" || o.Tag == "REFRESH MATERIALIZED VIEW"
	switch {
	case o.Type == "index" || o.Type == "sequence":
		return []string{came(key), went(key)}
	case changes:
		return nil
	}
	return []string{came(key)}
}

func (r *renderer) forget(dropped []event.Object) {
	for _, o := range dropped {
		if o.Class == event.ClassRelation {
			r.facts.forget(o.OID, r.tx.XID)
		}
	}
}

// writeDDL writes the command as it is to be run again, or a mark.
func (r *renderer) writeDDL(c *ddl.Case) error {
	w, err := ddl.Rewrite(c)
	if err != nil {
		return r.gap(err.Error())
	}
	r.append(w.Before...)
	if w.Session != nil {
		for _, need := range w.Session.Needs {
			if !r.has.bring(need) {
				r.resample(need.Sample)
				r.append(need.Commands...)
			}
		}
		r.append(w.Session.Set...)
		r.append(w.Commands...)
		r.append(w.Session.Reset...)
	}
	r.append(w.After...)
	return nil
}

// append writes commands.
func (r *renderer) append(commands ...ddl.Command) {
	for _, c := range commands {
		if c.Once {
			if r.has.once[c.SQL] {
				continue
			}
			r.has.once[c.SQL] = true
		}
		r.open()
		if c.Tag == "" {
			r.out = append(append(r.out, c.SQL...), ";\n"...)
		} else {
			r.out = segment.AppendDDL(r.out, c.Tag, c.SQL)
		}
	}
}

// resample has states sampled again, which the stream has changed.
func (r *renderer) resample(states ...ddl.State) {
	for _, s := range states {
		r.stale.add(s.Kind, s.Key)
	}
}

// belongings are what the stream has brought to the target's cluster on this
// connection beside the samples, which have to put it right again.
type belongings struct {
	needs map[ddl.NeedKind]map[string]string
	once  map[string]bool // commands that are written once only
}

func newBelongings() belongings {
	b := belongings{needs: map[ddl.NeedKind]map[string]string{}, once: map[string]bool{}}
	for _, kind := range []ddl.NeedKind{ddl.NeedRole, ddl.NeedMembership, ddl.NeedCreate, ddl.NeedOwner} {
		b.needs[kind] = map[string]string{}
	}
	return b
}

// bring notes that the target gets what a command needs, and tells whether it
// had it already.
func (b belongings) bring(n ddl.Need) (had bool) {
	value, known := b.needs[n.Kind][n.Key]
	b.needs[n.Kind][n.Key] = n.Value
	return known && value == n.Value
}

// forgetGrants forgets memberships, and rights in the database.
func (b belongings) forgetGrants() {
	clear(b.needs[ddl.NeedMembership])
	clear(b.needs[ddl.NeedCreate])
}

// sampled forgets what was brought along of a state that a sample now brings.
func (b belongings) sampled(tag string) {
	if tag == segment.TagOwner {
		clear(b.needs[ddl.NeedOwner])
	}
	if tag != "ALTER DATABASE" && !strings.HasPrefix(tag, "ROLE ") {
		return
	}
	b.forgetGrants()
	for name := range b.needs[ddl.NeedRole] {
		if ddl.RoleTag(name) == tag {
			delete(b.needs[ddl.NeedRole], name)
		}
	}
}
