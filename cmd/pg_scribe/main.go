// Command pg_scribe keeps continuous, incremental backups of a PostgreSQL
// database as plain SQL.
//
// This package is the glue between a person and the packages below: flags in,
// one call down, words and an exit code out. A command is one file; errors.go,
// with rules.go and hints.go, is the only place that knows exit codes and hints, words.go the only one
// that prints to standard error, output.go the shape of every JSON document.
package main

import (
	"context"
	"os"
)

// version is set by the linker.
var version = "devel"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
