package stream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
)

// captureMessage is what the event triggers of folder capture send. All its
// strings are in the source's encoding, byte for byte.
type captureMessage struct {
	lsn catalog.LSN // of the message

	Event   string            `json:"ev"`
	Tag     string            `json:"tag"`
	Role    string            `json:"role"`
	Super   bool              `json:"super"`
	Session string            `json:"session"`
	Path    string            `json:"path"`
	SQL     string            `json:"sql"`
	SQLID   string            `json:"sql_id"` // a text sent before, instead of SQL
	Context string            `json:"ctx"`
	CtxID   string            `json:"ctx_id"` // instead of Context
	ID      string            `json:"id"`     // of Text, which others refer to
	Text    string            `json:"text"`
	Sources []string          `json:"sources"`
	Roles   []roleFacts       `json:"roles"`
	Members []membership      `json:"members"`
	Owners  []ownedObject     `json:"owners"`
	Create  bool              `json:"create"` // the role may create in the database
	At      string            `json:"at"`
	PID     int               `json:"pid"`
	Set     map[string]string `json:"set"`
	Late    bool              `json:"late"`
	Objects []captureObject   `json:"objects"`
	Loose   []uint32          `json:"loose"` // types: see facts.loose
	Tables  []tableFacts      `json:"tables"`
	Types   []typeFacts       `json:"types"` // that the command may have renamed
	Moved   []movedTable      `json:"moved"` // whose schema has another name now
	Creates []string          `json:"creates"`
	Like    bool              `json:"like"` // LIKE may have copied what the target does not have
	Instead []string          `json:"instead"`
	Attach  *attachedIndex    `json:"attached"`
	View    string            `json:"view"` // makes the materialized view that REFRESH fills
	Missing []missingValue    `json:"missing"`
	Bounds  []namedText       `json:"bounds"`
	Checks  []namedText       `json:"checks"`
	Subs    []subscription    `json:"subscriptions"`
	Gone    []transientName   `json:"transient"`
	Folded  *foldedWords      `json:"folded"`
	Parts   string            `json:"parts"` // of a permanent table that vanish with the session: column or expression
	States  []stateCommand    `json:"states"`
	Slot    string            `json:"slot"` // whose sample the states are
	Reason  string            `json:"reason"`
	Name    string            `json:"name"`
	OID     uint32            `json:"oid"`
	Schema  string            `json:"schema"`
	Table   string            `json:"table"`
	Columns []string          `json:"columns"`
	Rows    [][]*string       `json:"rows"`
	Offset  int64             `json:"offset"` // of a piece of a large object
	Data    string            `json:"data"`   // in base 64
}

// conforming is the standard_conforming_strings that the text was read under.
func (m captureMessage) conforming() bool { return m.Set["standard_conforming_strings"] != "off" }

type captureObject struct {
	Class     uint32 `json:"class"`
	OID       uint32 `json:"oid"`
	Tag       string `json:"tag"`
	Type      string `json:"type"`
	Schema    string `json:"schema"`
	Identity  string `json:"identity"`
	Extension bool   `json:"ext"`
	Temporary bool   `json:"temp"`
	Original  bool   `json:"original"`
	Own       bool   `json:"own"`     // the publication of a backup
	Invalid   bool   `json:"invalid"` // an index that the target does not have
	Root      string `json:"root"`    // of a dropped partition: through which its rows were written
}

// drop is the command that drops the object, if it is there. Its type is one
// that DROP names as the event triggers do.
func (o captureObject) drop() string {
	return "DROP " + strings.ToUpper(o.Type) + " IF EXISTS " + o.Identity + " CASCADE"
}

// temporary tells that the object does not outlive its session.
func (o captureObject) temporary() bool { return o.Temporary || o.Schema == "pg_temp" }

