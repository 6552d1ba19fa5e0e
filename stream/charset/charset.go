// Package charset finds bytes that stand for no text in a database's encoding,
// and puts characters in their place that a server reads. It knows bytes only.
package charset

import (
	"fmt"
	"unicode/utf8"
)

// An Encoding finds what is stored as text and is none in the database's
// encoding. PostgreSQL checks text when it comes in, but not what C functions
// or casts without function make, and old databases hold what older releases
// let pass. It sends such bytes as they are and reads them nowhere, so that a
// restore would stop at them: each is replaced by a character that stands for
// this byte alone, so that keys stay different and rows are found again.
type Encoding struct {
	name string
	char func(b []byte) int              // length of the valid character in front of b, which is not ASCII; 0: there is none
	all  func(b []byte) bool             // all of b is valid
	mend func(dst []byte, b byte) []byte // appends what stands for a byte
	sign string                          // how the characters of mend are called
}

// New knows the encodings in which not all bytes are text, but for
// MULE_INTERNAL; nil: any bytes pass.
func New(name string) *Encoding {
	if name == "UTF8" {
		return &Encoding{name: name, all: utf8.Valid, char: utf8Char, sign: "U+F780 to U+F7FF",
			mend: func(dst []byte, b byte) []byte { return utf8.AppendRune(dst, 0xF700+rune(b)) }}
	}
	char := map[string]func([]byte) int{"EUC_JP": eucChar(2, 3), "EUC_JIS_2004": eucChar(2, 3), "EUC_KR": eucChar(0, 0), "EUC_CN": eucChar(0, 0),
		"EUC_TW": eucChar(4, 0)}[name]
	if char == nil {
		return nil
	}
	e := &Encoding{name: name, char: char, sign: "in rows 93 and 94",
		mend: func(dst []byte, b byte) []byte { return append(dst, 0xFD+b>>6&1, 0xA1+b&0x3F) }}
	e.all = func(b []byte) bool { return e.ValidLen(b) == len(b) }
	return e
}

func utf8Char(b []byte) int {
	if r, n := utf8.DecodeRune(b); r != utf8.RuneError || n > 1 {
		return n
	}
	return 0
}

// eucChar is the check of one of the EUC encodings, in which a character has
// two bytes, or as many as given behind the single shifts 8E and 8F; 0: these
// begin none.
func eucChar(shift2, shift3 int) func(b []byte) int {
	return func(b []byte) int {
		n := 2
		switch b[0] {
		case 0x8E:
			n = shift2
		case 0x8F:
			n = shift3
		default:
			if b[0] < 0xA1 || b[0] == 0xFF {
				return 0
			}
		}
		if n > len(b) {
			return 0
		}
		for _, c := range b[min(1, n):n] {
			if c < 0xA1 || c == 0xFF {
				return 0
			}
		}
		return n
	}
}

// ValidLen is the length of b that is text.
func (e *Encoding) ValidLen(b []byte) int {
	for i := 0; i < len(b); {
		n := 1
		if b[i] >= utf8.RuneSelf {
			if n = e.char(b[i:]); n == 0 {
				return i
			}
		}
		i += n
	}
	return len(b)
}

// Valid says whether all of b is text.
func (e *Encoding) Valid(b []byte) bool { return e.all(b) }

// AppendMend appends what stands for a byte that is no text.
func (e *Encoding) AppendMend(dst []byte, b byte) []byte { return e.mend(dst, b) }

// LongestChar is the length of the longest character of any encoding.
const LongestChar = 4

// AppendMended appends b with its bytes that are no text replaced.
func (e *Encoding) AppendMended(dst, b []byte) []byte {
	for {
		n := e.ValidLen(b)
		dst = append(dst, b[:n]...)
		if n == len(b) {
			return dst
		}
		dst = e.mend(dst, b[n])
		b = b[n+1:]
	}
}

// Reason is what a mark says of a table with such values.
func (e *Encoding) Reason(name string) string {
	return fmt.Sprintf("text in %s is not valid in encoding %s: characters %s stand for its bytes", name, e.name, e.sign)
}
