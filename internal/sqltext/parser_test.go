package sqltext

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	pgquery "github.com/wasilibs/go-pgquery"
)

// PostgreSQL's own scanner, compiled from its sources, reads these texts as this
// package does: it finds the same statements, words, names and constants.
func TestPostgresReadsTheSame(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../stream/ddl/testdata/*/*.sql", "../e2e/testdata/cases/*.sql", "../describe/testdata/*.sql",
		"../../stream/capture/*.sql"} {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		files = append(files, list...)
	}
	texts := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts += compareWithPostgres(t, string(text))
	}
	parts := []string{"select", "a", " ", "\n", "'it''s'", "E'\\' \\n'", "'a\\'", "$$ ; ' $$", "$x$ $$ $x$", "$1", "/* ; /* ' */ */", "-- ' ;\n", `"q""x;"`,
		"U&'\\0061'",
		"N'n'", ";", "(", ")", "[", "]", ",", "::", "1.5e3", "a$b$c", "ä", "::text", "-", "/", "*", "<", "@", "e", "'x'\n'y'", "E'x'\n'\\''",
		"begin", "atomic", "end", "case", "create function f() begin atomic", "u&", "U&\"d\"", "_", "now", "%", "\\", "\t", "\r"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 8000 {
		var text strings.Builder
		for range 1 + r.IntN(14) {
			text.WriteString(parts[r.IntN(len(parts))])
		}
		texts += compareWithPostgres(t, text.String())
		if t.Failed() {
			break
		}
	}
	t.Logf("%d texts", texts)
	if texts < 3000 {
		t.Error("too few texts are valid")
	}
}

// behindComment is a constant that goes on behind a comment, which the compiled
// scanner takes for two, other than the server.
var behindComment = regexp.MustCompile(`'\s*(--[^\n]*\n\s*)+'`)

// compareWithPostgres returns 0 for a text that the server's scanner refuses.
func compareWithPostgres(t *testing.T, text string) int {
	t.Helper()
	scanned, err := pgquery.Scan(text)
	if err != nil || behindComment.MatchString(text) {
		return 0
	}
	var theirs, ours []string
	for _, token := range scanned.Tokens {
		if its := text[token.Start:token.End]; !inNumber(text, int(token.Start)) && token.Token != pg.Token_SQL_COMMENT && token.Token != pg.Token_C_COMMENT &&
			isWhole(its) {
			theirs = append(theirs, its)
		}
	}
	for _, token := range joined(text, Tokens(text, true)) {
		if isWhole(token.Text) && !inNumber(text, token.Start) {
			ours = append(ours, token.Text)
		}
	}
	if !slices.Equal(theirs, ours) {
		t.Errorf("%q\nPostgreSQL: %q\nhere:       %q", text, theirs, ours)
		return 1
	}
	mine, ok := Split(text, true)
	if tree, err := pgquery.Parse(text); err == nil && ok {
		var statements []string
		for _, s := range tree.Stmts {
			end := len(text)
			if s.StmtLen > 0 {
				end = int(s.StmtLocation + s.StmtLen)
			}
			statements = append(statements, text[s.StmtLocation:end])
		}
		same := slices.EqualFunc(statements, mine, func(a, b string) bool { return slices.EqualFunc(Tokens(a, true), Tokens(b, true), sameText) })
		if !same {
			t.Errorf("%q\nPostgreSQL: %q\nhere:       %q", text, statements, mine)
		}
	}
	return 1
}

func sameText(a, b Token) bool { return a.Text == b.Text }

// isWhole reports whether both cut a token alike: numbers and operators are
// several here.
func isWhole(token string) bool {
	return token[0] == '\'' || token[0] == '"' || token[0] == '$' && len(token) > 1 && (token[1] < '0' || token[1] > '9') || isWordStart(token[0])
}

// inNumber reports whether a token follows a digit, as the exponent of a number
// does.
func inNumber(text string, at int) bool { return at > 0 && text[at-1] >= '0' && text[at-1] <= '9' }

// joined makes one token of a constant that goes on behind the end of a line,
// and of one with the letter before it.
func joined(text string, tokens []Token) (list []Token) {
	for _, t := range tokens {
		n := len(list)
		quote := t.Text[0] == '\'' || t.Text[0] == '"'
		beside := func(back int, words ...string) bool {
			if n < back || list[n-back].End() != t.Start-back+1 {
				return false
			}
			return slices.ContainsFunc(words, list[n-back].Is)
		}
		switch {
		case quote && beside(1, "&") && beside(2, "u"):
			list[n-2].Text = text[list[n-2].Start:t.End()]
			list = list[:n-1]
		case t.Text[0] == '\'' && (beside(1, "b", "x") || n > 0 && strings.HasSuffix(list[n-1].Text, "'") && goesOn(text[list[n-1].End():t.Start])):
			list[n-1].Text = text[list[n-1].Start:t.End()]
		default:
			list = append(list, t)
		}
	}
	return list
}

func goesOn(gap string) bool {
	return strings.ContainsAny(gap, "\r\n") && strings.Trim(gap, " \t\r\n\f\v") == ""
}
