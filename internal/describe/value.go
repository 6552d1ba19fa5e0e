package describe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// An Object is one object of a database with all that belongs to it: a table
// with its columns, constraints, indexes, triggers, rules, policies, comments.
type Object struct {
	Class    string // type and identity of pg_identify_object: "table", "public.t"
	Identity string
	Names    []string // of pg_identify_object_as_address, by which another database finds it
	Args     []string
	Rows     []Row // in order of catalog and identity

	Catalog, OID uint32 // where it was read, and no part of the description: its catalog's OID there, and its own
}

// LargeObject is the class of large objects. They come and go without events, and
// with contents, so that their owners, privileges and comments are sampled with
// these: the source says nothing else of them.
const LargeObject = "large object"

// A Row is what one row of a catalog says of an object.
type Row struct {
	Catalog    string
	Identity   string          // of the row
	Definition json.RawMessage // its columns: an object of strings and nulls, as jsonb prints it
}

// An Address names an object in any database.
type Address struct {
	Class string
	Names []string
	Args  []string
}

// Address is where another database has the object.
func (o Object) Address() Address { return Address{o.Class, o.Names, o.Args} }

func (a Address) key() string {
	return string(appendStrings(appendStrings([]byte(a.Class), a.Names), a.Args))
}

// Key names an object among all of a database.
func (o Object) Key() string { return o.Class + " " + o.Identity }

// Append appends the canonical text: one line of JSON in ASCII, so that it is
// the same in every encoding.
func (o Object) Append(dst []byte) []byte {
	dst = AppendString(append(dst, `{"class": `...), o.Class)
	dst = AppendString(append(dst, `, "identity": `...), o.Identity)
	dst = appendStrings(append(dst, `, "names": `...), o.Names)
	dst = appendStrings(append(dst, `, "args": `...), o.Args)
	dst = append(dst, `, "rows": [`...)
	for i, r := range o.Rows {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = AppendString(append(dst, '['), r.Catalog)
		dst = AppendString(append(dst, ", "...), r.Identity)
		dst = append(appendASCII(append(dst, ", "...), string(r.Definition)), ']')
	}
	return append(dst, "]}"...)
}

// Fingerprint is the SHA-256 of the canonical text, in hexadecimal.
func (o Object) Fingerprint() string {
	sum := sha256.Sum256(o.Append(nil))
	return hex.EncodeToString(sum[:])
}

// ParseObject is the inverse of Append. It accepts nothing but canonical text.
func ParseObject(text []byte) (Object, error) {
	var parsed struct {
		Class, Identity string
		Names, Args     []string
		Rows            []Row
	}
	if err := json.Unmarshal(text, &parsed); err != nil {
		return Object{}, fmt.Errorf("description: %w", err)
	}
	o := Object{Class: parsed.Class, Identity: parsed.Identity, Names: parsed.Names, Args: parsed.Args, Rows: parsed.Rows}
	if string(o.Append(nil)) != string(text) {
		return Object{}, errors.New("description: it is not in canonical form")
	}
	return o, nil
}

// UnmarshalJSON reads [catalog, identity, definition].
func (r *Row) UnmarshalJSON(text []byte) error {
	parts := []any{&r.Catalog, &r.Identity, &r.Definition}
	if err := json.Unmarshal(text, &parts); err != nil {
		return err
	}
	if len(parts) != 3 || len(r.Definition) == 0 || r.Definition[0] != '{' {
		return errors.New("a row of a description is not [catalog, identity, definition]")
	}
	r.Definition = slices.Clone(r.Definition)
	return nil
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = AppendString(dst, s)
	}
	return append(dst, ']')
}

// AppendString appends a JSON string as jsonb prints it, but in ASCII.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = appendASCII(dst, s[start:i])
		start = i + 1
		if at := strings.IndexByte("\"\\\b\f\n\r\t", c); at >= 0 {
			dst = append(dst, '\\', `"\bfnrt`[at])
		} else {
			dst = appendUnit(dst, rune(c))
		}
	}
	return append(appendASCII(dst, s[start:]), '"')
}

// appendASCII writes JSON text with its other characters as escapes. They
// stand in strings only.
func appendASCII(dst []byte, text string) []byte {
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
		case r > 0xffff:
			r -= 0x10000
			dst = appendUnit(appendUnit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			dst = appendUnit(dst, r)
		}
	}
	return dst
}

func appendUnit(dst []byte, unit rune) []byte { return fmt.Appendf(dst, `\u%04x`, unit) }
