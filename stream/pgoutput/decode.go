// Package pgoutput reads the messages of PostgreSQL's built-in output plugin,
// protocol version 1 (PostgreSQL documentation, "Logical Replication Message
// Formats").
//
// They are decoded here and not by pglogrepl because a busy server sends a
// hundred thousand a second: what a Decoder returns points into the message and
// costs no allocation. A message that ends too early is an error that wraps
// ErrShort; nothing is guessed.
package pgoutput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"pg_scribe/catalog"
)

// Begin comes before the changes of a transaction.
type Begin struct {
	Commit catalog.LSN // of the start of the commit record
	At     time.Time
	XID    uint32
}

// Commit comes behind them. End is the end of the commit record.
type Commit struct {
	Commit, End catalog.LSN
	At          time.Time
}

// Origin says that a transaction came from another server.
type Origin struct {
	LSN  catalog.LSN
	Name string
}

// Message is a logical decoding message, as pg_logical_emit_message writes it.
type Message struct {
	Transactional bool
	LSN           catalog.LSN
	Prefix        []byte
	Content       []byte // in the server's encoding
}

// A Relation is a table as its next row changes have it.
type Relation struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // d, n, f or i: pg_class.relreplident
	Columns  []Column
}

// A Column is one of its columns.
type Column struct {
	Name    string
	TypeOID uint32
	TypeMod int32
	Key     bool // part of the replica identity
}

// Kinds of a tuple's values.
const (
	Null      = 'n'
	Unchanged = 'u' // an out-of-line value that the UPDATE did not touch
	Text      = 't'
	Binary    = 'b' // as the type's send function has it
)

// A Value is that of one column. Text points into the message.
type Value struct {
	Kind byte
	Text []byte
}

// Truncate names the tables that were emptied.
type Truncate struct {
	Cascade, RestartIdentity bool
	OIDs                     []uint32
}

// RowChange is an INSERT, UPDATE or DELETE.
type RowChange struct {
	OID     uint32
	OldKind byte // 'K': key columns, 'O': all columns, 0: none
	Old     []Value
	New     []Value
}

// ErrShort is wrapped by the error of a message that ends too early.
var ErrShort = errors.New("pgoutput message ends too early")

// Epoch is the zero of PostgreSQL's timestamps.
var Epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Time reads a timestamp of the protocol. A time.Duration would overflow
// after 292 years.
func Time(micros int64) time.Time {
	return time.Unix(Epoch.Unix()+micros/1e6, micros%1e6*1000).UTC()
}

// Decoder reads one message after the other. Values point into the message;
// the slices are reused by the next call.
type Decoder struct {
	b        []byte
	bad      bool
	old, new []Value
}

func (d *Decoder) u8() byte {
	if len(d.b) < 1 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *Decoder) u16() uint16 {
	if len(d.b) < 2 {
		d.bad, d.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

func (d *Decoder) u32() uint32 {
	if len(d.b) < 4 {
		d.bad, d.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *Decoder) u64() uint64 {
	if len(d.b) < 8 {
		d.bad, d.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *Decoder) lsn() catalog.LSN { return catalog.LSN(d.u64()) }

func (d *Decoder) str() string {
	i := bytes.IndexByte(d.b, 0)
	if i < 0 {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[:i])
	d.b = d.b[i+1:]
	return s
}

func (d *Decoder) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *Decoder) end(what string) error {
	if d.bad {
		return fmt.Errorf("%s: %w", what, ErrShort)
	}
	return nil
}

// Begin decodes a message of type B, without that letter; the others likewise.
func (d *Decoder) Begin(b []byte) (Begin, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	m := Begin{Commit: d.lsn(), At: Time(int64(d.u64())), XID: d.u32()}
	return m, d.end("Begin")
}

// Commit decodes C.
func (d *Decoder) Commit(b []byte) (Commit, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	d.u8() // flags, unused
	m := Commit{Commit: d.lsn(), End: d.lsn(), At: Time(int64(d.u64()))}
	return m, d.end("Commit")
}

// Origin decodes O.
func (d *Decoder) Origin(b []byte) (Origin, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	m := Origin{LSN: d.lsn(), Name: d.str()}
	return m, d.end("Origin")
}

// Message decodes M.
func (d *Decoder) Message(b []byte) (Message, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	m := Message{Transactional: d.u8()&1 != 0, LSN: d.lsn()}
	m.Prefix = []byte(d.str())
	m.Content = d.bytes(d.u32())
	return m, d.end("Message")
}

// Relation decodes R. Its result is not reused.
func (d *Decoder) Relation(b []byte) (*Relation, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	r := &Relation{OID: d.u32(), Schema: d.str(), Name: d.str(), Identity: d.u8()}
	if r.Schema == "" {
		r.Schema = "pg_catalog"
	}
	n := int(d.u16())
	r.Columns = make([]Column, 0, n)
	for range n {
		key := d.u8()&1 != 0
		r.Columns = append(r.Columns, Column{Key: key, Name: d.str(), TypeOID: d.u32(), TypeMod: int32(d.u32())})
	}
	return r, d.end("Relation")
}

// Truncate decodes T.
func (d *Decoder) Truncate(b []byte) (Truncate, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	n := d.u32()
	flags := d.u8()
	m := Truncate{Cascade: flags&1 != 0, RestartIdentity: flags&2 != 0}
	for range n {
		if d.bad {
			break
		}
		m.OIDs = append(m.OIDs, d.u32())
	}
	return m, d.end("Truncate")
}

// Row decodes an Insert ('I'), Update ('U') or Delete ('D').
func (d *Decoder) Row(kind byte, b []byte) (RowChange, error) {
	*d = Decoder{b: b, old: d.old, new: d.new}
	c := RowChange{OID: d.u32()}
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

func (d *Decoder) tuple(dst []Value) []Value {
	for n := int(d.u16()); n > 0 && !d.bad; n-- {
		v := Value{Kind: d.u8()}
		switch v.Kind {
		case Null, Unchanged:
		case Text, Binary:
			v.Text = d.bytes(d.u32())
		default:
			d.bad = true
		}
		dst = append(dst, v)
	}
	return dst
}
