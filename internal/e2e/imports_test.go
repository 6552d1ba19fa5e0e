package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed is which package may import which of ours: data flows one way, and
// stream and restore do not know each other.
var allowed = map[string][]string{
	"pg_scribe/migrations":         {},
	"pg_scribe/internal/command":   {},
	"pg_scribe/internal/describe":  {"pg_scribe/internal/simple", "pg_scribe/internal/sqltext"},
	"pg_scribe/internal/health":    {"pg_scribe/catalog", "pg_scribe/internal/show", "pg_scribe/repo/verify", "pg_scribe/stream/source"},
	"pg_scribe/internal/show":      {},
	"pg_scribe/internal/simple":    {},
	"pg_scribe/internal/spec":      {},
	"pg_scribe/internal/sqltext":   {},
	"pg_scribe/internal/throwaway": {},
	"pg_scribe/internal/conninfo":  {},
	"pg_scribe/catalog":            {"pg_scribe/migrations"},
	"pg_scribe/repo/filter":        {"pg_scribe/internal/command", "pg_scribe/internal/spec"},
	"pg_scribe/repo/owner":         {},
	"pg_scribe/repo/segment":       {"pg_scribe/catalog", "pg_scribe/internal/sqltext"},
	"pg_scribe/repo/layout":        {"pg_scribe/catalog", "pg_scribe/repo/filter", "pg_scribe/repo/storage"},
	"pg_scribe/repo/upload":        {"pg_scribe/catalog", "pg_scribe/repo", "pg_scribe/repo/filter", "pg_scribe/repo/layout", "pg_scribe/repo/storage"},
	"pg_scribe/repo/storage":       {"pg_scribe/internal/command", "pg_scribe/internal/spec", "pg_scribe/repo/owner"},
	"pg_scribe/repo":               {"pg_scribe/catalog", "pg_scribe/repo/dump", "pg_scribe/repo/filter", "pg_scribe/repo/layout", "pg_scribe/repo/owner", "pg_scribe/repo/segment", "pg_scribe/repo/storage"},
	"pg_scribe/repo/dump":          {"pg_scribe/catalog", "pg_scribe/internal/sqltext", "pg_scribe/repo/segment"},
	"pg_scribe/repo/verify":        {"pg_scribe/catalog", "pg_scribe/repo", "pg_scribe/repo/dump", "pg_scribe/repo/filter", "pg_scribe/repo/layout", "pg_scribe/repo/segment", "pg_scribe/repo/storage"},
	"pg_scribe/repo/rebuild":       {"pg_scribe/catalog", "pg_scribe/repo", "pg_scribe/repo/filter", "pg_scribe/repo/layout", "pg_scribe/repo/segment", "pg_scribe/repo/storage", "pg_scribe/repo/verify"},
	"pg_scribe/stream/event":       {},
	"pg_scribe/stream/ddl":         {"pg_scribe/internal/sqltext", "pg_scribe/repo/segment", "pg_scribe/stream/event"},
	"pg_scribe/stream/schema":      {"pg_scribe/catalog", "pg_scribe/stream/ddl", "pg_scribe/stream/event"},
	"pg_scribe/stream/charset":     {},
	"pg_scribe/stream/pgoutput":    {"pg_scribe/catalog"},
	"pg_scribe/stream/render":      {"pg_scribe/catalog", "pg_scribe/internal/sqltext", "pg_scribe/repo/segment", "pg_scribe/stream/charset", "pg_scribe/stream/ddl", "pg_scribe/stream/event", "pg_scribe/stream/pgoutput", "pg_scribe/stream/schema"},
	"pg_scribe/stream/source":      {"pg_scribe/catalog", "pg_scribe/internal/conninfo", "pg_scribe/internal/sqltext"},
	"pg_scribe/stream/capture": {"pg_scribe/catalog", "pg_scribe/internal/describe", "pg_scribe/internal/sqltext", "pg_scribe/stream/event",
		"pg_scribe/stream/source"},
	"pg_scribe/stream/sample":      {"pg_scribe/catalog", "pg_scribe/internal/describe", "pg_scribe/internal/sqltext", "pg_scribe/repo/segment", "pg_scribe/stream/capture", "pg_scribe/stream/ddl", "pg_scribe/stream/event", "pg_scribe/stream/render", "pg_scribe/stream/source"},
	"pg_scribe/stream/replication": {"pg_scribe/catalog", "pg_scribe/internal/sqltext", "pg_scribe/stream/pgoutput"},
	"pg_scribe/stream/base":        {"pg_scribe/catalog", "pg_scribe/internal/command", "pg_scribe/internal/conninfo", "pg_scribe/internal/describe", "pg_scribe/internal/sqltext", "pg_scribe/repo", "pg_scribe/repo/dump", "pg_scribe/repo/filter", "pg_scribe/repo/segment", "pg_scribe/stream/capture", "pg_scribe/stream/charset", "pg_scribe/stream/ddl", "pg_scribe/stream/event", "pg_scribe/stream/pgoutput", "pg_scribe/stream/replication", "pg_scribe/stream/sample", "pg_scribe/stream/source"},
	"pg_scribe/stream":             {"pg_scribe/catalog", "pg_scribe/internal/conninfo", "pg_scribe/repo", "pg_scribe/repo/filter", "pg_scribe/repo/segment", "pg_scribe/stream/base", "pg_scribe/stream/capture", "pg_scribe/stream/charset", "pg_scribe/stream/event", "pg_scribe/stream/pgoutput", "pg_scribe/stream/render", "pg_scribe/stream/replication", "pg_scribe/stream/sample", "pg_scribe/stream/schema", "pg_scribe/stream/source"},
	"pg_scribe/restore/compare":    {"pg_scribe/internal/describe", "pg_scribe/internal/simple", "pg_scribe/internal/sqltext"},
	"pg_scribe/restore":            {"pg_scribe/catalog", "pg_scribe/internal/conninfo", "pg_scribe/internal/describe", "pg_scribe/internal/simple", "pg_scribe/internal/sqltext", "pg_scribe/repo", "pg_scribe/repo/dump", "pg_scribe/repo/segment", "pg_scribe/restore/compare", "pg_scribe/restore/fold"},
	"pg_scribe/restore/fold":       {"pg_scribe/repo/segment"},
	"pg_scribe/restore/rehearse":   {"pg_scribe/catalog", "pg_scribe/internal/conninfo", "pg_scribe/internal/sqltext", "pg_scribe/internal/throwaway", "pg_scribe/repo", "pg_scribe/repo/segment", "pg_scribe/restore", "pg_scribe/restore/compare"},
	"pg_scribe/cmd/pg_scribe":      {"pg_scribe/catalog", "pg_scribe/internal/conninfo", "pg_scribe/internal/describe", "pg_scribe/internal/health", "pg_scribe/internal/service", "pg_scribe/internal/show", "pg_scribe/internal/spec", "pg_scribe/internal/throwaway", "pg_scribe/repo", "pg_scribe/repo/filter", "pg_scribe/repo/layout", "pg_scribe/repo/owner", "pg_scribe/repo/rebuild", "pg_scribe/repo/segment", "pg_scribe/repo/storage", "pg_scribe/repo/upload", "pg_scribe/repo/verify", "pg_scribe/restore", "pg_scribe/restore/rehearse", "pg_scribe/stream", "pg_scribe/stream/base", "pg_scribe/stream/capture", "pg_scribe/stream/sample", "pg_scribe/stream/source"},
	"pg_scribe/internal/service":   {"pg_scribe/catalog", "pg_scribe/repo", "pg_scribe/repo/storage", "pg_scribe/repo/upload", "pg_scribe/stream"},

	"pg_scribe/repo/segment/segmenttest":     {},
	"pg_scribe/stream/pgoutput/pgoutputtest": {"pg_scribe/stream/event"},
	"pg_scribe/internal/recording":           {"pg_scribe/stream/ddl", "pg_scribe/stream/event"},
}

