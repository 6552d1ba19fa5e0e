package repo

import (
	"bytes"
	"strings"
)

// lexer finds where SQL statements end, by the rules of PostgreSQL's scanner
// (PostgreSQL documentation, "Lexical Structure") as far as they matter for
// that: quotes of every kind, nested comments, parentheses, and the bodies of
// BEGIN ATOMIC functions. Its state lives across calls, so that a text can be
// fed in pieces that are cut at line ends.
type lexer struct {
	mode       lexMode
	dollarTag  string // with both dollars
	comment    int    // nesting of /* */
	depth      int    // nesting of () and []
	atomic     int    // nesting of BEGIN ATOMIC
	caseDepth  int    // CASE inside an atomic body
	lastWord   string // lower case, when the previous token was a word
	backslash  bool   // standard_conforming_strings = off: '' strings have escapes
	unsafe     bool   // psql would read something here that the server does not
	hasContent bool   // a significant token was seen in this statement
	tail       int    // end of the last significant token, in the current piece
}

type lexMode byte

const (
	lexNormal lexMode = iota
	lexString
	lexEscapeString
	lexIdentifier
	lexDollar
	lexLineComment
	lexBlockComment
)

// scan reads src from i up to and including the semicolon that ends the
// statement, or to the end of src.
func (l *lexer) scan(src []byte, i int) (next int, ended bool) {
	for i < len(src) {
		if l.mode != lexNormal {
			i = l.scanInside(src, i)
			continue
		}
		b := src[i]
		switch {
		case b == ';' && l.depth == 0 && l.atomic == 0:
			l.lastWord = ""
			return i + 1, true
		case b <= ' ':
			i++
			continue
		case b == '-' && i+1 < len(src) && src[i+1] == '-':
			l.mode = lexLineComment
			i += 2
			continue
		case b == '/' && i+1 < len(src) && src[i+1] == '*':
			l.mode, l.comment = lexBlockComment, 1
			i += 2
			continue
		}
		l.hasContent = true
		i = l.scanToken(src, i)
		l.tail = i
	}
	return i, false
}

// scanToken reads one token, or the opening of a quoted one.
func (l *lexer) scanToken(src []byte, i int) int {
	b := src[i]
	switch {
	case isWordStart(b):
		j := i + 1
		for j < len(src) && (isWordStart(src[j]) || src[j] >= '0' && src[j] <= '9' || src[j] == '$') {
			j++
		}
		if j < len(src) && src[j] == '\'' && j == i+1 && (b == 'e' || b == 'E') {
			l.mode, l.lastWord = lexEscapeString, ""
			return j + 1
		}
		l.word(strings.ToLower(string(src[i:j])))
		return j
	case b == '\'':
		l.mode = lexString
		if l.backslash {
			l.mode = lexEscapeString
		}
	case b == '"':
		l.mode = lexIdentifier
	case b == '$':
		if end := dollarTagEnd(src, i); end > 0 {
			l.mode, l.dollarTag, l.lastWord = lexDollar, string(src[i:end]), ""
			return end
		}
	case b == '(' || b == '[':
		l.depth++
	case b == ')' || b == ']':
		l.depth--
	case b == '\\':
		l.unsafe = true
	case b == ':':
		if i+1 < len(src) && src[i+1] == ':' {
			l.lastWord = ""
			return i + 2
		}
		if i+1 < len(src) && (isWordStart(src[i+1]) || src[i+1] == '\'' || src[i+1] == '"' || src[i+1] == '{') {
			l.unsafe = true // psql's variables
		}
	}
	l.lastWord = ""
	return i + 1
}

// word follows the nesting of SQL-standard function bodies.
func (l *lexer) word(w string) {
	switch {
	case w == "atomic" && l.lastWord == "begin":
		l.atomic++
	case l.atomic > 0 && w == "case":
		l.caseDepth++
	case l.atomic > 0 && w == "end" && l.caseDepth > 0:
		l.caseDepth--
	case l.atomic > 0 && w == "end":
		l.atomic--
	}
	l.lastWord = w
}

