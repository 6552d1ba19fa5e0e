package ddl_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pg_scribe/internal/recording"
	"pg_scribe/stream/ddl"
)

var update = flag.Bool("update", false, "write the golden files anew")

// views show something else than the commands.
var views = map[string]func(*ddl.Case) string{"session": recording.PrintSession, "samples": recording.PrintStates}

// TestGolden rewrites recorded commands. A folder is a kind of rewriting, a case
// the script that ran on a source (.sql), what its capture said (.in, see
// TestRecordings in internal/e2e) and the commands that stand for it (.golden).
func TestGolden(t *testing.T) {
	folders, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, folder := range folders {
		scripts, err := filepath.Glob(filepath.Join("testdata", folder.Name(), "*.sql"))
		if err != nil || len(scripts) == 0 {
			t.Errorf("%s holds no case: %v", folder.Name(), err)
		}
		view := views[folder.Name()]
		if view == nil {
			view = recording.Print
		}
		for _, script := range scripts {
			cases++
			base := strings.TrimSuffix(script, ".sql")
			t.Run(strings.TrimPrefix(base, "testdata/"), func(t *testing.T) { golden(t, base, view) })
		}
	}
	if cases < 60 {
		t.Errorf("%d cases", cases)
	}
}

func golden(t *testing.T, base string, view func(*ddl.Case) string) {
	recorded, err := os.ReadFile(base + ".in")
	if err != nil {
		t.Fatal(err)
	}
	list, err := recording.Cases(recorded)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("it is of no command")
	}
	var got strings.Builder
	for _, c := range list {
		got.WriteString(view(c))
	}
	if *update {
		if err := os.WriteFile(base+".golden", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(base + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// Every file belongs to a case.
func TestGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		if _, err := os.Stat(strings.TrimSuffix(file, filepath.Ext(file)) + ".sql"); err != nil {
			t.Error(err)
		}
	}
}
