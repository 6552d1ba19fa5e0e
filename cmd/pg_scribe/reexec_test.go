package main

import (
	"context"
	"os"
)

// reexecVariable marks a run of the test binary that is to be the program
// itself, in a process of its own.
const reexecVariable = "CLI_TEST_BE_THE_PROGRAM"

// ruleVariable names a file for the name of the rule that decided.
const ruleVariable = "CLI_TEST_RULE_FILE"

// reexecuted is the program, if this process is to be it.
func reexecuted() bool {
	if os.Getenv(reexecVariable) == "" {
		return false
	}
	os.Unsetenv(reexecVariable)
	a := newApp(os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	code := a.runUntilSignal(context.Background(), os.Args[1:])
	if file := os.Getenv(ruleVariable); file != "" && a.failure != nil {
		_, name, _ := firstRule(a.failure, a.hintContext)
		if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
	return true
}
