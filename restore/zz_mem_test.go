package restore

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

func hwm() string {
	s, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(s), "\n") {
		if strings.HasPrefix(l, "VmHWM") {
			return l
		}
	}
	return ""
}

func TestZZMem(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip()
	}
	b := build(t)
	b.base(100, 5, smallBase, "")
	b.open(100)
	text := []byte("BEGIN; -- xid 5 commit 0/1000 at 2026-11-21T02:00:00.000000Z\n")
	const n = 2000000
	for i := range n {
		text = append(text, row(100+i, fmt.Sprint("value ", i))...)
		text = append(text, '\n')
		if len(text) > 1<<20 {
			b.segment.Write(text)
			text = text[:0]
		}
	}
	text = append(text, "COMMIT; -- 0/1010\n"...)
	b.segment.Write(text)
	b.segment.Add(repo.Stats{End: 0x1010, Transactions: 1, MinXID: 5, MaxXID: 5, FirstCommit: at(0), LastCommit: at(0)})

	b.reach(0x2000, 10)
	b.seal()
	c, o := target(t, "mem")
	p := b.prepare(catalog.Target{})
	text = nil
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	t.Log(hwm())
	start := time.Now()
	r := execute(t, p, o)
	t.Log(hwm(), time.Since(start), r.Statements, r.Phases)
	t.Log(c.Query(t, "mem", "select count(*) from t"))
}
