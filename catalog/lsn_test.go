package catalog

import (
	"encoding/json"
	"math"
	"testing"
)

func TestLSNText(t *testing.T) {
	cases := []struct {
		text, printed, hex string
		want               LSN
	}{
		{"0/0", "0/0", "0000000000000000", 0},
		{"0/38299e60", "0/38299E60", "0000000038299E60", 0x38299E60},
		{"16/B374D848", "16/B374D848", "00000016B374D848", 0x16B374D848},
		{"1/0000000A", "1/A", "000000010000000A", 0x10000000A},
		{"FFFFFFFF/FFFFFFFF", "FFFFFFFF/FFFFFFFF", "FFFFFFFFFFFFFFFF", math.MaxUint64},
	}
	for _, c := range cases {
		got, err := ParseLSN(c.text)
		if err != nil || got != c.want {
			t.Errorf("ParseLSN(%q) = %d, %v, want %d", c.text, got, err, c.want)
		}
		if got.String() != c.printed || got.Hex() != c.hex {
			t.Errorf("%q prints as %s and %s, want %s and %s", c.text, got, got.Hex(), c.printed, c.hex)
		}
	}
}

func TestParseLSNRefuses(t *testing.T) {
	for _, s := range []string{
		"", "/", "0", "0/", "/0", "0/0/0", " 0/0", "0/0 ", "0/0\n", "+1/0", "-1/0", "0x1/0", "1_0/0", "G/0", "0/G",
		"123456789/0", "0/123456789", "000000000/0", "0//0", "é/0", "0/\x00",
	} {
		if v, err := ParseLSN(s); err == nil {
			t.Errorf("ParseLSN(%q) = %s, want an error", s, v)
		}
	}
}

func TestLSNInJSON(t *testing.T) {
	type doc struct{ At LSN }
	b, err := json.Marshal(doc{0x16B374D848})
	if err != nil || string(b) != `{"At":"16/B374D848"}` {
		t.Fatalf("marshalled as %s, %v", b, err)
	}
	var d doc
	if err := json.Unmarshal(b, &d); err != nil || d.At != 0x16B374D848 {
		t.Fatalf("unmarshalled as %s, %v", d.At, err)
	}
	d.At = 7
	if err := json.Unmarshal([]byte(`{"At":"nonsense"}`), &d); err == nil || d.At != 7 {
		t.Fatalf("nonsense gave %s, %v; want an error and the old value", d.At, err)
	}
}

func FuzzParseLSN(f *testing.F) {
	for _, s := range []string{"0/0", "16/B374D848", "ffffffff/1", "1/000000001", "x/y", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseLSN(s)
		if err != nil {
			return
		}
		again, err := ParseLSN(v.String())
		if err != nil || again != v {
			t.Fatalf("%q is %d, printed as %s, which is %d, %v", s, v, v, again, err)
		}
		if len(s) > 17 || len(v.Hex()) != 16 {
			t.Fatalf("%q was accepted as %s", s, v.Hex())
		}
	})
}
