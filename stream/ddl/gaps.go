package ddl

import (
	"fmt"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// hashPartitions marks commands that attach, detach or drop a partition whose
// rows are written through the partitioned table.
func hashPartitions(end *event.End, dropped []event.Object) (gaps []string) {
	gone := map[string]bool{}
	for _, o := range dropped {
		gone[o.Identity] = true
	}
	for _, o := range dropped {
		if o.Root != "" && !gone[o.Root] {
			gaps = append(gaps, HashGap(end.Tag, o.Identity, o.Root))
		}
	}
	for _, t := range end.Tables {
		if end.Tag == "ALTER TABLE" && t.Filled && (t.Was == "") != (t.Root == "") {
			gaps = append(gaps, HashGap(end.Tag, t.Schema+"."+t.Table, t.Was+t.Root))
		}
	}
	return gaps
}

// HashGap says that something was done to one partition only of a table whose
// rows lie in other partitions after a restore.
func HashGap(tag, partition, root string) string {
	return fmt.Sprintf("%s of %s, a hash partition of %s by a type that hashes by OID", tag, partition, root)
}

// freedTables are those whose rows were left out so far and no longer are: what
// they hold is neither in a base nor in the stream.
func freedTables(tables []event.Table) (gaps []string) {
	for _, t := range tables {
		if t.Freed {
			gaps = append(gaps, fmt.Sprintf("rows of %s.%s were left out while it belonged to an extension that does not have them dumped",
				sqltext.Identifier(t.Schema), sqltext.Identifier(t.Table)))
		}
	}
	return gaps
}
