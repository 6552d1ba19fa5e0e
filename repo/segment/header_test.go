package segment

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"pg_scribe/catalog"
)

func readHeader(text string) (Header, error) {
	r := NewLines("file", strings.NewReader(text))
	return r.ReadHeader(catalog.KindSegment)
}

var hostileNames = []string{
	"app", `a "quoted" 'name'`, "two\nlines", "two\rlines", "-- pg_scribe end", "\n-- pg_scribe end\n", "BEGIN; -- xid 1",
	"\xff\xfe binary \x01\x7f", "naïve 数据库 🐘", "\u2028\u0085\u200b", `back\slash`, " spaces ", ": ", "-- ", "\t", "\ufffd", `\n`, `"`,
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, name := range hostileNames {
		h := Header{Kind: catalog.KindSegment, Format: FormatVersion, SystemID: "7341", Timeline: 3, Database: name, Slot: name,
			Server: name, Encoding: "UTF8", Collate: name, CType: name, LocaleProvider: "icu", Locale: name,
			Start: 0x1_0000_00AB, At: testClock, Created: testClock, Previous: "00ff", Filters: "zstd:3", Dump: name}
		text := string(h.Append(nil))
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if !strings.HasPrefix(line, "--") {
				t.Errorf("name %q breaks out of the comment: line %q", name, line)
			}
		}
		got, err := readHeader(text)
		if err != nil || got != h {
			t.Errorf("name %q: got %+v, error %v\nfrom %s", name, got, err, text)
		}
	}
}

func TestHeaderRoundTripQuick(t *testing.T) {
	same := func(database, system, encoding string, timeline uint32, start uint64, sec int32) bool {
		h := Header{Kind: catalog.KindSegment, Format: 1, Database: database, SystemID: system, Encoding: encoding, Timeline: timeline,
			Start: catalog.LSN(start), Created: time.Unix(int64(sec), 5000).UTC()}
		got, err := readHeader(string(h.Append(nil)))
		return err == nil && got == h
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestHeaderRefused(t *testing.T) {
	good := string(Header{Kind: catalog.KindSegment, Format: 1, Start: 1, Created: testClock}.Append(nil))
	cases := []struct{ name, text, want string }{
		{"newer format", strings.Replace(good, "format: 1", "format: 3", 1), "it has format 3; this version of pg_scribe is too old for it: it reads formats 1 to 2"},
		{"format zero", strings.Replace(good, "format: 1", "format: 0", 1), "format 0"},
		{"no format", strings.Replace(good, "-- format: 1\n", "", 1), "lacks its format"},
		{"no start", strings.Replace(good, "-- start: 0/1\n", "", 1), "lacks"},
		{"other kind", strings.Replace(good, "segment", "base", 1), "not a segment of pg_scribe"},
		{"no header", "SELECT 1;\n", "not a segment of pg_scribe"},
		{"empty", "", "ends too early"},
		{"cut", good[:len(good)-5], "ends too early"},
		{"cut in first line", "-- pg_sc", "ends too early"},
		{"SQL within", strings.Replace(good, "--\n", "DROP TABLE t;\n", 1), "without its last line"},
		{"bad LSN", strings.Replace(good, "0/1", "0/x", 1), `"start"`},
		{"bad time", strings.Replace(good, "2026-", "yesterday-", 1), `"created"`},
		{"bad quotes", strings.Replace(good, "-- start", "-- database: \"x\n-- start", 1), `"database"`},
		{"bad timeline", strings.Replace(good, "timeline: 0", "timeline: 4294967296", 1), `"timeline"`},
	}
	for _, c := range cases {
		_, err := readHeader(c.text)
		var e *FormatError
		if !errors.As(err, &e) || e.File != "file" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want a FormatError with %q", c.name, err, c.want)
		}
	}
}

func TestHeaderIgnoresUnknownFields(t *testing.T) {
	text := string(Header{Kind: catalog.KindSegment, Format: 1, Start: 1, Created: testClock}.Append(nil))
	text = strings.Replace(text, "-- start", "-- colour: blue\n-- start", 1)
	if h, err := readHeader(text); err != nil || h.Start != 1 {
		t.Errorf("%+v, error %v", h, err)
	}
}

func readTrailer(before, text string) (Trailer, error) {
	r := NewLines("file", strings.NewReader(before+text))
	for range strings.Count(before, "\n") {
		if _, err := r.ReadLine(); err != nil {
			return Trailer{}, err
		}
	}
	if line, err := r.ReadLine(); err != nil || string(line)+"\n" != TrailerLine {
		return Trailer{}, errors.New("no trailer")
	}
	return r.ReadTrailer()
}

// sealed appends the trailer with its checksum, as the writers do.
func sealed(before string, t Trailer) (string, Trailer) {
	text := t.Append(nil)
	whole := before + string(text)
	sum := sha256.Sum256([]byte(whole))
	t.TextBytes, t.TextSHA256 = int64(len(whole)), hex.EncodeToString(sum[:])
	return string(t.AppendSum(text)), t
}

func TestTrailerRoundTrip(t *testing.T) {
	full := Trailer{End: 0xF00, Reached: testClock, Fence: 0xF01, Transactions: 2, FirstCommit: testClock, LastCommit: testClock.Add(time.Hour),
		MinXID: 3, MaxXID: 4294967295, Frames: []Frame{{Offset: 1, Line: 2, LSN: 3, At: testClock, Commands: true, Tables: []int{0, 2, 3, 4, 6}},
			{Offset: 9, Line: 8, LSN: 0x1_0000_0000, At: testClock, All: true}, {Offset: 10, Line: 9, LSN: 7, At: testClock, Tables: []int{1, 2}}}}
	for i, name := range hostileNames {
		full.Tables = append(full.Tables, catalog.TableCount{Table: name, Inserted: int64(i), Updated: 2, Deleted: 3, Truncated: 4})
	}
	for _, want := range []Trailer{full, {}, {End: 1}} {
		text, want := sealed("line\n", want)
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if !strings.HasPrefix(line, "-- ") {
				t.Errorf("line %q is no comment", line)
			}
		}
		got, err := readTrailer("line\n", text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, error %v\nwant %+v", got, err, want)
		}
	}
}