// explains is what a command tells a ledger by naming the object. One that
// only changes it does not say where it came from, but indexes and sequences
// may enter and leave the inventory by that.
func (o captureObject) explains() []string {
	key := objectKey(o.Class, o.OID)
	changes := strings.HasPrefix(o.Tag, "ALTER ") || o.Tag == "COMMENT" || o.Tag == "SECURITY LABEL" || o.Tag == "REFRESH MATERIALIZED VIEW"
	switch {
	case o.Type == "index" || o.Type == "sequence":
		return []string{came(key), went(key)}
	case changes:
		return nil
	}
	return []string{came(key)}
}

// transientName is the name of something that vanishes with its session.
type transientName struct {
	Kind   string `json:"kind"` // relation, type or routine
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Bare   bool   `json:"bare"`  // it is meant where the name stands without a schema
	Alone  bool   `json:"alone"` // no other routine has the name
}

// roleFacts is a role that a command may name.
type roleFacts struct {
	Name        string `json:"name"`
	OID         uint32 `json:"oid"` // 0: an older capture told it
	Super       bool   `json:"super"`
	Inherit     bool   `json:"inherit"`
	CreateRole  bool   `json:"createrole"`
	CreateDB    bool   `json:"createdb"`
	Login       bool   `json:"login"`
	Replication bool   `json:"replication"`
	BypassRLS   bool   `json:"bypassrls"`
}

// membership is what a command's role may rest on.
type membership struct {
	Role   string `json:"role"`
	Member string `json:"member"`
}

// ownedObject is one that a command may name, with its owner before it.
type ownedObject struct {
	Class    uint32 `json:"class"`
	OID      uint32 `json:"oid"`
	Type     string `json:"type"` // as pg_identify_object calls it
	Identity string `json:"identity"`
	Owner    string `json:"owner"`
}

// create is the SQL that makes the role where it is missing. It gets no
// password, so that it cannot be used before the globals give it one.
func (f roleFacts) create() string {
	sql := "CREATE ROLE " + sqltext.Identifier(f.Name) + f.attributes()
	return "DO " + sqltext.Literal(fmt.Sprintf("BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN %s; END IF; END",
		sqltext.Literal(f.Name), sql)) + ";"
}

// attributes are those that decide what a role may do.
func (f roleFacts) attributes() (sql string) {
	for _, a := range []struct {
		on   bool
		word string
	}{{f.Super, "SUPERUSER"}, {f.Inherit, "INHERIT"}, {f.CreateRole, "CREATEROLE"}, {f.CreateDB, "CREATEDB"},
		{f.Login, "LOGIN"}, {f.Replication, "REPLICATION"}, {f.BypassRLS, "BYPASSRLS"}} {
		if a.on {
			sql += " " + a.word
		} else {
			sql += " NO" + a.word
		}
	}
	return sql
}

type tableFacts struct {
	OID    uint32      `json:"oid"`
	Always []string    `json:"always"`
	Types  []typeFacts `json:"types"`
	Schema string      `json:"schema"`
	Table  string      `json:"table"`
	Root   string      `json:"root"`   // through which its rows are written
	Was    string      `json:"was"`    // the same, before the command
	Filled bool        `json:"filled"` // it may hold rows

	Unsaved bool `json:"unsaved"` // no dump has its rows: see knownTable
	Freed   bool `json:"freed"`   // the command ended that
}

type movedTable struct {
	OID    uint32 `json:"oid"`
	Schema string `json:"schema"`
}

// typeFacts say how values of a type are compared, where = alone fails.
type typeFacts struct {
	OID   uint32 `json:"oid"`
	Cast  string `json:"cast"`  // name of a composite type
	Equal string `json:"equal"` // OPERATOR(schema.=)
}

// namedText is a partition's bound or a table's constraint.
type namedText struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Text   string `json:"text"`
}

// attachedIndex is what ALTER INDEX … ATTACH PARTITION names. One that is not
// valid is not in a base either.
type attachedIndex struct {
	Valid bool   `json:"valid"`
	Text  string `json:"text"` // makes it, if it became valid only after it was made
}

