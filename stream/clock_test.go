package stream

import (
	"strings"
	"testing"
	"time"

	"pg_scribe/repo/segment"
	"pg_scribe/stream/pgoutput"
)

func TestClockSetBackIsTold(t *testing.T) {
	var notices []string
	s := &streamer{opts: RunOptions{Notice: func(text string) { notices = append(notices, text) }}}
	at := func(first, last int) {
		s.watchClock(segment.Stats{FirstCommit: pgoutput.Epoch.Add(time.Duration(first) * time.Second),
			LastCommit: pgoutput.Epoch.Add(time.Duration(last) * time.Second)})
	}
	at(100, 200)
	s.watchClock(segment.Stats{}) // nothing but transactions of other servers
	at(195, 205)
	if len(notices) > 0 {
		t.Fatalf("%q", notices)
	}
	at(150, 160)
	at(161, 170)
	if len(notices) != 1 || !strings.Contains(notices[0], "from 2000-01-01T00:03:25Z to 2000-01-01T00:02:30Z") {
		t.Errorf("%q", notices)
	}
}
