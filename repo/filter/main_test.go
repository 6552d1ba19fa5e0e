package filter

import (
	"os/exec"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need fails the test when a command is not installed: .ci/deps installs it.
func need(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v (install it with make deps)", err)
	}
}
