package e2e

import (
	"testing"

	"pg_scribe/internal/pgtest"
)

// What is installed does not stand in the way to a newer version.
func TestUpgradeIsPossible(t *testing.T) {
	old := pgtest.New(t, pgtest.Options{Version: "15"})
	_, target := clusters(t)
	tr := beginOn(t, old, target, copied)
	tr.run(`CREATE TABLE later (v text); DROP TABLE keyless`)
	tr.capture()
	old.CheckUpgrade(t, pgtest.New(t, pgtest.Options{Version: "17"}))
}
