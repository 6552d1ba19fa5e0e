package event

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
)

// Prefix marks the capture's messages; signatureSize is the length of the
// signature, in hexadecimal, that stands before each.
const (
	Prefix        = "pg_scribe"
	signatureSize = 2 * sha256.Size
)

// Verify checks a message's signature and returns its payload. Anyone may send
// such a message; only the capture can sign it.
func Verify(secret, content []byte) (payload []byte, ok bool) {
	if len(content) <= signatureSize || content[signatureSize] != ' ' {
		return nil, false
	}
	payload = content[signatureSize+1:]
	inner := sha256.Sum256(append(append([]byte(nil), secret...), payload...))
	want := sha256.Sum256(append(append([]byte(nil), secret...), inner[:]...))
	got := make([]byte, sha256.Size)
	if _, err := hex.Decode(got, content[:signatureSize]); err != nil {
		return nil, false
	}
	return payload, hmac.Equal(got, want[:])
}

// Parse reads a payload. It returns nil for a kind of event that it does not
// know, and for those of REINDEX, which is no part of the contents, and may end
// in another transaction than it began in.
func Parse(payload []byte) (Event, error) {
	if rows, err := parseRows(payload); rows != nil || err != nil {
		return rows, err
	}
	e, err := parse(widened(payload))
	if err != nil {
		return nil, fmt.Errorf("message of the DDL capture: %w", err)
	}
	if e == nil || tag(e) == "REINDEX" {
		return nil, nil
	}
	if _, ascii := e.(*Objects); !ascii {
		Narrow(e)
	}
	return e, nil
}

func parse(text []byte) (Event, error) {
	kind, err := kindOf(text)
	if err != nil {
		return nil, err
	}
	e := ofKind(kind)
	if e == nil {
		return nil, nil
	}
	if err := json.Unmarshal(text, e); err != nil {
		return nil, err
	}
	if end, ok := e.(*End); ok && end.Late {
		end.Command = &Command{}
		return e, json.Unmarshal(text, end.Command)
	}
	return e, nil
}

// ofKind is an event that is to be filled; nil: the kind is not known.
func ofKind(kind string) Event {
	switch kind {
	case "text":
		return &Text{}
	case "start":
		return &Start{}
	case "drop":
		return &Drop{}
	case "end":
		return &End{}
	case "refill":
		return &Refill{}
	case "rows":
		return &Rows{}
	case "state":
		return &Sample{}
	case "objects":
		return &Objects{}
	case "lo":
		return &LargeObject{}
	case "mark":
		return &Mark{}
	case "gap":
		return &Gap{}
	}
	return nil
}

// kindOf finds the member ev, which stands near the front.
func kindOf(text []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil {
		return "", err
	} else if t != json.Delim('{') {
		return "", fmt.Errorf("it begins with %v", t)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return "", err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return "", err
		}
		if name == "ev" {
			var kind string
			return kind, json.Unmarshal(value, &kind)
		}
	}
	return "", nil
}

// tag is the command that an event is about.
func tag(e Event) string {
	switch e := e.(type) {
	case *Start:
		return e.Tag
	case *Drop:
		return e.Tag
	case *End:
		return e.Tag
	}
	return ""
}

// widened makes JSON of a payload. That is UTF-8 in Go while the payload is in
// the source's encoding: each byte passes through as the rune of its value,
// which every encoding that a server can have allows, being ASCII below 128.
func widened(payload []byte) []byte {
	wide := make([]byte, 0, len(payload)+len(payload)/8)
	for _, b := range payload {
		if b < 0x80 {
			wide = append(wide, b)
		} else {
			wide = append(wide, 0xc0|b>>6, 0x80|b&0x3f)
		}
	}
	return wide
}

// Widen turns each byte of every text of what v points to into a rune, so that
// JSON keeps any encoding. Slices and maps are changed in place.
func Widen(v any) { eachText(reflect.ValueOf(v), widen) }

// Narrow undoes Widen.
func Narrow(v any) { eachText(reflect.ValueOf(v), narrow) }

func eachText(v reflect.Value, change func(string) string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(change(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			eachText(v.Elem(), change)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachText(v.Field(i), change)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return // JSON in ASCII
		}
		for i := range v.Len() {
			eachText(v.Index(i), change)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			changed := reflect.New(v.Type().Elem()).Elem()
			changed.Set(v.MapIndex(key))
			eachText(changed, change)
			v.SetMapIndex(key, changed)
		}
	}
}

func widen(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func narrow(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < 0x80
	}
	if ascii {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}