// scanInside reads on within a quoted token or comment.
func (l *lexer) scanInside(src []byte, i int) int {
	switch l.mode {
	case lexLineComment:
		n := bytes.IndexByte(src[i:], '\n')
		if n < 0 {
			return len(src)
		}
		l.mode = lexNormal
		return i + n + 1
	case lexBlockComment:
		for ; i < len(src); i++ {
			if bytes.HasPrefix(src[i:], []byte("*/")) {
				i++
				if l.comment--; l.comment == 0 {
					l.mode = lexNormal
					return i + 1
				}
			} else if bytes.HasPrefix(src[i:], []byte("/*")) {
				i++
				l.comment++
			}
		}
		return i
	case lexDollar:
		n := bytes.Index(src[i:], []byte(l.dollarTag))
		if n < 0 {
			return len(src)
		}
		l.mode = lexNormal
		l.tail = i + n + len(l.dollarTag)
		return l.tail
	}
	quote := byte('\'')
	if l.mode == lexIdentifier {
		quote = '"'
	}
	for ; i < len(src); i++ {
		if src[i] == '\\' && l.mode == lexEscapeString {
			i++
		} else if src[i] == quote {
			// A doubled quote closes and opens again, which ends in the
			// same place, except that an escape string must stay one.
			if i+1 < len(src) && src[i+1] == quote {
				i++
				continue
			}
			l.mode = lexNormal
			l.tail = i + 1
			return i + 1
		}
	}
	return len(src)
}

// closed tells that a text that ends here ends between tokens.
func (l *lexer) closed() bool {
	return l.mode == lexNormal && l.depth == 0 && l.atomic == 0
}

// restart prepares for the next statement.
func (l *lexer) restart() { *l = lexer{backslash: l.backslash} }

func isWordStart(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' || b >= 0x80
}

// dollarTagEnd is the end of the dollar quote's tag that begins at i, or 0.
func dollarTagEnd(src []byte, i int) int {
	for j := i + 1; j < len(src); j++ {
		switch b := src[j]; {
		case b == '$':
			return j + 1
		case isWordStart(b) || j > i+1 && b >= '0' && b <= '9':
		default:
			return 0
		}
	}
	return 0
}

// SplitSQL cuts a text into its statements, without their semicolons and
// without what is only comment after them. conforming is the setting of
// standard_conforming_strings that the text was written under. ok is false
// when the text ends within a token.
func SplitSQL(text string, conforming bool) (statements []string, ok bool) {
	src := []byte(text)
	l := lexer{backslash: !conforming}
	start, i := 0, 0
	for i < len(src) {
		l.restart()
		next, ended := l.scan(src, i)
		if l.hasContent {
			end := l.tail
			if !ended && l.mode != lexNormal && l.mode != lexLineComment {
				end = len(src)
			}
			statements = append(statements, strings.TrimSpace(string(src[start:end])))
		}
		i, start = next, next
	}
	return statements, l.closed() || l.mode == lexLineComment
}

// trimStatement drops the final semicolon and what is only comment after it.
func trimStatement(sql string) string {
	if parts, ok := SplitSQL(sql, true); ok && len(parts) == 1 {
		return parts[0]
	}
	return strings.TrimRight(strings.TrimSpace(sql), ";")
}

// safeForPsql tells whether psql reads the statement as the server does.
func safeForPsql(sql string) bool {
	var l lexer
	next, ended := l.scan([]byte(sql), 0)
	if ended || next != len(sql) || !l.closed() || l.unsafe {
		return false
	}
	for line := range strings.SplitSeq(sql, "\n") {
		if strings.HasPrefix(line, ownPrefix) || strings.HasPrefix(line, beginPrefix) ||
			strings.HasPrefix(line, commitPrefix) {
			return false
		}
	}
	return true
}

// wrapStatement says the same on one line that holds only quoted text.
func wrapStatement(sql string) string {
	return "DO " + Literal("BEGIN EXECUTE "+Literal(sql)+"; END")
}
