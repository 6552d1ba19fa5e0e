package e2e

import (
	"testing"

	"pg_scribe/internal/pgtest"
)

// TestUpgradeVersions: what is installed does not stand in the way to a newer version.
func TestUpgradeVersions(t *testing.T) {
	older, newer := pgtest.TwoVersions(t)
	_, target := clusters(t)
	tr := beginOn(t, older, target, copied)
	tr.run(`CREATE TABLE later (v text); DROP TABLE keyless`)
	tr.capture()
	older.CheckUpgrade(t, newer)
}
