package catalog

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
)

func TestRehearsal(t *testing.T) {
	c, path := create(t)
	if _, err := c.LastRehearsal(ctx); !errors.Is(err, ErrNotFound) {
		t.Errorf("before the first: %v", err)
	}
	must(t, c.SetRehearsal(ctx, Rehearsal{StartedAt: at(1), FinishedAt: at(2), Base: "base-1", Server: "15.1", Outcome: OutcomeOK, Proven: 77}))
	want := Rehearsal{StartedAt: at(3), FinishedAt: at(4), Base: "base-2", Server: "16.1", Outcome: OutcomeFailed, Proven: 99, FailedLSN: 99, FailedAt: at(1),
		Tag: "CREATE VIEW", Object: "a.v", Message: "no", Statement: "CREATE VIEW a.v", File: "incremental-1", Line: 7, Warnings: []string{"one", "two lines"}}
	given := want
	given.Warnings = []string{"one", "two\nlines"}
	must(t, c.SetRehearsal(ctx, given))
	if got, err := c.LastRehearsal(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := c.SetRehearsal(ctx, Rehearsal{Outcome: "perhaps"}); err == nil {
		t.Error("an outcome that there is not")
	}
	must(t, c.Close())
	anew, err := Create(filepath.Join(t.TempDir(), "new.db"))
	must(t, err)
	defer anew.Close()
	_, err = anew.Salvage(ctx, path)
	must(t, err)
	if got, err := anew.LastRehearsal(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("taken over by a rebuild: %+v, %v", got, err)
	}
}
