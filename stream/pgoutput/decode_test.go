package pgoutput

import (
	"math"
	"testing"
	"time"
)

func TestTimesOfTheProtocol(t *testing.T) {
	for micros, want := range map[int64]string{
		0: "2000-01-01T00:00:00Z", 1: "2000-01-01T00:00:00.000001Z", -1: "1999-12-31T23:59:59.999999Z", 845942400123456: "2026-10-22T00:00:00.123456Z",
		-5_000_000_000_000_000: "1841-07-22T15:06:40Z", 9_300_000_000_000_000: "2294-09-14T21:20:00Z", 10_000_000_000_000_000: "2316-11-20T17:46:40Z",
	} {
		got := Time(micros).Format(time.RFC3339Nano)
		if at, err := time.Parse(time.RFC3339Nano, want); err != nil || !at.Equal(Time(micros)) {
			t.Errorf("%d: %s; want %s", micros, got, want)
		}
	}
	// Infinities are not commit times, but they must not come out as others.
	if !Time(math.MaxInt64).After(Time(math.MaxInt64-1)) || !Time(math.MinInt64).Before(Time(0)) {
		t.Errorf("%s, %s", Time(math.MaxInt64), Time(math.MinInt64))
	}
}

// A message that is cut anywhere is an error, whatever its kind, and any bytes
// are decoded or refused without a panic.
func FuzzDecoder(f *testing.F) {
	for _, seed := range []string{"\x00\x00\x00\x01N\x00\x02t\x00\x00\x00\x01an", "\x00\x00\x00\x01K\x00\x01t\x00\x00\x00\x01aN\x00\x01u",
		"\x00\x00\x40\x01public\x00t\x00d\x00\x01\x01id\x00\x00\x00\x00\x17\xff\xff\xff\xff", "\x00\x00\x00\x02\x03\x00\x00\x40\x01\x00\x00\x40\x02",
		"\x01\x00\x00\x00\x00\x00\x00\x00\x09pg_scribe\x00\x00\x00\x00\x02{}", "\x00\x00\x00\x00\x00\x00\x00\x64\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x07"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Decoder
		for _, kind := range []byte("IUD") {
			c, err := d.Row(kind, b)
			if err == nil && len(c.Old)+len(c.New) > len(b) {
				t.Errorf("%d values in %d bytes", len(c.Old)+len(c.New), len(b))
			}
		}
		rel, err := d.Relation(b)
		if err == nil && len(rel.Columns)*10 > len(b) {
			t.Errorf("%d columns in %d bytes", len(rel.Columns), len(b))
		}
		if m, err := d.Message(b); err == nil && len(m.Prefix)+len(m.Content) > len(b) {
			t.Error("a message larger than its bytes")
		}
		if m, err := d.Truncate(b); err == nil && len(m.OIDs)*4 > len(b) {
			t.Error("more tables than bytes")
		}
		for n := range len(b) { // what a cut message is called
			if _, err := d.Begin(b[:min(n, 19)]); err == nil {
				t.Error("a Begin of less than 20 bytes")
			}
		}
	})
}
