// Package pgoutputtest builds messages of the plugin for tests.
package pgoutputtest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"pg_scribe/stream/event"
)

// Message builds a message of pgoutput; numbers are big-endian.
func Message(kind byte, parts ...any) []byte {
	b := []byte{kind}
	for _, p := range parts {
		switch v := p.(type) {
		case byte:
			b = append(b, v)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case string: // as the protocol ends it
			b = append(append(b, v...), 0)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

// Captured builds a message of the capture, signed with a secret.
func Captured(secret []byte, payload string) []byte {
	inner := sha256.Sum256(append(slices.Clone(secret), payload...))
	outer := sha256.Sum256(append(slices.Clone(secret), inner[:]...))
	content := hex.EncodeToString(outer[:]) + " " + payload
	return Message('M', byte(1), uint64(50), event.Prefix, uint32(len(content)), []byte(content))
}
