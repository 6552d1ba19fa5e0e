package main

import (
	"fmt"
	"path/filepath"
	"time"

	"pg_scribe/internal/sqltext"
)

// subscribe measures a native subscription that receives and applies W1, each
// time behind the same base.
func (b *bench) subscribe(into *[]time.Duration) error {
	base := filepath.Base(b.firstBase())
	if err := b.scribe(nil, "restore", "-d", b.conn("sub"), "-C", "-f", b.repo(), "--base-backup", base, "--target-lsn", b.pointOf(base),
		"--target-exclusive"); err != nil {
		return err
	}
	if err := b.sql("SELECT pg_copy_logical_replication_slot('keep', 'native')"); err != nil {
		return err
	}
	err := timed(into, func() error {
		if err := b.tool(nil, "psql", "-X", "-q", "-d", "sub", "-c", fmt.Sprintf("CREATE SUBSCRIPTION native CONNECTION %s PUBLICATION native "+
			"WITH (create_slot = false, slot_name = 'native', copy_data = false)", sqltext.Literal(b.conn("bench")))); err != nil {
			return err
		}
		for {
			done, err := b.query(fmt.Sprintf("SELECT 'done' FROM pg_replication_slots WHERE slot_name = 'native' AND confirmed_flush_lsn >= '%s'", b.end))
			if err != nil || done != "" {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	if err != nil {
		return err
	}
	if err := b.tool(nil, "psql", "-X", "-q", "-d", "sub", "-c", "DROP SUBSCRIPTION native"); err != nil {
		return err
	}
	return b.tool(nil, "dropdb", "sub")
}
