package sqltext

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
)

// The decoders here read as PostgreSQL does, written from its documentation
// and apart from the writers.

// readLiteral reads a string constant at the start of s, under
// standard_conforming_strings = on, and returns what stands behind it.
func readLiteral(s string) (value, rest string, err error) {
	escape := strings.HasPrefix(s, "E")
	s = strings.TrimPrefix(s, "E")
	if !strings.HasPrefix(s, "'") {
		return "", "", fmt.Errorf("no constant: %q", s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case s[i] == '\'':
			return b.String(), s[i+1:], nil
		case escape && s[i] == '\\':
			i++
			if i == len(s) {
				return "", "", fmt.Errorf("ends within an escape")
			}
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case '\\', '\'':
				b.WriteByte(s[i])
			default:
				return "", "", fmt.Errorf("escape \\%c", s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("constant does not end: %q", s)
}

// readIdentifier reads a quoted identifier at the start of s.
func readIdentifier(s string) (name, rest string, err error) {
	unicode := strings.HasPrefix(s, "U&")
	s = strings.TrimPrefix(s, "U&")
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf("no identifier: %q", s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], `""`):
			b.WriteByte('"')
			i++
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case unicode && strings.HasPrefix(s[i:], `\\`):
			b.WriteByte('\\')
			i++
		case unicode && s[i] == '\\':
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 32)
			if err != nil {
				return "", "", err
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("identifier does not end: %q", s)
}

// hostileValues are texts that could be taken for something else.
var hostileValues = []string{
	"", "'", "''", `\`, `\\`, `\'`, `\.`, `\N`, `\n`, "\n", "\r", "\r\n", "\n\\.\n", "\t", "\b\f\v", "it's", "a\nb", "a'\n'b",
	"-- pg_scribe end", "-- pg_scribe", "-- pg_scribe ", "\n-- pg_scribe end\n", "BEGIN; -- xid 1 commit 0/0 at x", "BEGIN; -- xid ",
	"COMMIT; -- 0/1", "COMMIT; -- ", "COMMIT;", "BEGIN;", ":name", ":'name'", "$$", "$1", "/*", "--", ";", "E'x'", `U&"x"`, `"`, `""`,
	"\x01\x02\x1f\x7f", "\x80\xff", "naïve 🐘", strings.Repeat("x", 100), strings.Repeat("'\n\\", 50), "1234567\\", "12345678\\", "123456\x1f8",
	"\u2028", "a\u0085b",
}

func oneLine(s string) bool { return !strings.ContainsAny(s, "\n\r") }

func checkLiteral(value string) error {
	for _, text := range []string{string(AppendLiteral(nil, []byte(value))), Escaped(value)} {
		got, rest, err := readLiteral(text)
		if err != nil || got != value || rest != "" || !oneLine(text) {
			return fmt.Errorf("%q is written %q and read %q, rest %q, error %v", value, text, got, rest, err)
		}
	}
	return nil
}

func checkIdentifier(name string) error {
	text := Identifier(name)
	got, rest, err := readIdentifier(text)
	if err != nil || got != name || rest != "" || !oneLine(text) {
		return fmt.Errorf("%q is written %q and read %q, rest %q, error %v", name, text, got, rest, err)
	}
	return nil
}

func TestQuotersOnHostileText(t *testing.T) {
	for _, v := range hostileValues {
		for _, err := range []error{checkLiteral(v), checkIdentifier(v), checkName(v, "x")} {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestQuotersQuick(t *testing.T) {
	// Bytes that mean something come far more often than chance has them.
	alphabet := []byte("'\\\n\r\t\b\f\v\"$;-: aN.0\x00\x1f\x7f\x80\xff/*EU&BCG")
	random := rand.New(rand.NewSource(1))
	text := func() string {
		b := make([]byte, random.Intn(40))
		for i := range b {
			b[i] = alphabet[random.Intn(len(alphabet))]
		}
		return string(b)
	}
	for range 50_000 {
		a, b := text(), text()
		for _, err := range []error{checkLiteral(a), checkIdentifier(a), checkName(a, b)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	same := func(b []byte) bool {
		return checkLiteral(string(b)) == nil && checkIdentifier(string(b)) == nil && checkName(string(b), "x") == nil
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func FuzzQuoters(f *testing.F) {
	for _, v := range hostileValues {
		f.Add([]byte(v), []byte("x"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, err := range []error{checkLiteral(string(a)), checkIdentifier(string(a)), checkName(string(a), string(b))} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestQuotersLookAsExpected(t *testing.T) {
	cases := []struct{ got, want string }{
		{Literal("plain"), `'plain'`},
		{Literal("it's"), `'it''s'`},
		{Literal(`C:\dir`), `'C:\dir'`},
		{Literal("a\nb\\"), `E'a\nb\\'`},
		{Literal("a\x00b"), `'ab'`},
		{Identifier("t"), `"t"`},
		{Identifier(`a"b`), `"a""b"`},
		{Identifier("a\nb\\"), `U&"a\000ab\\"`},
		{Quoted("a\nb\\\"\x00"), "\"a\nb\\\"\"\""},
		{Bare("t_1"), `t_1`}, {Bare("1t"), `"1t"`}, {Bare("T"), `"T"`}, {Bare(""), `""`}, {Bare("é"), `"é"`},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
