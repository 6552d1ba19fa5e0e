package charset

import "testing"

// Each byte has a character of its own.
func TestMendedBytesStayDifferent(t *testing.T) {
	for _, name := range []string{"UTF8", "EUC_JP", "EUC_JIS_2004", "EUC_KR", "EUC_CN", "EUC_TW"} {
		e, seen := New(name), map[string]bool{}
		for b := 0x80; b <= 0xff; b++ {
			c := e.mend(nil, byte(b))
			if e.char(c) != len(c) || seen[string(c)] {
				t.Errorf("%s: %x stands for %x", name, c, b)
			}
			seen[string(c)] = true
		}
	}
}
