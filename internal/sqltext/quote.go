package sqltext

import (
	"bytes"
	"strings"
)

// AppendLiteral writes a string constant on one line, whatever it holds:
// plain quotes where they do, an escape string where the text has line ends.
// It reads the same under standard_conforming_strings = on only.
func AppendLiteral(dst, value []byte) []byte {
	quotes, lines := literalNeeds(value)
	if lines {
		return AppendEscaped(dst, value)
	}
	dst = append(dst, '\'')
	for quotes {
		i := bytes.IndexByte(value, '\'')
		if i < 0 {
			break
		}
		dst = append(dst, value[:i]...)
		dst = append(dst, '\'', '\'')
		value = value[i+1:]
	}
	dst = append(dst, value...)
	return append(dst, '\'')
}

// literalNeeds says whether a value holds quotes and whether it holds line
// ends. For the many short values a loop is the fastest way.
func literalNeeds(value []byte) (quotes, lines bool) {
	if len(value) >= 16 {
		return bytes.IndexByte(value, '\'') >= 0, bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0
	}
	for _, b := range value {
		quotes = quotes || b == '\''
		lines = lines || b == '\n' || b == '\r'
	}
	return quotes, lines
}

// AppendEscaped writes a string constant that reads the same under any
// setting, on one line.
func AppendEscaped(dst, value []byte) []byte {
	dst = append(dst, 'E', '\'')
	from := 0
	for i, b := range value {
		var e string
		switch b {
		case '\'':
			e = "''"
		case '\\':
			e = `\\`
		case '\n':
			e = `\n`
		case '\r':
			e = `\r`
		default:
			continue
		}
		dst = append(dst, value[from:i]...)
		dst = append(dst, e...)
		from = i + 1
	}
	dst = append(dst, value[from:]...)
	return append(dst, '\'')
}

// AppendIdentifier writes a quoted identifier on one line. A line end in a
// name needs the Unicode escape form, which stays on one line too.
func AppendIdentifier(dst []byte, name string) []byte {
	escaped := strings.ContainsAny(name, "\n\r")
	if escaped {
		dst = append(dst, 'U', '&')
	}
	return appendQuoted(dst, name, escaped)
}

func appendQuoted(dst []byte, name string, escaped bool) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(name); i++ {
		switch b := name[i]; {
		case b == '"':
			dst = append(dst, '"', '"')
		case escaped && b == '\\':
			dst = append(dst, '\\', '\\')
		case escaped && b == '\n':
			dst = append(dst, `\000a`...)
		case escaped && b == '\r':
			dst = append(dst, `\000d`...)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}

// Identifier is AppendIdentifier as a string.
func Identifier(name string) string { return string(AppendIdentifier(nil, name)) }

// Quoted is the name in double quotes and nothing else, for what is no SQL and
// knows no other form: the replication grammar, lists of names in settings,
// the tags of commands. A line end in the name stays one. A zero byte, which
// no name can hold and which would end the statement, is left out.
func Quoted(name string) string {
	return string(appendQuoted(nil, strings.ReplaceAll(name, "\x00", ""), false))
}

// Bare is the name as pg_dump writes it if it is no keyword: quoted only where
// it has to be.
func Bare(name string) string {
	if isBare(name) {
		return name
	}
	return Quoted(name)
}

func isBare(name string) bool {
	for i := 0; i < len(name); i++ {
		if b := name[i]; !(b >= 'a' && b <= 'z' || b == '_' || i > 0 && b >= '0' && b <= '9') {
			return false
		}
	}
	return name != ""
}

// Literal is AppendLiteral as a string. A zero byte, which no text can hold
// and which would end the statement, is left out.
func Literal(value string) string {
	return string(AppendLiteral(nil, []byte(strings.ReplaceAll(value, "\x00", ""))))
}

// Escaped is AppendEscaped as a string.
func Escaped(value string) string { return string(AppendEscaped(nil, []byte(value))) }
