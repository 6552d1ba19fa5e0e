package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// The rules of what is printed:
//
//   - Standard output carries data only: reports, lists, SQL.
//   - Everything else goes to standard error, one line each, from here.
//   - An error is one line "pg_scribe: error: …" and one line "hint: …",
//     printed once, by run.
//   - Text that comes from a server or a file cannot end a line or move the
//     cursor.
//   - Colour, if any, is on the words error, warning and hint alone.

// words prints to standard error.
type words struct {
	mu     sync.Mutex
	w      io.Writer
	colors map[string]string // by word; empty: no colour
	quiet  bool              // leave out what only says what happens
	clock  func() time.Time  // set: each line begins with the time, for a program that runs for long
}

func newWords(w io.Writer, lookup func(string) (string, bool)) *words {
	return &words{w: w, colors: chooseColors(w, lookup)}
}

// chooseColors reads PG_COLOR and PG_COLORS as PostgreSQL's programs do:
// without PG_COLOR there is no colour.
func chooseColors(w io.Writer, lookup func(string) (string, bool)) map[string]string {
	mode, _ := lookup("PG_COLOR")
	f, isFile := w.(*os.File)
	if mode != "always" && !(mode == "auto" && isFile && term.IsTerminal(int(f.Fd()))) {
		return nil
	}
	colors := map[string]string{"error": "01;31", "warning": "01;35", "note": "01;36"}
	if spec, ok := lookup("PG_COLORS"); ok {
		colors = map[string]string{}
		for _, part := range strings.Split(spec, ":") {
			if name, value, ok := strings.Cut(part, "="); ok {
				colors[name] = value
			}
		}
	}
	colors["hint"], colors["fix"], colors["critical"] = colors["note"], colors["note"], colors["error"]
	return colors
}

// label is a word with a colon, coloured.
func (w *words) label(word string) string {
	if c := w.colors[word]; c != "" {
		return "\x1b[" + c + "m" + word + ": \x1b[0m"
	}
	return word + ": "
}

func (w *words) line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clock != nil {
		text = w.clock().Format(logTime) + " " + text
	}
	fmt.Fprintln(w.w, text)
}

// log puts the time in front of each line from here on, as a program that runs
// for long is read later.
func (w *words) log(clock func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = clock
}

// logTime is how PostgreSQL's own log writes moments.
const logTime = "2006-01-02 15:04:05.000 MST"

// say reports what happens.
func (w *words) say(format string, args ...any) {
	if !w.quiet {
		w.line("pg_scribe: " + oneLine(fmt.Sprintf(format, args...)))
	}
}

func (w *words) warn(format string, args ...any) {
	w.line("pg_scribe: " + w.label("warning") + oneLine(fmt.Sprintf(format, args...)))
}

// fail prints the error of a command, and what to do about it.
func (w *words) fail(problem, hint string) {
	w.line("pg_scribe: " + w.label("error") + oneLine(problem))
	w.line(w.label("hint") + oneLine(hint))
}

// finding prints something about the source and what mends it.
func (w *words) finding(level, problem, fix string) {
	w.line(w.label(level) + oneLine(problem))
	w.line("  " + w.label("fix") + oneLine(fix))
}

// oneLine makes text fit on one line of a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029':
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(s), "?"))
}
