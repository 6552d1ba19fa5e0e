package stream

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
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

	run    stringRun // of the last command of a string of several
	split  splitText
	nested struct{ frames, text string }

	refill *refillState

	defaults bool // the transaction has changed default privileges
}

func (d *ddlState) reset() {
	d.held.drop()
	*d = ddlState{}
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
		r.sampled(s.Tag)
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

// scriptTags are commands whose replay does again what they did inside, so
// that nothing of it may come from the stream as well.
var scriptTags = map[string]bool{
	"CREATE EXTENSION": true, "ALTER EXTENSION": true, "REFRESH MATERIALIZED VIEW": true,
}

// endDDL writes a command now that its end is known, and what it held back.
func (r *renderer) endDDL(start *event.Command, end *event.End) error {
	dropped := r.ddl.dropped
	r.ddl.dropped = nil
	r.nameRoles(start.Roles)
	if err := r.hashPartitions(end, dropped); err != nil {
		return err
	}
	for _, t := range end.Tables {
		r.facts.add(t, r.tx.XID)
		r.prepare([]uint32{t.OID}, false)
	}
	r.facts.addTypes(end.Types, r.tx.XID)
	r.prepare(nil, r.facts.loosen(end.Loose) || len(end.Types) > 0)
	if scriptTags[start.Tag] {
		if err := r.scriptTables(end.Tables); err != nil {
			return err
		}
	}
	for _, objects := range [][]event.Object{end.Objects, dropped} {
		for _, o := range objects {
			if o.Class == event.ClassRelation {
				r.facts.settled(o.OID)
				r.facts.announced[o.OID] = true
			}
			if !o.Invalid {
				r.touch(touch{start.Tag, o.Class, o.OID, o.Type + " " + o.Identity})
			}
		}
	}
	r.explainObjects(end.Objects, dropped)
	if end.View != "" { // REFRESH brings the view where nothing else told of it
		for _, o := range end.Objects {
			r.explain(came(o.Key()))
		}
	}
	// Also where it is not written: of a string of several commands, each has
	// to be passed over at its turn.
	sql, textErr := r.statementText(start, slices.Concat(end.Objects, dropped))
	r.moveTables(end.Moved, schemaRenamed(sql, start.Conforming()))
	if textErr != nil || changesOwners.MatchString(sql) {
		defer clear(r.owners)
	}
	r.overtakeSamples(end.Objects, sql, textErr != nil)
	if !onlyTemporary(end.Objects, dropped) && !ownObjects(end.Objects) && !onlyInvalid(end.Objects) {
		if err := r.writeDDL(start, end, dropped, sql, textErr); err != nil {
			return err
		}
	}
	r.checkDefaults(start.Tag, end.Objects)
	if scriptTags[start.Tag] {
		if start.Tag != "REFRESH MATERIALIZED VIEW" { // which makes nothing that stays
			r.explain(everything)
		}
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

// explainObjects notes which objects a command explains.
func (r *renderer) explainObjects(objects, dropped []event.Object) {
	for _, o := range objects {
		if !o.Invalid {
			r.explain(explains(o)...)
		}
	}
	for _, o := range dropped {
		r.explain(went(o.Key()))
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

// scriptTables takes what an extension's command tells of all extensions' tables. One whose
// rows were left out so far is marked when they no longer are: its rows are
// neither in a base nor in the stream.
func (r *renderer) scriptTables(tables []event.Table) error {
	for _, t := range tables {
		r.facts.announced[t.OID] = true
		if t.Freed {
			if err := r.gap(fmt.Sprintf("rows of %s.%s were left out while it belonged to an extension that does not have them dumped",
				sqltext.Identifier(t.Schema), sqltext.Identifier(t.Table))); err != nil {
				return err
			}
		}
	}
	return nil
}

// ownGrant is a privilege on what pg_scribe installed: GRANT and REVOKE do not
// tell the event triggers what they are about.
var ownGrant = regexp.MustCompile(`(?is)^\s*(?:grant|revoke)\s.*?\son\s+(?:schema\s+"?scribe"?\s|(?:\w+\s+)*"?scribe"?\.|all\s+\w+\s+in\s+schema\s+"?scribe"?\s)`)

// ownObjects tells that a command changed what pg_scribe installed.
func ownObjects(objects []event.Object) bool {
	for _, o := range objects {
		if o.Schema == captureSchema || o.Type == "schema" && o.Identity == captureSchema || o.Own {
			return true
		}
	}
	return false
}

// onlyTemporary tells that a command touched nothing that outlives a session.
func onlyTemporary(created, dropped []event.Object) bool {
	if len(created)+len(dropped) == 0 {
		return false
	}
	for _, o := range created {
		if !o.Temporary() {
			return false
		}
	}
	for _, o := range dropped {
		if !o.Temporary() {
			return false
		}
	}
	return true
}

// onlyInvalid tells that a command was about indexes that are there by name
// only; the inventory makes them as they are once they are valid.
func onlyInvalid(objects []event.Object) bool {
	return len(objects) > 0 && !slices.ContainsFunc(objects, func(o event.Object) bool { return !o.Invalid })
}

// writeDDL writes the command as it is to be run again. sql is its text,
// unless err says why that is not known.
func (r *renderer) writeDDL(start *event.Command, end *event.End, dropped []event.Object, sql string, err error) error {
	if r.writeOtherwise(start, end, dropped, sql) {
		return nil
	}
	if err != nil {
		return r.gap(fmt.Sprintf("%s: %v", start.Tag, err))
	}
	if end.Parts == "column" || end.Parts != "" && start.Tag != "CREATE TABLE" {
		return r.gap(fmt.Sprintf("%s: it gives a permanent table something that vanishes with the session", start.Tag))
	}
	if len(end.Creates) > 0 && (end.Parts != "" || likeTransient(sql, start.Conforming(), end.Gone) || end.Like && len(likes(sql, start.Conforming())) > 0) {
		r.writeDefinitions(start, end.Creates)
		return nil
	}
	if end.Late {
		sql = withoutConcurrently(sql)
	}
	if ownGrant.MatchString(sql) {
		return nil
	}
	if start.Tag == "GRANT" || start.Tag == "REVOKE" {
		if sql, err = withoutTransient(sql, start.Conforming(), end.Gone); err != nil {
			return r.gap(fmt.Sprintf("%s: %v", start.Tag, err))
		}
		if sql == "" {
			return nil
		}
	}
	if guarded, ok := guardLargeObjects(sql, end.Objects); ok {
		r.write(start, guarded...)
		return nil
	}
	r.dropOwned(sql, start, dropped)
	sql = detachFinal.ReplaceAllString(sql, "$1")
	sql = dropIfExists(withBounds(withIndexName(sql, end.Objects), end.Bounds))
	sql = withSessionUser(sql, start)
	if sql, err = withDates(sql, start.Conforming(), end.Folded); err != nil {
		return r.gap(fmt.Sprintf("%s: %v", start.Tag, err))
	}
	r.dropEventTriggers(dropped)
	r.countColumns(end)
	r.context(start, func() {
		if end.Attach != nil && end.Attach.Text != "" {
			r.out = segment.AppendDDL(r.out, "CREATE INDEX", end.Attach.Text)
		}
		if end.View != "" && !r.views[end.View] {
			r.views[end.View] = true
			r.out = segment.AppendDDL(r.out, "CREATE MATERIALIZED VIEW", end.View)
		}
		r.out = segment.AppendDDL(r.out, start.Tag, sql)
	})
	r.writeFacts(start, end)
	if setUnlogged.MatchString(sql) {
		r.emptyUnlogged(end.Objects)
	}
	return nil
}

// setUnlogged finds commands that may have made a table unlogged.
var setUnlogged = regexp.MustCompile(`(?i)\bset\s+unlogged\b`)

// emptyUnlogged empties tables that became unlogged: nothing tells of their rows
// from then on, and those from before could stand in the way of a later command.
func (r *renderer) emptyUnlogged(objects []event.Object) {
	for _, o := range objects {
		if o.Class == event.ClassRelation && o.Type == "table" && !o.Temporary() {
			r.out = segment.AppendDDL(r.out, "ALTER TABLE", "DO "+sqltext.Literal(fmt.Sprintf(
				"BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s) AND relkind = 'r' AND relpersistence = 'u') THEN TRUNCATE ONLY %s CASCADE; END IF; END",
				sqltext.Literal(o.Identity), o.Identity)))
		}
	}
}

// write writes commands under the settings of one.
func (r *renderer) write(start *event.Command, commands ...string) {
	r.context(start, func() {
		for _, sql := range commands {
			r.out = segment.AppendDDL(r.out, start.Tag, sql)
		}
	})
}

// writeOtherwise writes commands that are not written by their text, and tells
// whether this is one.
func (r *renderer) writeOtherwise(start *event.Command, end *event.End, dropped []event.Object, sql string) bool {
	switch {
	case start.Tag == "CREATE TABLE AS" || start.Tag == "SELECT INTO" || start.Tag == "IMPORT FOREIGN SCHEMA":
		r.writeDefinitions(start, end.Creates)
		return true
	case len(end.Instead) > 0:
		r.write(start, end.Instead...)
		return true
	case end.Attach != nil && !end.Attach.Valid:
		return true
	case len(end.Subs) > 0:
		r.writeSubscriptions(start, end.Subs, sql)
		return true
	case start.Tag == "DROP SUBSCRIPTION":
		r.dropSubscriptions(start, dropped)
		return true
	}
	kept, ok := dropsPart(start.Tag, dropped)
	for _, sql := range kept {
		if ok {
			r.write(start, sql)
		}
	}
	return ok
}

// writeFacts writes what the command's text does not give again: constraints
// that it copied, and values that it computed.
func (r *renderer) writeFacts(start *event.Command, end *event.End) {
	for _, c := range end.Checks {
		add := fmt.Sprintf("ALTER TABLE ONLY %s.%s ADD CONSTRAINT %s %s", sqltext.Identifier(c.Schema), sqltext.Identifier(c.Table), sqltext.Identifier(c.Name), c.Text)
		r.out = segment.AppendDDL(r.out, start.Tag, "DO "+sqltext.Literal(fmt.Sprintf(
			"BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %s::pg_catalog.regclass AND conname = %s) THEN EXECUTE %s; END IF; END",
			sqltext.Literal(sqltext.Identifier(c.Schema)+"."+sqltext.Identifier(c.Table)), sqltext.Literal(c.Name), sqltext.Literal(add))))
	}
	for _, m := range end.Missing {
		value := "NULL"
		if m.Value != nil {
			value = sqltext.Literal(*m.Value)
		}
		name := tableOf(m)
		if r.hidden.rel != name {
			r.hide(name)
		}
		r.out = segment.AppendDDL(r.out, start.Tag, "DO "+sqltext.Literal(fmt.Sprintf(
			"BEGIN IF (SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid = %[1]s::pg_catalog.regclass AND attname = %[2]s)"+
				" > (pg_catalog.current_setting('replay.columns')::pg_catalog.jsonb ->> %[1]s)::int4 THEN UPDATE ONLY %[3]s SET %[4]s = %[5]s; END IF; END",
			sqltext.Literal(name), sqltext.Literal(m.Column), name, sqltext.Identifier(m.Column), value)))
	}
	r.show()
}

// tableOf is the name of a value's table in SQL.
func tableOf(m event.MissingValue) string {
	return sqltext.Identifier(m.Schema) + "." + sqltext.Identifier(m.Table)
}

// countColumns notes how many columns the tables have before the command. Of
// those whose value is sent, it added the ones beyond; others it only changed,
// and their rows may have got other values since.
func (r *renderer) countColumns(end *event.End) {
	var counts []string
	for _, m := range end.Missing {
		count := fmt.Sprintf("%[1]s, (SELECT pg_catalog.max(attnum) FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass(%[1]s))", sqltext.Literal(tableOf(m)))
		if !slices.Contains(counts, count) {
			counts = append(counts, count)
		}
	}
	if len(counts) > 0 {
		r.open()
		r.out = segment.AppendDDL(r.out, end.Tag, "DO "+sqltext.Literal(
			"BEGIN PERFORM pg_catalog.set_config('replay.columns', pg_catalog.jsonb_build_object("+strings.Join(counts, ", ")+")::text, false); END"))
	}
}

// dropEventTriggers makes way for dropping a function that may have served
// event triggers: dropping those fires no event, and a sample tells of it later.
func (r *renderer) dropEventTriggers(dropped []event.Object) {
	for _, o := range dropped {
		if o.Type != "function" || !strings.HasSuffix(o.Identity, "()") || o.Temporary() {
			continue
		}
		r.open()
		r.out = segment.AppendDDL(r.out, "EVENT TRIGGER", "DO "+sqltext.Literal(fmt.Sprintf("DECLARE t name; BEGIN "+
			"FOR t IN SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtfoid = pg_catalog.to_regprocedure(%s) LOOP "+
			"EXECUTE pg_catalog.format('DROP EVENT TRIGGER %%I', t); END LOOP; END", sqltext.Literal(o.Identity))))
	}
}

// writeDefinitions writes commands that the capture made from the catalogs.
func (r *renderer) writeDefinitions(start *event.Command, commands []string) {
	bare := *start
	bare.Path = `""`
	r.write(&bare, commands...)
}
