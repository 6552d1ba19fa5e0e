package stream

import "testing"

func TestSlotCommand(t *testing.T) {
	for _, c := range []struct {
		opts  slotOptions
		major int
		want  string
	}{
		{slotOptions{name: "s"}, 14, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput EXPORT_SNAPSHOT`},
		{slotOptions{name: `a"b`}, 15, `CREATE_REPLICATION_SLOT "a""b" LOGICAL pgoutput (SNAPSHOT 'export')`},
		{slotOptions{name: "s", temporary: true}, 18, `CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`},
		{slotOptions{name: "s", failover: true}, 17, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)`},
		{slotOptions{name: "s", failover: true, temporary: true}, 17, `CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`},
	} {
		if got := c.opts.command(c.major); got != c.want {
			t.Errorf("%+v, %d: %s", c.opts, c.major, got)
		}
	}
}
