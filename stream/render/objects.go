package render

import (
	"regexp"

	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
)

// Touched are the objects of which commands say that they made, changed or
// dropped them, which therefore have to be described again.
type Touched struct {
	Changed []event.Object // by class and OID
	Dropped []event.Object // by type and identity
	Others  uint32         // a transaction with a command that does not name what it changed; 0: none
	All     bool           // a role has another name, and what has to do with it reads otherwise
}

// partitioned matches commands that change a partition which they do not tell of.
var partitioned = regexp.MustCompile(`(?i)\b(?:at|de)tach\b`)

// touch notes what a command touched.
func (w *writer) touch(it *ddl.Case) {
	t := &w.touched
	if it.Start.Tag == "DROP OWNED" || it.Start.Tag == "ALTER TABLE" && partitioned.MatchString(it.Start.SQL) {
		t.Others = w.tx.XID
	}
	for _, o := range it.End.Objects {
		switch {
		case o.Temporary():
		case o.OID == 0: // of GRANT and the like
			t.Others = w.tx.XID
		default:
			t.Changed = append(t.Changed, o)
		}
	}
	for _, o := range it.Dropped {
		if !o.Temporary() {
			t.Dropped = append(t.Dropped, o)
		}
	}
}

// objects writes what a snapshot showed of objects, if every command that the
// stream has brought is in it. Else these objects are to be read again.
func (c *commands) objects(e *event.Objects) {
	if e.Slot != c.slot {
		return
	}
	list := make([]segment.Fingerprint, 0, len(e.Objects))
	for _, o := range e.Objects {
		f := segment.Fingerprint{Class: o.Class, Identity: o.Identity, SHA256: segment.Gone}
		if o.Description != nil {
			f = segment.NewFingerprint(o.Class, o.Identity, o.Description)
		}
		list = append(list, f)
	}
	if c.ran || !c.schema.Shown(e.Snapshot) {
		c.out.undescribed = append(c.out.undescribed, list...)
		return
	}
	c.out.open()
	for _, f := range list {
		c.out.text = segment.AppendObject(c.out.text, f)
	}
}
