// Package spec reads what users give as one text of several options, for filters
// and for storages: KEY=VALUE KEY='a value with spaces' …
//
// A value may stand in single or double quotes, which are doubled inside. The
// package knows no option: which there are, and which values may be empty, is the
// caller's matter. Append and Options are inverses.
package spec

import (
	"fmt"
	"iter"
	"strings"
)

// An Option is one KEY=VALUE.
type Option struct {
	Key, Value string
	Quoted     bool // the value stood in quotes
}

// A Fault is what is wrong with a text.
type Fault string

// The faults.
const (
	NoValue   Fault = "it is not of the form KEY=VALUE"
	NotClosed Fault = "the quote is not closed"
	Behind    Fault = "something stands behind the closing quote"
)

// Error says where a text is wrong.
type Error struct {
	Fault Fault
	Word  string // NoValue: the word; otherwise the key
}

func (e *Error) Error() string { return fmt.Sprintf("%q: %s", e.Word, string(e.Fault)) }

// Options reads one option after the other. An error ends it.
func Options(text string) iter.Seq2[Option, *Error] {
	return func(yield func(Option, *Error) bool) {
		for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
			var o Option
			var err *Error
			if o, text, err = next(text); !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// next cuts one option off.
func next(text string) (o Option, rest string, err *Error) {
	i := strings.IndexAny(text, "= ")
	if i <= 0 || text[i] != '=' {
		word, _, _ := strings.Cut(text, " ")
		return o, "", &Error{NoValue, word}
	}
	o.Key, text = text[:i], text[i+1:]
	if text == "" || text[0] != '\'' && text[0] != '"' {
		o.Value, rest, _ = strings.Cut(text, " ")
		return o, rest, nil
	}
	o.Quoted = true
	value, rest, closed := Unquote(text)
	switch o.Value = value; {
	case !closed:
		return o, "", &Error{NotClosed, o.Key}
	case rest != "" && rest[0] != ' ':
		return o, "", &Error{Behind, o.Key}
	}
	return o, rest, nil
}

// Unquote reads a value that begins with a quote, up to the same one that is not
// doubled, and returns what stands behind it.
func Unquote(text string) (value, rest string, closed bool) {
	quote := text[:1]
	var b strings.Builder
	for text = text[1:]; ; text = rest[1:] {
		var part string
		part, rest, closed = strings.Cut(text, quote)
		b.WriteString(part)
		if !closed || !strings.HasPrefix(rest, quote) {
			return b.String(), rest, closed
		}
		b.WriteString(quote)
	}
}

// Append adds an option to a text of others, so that it reads back.
func Append(text, key, value string) string {
	if value == "" || strings.ContainsAny(value, " '\"") || strings.TrimSpace(value) != value {
		value = "'" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	if text != "" {
		text += " "
	}
	return text + key + "=" + value
}
