package main

import (
	"strings"
	"testing"

	"pg_scribe/internal/pgtest"
	"pg_scribe/repo/storage"
)

// A shell filter beside age has to read back what it wrote, the catalog on a
// storage too: expire takes the key for it.
func TestExpireTakesKeysForTargets(t *testing.T) {
	c := pgtest.Shared(t)
	recipient, key := newKey(t)
	place := t.TempDir()
	s := initSource(t, c, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", "--filter", recipient,
		"--filter", "shell write='tr A-Za-z N-ZA-Mn-za-m' read='tr A-Za-z N-ZA-Mn-za-m'", "-i", key, "--storage", place)
	s.must("full-backup", "-d", s.conn, "-f", s.dir, "-i", key)
	o := s.must("expire", "-f", s.dir, "--keep-last", "1", "--keep-incremental", "0", "--confirm", "-i", key)
	if strings.Contains(o.errors, "warning") {
		t.Errorf("expire warns: %s", o.errors)
	}
	if l := s.must("list", "bases", "-f", "file:"+place, "-i", key).out; strings.Count(l, "base-") != 1 {
		t.Errorf("the storage's list shows %s", l)
	}
	s.run("expire", "-f", s.dir, "-i", key+"x").refused(t, exitUsage, "key", "ls -l")
}

// Who reads from a storage has nothing to send there.
func TestHintOfATargetThatIsDown(t *testing.T) {
	for command, sends := range map[string]bool{"start": true, "copy": true, "restore": false, "list": false, "verify": false} {
		for _, fault := range []storage.Fault{storage.Unreachable, storage.Full} {
			_, hint := remedyFor(&storage.Error{Storage: "s3://b", Fault: fault}, false, hintContext{command: command})
			if hint == "" || strings.Contains(hint, "sent later") != sends {
				t.Errorf("%s, %s: %s", command, fault, hint)
			}
		}
	}
}
