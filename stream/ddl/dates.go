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
	// datePart is what the server may read as a date for such a word, maybe with a
	// time or a zone; otherPart what may stand beside it in a range or an array.
	datePart  = regexp.MustCompile(`(?i)^\s*(?:now|today|tomorrow|yesterday)(?:\s*\(\))?(?:\s+[-+:.0-9a-z/_]+)*\s*$`)
	otherPart = regexp.MustCompile(`(?i)^[-+:.0-9\s]*$|^\s*-?infinity\s*$`)
	// computedDate is how the server prints what it made of such a word.
	computedDate = regexp.MustCompile(`\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d`)
)

// withDates replaces words such as 'today' by the date that the server made of
// them when it ran the command. Which literals it read as dates is told by what
// it prints of the objects: a literal that is there still is text, and stays; one
// that is not, where there is a date instead, was a date. It fails if the same
// literal was both.
func withDates(sql string, conforming bool, f *event.Folded) (string, error) {
	if f == nil {
		return sql, nil
	}
	tokens := sqltext.Tokens(sql, conforming)
	written, all := map[string]int{}, map[string]bool{}
	for _, t := range tokens {
		if isLiteral(t) {
			value := literalValue(t.Text)
			all[value] = true
			if isDate(value) {
				written[value]++
			}
		}
	}
	if len(written) == 0 {
		return sql, nil
	}
	kept, computed := map[string]int{}, false
	for _, text := range f.Texts {
		for _, t := range sqltext.Tokens(text, true) {
			if isLiteral(t) {
				value := literalValue(t.Text)
				kept[value]++
				computed = computed || computedDate.MatchString(value) && !all[value]
			}
		}
	}
	var b strings.Builder
	from := 0
	for _, t := range tokens {
		if !isLiteral(t) {
			continue
		}
		value := literalValue(t.Text)
		switch n := written[value]; {
		case n == 0, kept[value] >= n, !computed:
			continue
		case kept[value] > 0:
			return "", errors.New("its words such as 'today' are dates in one place and not in another")
		}
		b.WriteString(sql[from:t.Start])
		b.WriteString(dateWord.ReplaceAllStringFunc(t.Text, func(word string) string { return dateOf(f, word) }))
		from = t.End()
	}
	return b.String() + sql[from:], nil
}

// isDate reports that the server may read the value of a literal as a date, or as
// a range or an array of dates.
func isDate(value string) bool {
	if datePart.MatchString(value) {
		return true
	}
	if opening := strings.TrimSpace(value); opening == "" || !strings.ContainsAny(opening[:1], "[({") {
		return false
	}
	dates := false
	for part := range strings.SplitSeq(brackets.Replace(value), ",") {
		date := datePart.MatchString(part)
		if !date && !otherPart.MatchString(part) {
			return false
		}
		dates = dates || date
	}
	return dates
}

var brackets = strings.NewReplacer("[", "", "]", "", "(", "", ")", "", "{", "", "}", "", `"`, "")

// literalValue is the text of a string constant, as far as it matters here.
func literalValue(text string) string {
	return strings.ReplaceAll(strings.Trim(strings.TrimLeft(text, "eE"), "'"), "''", "'")
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