// Whatever byte changes, before the trailer or in it, the reader notices.
func TestTrailerNoticesEveryByte(t *testing.T) {
	before := "INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2);\n"
	text, _ := sealed(before, Trailer{End: 0xF00, Reached: testClock, Transactions: 2, MinXID: 3, MaxXID: 9,
		Tables: []catalog.TableCount{{Table: "t", Inserted: 2}}})
	if _, err := readTrailer(before, text); err != nil {
		t.Fatal(err)
	}
	whole := before + text
	for i := range whole {
		for _, b := range []byte{whole[i] ^ 1, whole[i] ^ 0x40, '\n'} {
			if b == whole[i] {
				continue
			}
			broken := whole[:i] + string(b) + whole[i+1:]
			if _, err := readTrailer(broken[:len(before)], broken[len(before):]); err == nil {
				t.Errorf("byte %d, %q, changed to %q without an error", i, whole[i], b)
			}
		}
		if _, err := readTrailer(whole[:min(i, len(before))], whole[min(i, len(before)):i]); err == nil {
			t.Errorf("cut at byte %d without an error", i)
		}
	}
	for _, behind := range []string{"x", "\n", "-- more: 1\n", "SELECT 1;\n"} {
		if _, err := readTrailer(before, text+behind); err == nil {
			t.Errorf("%q behind the trailer without an error", behind)
		}
	}
}

func TestQuoteRoundTrip(t *testing.T) {
	same := func(b []byte) bool {
		s := string(b)
		for _, pair := range []struct {
			to   func(string) string
			from func(string) (string, error)
		}{{Quote, Unquote}, {plain, unplain}} {
			q := pair.to(s)
			back, err := pair.from(q)
			if err != nil || back != s || strings.ContainsAny(q, "\n\r\x00") {
				return false
			}
		}
		return true
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 5000, Rand: rand.New(rand.NewSource(1))}); err != nil {
		t.Error(err)
	}
	for _, s := range append(hostileNames, "CREATE TABLE", "") {
		if !same([]byte(s)) {
			t.Errorf("%q does not come back", s)
		}
	}
	if plain("CREATE TABLE") != "CREATE TABLE" {
		t.Error("plain quotes without need")
	}
}

func TestTimesOfAnyClockCanBeRead(t *testing.T) {
	for _, at := range []time.Time{{}, testClock, time.Date(-4713, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(294276, 12, 31, 23, 59, 59, 999999000, time.UTC),
		time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.FixedZone("", -3600))} {
		text := FormatTime(at)
		back, err := parseTime(text)
		if err != nil || FormatTime(back) != text || len(text) != len("2026-11-21T01:57:58.268382Z") {
			t.Errorf("%v is written %s and read as %v, error %v", at, text, back, err)
		}
	}
	if got := FormatTime(testClock); got != "2026-11-21T01:57:58.268382Z" {
		t.Errorf("got %s", got)
	}
}

func TestAppendLSN(t *testing.T) {
	same := func(n uint64) bool {
		return string(appendLSN([]byte("x"), catalog.LSN(n))) == "x"+catalog.LSN(n).String()
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
	if !same(0) || !same(0xABCDEF_00000009) {
		t.Error("LSN is not written as String does")
	}
}
