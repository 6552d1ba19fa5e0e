package stream

import (
	"fmt"

	"pg_scribe/stream/event"
)

// An enum hashes by OID, so that the rows of a table that is partitioned by
// its hash lie in other partitions after a restore. They are written through
// the partitioned table. What is done to a single partition means other rows
// there, and can only be marked.

// hashPartitions marks commands that attach, detach or drop such a partition.
func (r *renderer) hashPartitions(end *event.End, dropped []event.Object) error {
	gone := map[string]bool{}
	for _, o := range dropped {
		gone[o.Identity] = true
	}
	for _, o := range dropped {
		if o.Root == "" {
			continue
		}
		if !gone[o.Root] {
			if err := r.hashGap(end.Tag, o.Identity, o.Root); err != nil {
				return err
			}
		}
	}
	for _, t := range end.Tables {
		if end.Tag != "ALTER TABLE" || !t.Filled || (t.Was == "") == (t.Root == "") {
			continue
		}
		if err := r.hashGap(end.Tag, t.Schema+"."+t.Table, t.Was+t.Root); err != nil {
			return err
		}
	}
	return nil
}

// partTruncate marks a TRUNCATE of some of the partitions of a table.
func (r *renderer) partTruncate(oids []uint32) error {
	named := map[uint32]bool{}
	for _, oid := range oids {
		named[oid] = true
	}
	for _, oid := range oids {
		root := r.facts.tables[oid].Root
		if root == "" {
			continue
		}
		for other, its := range r.facts.tables {
			if its.Root == root && !named[other] {
				return r.hashGap("TRUNCATE", r.tables[oid].name, root)
			}
		}
	}
	return nil
}

func (r *renderer) hashGap(tag, partition, root string) error {
	return r.gap(fmt.Sprintf("%s of %s, a hash partition of %s by a type that hashes by OID", tag, partition, root))
}
