package catalog

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log of the source. Its text form is PostgreSQL's, "16/B374D848".
type LSN uint64

// ParseLSN reads the form X/X: two halves of one to eight hexadecimal digits each, nothing around them.
func ParseLSN(s string) (LSN, error) {
	high, low, found := strings.Cut(s, "/")
	if !found || !isHalf(high) || !isHalf(low) {
		return 0, fmt.Errorf("invalid LSN %q: want two hexadecimal numbers of at most 8 digits, as in 16/B374D848", s)
	}
	// isHalf leaves nothing that ParseUint could refuse.
	h, _ := strconv.ParseUint(high, 16, 32)
	l, _ := strconv.ParseUint(low, 16, 32)
	return LSN(h<<32 | l), nil
}

func isHalf(s string) bool {
	if len(s) < 1 || len(s) > 8 {
		return false
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

// String returns the form that PostgreSQL prints: upper case, no leading zeros.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// Hex returns 16 upper-case digits, so that names made of it sort by position.
func (l LSN) Hex() string {
	return fmt.Sprintf("%016X", uint64(l))
}

// MarshalText makes JSON show an LSN as its text form.
func (l LSN) MarshalText() ([]byte, error) {
	return []byte(l.String()), nil
}

// UnmarshalText is ParseLSN.
func (l *LSN) UnmarshalText(text []byte) error {
	v, err := ParseLSN(string(text))
	if err != nil {
		return err
	}
	*l = v
	return nil
}
