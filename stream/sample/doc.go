// Package sample brings into the stream what no event and no row change says:
// roles, settings, sequences, owners, large objects and the like (kinds.go), and
// whether an object came or went without a command (Inventory).
//
// A Sampler compares the source with the last sample, which the repository's
// catalog keeps, and sends what differs as messages of the capture, so that it has
// a position in the stream like everything else. What could not be sampled is
// reported and tried again; it never ends the stream. The package does not know
// how the messages are written down.
package sample
