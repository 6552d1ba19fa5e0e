// Package stream reads the source server: it begins a repository (Init), streams
// into it (Run), takes further bases (FullBackup) and sets restore points (Mark).
// What these are made of lies in the rooms below it, each of which may be read
// alone: source, capture, replication, pgoutput, event, ddl, schema, render, sample
// and base.
//
// Data flows one way: replication (bytes off the wire) → pgoutput (messages) →
// render (SQL text) → sink (segments, or standard output). Each stage runs beside the others, with a bounded piece between
// two, so that the server's walsender never waits for a disk.
//
// Guarantees: the server is told a flush position only after the repository
// has stored everything up to it for good; transactions that the server sends
// again are dropped by their LSN; a transaction is stored completely or not at all.
//
// Start with source.Check and Init, then Run; FullBackup takes further bases.
package stream

const (
	// DefaultSlot and DefaultPublication are the names used unless told
	// otherwise.
	DefaultSlot        = "pg_scribe"
	DefaultPublication = "pg_scribe"
)
