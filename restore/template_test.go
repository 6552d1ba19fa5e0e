package restore

import (
	"testing"

	"pg_scribe/repo/segment"
)

// BenchmarkForm takes a change apart, as a replay does with each.
func BenchmarkForm(b *testing.B) {
	line := []byte(`UPDATE ONLY "public"."pgbench_accounts" SET "bid" = '1', "abalance" = '-4711', "filler" = 'it''s                ' WHERE "aid" = '123456';`)
	var c segment.Change
	var f form
	b.ReportAllocs()
	for b.Loop() {
		if err := segment.ParseChange(line, &c); err != nil || !f.read(&c) {
			b.Fatal(err)
		}
	}
}
