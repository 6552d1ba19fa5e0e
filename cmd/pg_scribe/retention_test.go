package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pg_scribe/repo"
	"pg_scribe/repo/verify"
)

func TestSpan(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{"0": 0, "0d": 0, "36h": 36 * time.Hour, "30d": 30 * day, "8w": 56 * day, "1y": 365 * day,
		"1y30d12h": 395*day + 12*time.Hour} {
		var s span
		if err := s.UnmarshalText([]byte(text)); err != nil || time.Duration(s) != want {
			t.Errorf("%q: %s, %v", text, time.Duration(s), err)
		}
	}
	for _, text := range []string{"", "7", "d", "1m", "-1d", "1.5d", "1d ", "999999y", "9999999999999999999d", "90d1", "10s"} {
		if err := new(span).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "30d") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSubset(t *testing.T) {
	for text, want := range map[string]verify.Subset{"5%": {Percent: 5}, "0.5%": {Percent: 0.5}, "100%": {Percent: 100}, "2/7": {Part: 2, Parts: 7},
		"1/1": {Part: 1, Parts: 1}, "10G": {Bytes: 10 << 30}, "10GB": {Bytes: 10 << 30}, "500M": {Bytes: 500 << 20}, "4096": {Bytes: 4096}} {
		var s subset
		if err := s.UnmarshalText([]byte(text)); err != nil || verify.Subset(s) != want {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "0", "0%", "101%", "-1%", "NaN%", "0/7", "8/7", "1/0", "-1/7", "x/7", "1/2/3", "10X", "%", "-5"} {
		if err := new(subset).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "2/7") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// frozen is a copy of the repository that the first version wrote.
func frozen(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	if err := os.CopyFS(dir, os.DirFS("../../repo/testdata/format-1")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The program as cron runs it, without a server.
func TestRetentionCommands(t *testing.T) {
	b := newBench(t, noServer())
	dir := frozen(t)
	first, second := "base-20261121-070155.sql.zst", "base-20261121-070156.dir"
	before, err := os.ReadFile(filepath.Join(dir, repo.CatalogName))
	if err != nil {
		t.Fatal(err)
	}
	b.must("expire", "-f", dir) // reads an older catalog without changing it
	if after, err := os.ReadFile(filepath.Join(dir, repo.CatalogName)); err != nil || string(after) != string(before) {
		t.Errorf("a dry run changed the catalog: %v", err)
	}
	o := b.must("verify", "-f", dir)
	for _, want := range []string{"files         8, 8 of them read whole", "failed        0", "restorable    from 0/194C120", "\nOK\n"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("verify does not say %q:\n%s", want, o.out)
		}
	}
	if o = b.must("verify", "-f", dir, "--read-data-subset", "1/4"); !strings.Contains(o.out, "(1/4)") {
		t.Error(o.out)
	}
	o = b.must("keep", first, "-f", dir, "--reason", "end of year")
	if !strings.Contains(o.out, first+" alone: end of year") {
		t.Error(o.out)
	}
	b.run("keep", "base-1", "-f", dir).refused(t, exitUsage, `no base backup is named "base-1"`, first)
	b.run("keep", first, "-f", dir, "--reason", " ").refused(t, exitUsage, "needs a reason", "--reason")

	// The policy may stand in the configuration file; --confirm may not.
	config := filepath.Join(t.TempDir(), "pg_scribe.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[expire]\nkeep-last = 1\nkeep-incremental = 0\nfile = " + dir + "\n")
	o = b.must("expire", "--config", config)
	for _, want := range []string{"Keep bases: the last 1; segments: 0 days", "pinned: end of year", "the newest base", "Goes (", "Restorable now (1)",
		"Restorable afterwards (2)", "add --confirm"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("expire does not say %q:\n%s", want, o.out)
		}
	}
	if o := b.must("expire", "-f", dir, "--keep-last", "9", "--keep-incremental", "90y"); !strings.Contains(o.out, "Nothing to remove") {
		t.Errorf("a policy that keeps all: %s", o.out)
	}
	if o := b.must("expire", "-f", dir); !strings.Contains(o.out, "those of the last 30 days, one a month for 12; segments: 7 days") {
		t.Errorf("the default policy: %s", o.out)
	}
	write("[expire]\nconfirm = yes\n")
	b.run("expire", "-f", dir, "--config", config).refused(t, exitUsage, "on the command line only", "help expire")
	write("[expire]\nkeep-within = 5 minutes\n")
	b.run("expire", "-f", dir, "--config", config).refused(t, exitUsage, "is not an age", "help expire")
	b.run("expire", "-f", dir, "--keep-last=-1").refused(t, exitUsage, "negative", "leave the flag out")

	b.must("unkeep", first, "-f", dir)
	o = b.must("expire", "-f", dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm")
	if !strings.Contains(o.out, "Removed 4 files") {
		t.Error(o.out)
	}
	if _, err := os.Stat(filepath.Join(dir, first)); !os.IsNotExist(err) {
		t.Errorf("%s: %v", first, err)
	}
	b.must("verify", "-f", dir)
	doc := decode[struct {
		Repository struct {
			Verification struct {
				Outcome string
				Files   int
			}
		}
	}](t, b.run("status", "-f", dir, "--output", "json"))
	if v := doc.Repository.Verification; v.Outcome != "ok" || v.Files != 4 {
		t.Errorf("status: %+v", v)
	}

	// Damage is exit code 4, and status goes on telling.
	if err := os.Truncate(filepath.Join(dir, second, "toc.dat"), 100); err != nil {
		t.Fatal(err)
	}
	o = b.run("verify", "-f", dir)
	if o.code != exitBackup || !strings.Contains(o.errors, second+": failed: is damaged: checksum mismatch of toc.dat") || !strings.HasSuffix(o.out, "FAILED\n") {
		t.Errorf("%+v", o)
	}
	if o = b.run("status", "-f", dir); o.code != exitWarnings || !strings.Contains(o.errors, "verify found damage at ") {
		t.Errorf("%+v", o)
	}
}

func TestCatalogCommands(t *testing.T) {
	b := newBench(t, noServer())
	dir := frozen(t)
	b.must("verify", "-f", dir) // brings the catalog up to date
	b.must("catalog", "check", "-f", dir)
	stray := filepath.Join(dir, "base-20251121-070155.sql.zst")
	if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := b.run("catalog", "check", "-f", dir); o.code != exitWarnings || !strings.Contains(o.errors, "the catalog does not know base-20251121") {
		t.Errorf("%+v", o)
	}
	b.run("catalog", "rebuild", "-f", dir).refused(t, exitUsage, "is whole", "--force")
	path := filepath.Join(dir, repo.CatalogName)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[len(content)/2:], make([]byte, 20000)) // pages that no command needs at once
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	o := b.run("catalog", "check", "-f", dir)
	if o.code != exitBackup || !strings.Contains(o.errors, "pg_scribe catalog rebuild -f "+dir) {
		t.Errorf("%+v", o)
	}
	o = b.run("catalog", "rebuild", "-f", dir)
	if o.code != exitWarnings || !strings.Contains(o.errors, filepath.Base(stray)+" is left out") || !strings.Contains(o.out, "is rebuilt: 7 files") ||
		!strings.Contains(o.out, "assumed      publication pg_scribe") {
		t.Errorf("%+v", o)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	b.must("catalog", "check", "-f", dir)
	b.run("catalog", "rebuild", "-f", t.TempDir()).refused(t, exitUsage, "is not a repository", "-f")
	b.run("catalog", "mend", "-f", dir).refused(t, exitUsage, "check", "help catalog")
}