// foldedWords are what words such as today meant to a command, and the server's
// own text of the expressions that its transaction made.
type foldedWords struct {
	Now       string   `json:"now"`
	Today     string   `json:"today"`
	Tomorrow  string   `json:"tomorrow"`
	Yesterday string   `json:"yesterday"`
	Texts     []string `json:"texts"`
}

type subscription struct {
	Name         string            `json:"name"`
	Connection   string            `json:"connection"`
	Publications []string          `json:"publications"`
	Options      map[string]string `json:"options"`
}

// stateCommand brings about what the reconciler sampled.
type stateCommand struct {
	Tag  string    `json:"tag"`
	SQL  string    `json:"sql"`
	Role *roleName `json:"role,omitempty"` // instead of SQL
}

// roleName is the name that a role has now; empty: it is gone.
type roleName struct {
	OID  uint32 `json:"oid"`
	Name string `json:"name"`
}

type missingValue struct {
	Schema string  `json:"schema"`
	Table  string  `json:"table"`
	Column string  `json:"column"`
	Value  *string `json:"value"`
}

// table is its name in SQL.
func (m missingValue) table() string {
	return sqltext.Identifier(m.Schema) + "." + sqltext.Identifier(m.Table)
}

// capturePrefix marks the capture's messages; signatureSize is the length of
// the signature, in hexadecimal, that stands before each.
const (
	capturePrefix = "pg_scribe"
	signatureSize = 2 * sha256.Size
)

// verifyCapture checks a message's signature and returns its payload.
func verifyCapture(secret, content []byte) ([]byte, bool) {
	if len(content) <= signatureSize || content[signatureSize] != ' ' {
		return nil, false
	}
	payload := content[signatureSize+1:]
	inner := sha256.Sum256(append(append([]byte(nil), secret...), payload...))
	want := sha256.Sum256(append(append([]byte(nil), secret...), inner[:]...))
	got := make([]byte, sha256.Size)
	if _, err := hex.Decode(got, content[:signatureSize]); err != nil {
		return nil, false
	}
	return payload, hmac.Equal(got, want[:])
}

// parseCapture reads a payload. JSON in Go is UTF-8 while the payload is in
// the source's encoding: each byte passes through as the rune of its value,
// which every encoding that a server can have allows, being ASCII below 128.
func parseCapture(payload []byte) (captureMessage, error) {
	var m captureMessage
	wide := make([]byte, 0, len(payload)+len(payload)/8)
	for _, b := range payload {
		if b < 0x80 {
			wide = append(wide, b)
		} else {
			wide = append(wide, 0xc0|b>>6, 0x80|b&0x3f)
		}
	}
	if err := json.Unmarshal(wide, &m); err != nil {
		return m, fmt.Errorf("message of the DDL capture: %w", err)
	}
	eachText(&m, narrow)
	return m, nil
}

// eachText applies a change to every text of what v points to.
func eachText(v any, change func(*string)) { eachTextOf(reflect.ValueOf(v), change) }

func eachTextOf(v reflect.Value, change func(*string)) {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		change(&s)
		v.SetString(s)
	case reflect.Pointer:
		if !v.IsNil() {
			eachTextOf(v.Elem(), change)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachTextOf(v.Field(i), change)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachTextOf(v.Index(i), change)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			changed := reflect.New(v.Type().Elem()).Elem()
			changed.Set(v.MapIndex(key))
			eachTextOf(changed, change)
			v.SetMapIndex(key, changed)
		}
	}
}

// widen turns each byte into a rune, so that JSON keeps any encoding.
func widen(s *string) {
	runes := make([]rune, len(*s))
	for i := range len(*s) {
		runes[i] = rune((*s)[i])
	}
	*s = string(runes)
}

// narrow turns each rune back into its byte.
func narrow(s *string) {
	ascii := true
	for i := 0; i < len(*s) && ascii; i++ {
		ascii = (*s)[i] < 0x80
	}
	if ascii {
		return
	}
	b := make([]byte, 0, len(*s))
	for _, r := range *s {
		b = append(b, byte(r))
	}
	*s = string(b)
}
