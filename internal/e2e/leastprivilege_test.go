package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// A role without a superuser's rights streams, marks, samples and takes bases.
func TestRoleWithoutSuperuser(t *testing.T) {
	tr := begin(t, `CREATE SCHEMA private; CREATE TABLE private.t (id int PRIMARY KEY, v text); CREATE SEQUENCE private.q;
	  CREATE TABLE private.secret (id int PRIMARY KEY); ALTER TABLE private.secret ENABLE ROW LEVEL SECURITY; INSERT INTO private.secret VALUES (1), (2);
	  SELECT lo_from_bytea(100, 'in the base')`)
	role := tr.db + "_scribe"
	tr.run(`CREATE ROLE `+role+` LOGIN PASSWORD 'of the role'`, `SELECT scribe.grant_to('`+role+`')`)
	before := tr.text()
	tr.connMore = " user=" + role
	ctx := context.Background()
	if err := stream.Mark(ctx, tr.conn(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := source.FindSlot(ctx, tr.conn(), tr.slot); err != nil {
		t.Fatal(err)
	}
	tr.run(`INSERT INTO private.t VALUES (1, 'a'); CREATE TABLE private.u (a int); INSERT INTO private.u VALUES (1), (1);
	  SELECT nextval('private.q') FROM generate_series(1, 9); SELECT lo_put(100, 3, 'the STREAM'), lo_from_bytea(200, 'new');
	  CREATE ROLE ` + role + `_other; ALTER TABLE private.u OWNER TO ` + role + `_other`)
	tr.capture()
	tr.back()
	tr.equal()
	tr.largeObjects()
	tr.states()

	r, err := repo.Open(ctx, tr.dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if fault, _, err := r.Catalog().Setting(ctx, sample.FaultSetting); err != nil || fault != "" {
		t.Errorf("a sample failed: %s, %v", fault, err)
	}
	r.Close()
	tr.fullBackup()
	tr.run(`UPDATE private.t SET v = 'b'; DELETE FROM private.u WHERE ctid = '(0,1)'; SELECT lo_put(200, 0, 'NEW'), nextval('private.q')`)
	tr.capture()
	tr.noGap()
	tr.back()
	tr.equal()
	tr.largeObjects()
	tr.states()
	password := "SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE '" + role + "%' ORDER BY 1"
	if want, got := tr.source.Query(t, tr.db, password), tr.target.Query(t, tr.restored, password); want != got || !strings.Contains(got, "SCRAM") {
		t.Errorf("passwords are %s, want %s", got, want)
	}
	tr.backTo(catalog.Request{Target: catalog.Target{Kind: catalog.ByName, Name: "one"}}, true)
	if text := tr.text()[len(before):]; strings.Contains(text, "scribe.") && strings.Contains(text, "GRANT") && strings.Contains(text, "ON SCHEMA scribe") {
		t.Error("the grants on the capture are in the stream")
	}

	// What it was not given.
	for _, sql := range []string{"DROP PUBLICATION pg_scribe", "SELECT scribe.grant_to('" + role + "')", "INSERT INTO private.t VALUES (9)",
		"UPDATE scribe.config SET value = ''"} {
		if out, err := tr.source.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", tr.conn(), "-c", sql).CombinedOutput(); err == nil {
			t.Errorf("the role may %s: %s", sql, out)
		}
	}
	var missing *stream.RoleError
	_, err = stream.Init(ctx, stream.InitOptions{BaseOptions: stream.BaseOptions{ConnString: tr.source.ConnString(tr.db), Publication: stream.DefaultPublication,
		Command: tr.command},
		Slot: "x", GrantTo: "nobody at all", Step: func(string) {}}, nil)
	if !errors.As(err, &missing) {
		t.Errorf("init for a role that does not exist: %v", err)
	}
}