func TestImportGraph(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}: {{join .Imports \" \"}}", "pg_scribe/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		name, imports, _ := strings.Cut(strings.TrimSpace(line), ": ")
		may, ruled := allowed[name]
		if !ruled {
			continue
		}
		seen++
		for _, i := range may {
			if !slices.Contains(strings.Fields(imports), i) {
				t.Errorf("%s no longer imports %s", name, i)
			}
		}
		for _, i := range strings.Fields(imports) {
			if strings.HasPrefix(i, "pg_scribe/") && !slices.Contains(may, i) {
				t.Errorf("%s imports %s", name, i)
			}
			below := []string{"pg_scribe/catalog", "pg_scribe/stream/charset", "pg_scribe/stream/ddl", "pg_scribe/stream/event",
				"pg_scribe/stream/pgoutput", "pg_scribe/stream/render", "pg_scribe/stream/schema", "pg_scribe/internal/sqltext",
				"pg_scribe/migrations", "pg_scribe/repo", "pg_scribe/repo/dump", "pg_scribe/repo/rebuild", "pg_scribe/repo/segment",
				"pg_scribe/repo/verify"}
			if strings.Contains(i, "jackc/pg") && slices.Contains(below, name) {
				t.Errorf("%s imports %s: a server's types stop above it", name, i)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d of %d packages were seen", seen, len(allowed))
	}
}
