package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"pg_scribe/catalog"
)

// The messages of the pgoutput plugin, protocol version 1 (PostgreSQL
// documentation, "Logical Replication Message Formats"). They are decoded
// here and not by pglogrepl because a busy server sends a hundred thousand a
// second: these types point into the message and cost no allocation.

type beginMessage struct {
	Commit catalog.LSN // of the start of the commit record
	At     time.Time
	XID    uint32
}

type commitMessage struct {
	Commit, End catalog.LSN
	At          time.Time
}

type originMessage struct {
	LSN  catalog.LSN
	Name string
}

type logicalMessage struct {
	Transactional bool
	LSN           catalog.LSN
	Prefix        []byte
	Content       []byte // in the server's encoding
}

// A relation is a table as its next row changes have it.
type relation struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // d, n, f or i: pg_class.relreplident
	Columns  []column
}

type column struct {
	Name    string
	TypeOID uint32
	TypeMod int32
	Key     bool // part of the replica identity
}

// Kinds of a tuple's values.
const (
	valueNull      = 'n'
	valueUnchanged = 'u' // an out-of-line value that the UPDATE did not touch
	valueText      = 't'
	valueBinary    = 'b' // as the type's send function has it
	valuePieces    = 'x' // was written in pieces: the number that they have
)

type value struct {
	Kind byte
	Text []byte
}

type truncateMessage struct {
	Cascade, RestartIdentity bool
	OIDs                     []uint32
}

// rowChange is an INSERT, UPDATE or DELETE.
type rowChange struct {
	OID     uint32
	OldKind byte // 'K': key columns, 'O': all columns, 0: none
	Old     []value
	New     []value
}

var errShort = errors.New("pgoutput message ends too early")

// pgEpoch is the zero of PostgreSQL's timestamps.
var pgEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// pgTime reads a timestamp of the protocol. A time.Duration would overflow
// after 292 years.
func pgTime(micros int64) time.Time {
	return time.Unix(pgEpoch.Unix()+micros/1e6, micros%1e6*1000).UTC()
}

// decoder reads one message after the other. Values point into the message;
// the slices are reused by the next call.
type decoder struct {
	b        []byte
	bad      bool
	old, new []value
}

func (d *decoder) u8() byte {
	if len(d.b) < 1 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) u16() uint16 {
	if len(d.b) < 2 {
		d.bad, d.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

func (d *decoder) u32() uint32 {
	if len(d.b) < 4 {
		d.bad, d.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decoder) u64() uint64 {
	if len(d.b) < 8 {
		d.bad, d.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) lsn() catalog.LSN { return catalog.LSN(d.u64()) }

func (d *decoder) str() string {
	i := bytes.IndexByte(d.b, 0)
	if i < 0 {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[:i])
	d.b = d.b[i+1:]
	return s
}

func (d *decoder) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) end(what string) error {
	if d.bad {
		return fmt.Errorf("%s: %w", what, errShort)
	}
	return nil
}

func (d *decoder) begin(b []byte) (beginMessage, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	m := beginMessage{Commit: d.lsn(), At: pgTime(int64(d.u64())), XID: d.u32()}
	return m, d.end("Begin")
}

func (d *decoder) commit(b []byte) (commitMessage, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	d.u8() // flags, unused
	m := commitMessage{Commit: d.lsn(), End: d.lsn(), At: pgTime(int64(d.u64()))}
	return m, d.end("Commit")
}

func (d *decoder) origin(b []byte) (originMessage, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	m := originMessage{LSN: d.lsn(), Name: d.str()}
	return m, d.end("Origin")
}

func (d *decoder) message(b []byte) (logicalMessage, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	m := logicalMessage{Transactional: d.u8()&1 != 0, LSN: d.lsn()}
	m.Prefix = []byte(d.str())
	m.Content = d.bytes(d.u32())
	return m, d.end("Message")
}

func (d *decoder) relation(b []byte) (*relation, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	r := &relation{OID: d.u32(), Schema: d.str(), Name: d.str(), Identity: d.u8()}
	if r.Schema == "" {
		r.Schema = "pg_catalog"
	}
	n := int(d.u16())
	r.Columns = make([]column, 0, n)
	for range n {
		key := d.u8()&1 != 0
		r.Columns = append(r.Columns, column{Key: key, Name: d.str(), TypeOID: d.u32(), TypeMod: int32(d.u32())})
	}
	return r, d.end("Relation")
}

func (d *decoder) truncate(b []byte) (truncateMessage, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	n := d.u32()
	flags := d.u8()
	m := truncateMessage{Cascade: flags&1 != 0, RestartIdentity: flags&2 != 0}
	for range n {
		if d.bad {
			break
		}
		m.OIDs = append(m.OIDs, d.u32())
	}
	return m, d.end("Truncate")
}

// row decodes an Insert ('I'), Update ('U') or Delete ('D').
func (d *decoder) row(kind byte, b []byte) (rowChange, error) {
	*d = decoder{b: b, old: d.old, new: d.new}
	c := rowChange{OID: d.u32()}
	part := d.u8()
	if part == 'K' || part == 'O' {
		c.OldKind = part
		d.old = d.tuple(d.old[:0])
		c.Old = d.old
		if kind == 'D' {
			return c, d.end("Delete")
		}
		part = d.u8()
	}
	if part != 'N' || kind == 'D' {
		return c, fmt.Errorf("row change %q has an unknown part %q", kind, part)
	}
	d.new = d.tuple(d.new[:0])
	c.New = d.new
	return c, d.end("row change")
}

func (d *decoder) tuple(dst []value) []value {
	for n := int(d.u16()); n > 0 && !d.bad; n-- {
		v := value{Kind: d.u8()}
		switch v.Kind {
		case valueNull, valueUnchanged:
		case valueText, valueBinary:
			v.Text = d.bytes(d.u32())
		default:
			d.bad = true
		}
		dst = append(dst, v)
	}
	return dst
}
