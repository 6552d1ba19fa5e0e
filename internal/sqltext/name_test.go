package sqltext

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// checkName: what the quoter writes is read back, as one name and with what
// stands behind it left alone.
func checkName(a, b string) error {
	if strings.ContainsRune(a+b, 0) {
		return nil // no name holds it
	}
	for _, quote := range []func(string) string{Identifier, Quoted} {
		written := quote(a) + "." + quote(b)
		parts, n := Name(written + " (x)")
		if !slices.Equal(parts, []string{a, b}) || n != len(written) || NameLen([]byte(written+", y")) != n {
			return fmt.Errorf("%q.%q is written %q and read %q, %d", a, b, written, parts, n)
		}
		if name, n := Part(quote(a) + ";"); name != a || n != len(quote(a)) {
			return fmt.Errorf("%q is written %q and read %q, %d", a, quote(a), name, n)
		}
	}
	if parts, _ := Name(DisplayName(Identifier(a) + "." + Identifier(b))); !slices.Equal(parts, []string{a, b}) {
		return fmt.Errorf("%q.%q is shown %q", a, b, DisplayName(Identifier(a)+"."+Identifier(b)))
	}
	return nil
}

func TestName(t *testing.T) {
	for _, c := range []struct {
		sql  string
		want []string
		rest string
	}{
		{"public.t (a)", []string{"public", "t"}, " (a)"},
		{"T", []string{"t"}, ""},
		{`"A b"."c""d", x`, []string{"A b", `c"d`}, ", x"},
		{`x."Y"`, []string{"x", "Y"}, ""},
		{`U&"a\000ab\\c"."t" `, []string{"a\nb\\c", "t"}, " "},
		{`u&"d\0061t\+01F418"`, []string{"dat🐘"}, ""},
		{"tëst$1;", []string{"tëst$1"}, ";"},
		{`"open`, nil, `"open`}, {"", nil, ""}, {" x", nil, " x"}, {"a.", nil, "a."}, {"(x)", nil, "(x)"},
	} {
		parts, n := Name(c.sql)
		if !slices.Equal(parts, c.want) || c.sql[n:] != c.rest {
			t.Errorf("%q: %q, behind it %q", c.sql, parts, c.sql[n:])
		}
	}
}

func TestTokensName(t *testing.T) {
	for _, c := range []struct {
		sql  string
		want []string
	}{
		{`Public /* x */ . "T a"`, []string{"public", "T a"}}, {"t (a)", []string{"t"}}, {`"a""b"`, []string{`a"b`}},
		{`U&"x"`, nil}, {`""`, nil}, {"'x'", nil}, {"$$x$$", nil}, {"a.", nil}, {"(a)", nil},
	} {
		if parts, ok := TokensName(Tokens(c.sql, true)); !slices.Equal(parts, c.want) || ok != (c.want != nil) {
			t.Errorf("%q: %q, %v", c.sql, parts, ok)
		}
	}
}

func TestParenEnd(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"(a) b", "(a)"}, {"((a), (b)) c)", "((a), (b))"}, {`('it''s )', ")", $$)$$) x`, `('it''s )', ")", $$)$$)`},
		{"(/* ) */ 1 -- )\n) x", "(/* ) */ 1 -- )\n)"},
	} {
		if end := ParenEnd("x "+c.sql, 2); end < 0 || ("x " + c.sql)[2:end] != c.want {
			t.Errorf("%q ends at %d", c.sql, end)
		}
	}
	if end := ParenEnd("(a", 0); end != -1 {
		t.Errorf("an open one ends at %d", end)
	}
}
