package stream

import "pg_scribe/stream/ddl"

// An enum hashes by OID, so that the rows of a table that is partitioned by
// its hash lie in other partitions after a restore. They are written through
// the partitioned table. What is done to a single partition means other rows
// there, and can only be marked.

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
				return r.gap(ddl.HashGap("TRUNCATE", r.tables[oid].name, root))
			}
		}
	}
	return nil
}
