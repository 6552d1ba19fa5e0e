// Package sqltext knows the surface of SQL text as PostgreSQL reads it: where
// statements and tokens end, how constants and names are quoted, and how a
// qualified name is read. Of statements it knows next to nothing.
package sqltext

import (
	"bytes"
	"strings"
)

// A Scanner finds where SQL statements end, by the rules of PostgreSQL's scanner
// (PostgreSQL documentation, "Lexical Structure") as far as they matter for
// that: quotes of every kind, nested comments, parentheses, and the bodies of
// BEGIN ATOMIC functions. Its state lives across calls, so that a text can be
// fed in pieces that are cut at line ends.
type Scanner struct {
	mode       lexMode
	dollarTag  string    // with both dollars
	comment    int       // nesting of /* */
	depth      int       // nesting of ()
	atomic     int       // nesting of BEGIN ATOMIC
	caseDepth  int       // CASE inside an atomic body
	last       lexWord   // the previous token
	afterE     lexAfterE // an escape string may go on
	backslash  bool      // standard_conforming_strings = off: '' strings have escapes
	unsafe     bool      // psql would read something here that the server does not
	begins     bool      // the same, if this creates a routine
	words      int       // unquoted words so far
	initials   [4]byte   // of the first ones, in lower case
	hasContent bool      // a significant token was seen in this statement
	tail       int       // end of the last significant token, in the current piece
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

// lexWord is a token as far as it decides how the next one reads.
type lexWord byte

const (
	otherToken lexWord = iota
	beginToken         // BEGIN
	labelToken         // AS or a dot: what follows is a name
)

// lexAfterE follows a string constant that is continued behind a line end: it
// goes on as what it began as.
type lexAfterE byte

const (
	notAfterE lexAfterE = iota
	afterE
	afterELine // and behind a line end
)

// NewScanner returns one for text that was written under this setting of
// standard_conforming_strings.
func NewScanner(conforming bool) Scanner { return Scanner{backslash: !conforming} }

// Scan reads src from i up to and including the semicolon that ends the
// statement, or to the end of src.
func (l *Scanner) Scan(src []byte, i int) (next int, ended bool) {
	for i < len(src) {
		if l.mode != lexNormal {
			i = l.scanInside(src, i)
			continue
		}
		b := src[i]
		switch {
		case b == ';' && l.depth == 0 && l.atomic == 0:
			l.token(otherToken)
			l.afterE = notAfterE
			return i + 1, true
		case b <= ' ':
			l.space(b)
			i++
			continue
		case b == '-' && i+1 < len(src) && src[i+1] == '-':
			l.mode = lexLineComment
			i += 2
			continue
		case b == '/' && i+1 < len(src) && src[i+1] == '*':
			l.mode, l.comment, l.afterE = lexBlockComment, 1, notAfterE
			i += 2
			continue
		}
		l.hasContent = true
		i = l.scanToken(src, i)
		l.tail = i
	}
	return i, false
}

func (l *Scanner) space(b byte) {
	if l.afterE == afterE && (b == '\n' || b == '\r') {
		l.afterE = afterELine
	}
}

// scanToken reads one token, or the opening of a quoted one.
func (l *Scanner) scanToken(src []byte, i int) int {
	b, continued := src[i], l.afterE == afterELine
	l.afterE = notAfterE
	if isWordStart(b) {
		j := i + 1
		for j < len(src) && (isWordStart(src[j]) || src[j] >= '0' && src[j] <= '9' || src[j] == '$') {
			j++
		}
		if j < len(src) && src[j] == '\'' && j == i+1 && (b == 'e' || b == 'E') {
			l.token(otherToken)
			l.mode = lexEscapeString
			return j + 1
		}
		l.word(src[i:j])
		return j
	}
	kind := otherToken
	switch b {
	case '\'':
		l.mode = lexString
		if l.backslash || continued {
			l.mode = lexEscapeString
			l.unsafe = l.unsafe || !l.backslash // psql reads line by line
		}
	case '"':
		l.mode = lexIdentifier
	case '$':
		if end := dollarTagEnd(src, i); end > 0 {
			l.mode, l.dollarTag = lexDollar, string(src[i:end])
			i = end - 1
		}
	case '(':
		l.depth++
	case ')':
		l.depth = max(l.depth-1, 0)
	case '.':
		kind = labelToken
	case '\\':
		l.unsafe = true
	case ':':
		if i+1 < len(src) && src[i+1] == ':' {
			i++
		} else if i+1 < len(src) && isVariable(src[i+1]) {
			l.unsafe = true
		}
	}
	l.token(kind)
	return i + 1
}

// isVariable says whether psql looks for a variable behind a colon.
func isVariable(b byte) bool {
	return isWordStart(b) || b >= '0' && b <= '9' || b == '\'' || b == '"' || b == '{'
}

// token notes a token other than a word that means something.
func (l *Scanner) token(t lexWord) {
	// psql takes any BEGIN in a CREATE FUNCTION for that of a body.
	l.begins = l.begins || l.last == beginToken
	l.last = t
}

// word follows the nesting of SQL-standard function bodies. psql counts the
// same words, without looking at what stands before or behind them.
func (l *Scanner) word(w []byte) {
	is := func(name string) bool { return len(w) == len(name) && strings.EqualFold(string(w), name) }
	if l.words < len(l.initials) {
		l.initials[l.words] = w[0] | 0x20
	}
	l.words++
	body := is("begin") || is("case") || is("end")
	switch {
	case body && l.last == labelToken:
		l.token(otherToken)
		l.begins = true
	case is("begin"):
		l.token(beginToken)
		l.begins = l.begins || l.atomic > 0
	case is("atomic") && l.last == beginToken:
		l.atomic++
		l.last = otherToken
	case is("as"):
		l.token(labelToken)
	default:
		l.token(otherToken)
		switch {
		case !body || l.atomic == 0:
		case is("case"):
			l.caseDepth++
		case l.caseDepth > 0:
			l.caseDepth--
		default:
			l.atomic--
		}
	}
}

// routine says whether psql takes the statement for one that may have a body:
// it looks at the first letters of CREATE [OR REPLACE] FUNCTION or PROCEDURE.
func (l *Scanner) routine() bool {
	w := l.initials
	if w[0] == 'c' && w[1] == 'o' && w[2] == 'r' {
		w[1] = w[3]
	}
	return w[0] == 'c' && (w[1] == 'f' || w[1] == 'p')
}

// scanInside reads on within a quoted token or comment.
func (l *Scanner) scanInside(src []byte, i int) int {
	switch l.mode {
	case lexLineComment:
		n := bytes.IndexAny(src[i:], "\n\r")
		if n < 0 {
			return len(src)
		}
		l.mode = lexNormal
		return i + n // the line end counts as space
	case lexBlockComment:
		return l.scanComment(src, i)
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
	for i < len(src) {
		var n int
		if l.mode == lexEscapeString {
			n = bytes.IndexAny(src[i:], `'\`)
		} else {
			n = bytes.IndexByte(src[i:], quote)
		}
		if n < 0 {
			return len(src)
		}
		i += n
		if src[i] != quote || i+1 < len(src) && src[i+1] == quote {
			i += 2 // an escape or a doubled quote
			continue
		}
		if l.mode == lexEscapeString && !l.backslash {
			l.afterE = afterE
		}
		l.mode = lexNormal
		l.tail = i + 1
		return i + 1
	}
	return len(src)
}

func (l *Scanner) scanComment(src []byte, i int) int {
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
}

// Content says whether the statement has a token so far, not only comments.
func (l *Scanner) Content() bool { return l.hasContent }

// Closed says whether a text that ends here ends between tokens.
func (l *Scanner) Closed() bool {
	return l.mode == lexNormal && l.depth == 0 && l.atomic == 0
}

// Restart prepares for the next statement.
func (l *Scanner) Restart() { *l = Scanner{backslash: l.backslash} }

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

// Split cuts a text into its statements, without their semicolons and
// without what is only comment after them. conforming is the setting of
// standard_conforming_strings that the text was written under. ok is false
// when the text ends within a token.
func Split(text string, conforming bool) (statements []string, ok bool) {
	src := []byte(text)
	l := Scanner{backslash: !conforming}
	i := 0
	for i < len(src) {
		l.Restart()
		next, ended := l.Scan(src, i)
		if l.hasContent {
			end := l.tail
			if !ended && l.mode != lexNormal && l.mode != lexLineComment {
				end = len(src)
			}
			statements = append(statements, strings.Trim(text[i:end], " \t\n\r\f\v"))
		}
		i = next
	}
	return statements, l.Closed() || l.mode == lexLineComment && l.depth == 0 && l.atomic == 0
}

// A Token is a word, a quoted name, a string constant or a single other
// character of a statement; comments and spaces are between tokens.
type Token struct {
	Text  string
	Start int // its place in the statement, in bytes
}

// End is the place behind the token.
func (t Token) End() int { return t.Start + len(t.Text) }

// Is says whether the token is a certain unquoted word or character.
func (t Token) Is(word string) bool { return strings.EqualFold(t.Text, word) }

// Tokens cuts a statement into its tokens, by the same rules as Split.
func Tokens(statement string, conforming bool) []Token {
	src := []byte(statement)
	l := Scanner{backslash: !conforming}
	var tokens []Token
	for i := 0; i < len(src); {
		if b := src[i]; b <= ' ' || b == '-' && i+1 < len(src) && src[i+1] == '-' || b == '/' && i+1 < len(src) && src[i+1] == '*' {
			next := i + 1
			if b > ' ' {
				l.mode, l.comment, next = lexLineComment, 1, i+2
				if b == '/' {
					l.mode = lexBlockComment
				}
				for next < len(src) && l.mode != lexNormal {
					next = l.scanInside(src, next)
				}
			} else {
				l.space(b)
			}
			i = next
			continue
		}
		end := l.scanToken(src, i)
		for end < len(src) && l.mode != lexNormal {
			end = l.scanInside(src, end)
		}
		end = min(end, len(src))
		tokens = append(tokens, Token{statement[i:end], i})
		i = end
	}
	return tokens
}

// WithNoData makes a statement that creates a materialized view, with or without
// its semicolon, one without it that does not fill the view.
func WithNoData(statement string, conforming bool) string {
	t := Tokens(statement, conforming)
	for len(t) > 0 && t[len(t)-1].Is(";") {
		t = t[:len(t)-1]
	}
	n := len(t)
	switch {
	case n > 3 && t[n-1].Is("data") && t[n-2].Is("no") && t[n-3].Is("with"):
		n -= 3
	case n > 2 && t[n-1].Is("data") && t[n-2].Is("with"):
		n -= 2
	}
	if n == 0 {
		return statement
	}
	return statement[:t[n-1].End()] + " WITH NO DATA"
}

// ReadsSame says whether psql reads a statement as the server does: it takes
// backslashes, variables and the bodies of routines for something else in
// places where the server does not.
func ReadsSame(statement string, conforming bool) bool {
	l := NewScanner(conforming)
	next, ended := l.Scan([]byte(statement), 0)
	l.token(otherToken)
	return !ended && next == len(statement) && l.Closed() && !l.unsafe && !(l.begins && l.routine())
}
