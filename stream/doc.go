// Package stream holds everything that reads the source server: the checks
// before anything is installed, the capture of DDL, the replication slot, the
// dumps that line up with it, and the receive loop that turns logical
// decoding into the SQL text of segments.
//
// Data flows one way within it: receive (bytes off the wire) → decode
// (pgoutput messages) → render (SQL text) → sink (segments, or standard
// output). Each stage runs beside the others, with a bounded piece between
// two, so that the server's walsender never waits for a disk.
//
// Guarantees: the server is told a flush position only after the repository
// has stored everything up to it for good; transactions that the server sends
// again are dropped by their LSN; a transaction is stored whole or not at all.
//
// Start with source.Check and Init, then Run; FullBackup takes further bases.
package stream

const (
	// DefaultSlot and DefaultPublication are the names used unless told
	// otherwise.
	DefaultSlot        = "pg_scribe"
	DefaultPublication = "pg_scribe"
)
