// Package segment is the grammar of the statements in a segment: what they mean
// as values, and the one way in which each of them is written. Reading and
// writing are inverse to each other, byte for byte; a form that is not in the
// grammar is an error. docs/FORMAT.md has the grammar in full.
//
// Nothing here knows a server or a file.
package segment
