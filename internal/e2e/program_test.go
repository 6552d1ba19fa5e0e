package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// program runs the program and returns what it printed and its exit code.
func (tr *trip) program(args ...string) (string, int) {
	tr.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = tr.source.Env()
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		tr.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (tr *trip) mustScribe(args ...string) string {
	tr.t.Helper()
	out, code := tr.program(args...)
	if code != 0 {
		tr.t.Fatalf("pg_scribe %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// scribe runs the program on the trip's repository and checks its exit code.
func (tr *trip) scribe(code int, args ...string) string {
	tr.t.Helper()
	out, got := tr.program(append(args, "-f", tr.dir)...)
	if got != code {
		tr.t.Fatalf("pg_scribe %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// report runs the program for its JSON document.
func report[T any](tr *trip, code int, args ...string) (doc T) {
	tr.t.Helper()
	cmd := exec.Command(binary, append(args, "-f", tr.dir, "--output", "json")...)
	cmd.Env = tr.source.Env()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != code || err == nil && code != 0 {
		tr.t.Fatalf("pg_scribe %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, out)
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		tr.t.Fatalf("%v\n%s", err, out)
	}
	return doc
}

func (tr *trip) bases() (names []string) {
	tr.t.Helper()
	for _, a := range tr.artifacts() {
		if a.Kind == catalog.KindBase {
			names = append(names, a.Name)
		}
	}
	return names
}

func (tr *trip) artifacts() []catalog.Artifact {
	tr.t.Helper()
	r, err := repo.OpenReadOnly(context.Background(), tr.dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	all, err := r.Catalog().Artifacts(context.Background())
	if err != nil {
		tr.t.Fatal(err)
	}
	return all
}
