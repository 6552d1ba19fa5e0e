// Package base takes bases: dumps of the source at a slot's point, by pg_dump into
// one file or into a directory archive, with the globals beside them.
//
// A base counts only when the fence has shown, by the stream from the point to the
// moment when pg_dump holds its locks, that no command came in between which a
// snapshot does not protect against; else it is a FenceError, and nothing of it is
// left. The package reads messages of the stream, and does not write them down.
package base
