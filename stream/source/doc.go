// Package source holds the source server as it is: how to connect to it, what
// it is and whether it suits a backup, its replication slots, its timelines and
// the positions of its WAL.
//
// It reads the server, and makes and drops slots; it installs nothing else.
// What it finds is a Finding, what it is refused an error with a type of its
// own. It knows neither the capture nor a repository.
package source
