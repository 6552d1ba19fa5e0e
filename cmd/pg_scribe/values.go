package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"pg_scribe/internal/show"
)

// interval is a time span: plain seconds as in PostgreSQL's tools, or with
// units as in Go.
type interval time.Duration

func (i *interval) UnmarshalText(text []byte) error {
	s := string(text)
	d, err := time.ParseDuration(s)
	if seconds, nerr := strconv.ParseFloat(s, 64); nerr == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
		if math.IsNaN(seconds) || seconds > 1e9 {
			d = -1
		}
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time span: give seconds (10) or units (90s, 5m, 1h)", s)
	}
	*i = interval(d)
	return nil
}

// size is a number of bytes, with PostgreSQL's units, which are powers of 1024.
type size int64

var sizeUnits = []struct {
	name  string
	shift int
}{{"kB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}, {"B", 0}, {"", 0}}

func (s *size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	for _, unit := range sizeUnits {
		if len(t) < len(unit.name) || !strings.EqualFold(t[len(t)-len(unit.name):], unit.name) {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(t[:len(t)-len(unit.name)]), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64>>unit.shift {
			break
		}
		*s = size(n << unit.shift)
		return nil
	}
	return fmt.Errorf("%q is not a size: give a whole number with kB, MB, GB or TB", t)
}

// showTime prints a moment of a report in UTC, and beside it in local time
// where that is another one.
func (a *app) showTime(t time.Time) string {
	text := show.Time(t)
	if local, offset := a.local(t); offset != "" {
		layout := " = 15:04:05"
		if local.Format(time.DateOnly) != t.UTC().Format(time.DateOnly) {
			layout = " = 2006-01-02 15:04:05"
		}
		text += local.Format(layout + offset)
	}
	return text
}

// cellTime is showTime for a column of a table: to the second, with the hour
// and minute of local time, and whether that is of the next day or the one before.
func (a *app) cellTime(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	text := t.UTC().Format("2006-01-02 15:04:05Z")
	local, offset := a.local(t)
	if offset == "" {
		return text
	}
	text += local.Format(" 15:04" + offset)
	switch strings.Compare(local.Format(time.DateOnly), t.UTC().Format(time.DateOnly)) {
	case 1:
		text += " +1d"
	case -1:
		text += " -1d"
	}
	return text
}

// local is a moment in the zone of TZ, or of the machine, with the layout of its
// offset; empty where local time shows nothing new, or with --utc.
func (a *app) local(t time.Time) (local time.Time, offset string) {
	if t.IsZero() || a.utc {
		return t, ""
	}
	zone := time.Local
	if name, set := a.lookup("TZ"); set {
		var err error
		if zone, err = time.LoadLocation(strings.TrimPrefix(name, ":")); err != nil {
			zone = time.UTC
		}
	}
	local = t.In(zone)
	switch _, seconds := local.Zone(); {
	case seconds == 0:
		return local, ""
	case seconds%3600 == 0:
		return local, "-07"
	}
	return local, "-0700"
}

// shellQuote makes a word that a POSIX shell reads as s.
func shellQuote(s string) string {
	plain := s != ""
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+", r) {
			plain = false
		}
	}
	if plain {
		return s
	}
	if strings.ContainsAny(s, "\n\r\t\x1b") { // a hint stays on one line
		return "$'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\x1b", `\e`).Replace(s) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// commandLine joins words into something to paste into a shell.
func commandLine(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellQuote(w)
	}
	return strings.Join(quoted, " ")
}
