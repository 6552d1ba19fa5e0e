package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // zone names work wherever the program runs
)

// zoneError: a time that says no zone. It is refused: a restore that is an
// hour off is worse than none.
type zoneError struct{ text string }

func (e *zoneError) Error() string {
	return fmt.Sprintf("--target-time %q has no time zone", e.text)
}

var timeForm = regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)(?:(?:[Tt]|\s+)(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*(.*)$`)
var offsetForm = regexp.MustCompile(`^([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?$`)

// parseTargetTime reads PostgreSQL's ISO form and RFC 3339, with an offset or
// a zone name.
func parseTargetTime(text string) (time.Time, error) {
	m := timeForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return time.Time{}, badTime(text, "")
	}
	if m[8] == "" {
		return time.Time{}, &zoneError{text}
	}
	zone, err := parseZone(m[8])
	if err != nil {
		return time.Time{}, badTime(text, err.Error())
	}
	wall := m[1] + m[2] + m[3] + pad(m[4], 2) + pad(m[5], 2) + pad(m[6], 2) + "." + (m[7] + "000000000")[:9]
	const layout = "20060102150405.000000000"
	at, err := time.ParseInLocation(layout, wall, zone)
	switch {
	case err != nil:
		return time.Time{}, badTime(text, "there is no such moment")
	case at.Format(layout) != wall:
		return time.Time{}, badTime(text, "the clocks were put forward over it")
	}
	for _, other := range []time.Time{at.Add(-time.Hour), at.Add(time.Hour)} {
		if other.Format(layout) == wall {
			return time.Time{}, badTime(text, "the clocks were put back: it happened twice, give an offset such as "+at.Format("-07:00"))
		}
	}
	return at, nil
}

func pad(s string, n int) string { return (strings.Repeat("0", n) + s)[len(s):] }

// parseZone reads +01, +0100, Z, UTC or a name like Europe/Berlin.
func parseZone(text string) (*time.Location, error) {
	if m := offsetForm.FindStringSubmatch(text); m != nil {
		d, err := time.ParseDuration(m[2] + "h" + pad(m[3], 2) + "m" + pad(m[4], 2) + "s")
		if err != nil || d > 16*time.Hour {
			return nil, fmt.Errorf("%s is no time zone", text)
		}
		if m[1] == "-" {
			d = -d
		}
		return time.FixedZone("", int(d.Seconds())), nil
	}
	switch strings.ToUpper(text) {
	case "Z", "UTC", "GMT":
		return time.UTC, nil
	case "LOCAL": // a name for Go only
		return nil, fmt.Errorf("%s is no time zone", text)
	}
	zone, err := time.LoadLocation(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no time zone", text)
	}
	return zone, nil
}

func badTime(text, why string) error {
	problem := fmt.Sprintf("%q is not a time", text)
	if why != "" {
		problem += ": " + why
	}
	return &usageError{problem, "write it as --target-time '2026-11-21 02:00:00+01', with Z, or with a zone: '2026-11-21 02:00:00 Europe/Berlin'"}
}

// flagTime writes a moment as --target-time reads it back.
func flagTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999Z") }

// readings are the two things that a time without zone may mean.
func (e *zoneError) readings(local *time.Location) string {
	text := strings.TrimSpace(e.text)
	utc := "--target-time " + shellQuote(text+"Z")
	m := timeForm.FindStringSubmatch(text)
	wall, err := time.ParseInLocation("20060102150405", m[1]+m[2]+m[3]+pad(m[4], 2)+pad(m[5], 2)+pad(m[6], 2), local)
	if err != nil {
		return "say the zone: " + utc
	}
	return fmt.Sprintf("say the zone: %s for UTC, %s for this machine's %s", utc,
		"--target-time "+shellQuote(text+wall.Format("-07:00")), wall.Format("MST"))
}
