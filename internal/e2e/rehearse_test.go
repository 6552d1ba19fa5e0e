package e2e

import (
	"context"
	"os"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/restore"
	"pg_scribe/restore/rehearse"
)

// rehearseAll makes every round trip rehearse what it restored: a rehearsal must not
// fail where a restore does not. It takes some tenths of a second each.
var rehearseAll = os.Getenv("PG_SCRIBE_TEST_REHEARSE") != ""

// rehearse rehearses in the target's cluster.
func (tr *trip) rehearse() rehearse.Report {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.Open(ctx, tr.dir, time.Now)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	report, err := rehearse.Run(ctx, r, rehearse.Options{Scratch: tr.target.ConnString("postgres"), Always: true, AllowSource: true,
		Command: tr.targetCommand, Now: time.Now, Progress: func(restore.Progress) {}})
	if err != nil {
		tr.t.Fatalf("rehearsal: %v", err)
	}
	return report
}

// rehearses fails the test if a rehearsal finds what a restore did not.
func (tr *trip) rehearses() {
	tr.t.Helper()
	report := tr.rehearse()
	if report.Outcome == catalog.OutcomeFailed || len(report.Left) > 0 {
		tr.t.Errorf("a rehearsal is %s at %s: %s %s: %s (%s); left: %v\n%s", report.Outcome, report.FailedLSN, report.Tag, report.Object, report.Message,
			report.Statement, report.Left, strings.Join(report.Warnings, "\n"))
	}
}
