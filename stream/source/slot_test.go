package source

import "testing"

func TestSlotCommand(t *testing.T) {
	for _, c := range []struct {
		opts  SlotOptions
		major int
		want  string
	}{
		{SlotOptions{Name: "s"}, 14, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput EXPORT_SNAPSHOT`},
		{SlotOptions{Name: `a"b`}, 15, `CREATE_REPLICATION_SLOT "a""b" LOGICAL pgoutput (SNAPSHOT 'export')`},
		{SlotOptions{Name: "s", Temporary: true}, 18, `CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`},
		{SlotOptions{Name: "s", Failover: true}, 17, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)`},
		{SlotOptions{Name: "s", Failover: true, Temporary: true}, 17, `CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`},
	} {
		if got := c.opts.command(c.major); got != c.want {
			t.Errorf("%+v, %d: %s", c.opts, c.major, got)
		}
	}
}
