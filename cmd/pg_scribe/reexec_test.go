package main

import (
	"context"
	"os"
)

// reexecVariable marks a run of the test binary that is to be the program
// itself, in a process of its own.
const reexecVariable = "CLI_TEST_BE_THE_PROGRAM"

// reexecuted is the program, if this process is to be it.
func reexecuted() bool {
	if os.Getenv(reexecVariable) == "" {
		return false
	}
	os.Unsetenv(reexecVariable)
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	return true
}
