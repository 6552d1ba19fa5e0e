package ddl

import (
	"errors"
	"regexp"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

var (
	// dateWord is a word that means another date tomorrow, within a literal.
	dateWord = regexp.MustCompile(`(?i)\b(now|today|tomorrow|yesterday)\b(?:\s*\(\))?`)
	// quotedDateWord is one within a literal of a function's body.
	quotedDateWord = regexp.MustCompile(`(?i)'[^']*\b(?:now|today|tomorrow|yesterday)\b`)
	// computedDate is how the server prints what it made of such a word.
	computedDate = regexp.MustCompile(`\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d`)
)

// withDates replaces words such as 'today' by the date that the server made of
// them when it ran the command. It fails if the command holds such words both
// as dates and as mere words.
func withDates(sql string, conforming bool, f *event.Folded) (string, error) {
	if f == nil {
		return sql, nil
	}
	tokens := sqltext.Tokens(sql, conforming)
	literals, words := "", false
	for _, t := range tokens {
		if isLiteral(t) {
			literals += t.Text + "\n"
			words = words || dateWord.MatchString(t.Text)
		}
	}
	if !words {
		return sql, nil
	}
	kept, computed := false, false
	for _, text := range f.Texts {
		for _, t := range sqltext.Tokens(text, true) {
			switch {
			case t.Text[0] == '$' && len(t.Text) > 1:
				kept = kept || quotedDateWord.MatchString(t.Text)
			case isLiteral(t):
				kept = kept || dateWord.MatchString(t.Text)
				computed = computed || computedDate.MatchString(t.Text) && !strings.Contains(literals, strings.Trim(t.Text, "'"))
			}
		}
	}
	switch {
	case kept && computed:
		return "", errors.New("its words such as 'today' are dates in one place and not in another")
	case kept:
		return sql, nil
	}
	var b strings.Builder
	from := 0
	for _, t := range tokens {
		if !isLiteral(t) {
			continue
		}
		b.WriteString(sql[from:t.Start])
		b.WriteString(dateWord.ReplaceAllStringFunc(t.Text, func(word string) string { return dateOf(f, word) }))
		from = t.End()
	}
	return b.String() + sql[from:], nil
}

// isLiteral tells a string constant, but for one in dollar quotes.
func isLiteral(t sqltext.Token) bool {
	return t.Text[0] == '\'' || len(t.Text) > 1 && t.Text[1] == '\'' && (t.Text[0] == 'e' || t.Text[0] == 'E')
}

func dateOf(f *event.Folded, word string) string {
	switch strings.ToLower(word) {
	case "today":
		return f.Today
	case "tomorrow":
		return f.Tomorrow
	case "yesterday":
		return f.Yesterday
	}
	return f.Now
}
