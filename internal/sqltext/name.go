package sqltext

import (
	"bytes"
	"strconv"
	"strings"
)

// text is a statement, whichever way it is held.
type text interface{ ~string | ~[]byte }

// QuoteEnd is the index of the quote that ends what begins at from, where a
// doubled one stands for itself, or -1.
func QuoteEnd[T text](sql T, from int, quote byte) int {
	for i := from; i < len(sql); i++ {
		if sql[i] != quote {
			continue
		}
		if i+1 < len(sql) && sql[i+1] == quote {
			i++
			continue
		}
		return i
	}
	return -1
}

// ParenEnd is the place behind the parenthesis that closes the one at open, or
// -1.
func ParenEnd(sql string, open int) int {
	depth := 0
	for _, t := range Tokens(sql[open:], true) {
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			if depth--; depth == 0 {
				return open + t.End()
			}
		}
	}
	return -1
}

// PartLen is the length of the name, one without a schema, that sql begins
// with, or 0.
func PartLen[T text](sql T) int {
	n := 0
	if len(sql) > 2 && (sql[0] == 'U' || sql[0] == 'u') && sql[1] == '&' && sql[2] == '"' {
		n = 2
	}
	if n < len(sql) && sql[n] == '"' {
		return QuoteEnd(sql, n+1, '"') + 1
	}
	for n = 0; n < len(sql) && (isWordStart(sql[n]) || sql[n] >= '0' && sql[n] <= '9' || sql[n] == '$'); n++ {
	}
	return n
}

// NameLen is the length of the qualified name that sql begins with, or 0.
func NameLen[T text](sql T) int {
	n := 0
	for {
		size := PartLen(sql[n:])
		if size == 0 {
			return 0
		}
		n += size
		if n >= len(sql) || sql[n] != '.' {
			return n
		}
		n++
	}
}

// Part reads the name, one without a schema, that sql begins with, and how
// long it is; 0: there is none.
func Part(sql string) (name string, n int) {
	n = PartLen(sql)
	return part(sql[:n]), n
}

// Name reads the qualified name that sql begins with, and how long it is; 0:
// there is none.
func Name(sql string) (parts []string, n int) {
	end := NameLen(sql)
	for n < end {
		size := PartLen(sql[n:])
		parts = append(parts, part(sql[n:n+size]))
		n += size + 1
	}
	return parts, end
}

// TokensName reads the name that tokens begin with, qualified or not. A name
// of the form U&"…" is more than one token and is not read.
func TokensName(t []Token) (parts []string, ok bool) {
	for i := 0; i < len(t); i += 2 {
		word := t[i].Text
		if i+1 < len(t) && t[i].Is("u") && t[i+1].Is("&") || word == `""` || word == `"` || strings.IndexByte("('$,;", word[0]) >= 0 {
			return nil, false
		}
		parts = append(parts, part(word))
		if i+1 >= len(t) || !t[i+1].Is(".") {
			return parts, true
		}
	}
	return nil, false
}

// DisplayName is one form for a table's name, whichever way it is quoted: the
// name that sql begins with, on one line and quoted only where it has to be.
func DisplayName(sql string) string {
	parts, n := Name(sql)
	if n == 0 {
		return sql
	}
	for i, p := range parts {
		if !isBare(p) {
			parts[i] = Identifier(p)
		}
	}
	return strings.Join(parts, ".")
}

// part is the name that one part of a qualified one means.
func part(written string) string {
	unicode := len(written) > 2 && written[0]|0x20 == 'u' && written[1] == '&' && written[2] == '"'
	if unicode {
		written = written[2:]
	}
	if written == "" || written[0] != '"' {
		return lower(written)
	}
	name := strings.ReplaceAll(strings.TrimSuffix(written[1:], `"`), `""`, `"`)
	if unicode {
		return unescaped(name)
	}
	return name
}

// lower folds a name that is not quoted as the server does: ASCII letters only,
// where a character may have several bytes.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

// unescaped reads \XXXX, \+XXXXXX and \\ as U&"…" has them.
func unescaped(s string) string {
	var b bytes.Buffer
	for {
		before, rest, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		from, to := 0, 4
		if strings.HasPrefix(rest, "+") {
			from, to = 1, 7
		}
		if code, err := strconv.ParseUint(rest[min(from, len(rest)):min(to, len(rest))], 16, 32); err == nil && len(rest) >= to {
			b.WriteRune(rune(code))
			s = rest[to:]
			continue
		}
		b.WriteByte('\\')
		s = strings.TrimPrefix(rest, `\`)
	}
}
